#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "strobe/data/corpus.h"

namespace strobe {

// A long row of tokens that is read at any place, never as a whole.
class TokenSequence {
 public:
  virtual ~TokenSequence() = default;
  virtual int64_t size() const = 0;
  // Fills `out` with the tokens from `begin`; any thread may. Throws Error when they cannot be
  // read, or are not the tokens that they should be.
  virtual void read(int64_t begin, std::span<int32_t> out) const = 0;
  virtual const std::string& name() const = 0;  // for messages
};

// A text, each byte a token. `corpus` must outlive it.
std::unique_ptr<TokenSequence> byte_sequence(const Corpus& corpus);

}  // namespace strobe
