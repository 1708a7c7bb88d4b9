#include "strobe/core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "strobe/core/check.h"

namespace strobe {
namespace {

struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

// For the pages that are mapped as a whole. It is advice: where the system does not take it, the
// pages are as they were.
void advise(std::span<const std::byte> mapped, int advice) {
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(mapped.data());
  const uintptr_t begin = (first + page - 1) / page * page;
  const uintptr_t end = (first + mapped.size()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  const Descriptor file = {open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  check(file.number >= 0, "cannot open '", path, "': ", std::strerror(errno));
  struct stat status = {};
  check(fstat(file.number, &status) == 0, "cannot read '", path, "': ", std::strerror(errno));
  check(S_ISREG(status.st_mode), "'", path, "' is ",
        S_ISDIR(status.st_mode) ? "a folder" : "not a regular file");
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return;  // mmap refuses to map nothing
  const void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.number, 0);
  check(data != MAP_FAILED, "cannot map '", path, "' into memory: ", std::strerror(errno));
  bytes_ = {static_cast<const std::byte*>(data), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void prefetch_pages(std::span<const std::byte> mapped) { advise(mapped, MADV_WILLNEED); }

void release_pages(std::span<const std::byte> mapped) { advise(mapped, MADV_DONTNEED); }

}  // namespace strobe
