#pragma once

#include <string>
#include <string_view>

namespace strobe {

// A folder that appears with all its files or not at all: they are written into partial_path(), the
// final path + ".partial", which commit() renames. A process or machine that stops at any moment
// leaves the whole folder or none of its name, and at most a partial one beside it, which the next
// AtomicFolder of that path replaces. What is not committed is removed.
class AtomicFolder {
 public:
  static constexpr std::string_view kPartial = ".partial";

  // Throws Error when there is something of this name already, or a folder cannot be made there.
  explicit AtomicFolder(std::string path);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::string& partial_path() const { return partial_path_; }

  // The files in it must be on the disk already, as AtomicFile leaves them.
  void commit();

 private:
  std::string path_;
  std::string partial_path_;
  bool is_committed_ = false;
};

// Removes a folder so that at no moment there is half of it under its name.
void remove_folder(const std::string& path);

}  // namespace strobe
