#pragma once

#include <functional>
#include <string>

namespace strobe {

enum class Digest : unsigned char {
  sha256,         // of the file's bytes
  git_blob_sha1,  // of "blob <bytes>", a zero byte, and the file's bytes: git's name for a content
};

// The digest of a file in hexadecimal digits, 0-9 and a-f; empty if should_stop(), asked after each
// MiB, ended it. Throws Error when the file cannot be read.
std::string file_digest(
    const std::string& path, Digest digest,
    const std::function<bool()>& should_stop = [] { return false; });

}  // namespace strobe
