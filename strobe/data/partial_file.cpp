#include "strobe/data/partial_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "strobe/core/check.h"

namespace strobe {

PartialFile::PartialFile(std::string path)
    : path_(std::move(path)),
      file_(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  struct stat status = {};
  require(file_ >= 0 && fstat(file_, &status) == 0);
  bytes_ = status.st_size;
}

PartialFile::~PartialFile() { close(file_); }

void PartialFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(file_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    require(n >= 0);
    bytes_ += n;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void PartialFile::clear() {
  if (bytes_ == 0) return;  // nor is a device such as /dev/full shortened
  require(ftruncate(file_, 0) == 0);
  bytes_ = 0;
}

void PartialFile::flush() { require(fsync(file_) == 0); }

void PartialFile::require(bool is_done) const {
  if (!is_done) throw_error(fmt::format("cannot write '{}': {}", path_, std::strerror(errno)));
}

}  // namespace strobe
