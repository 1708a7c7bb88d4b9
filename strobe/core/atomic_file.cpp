#include "strobe/core/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "strobe/core/check.h"

namespace strobe {

// Some file systems cannot flush a folder; their rename is as safe as they make it.
void flush_folder_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const int descriptor =
      open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), temporary_path_(fmt::format("{}.tmp{}", path_, getpid())) {
  file_ = open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file_ < 0) fail("write");
}

AtomicFile::~AtomicFile() {
  if (file_ < 0) return;
  close(file_);
  unlink(temporary_path_.c_str());
}

void AtomicFile::write_at(int64_t offset, std::span<const std::byte> bytes) {
  check(file_ >= 0, "'", path_, "' is committed already, nothing can be added");
  while (!bytes.empty()) {
    const ssize_t n = pwrite(file_, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write");
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += n;
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write_at(bytes_, bytes);
  bytes_ += static_cast<int64_t>(bytes.size());
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::overwrite(int64_t offset, std::span<const std::byte> bytes) {
  const auto end = offset + static_cast<int64_t>(bytes.size());
  check(offset >= 0 && end <= bytes_, "bytes ", offset, " to ", end, " of '", path_,
        "', which has ", bytes_);
  write_at(offset, bytes);
}

void AtomicFile::commit() {
  check(file_ >= 0, "'", path_, "' is committed already");
  if (fsync(file_) != 0) fail("write");
  if (std::rename(temporary_path_.c_str(), path_.c_str()) != 0) fail("replace");
  close(std::exchange(file_, -1));
  flush_folder_of(path_);
}

void AtomicFile::fail(const char* verb) const {
  throw_error(fmt::format("cannot {} '{}': {}", verb, path_, std::strerror(errno)));
}

}  // namespace strobe
