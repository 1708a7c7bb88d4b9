#pragma once

#include <string>
#include <string_view>

namespace strobe::testing {

// A new empty folder; removed with all that is in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  // Writes a file and returns its path.
  std::string file(const std::string& name, std::string_view content) const;

 private:
  std::string path_;
};

// All bytes of a file; empty if there is none.
std::string content_of(const std::string& path);

}  // namespace strobe::testing
