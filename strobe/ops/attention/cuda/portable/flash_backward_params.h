#pragma once

#include <vector_types.h>

#include "strobe/ops/attention/cuda/attention_params.h"

namespace strobe {

// Queries of a tile of the sums that become dq.
constexpr int kQuerySumRows = 64;

// Exponents are kept in this unit: in base 2 for 16 bits, where that saves a product; in f32 as
// they are, because L·log2e would be rounded once more, by as much as L is large.
template <class T>
constexpr float kExponentUnit = sizeof(T) == 4 ? 1.0f : 1.4426950408889634f;

template <class T>
struct FlashBackwardParams : AttentionBackwardParams<T> {
  // {L·kExponentUnit, Δ·keep} of every query, where lse has L. A query that sees no key has
  // {∞, 0}.
  float2* statistics = nullptr;
  // Σ dS K, f32, to which all blocks add: tiles of kQuerySumRows queries of every head, in the
  // order of the fragments that add to them. Packed: the tiles of a sequence begin at
  // cu_seqlens_q[s] / kQuerySumRows + s.
  float* query_sums = nullptr;
  int query_sum_tiles = 0;             // of a head: most_tiles()
  int query_tiles = 0, key_tiles = 0;  // blocks of a head; packed: of all sequences
  int stages = 2;                      // tiles of columns in shared memory
};

}  // namespace strobe
