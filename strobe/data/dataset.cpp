#include "strobe/data/dataset.h"

#include <algorithm>
#include <string>
#include <utility>

#include "strobe/core/check.h"
#include "strobe/data/batch.h"

namespace strobe {
namespace {

class PackedWindows final : public Dataset {
 public:
  PackedWindows(std::unique_ptr<TokenSequence> tokens, int64_t seq)
      : tokens_(std::move(tokens)), seq_(seq), size_((tokens_->size() - 1) / (seq - 1)) {
    check(size_ > 0, "the text '", tokens_->name(), "' has ", tokens_->size(),
          " tokens, less than one window of ", seq, ": give a longer text or a smaller seq");
  }

  int64_t size() const override { return size_; }

  int64_t read(int64_t index, std::span<int32_t> tokens, std::span<int32_t> labels) const override {
    tokens_->read(index * (seq_ - 1), tokens);
    std::ranges::copy(tokens, labels.begin());
    return seq_;
  }

 private:
  std::unique_ptr<TokenSequence> tokens_;
  int64_t seq_;
  int64_t size_;
};

class PaddedLines final : public Dataset {
 public:
  PaddedLines(const Corpus& corpus, const Tokenizer& tokenizer, int64_t seq)
      : corpus_(corpus), tokenizer_(tokenizer), seq_(seq) {
    find_lines();
    check(!lines_.empty(), "the text '", corpus.name(), "' has no line that is not empty");
  }

  int64_t size() const override { return static_cast<int64_t>(lines_.size()); }

  int64_t read(int64_t index, std::span<int32_t> tokens, std::span<int32_t> labels) const override {
    const Line line = lines_[static_cast<size_t>(index)];
    // GPT-2's longest token: the text beyond rarely matters, and a line may be gigabytes.
    constexpr int64_t longest_token_bytes = 128;
    std::string text(static_cast<size_t>(std::min(line.bytes, seq_ * longest_token_bytes)), '\0');
    corpus_.read(line.begin, text);
    const std::vector<int32_t> encoded = tokenizer_.encode(text);
    const auto n = std::min(encoded.size(), tokens.size());
    const auto real = std::min(n + 1, tokens.size());  // the first end of text counts
    std::copy_n(encoded.begin(), n, tokens.begin());
    std::fill(tokens.begin() + n, tokens.end(), tokenizer_.end_of_text());
    std::copy_n(tokens.begin(), real, labels.begin());
    std::fill(labels.begin() + real, labels.end(), kNoLabel);
    return static_cast<int64_t>(real);
  }

 private:
  struct Line {
    int64_t begin, bytes;
  };

  void find_lines() {
    std::string piece;
    int64_t line_begin = 0;
    const auto end_line = [&](int64_t end) {
      if (end > line_begin) lines_.push_back({line_begin, end - line_begin});
      line_begin = end + 1;
    };
    constexpr int64_t piece_bytes = 1 << 20;
    for (int64_t begin = 0; begin < corpus_.bytes(); begin += piece_bytes) {
      piece.resize(static_cast<size_t>(std::min(piece_bytes, corpus_.bytes() - begin)));
      corpus_.read(begin, piece);
      for (size_t at = piece.find('\n'); at != piece.npos; at = piece.find('\n', at + 1)) {
        end_line(begin + static_cast<int64_t>(at));
      }
    }
    end_line(corpus_.bytes());
  }

  const Corpus& corpus_;
  const Tokenizer& tokenizer_;
  int64_t seq_;
  std::vector<Line> lines_;
};

}  // namespace

std::unique_ptr<Dataset> packed_windows(std::unique_ptr<TokenSequence> tokens, int64_t seq) {
  check(seq >= 2, "seq is ", seq, ", allowed is at least 2: a sample predicts seq − 1 tokens");
  return std::make_unique<PackedWindows>(std::move(tokens), seq);
}

std::unique_ptr<Dataset> padded_lines(const Corpus& corpus, const Tokenizer& tokenizer,
                                      int64_t seq) {
  check(seq >= 2, "seq is ", seq, ", allowed is at least 2: a sample predicts seq − 1 tokens");
  return std::make_unique<PaddedLines>(corpus, tokenizer, seq);
}

}  // namespace strobe
