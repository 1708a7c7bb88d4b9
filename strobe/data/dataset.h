#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "strobe/data/corpus.h"
#include "strobe/data/token_sequence.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

// How a text becomes samples of T tokens. Labels are the tokens themselves, as in Hugging Face: the
// model compares the output at position t with label t + 1, so a sample of T tokens makes T − 1
// predictions. A label of −100 is not trained on.
//
//   packed  windows of T tokens, one token shared with the next window (its last is the next one's
//           first), so every token but the text's first is predicted exactly once in an epoch. What
//           is left at the end, less than a window, is not used.
//   padded  each line that is not empty is a sample, without its newline: cut to T tokens, or ended
//           with one end of text, which is learned, and filled up to T with more, whose labels are
//           −100 and which attention does not see.
enum class Batching : unsigned char { packed, padded };

constexpr std::string_view to_text(Batching batching) {
  return batching == Batching::packed ? "packed" : "padded";
}

// The samples of a text, by number. Reading is const and may happen on any thread.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  // Writes sample `index`: T tokens and T labels. Returns how many positions are not padding.
  virtual int64_t read(int64_t index, std::span<int32_t> tokens,
                       std::span<int32_t> labels) const = 0;
};

// Both throw Error when there is not a single sample: packed, when the text is shorter than `seq`
// tokens; padded, when all lines are empty.
std::unique_ptr<Dataset> packed_windows(std::unique_ptr<TokenSequence> tokens, int64_t seq);
// `corpus` and `tokenizer` must outlive the dataset. Reads the text once for where its lines begin,
// 16 bytes of memory for each; of a line, the first 128 · `seq` bytes count.
std::unique_ptr<Dataset> padded_lines(const Corpus& corpus, const Tokenizer& tokenizer,
                                      int64_t seq);

}  // namespace strobe
