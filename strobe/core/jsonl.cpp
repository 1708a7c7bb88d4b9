#include "strobe/core/jsonl.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "strobe/core/check.h"

namespace strobe {

JsonlWriter::JsonlWriter(std::string path, JsonlMode mode)
    : path_(std::move(path)),
      file_(open(
          path_.c_str(),
          O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (mode == JsonlMode::replace ? O_TRUNC : 0),
          0666)),
      bytes_(file_ < 0 ? 0 : std::max<int64_t>(lseek(file_, 0, SEEK_END), 0)) {
  check(file_ >= 0, "cannot write '", path_, "': ", std::strerror(errno));
}

JsonlWriter::~JsonlWriter() { close(file_); }

void JsonlWriter::write(const Json& object) {
  std::string line = object.dump(-1, ' ', false, Json::error_handler_t::replace);
  line += '\n';
  size_t written = 0;
  while (written < line.size()) {
    const ssize_t n = ::write(file_, line.data() + written, line.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int reason = errno;
      // Half a line would spoil the file for its readers. A device such as /dev/full has no length
      // to cut; then there is nothing to repair either.
      [[maybe_unused]] const int cut = ftruncate(file_, bytes_);
      throw_error(fmt::format("cannot write '{}': {}", path_, std::strerror(reason)));
    }
    written += static_cast<size_t>(n);
  }
  bytes_ += static_cast<int64_t>(line.size());
}

void create_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  check(!error, "cannot create the folder '", path, "': ", error.message());
  check(std::filesystem::is_directory(path), "'", path, "' is not a folder");
}

}  // namespace strobe
