#include "strobe/data/digest.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "strobe/core/check.h"

namespace strobe {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

class Hash {
 public:
  explicit Hash(const EVP_MD* kind) : context_(EVP_MD_CTX_new()) {
    check(context_ && EVP_DigestInit_ex(context_.get(), kind, nullptr) == 1,
          "libcrypto offers no such digest");
  }
  void add(std::string_view bytes) {
    check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1, "libcrypto failed");
  }
  std::string hexadecimal() {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    check(EVP_DigestFinal_ex(context_.get(), bytes, &length) == 1, "libcrypto failed");
    std::string text;
    for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", bytes[i]);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, FreeContext> context_;
};

class ReadableFile {
 public:
  explicit ReadableFile(const std::string& path)
      : path_(path), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (file_ < 0) fail();
  }
  ~ReadableFile() { close(file_); }
  ReadableFile(const ReadableFile&) = delete;
  ReadableFile& operator=(const ReadableFile&) = delete;

  int64_t bytes() const {
    struct stat status = {};
    if (fstat(file_, &status) != 0) fail();
    return status.st_size;
  }
  // The next bytes; none at the end.
  std::string_view read_into(std::vector<char>& buffer) const {
    for (;;) {
      const ssize_t n = read(file_, buffer.data(), buffer.size());
      if (n >= 0) return {buffer.data(), static_cast<size_t>(n)};
      if (errno != EINTR) fail();
    }
  }

 private:
  [[noreturn]] void fail() const {
    throw_error(fmt::format("cannot read '{}': {}", path_, std::strerror(errno)));
  }

  std::string path_;
  int file_;
};

}  // namespace

std::string file_digest(const std::string& path, Digest digest,
                        const std::function<bool()>& should_stop) {
  const ReadableFile file(path);
  Hash hash(digest == Digest::sha256 ? EVP_sha256() : EVP_sha1());
  if (digest == Digest::git_blob_sha1) {
    const std::string header = fmt::format("blob {}", file.bytes());
    hash.add({header.c_str(), header.size() + 1});
  }
  std::vector<char> buffer(1 << 20);
  for (;;) {
    const std::string_view bytes = file.read_into(buffer);
    if (bytes.empty()) return hash.hexadecimal();
    hash.add(bytes);
    if (should_stop()) return {};
  }
}

}  // namespace strobe
