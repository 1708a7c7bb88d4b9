#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "strobe/data/bpe_vocabulary.h"

namespace strobe {

// What a word's bytes become: the pair of neighbours that the vocabulary merges first, the leftmost
// of several, is merged again and again until no pair is left (Sennrich et al., "Neural machine
// translation of rare words with subword units", 2016).
class BpeMerges {
 public:
  // Throws Error when a merge's result is no token, or a byte has none.
  explicit BpeMerges(const BpeVocabulary& vocabulary);

  // Memory that calls share; each thread has its own.
  struct Scratch {
    std::vector<int32_t> ids;
    std::vector<uint32_t> ranks;
    std::vector<int64_t> next, previous;
  };

  // Adds the word's tokens to the end of `tokens`.
  void append(std::string_view word, Scratch& scratch, std::vector<int32_t>& tokens) const;

 private:
  struct Merge {
    int32_t left, right;
    uint32_t rank;  // the lowest is done first; kNoRank: an empty place of the table
    int32_t result;
  };
  static constexpr uint32_t kNoRank = ~0u;

  size_t place_of(int32_t left, int32_t right) const;
  const Merge& find(int32_t left, int32_t right) const { return table_[place_of(left, right)]; }
  void merge_short(Scratch& scratch) const;
  void merge_long(Scratch& scratch) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Merge> table_;  // open addressing, at most half full; a power of two
};

}  // namespace strobe
