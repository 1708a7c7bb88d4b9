#include "strobe/core/atomic_folder.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "strobe/core/atomic_file.h"
#include "strobe/core/check.h"
#include "strobe/core/jsonl.h"

namespace strobe {
namespace {

void rename_folder(const std::string& from, const std::string& to) {
  check(std::rename(from.c_str(), to.c_str()) == 0, "cannot rename '", from, "' to '", to,
        "': ", std::strerror(errno));
  flush_folder_of(to);
}

void remove_all(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  check(!error, "cannot remove '", path, "': ", error.message());
}

}  // namespace

AtomicFolder::AtomicFolder(std::string path)
    : path_(std::move(path)), partial_path_(path_ + std::string(kPartial)) {
  check(!std::filesystem::exists(path_), "'", path_, "' is there already");
  remove_all(partial_path_);
  create_folder(partial_path_);
}

AtomicFolder::~AtomicFolder() {
  if (is_committed_) return;
  std::error_code ignored;
  std::filesystem::remove_all(partial_path_, ignored);
}

void AtomicFolder::commit() {
  rename_folder(partial_path_, path_);
  is_committed_ = true;
}

void remove_folder(const std::string& path) {
  const std::string partial = path + std::string(AtomicFolder::kPartial);
  remove_all(partial);
  rename_folder(path, partial);
  remove_all(partial);
}

}  // namespace strobe
