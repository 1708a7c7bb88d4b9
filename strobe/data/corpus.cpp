#include "strobe/data/corpus.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "strobe/core/check.h"

namespace strobe {
namespace {

class FileCorpus final : public Corpus {
 public:
  explicit FileCorpus(const std::string& path) : path_(path) {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    file_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const int reason = errno;
    check(file_ >= 0, "cannot open the data file '", path, "': ", std::strerror(reason));
    struct stat status = {};
    const bool known = fstat(file_, &status) == 0;
    const bool regular = known && S_ISREG(status.st_mode);
    if (!regular || status.st_size == 0) close(file_);  // a throwing constructor has no destructor
    check(regular, "the data file '", path, "' is ",
          S_ISDIR(status.st_mode) ? "a folder" : "not a regular file",
          "; it must be a text file that can be read at any place");
    check(status.st_size > 0, "the data file '", path, "' is empty");
    bytes_ = status.st_size;
  }
  ~FileCorpus() override { close(file_); }
  FileCorpus(const FileCorpus&) = delete;
  FileCorpus& operator=(const FileCorpus&) = delete;

  int64_t bytes() const override { return bytes_; }
  const std::string& name() const override { return path_; }

  void read(int64_t begin, std::span<char> out) const override {
    while (!out.empty()) {
      const ssize_t n = pread(file_, out.data(), out.size(), begin);
      if (n < 0 && errno == EINTR) continue;
      check(n >= 0, "cannot read the data file '", path_, "': ", std::strerror(errno));
      check(n > 0, "the data file '", path_, "' has become shorter than its ", bytes_,
            " bytes while it was read");
      begin += n;
      out = out.subspan(static_cast<size_t>(n));
    }
  }

 private:
  std::string path_;
  int file_ = -1;
  int64_t bytes_ = 0;
};

class TextCorpus final : public Corpus {
 public:
  TextCorpus(std::string name, std::string text) : name_(std::move(name)), text_(std::move(text)) {
    check(!text_.empty(), "the text '", name_, "' is empty");
  }
  int64_t bytes() const override { return static_cast<int64_t>(text_.size()); }
  const std::string& name() const override { return name_; }
  void read(int64_t begin, std::span<char> out) const override {
    check(begin >= 0 && begin + static_cast<int64_t>(out.size()) <= bytes(), "reading ", out.size(),
          " bytes from ", begin, ", '", name_, "' has ", bytes());
    std::memcpy(out.data(), text_.data() + begin, out.size());
  }

 private:
  std::string name_;
  std::string text_;
};

}  // namespace

std::unique_ptr<Corpus> open_file(const std::string& path) {
  return std::make_unique<FileCorpus>(path);
}

std::unique_ptr<Corpus> text_corpus(std::string name, std::string text) {
  return std::make_unique<TextCorpus>(std::move(name), std::move(text));
}

std::unique_ptr<Corpus> lab_corpus() {
  constexpr std::string_view sentence = "The quick brown fox jumps over the lazy dog. ";
  constexpr int sentences = 30, samples = 300;
  std::string text;
  text.reserve(samples * (sentences * sentence.size() + 1));
  for (int sample = 0; sample < samples; ++sample) {
    for (int i = 0; i < sentences; ++i) text += sentence;
    text += '\n';
  }
  return text_corpus("lab", std::move(text));
}

std::unique_ptr<Corpus> open_corpus(const std::string& data) {
  return data == kLabData ? lab_corpus() : open_file(data);
}

}  // namespace strobe
