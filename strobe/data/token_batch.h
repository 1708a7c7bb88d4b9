#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "strobe/data/tokenizer.h"

namespace strobe {

enum class Side : unsigned char { left, right };

// Texts as the rows of one matrix of tokens.
struct TokenBatchOptions {
  int64_t longest = 0;  // tokens of a row, at most: longer texts are cut; 0: they are not
  Side cut = Side::right;
  int64_t length = 0;    // rows are filled up to this; 0: up to the longest row
  int64_t multiple = 1;  // and on to a multiple of this
  Side padding = Side::right;
  std::optional<int32_t> padding_token;  // end of text where none is given
  SpecialNames special = SpecialNames::tokens;
};

struct TokenBatch {
  int64_t batch = 0, seq = 0;
  std::vector<int32_t> tokens;      // [batch, seq]
  std::vector<int32_t> begin, end;  // [batch]: of the text's own tokens; others are padding
};

// Throws Error when a length is not allowed.
TokenBatch encode_batch(const Tokenizer& tokenizer, std::span<const std::string> texts,
                        const TokenBatchOptions& options = {});

}  // namespace strobe
