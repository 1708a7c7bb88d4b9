#pragma once

#include <functional>
#include <string>

namespace strobe {

// One model in a hub's cache, in the layout of huggingface_hub:
//
//   <cache>/models--<owner>--<name>/
//     blobs/<etag>                  a file's content, under the name of its hash
//     blobs/<etag>.incomplete       the beginning of one
//     refs/<revision>               text: the commit that a branch or tag means
//     snapshots/<commit>/<file>     a symbolic link to ../../blobs/<etag>
//     .no_exist/<commit>/<file>     empty: the commit has no such file
//   <cache>/.locks/models--<owner>--<name>/<etag>.lock    held (flock) while the blob is made
//
// A blob is complete and checked before it gets its name, so whatever has a name is whole. Names
// that come from a hub become parts of paths: those that could lead out of the cache are refused.
class CachedModel {
 public:
  CachedModel(std::string cache, const std::string& model);  // a model's name, "name", "owner/name"

  std::string snapshot_folder(const std::string& commit) const;
  std::string blob_path(const std::string& etag) const;
  std::string incomplete_path(const std::string& etag) const;
  std::string lock_path(const std::string& etag) const;

  // The commit that a branch or tag meant when it was last fetched; empty if it never was.
  std::string commit_of(const std::string& revision) const;
  bool has_file(const std::string& commit, const std::string& file) const;
  bool is_known_absent(const std::string& commit, const std::string& file) const;

  // These write; an Error names what cannot be written.
  void make_folders(const std::string& etag) const;  // for the blob and its lock
  void set_commit(const std::string& revision, const std::string& commit) const;
  void link_file(const std::string& commit, const std::string& file, const std::string& etag) const;
  void note_absent(const std::string& commit, const std::string& file) const;

 private:
  std::string cache_;
  std::string folder_;  // <cache>/models--…
  std::string locks_;
};

// 40 digits, 0-9 and a-f.
bool is_commit(const std::string& text);
// A file's name inside a model, "a.json" or "onnx/a.json", that cannot lead out of a folder; also
// what a branch, a tag or an ETag has to be.
bool is_inner_path(const std::string& text);

// Holds an exclusive flock() on a file, made where missing and left in place, as Python's filelock
// does. Blocks others for as long as it lives.
class FileLock {
 public:
  // Waits for whoever holds it; `is_waiting` is asked ten times a second meanwhile, and true from
  // it goes on waiting. is_held() is false if it was left waiting.
  FileLock(const std::string& path, const std::function<bool()>& is_waiting);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  bool is_held() const { return is_held_; }

 private:
  int file_;
  bool is_held_ = false;
};

}  // namespace strobe
