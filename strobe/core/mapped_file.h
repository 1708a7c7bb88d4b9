#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace strobe {

// A regular file's bytes as memory, read-only: pages come from the disk when they are touched, and
// are shared by every process that maps the file. The map outlives renaming and removing the file;
// shortening it meanwhile ends the process at the first touch of what is gone (SIGBUS), so whoever
// replaces files does it by renaming, as AtomicFile does.
class MappedFile {
 public:
  // Throws Error, naming the file, when it is missing, unreadable, or not a regular file.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
};

// Begins to read mapped pages from the disk, all at once, and does not wait for them.
void prefetch_pages(std::span<const std::byte> mapped);

// Takes mapped pages out of this process's memory; they come back from the file when touched again.
// The pages at both ends that are mapped in part only stay.
void release_pages(std::span<const std::byte> mapped);

}  // namespace strobe
