#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace strobe {

// Replaces a file as a whole or not at all: what is written goes into a file beside it
// (path + ".tmp<process>"), which commit() flushes to the disk and renames over `path`. A process
// or machine that stops at any moment leaves the old file or the new one; what is not committed is
// removed. Every Error (a full disk, a folder that cannot be written) names `path`.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  // Replaces bytes from `offset` on, all of which are written already.
  void overwrite(int64_t offset, std::span<const std::byte> bytes);

  // Written so far.
  int64_t bytes() const { return bytes_; }

  // After it, the file is `path`, also should the power fail. Nothing can be written any more.
  void commit();

 private:
  void write_at(int64_t offset, std::span<const std::byte> bytes);
  [[noreturn]] void fail(const char* verb) const;

  std::string path_;
  std::string temporary_path_;
  int file_ = -1;  // −1 once committed
  int64_t bytes_ = 0;
};

// What was renamed is found again after a power failure only once its folder is on the disk too.
void flush_folder_of(const std::string& path);

}  // namespace strobe
