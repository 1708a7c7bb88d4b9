#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace strobe {

// The beginning of a file that is being loaded: made where missing, otherwise continued. Every
// Error names the file.
class PartialFile {
 public:
  explicit PartialFile(std::string path);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  int64_t bytes() const { return bytes_; }
  void append(std::span<const std::byte> bytes);
  void clear();
  void flush();  // to the disk

 private:
  void require(bool is_done) const;

  std::string path_;
  int file_;
  int64_t bytes_ = 0;
};

}  // namespace strobe
