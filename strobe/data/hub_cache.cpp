#include "strobe/data/hub_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <thread>
#include <utility>

#include "strobe/core/atomic_file.h"
#include "strobe/core/check.h"
#include "strobe/core/jsonl.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

// "models--owner--name"
std::string folder_name(const std::string& model) {
  std::string name = "models--" + model;
  if (const size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  return name;
}

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);  // of a link: what it leads to
}

std::string parent(const std::string& path) { return fs::path(path).parent_path().string(); }

// Tells backup programs that the folder's content can be had again (the CACHEDIR.TAG convention).
void tag_cache(const std::string& cache) {
  const std::string path = cache + "/CACHEDIR.TAG";
  if (exists(path)) return;
  AtomicFile file(path);
  file.write(
      "Signature: 8a477f597d28d172789f06886806bc55\n"
      "# This file marks a folder of files that were loaded from a model hub.\n");
  file.commit();
}

}  // namespace

bool is_commit(const std::string& text) {
  return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_inner_path(const std::string& text) {
  if (text.empty() || text.size() > 255) return false;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('/', begin), text.size());
    const std::string_view part = std::string_view(text).substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return std::ranges::all_of(text,
                             [](unsigned char c) { return c > ' ' && c != 0x7f && c != '\\'; });
}

CachedModel::CachedModel(std::string cache, const std::string& model)
    : cache_(std::move(cache)),
      folder_(cache_ + "/" + folder_name(model)),
      locks_(cache_ + "/.locks/" + folder_name(model)) {}

std::string CachedModel::snapshot_folder(const std::string& commit) const {
  return folder_ + "/snapshots/" + commit;
}

std::string CachedModel::blob_path(const std::string& etag) const {
  return folder_ + "/blobs/" + etag;
}

std::string CachedModel::incomplete_path(const std::string& etag) const {
  return blob_path(etag) + ".incomplete";
}

std::string CachedModel::lock_path(const std::string& etag) const {
  return locks_ + "/" + etag + ".lock";
}

std::string CachedModel::commit_of(const std::string& revision) const {
  std::ifstream file(folder_ + "/refs/" + revision);
  std::string commit;
  std::getline(file, commit);
  return is_commit(commit) ? commit : "";
}

bool CachedModel::has_file(const std::string& commit, const std::string& file) const {
  return exists(snapshot_folder(commit) + "/" + file);
}

bool CachedModel::is_known_absent(const std::string& commit, const std::string& file) const {
  return exists(folder_ + "/.no_exist/" + commit + "/" + file);
}

void CachedModel::make_folders(const std::string& etag) const {
  create_folder(parent(blob_path(etag)));
  create_folder(parent(lock_path(etag)));
  tag_cache(cache_);
}

void CachedModel::set_commit(const std::string& revision, const std::string& commit) const {
  if (revision == commit || commit_of(revision) == commit) return;
  const std::string path = folder_ + "/refs/" + revision;
  create_folder(parent(path));
  AtomicFile file(path);
  file.write(commit);
  file.commit();
}

void CachedModel::link_file(const std::string& commit, const std::string& file,
                            const std::string& etag) const {
  const fs::path link = snapshot_folder(commit) + "/" + file;
  create_folder(link.parent_path().string());
  // Relative, so that the cache can be moved; renamed into place, so that there is always a link.
  const fs::path target = fs::path(blob_path(etag)).lexically_relative(link.parent_path());
  const fs::path temporary = link.string() + ".tmp" + std::to_string(getpid());
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_symlink(target, temporary, error);
  if (!error) fs::rename(temporary, link, error);
  check(!error, "cannot make the link '", link.string(), "': ", error.message());
}

void CachedModel::note_absent(const std::string& commit, const std::string& file) const {
  const std::string path = folder_ + "/.no_exist/" + commit + "/" + file;
  create_folder(parent(path));
  AtomicFile(path).commit();
}

FileLock::FileLock(const std::string& path, const std::function<bool()>& is_waiting)
    : file_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0664)) {
  check(file_ >= 0, "cannot write '", path, "': ", std::strerror(errno));
  while (flock(file_, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    if (reason != EWOULDBLOCK && reason != EINTR) {
      close(file_);
      throw_error(fmt::format("cannot lock '{}': {}", path, std::strerror(reason)));
    }
    if (!is_waiting()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  is_held_ = true;
}

FileLock::~FileLock() { close(file_); }

}  // namespace strobe
