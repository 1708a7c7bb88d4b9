#pragma once

#include <cuda.h>

#include <cstdint>

#include "strobe/ops/attention/cuda/attention_params.h"

namespace strobe {

// What the backward kernels of sm_90 are given of a call.
//
// A unit is a key head of a sequence; packed, of all sequences. Its items of work are its tiles of
// keys, those of packed sequences one after another.
template <class T>
struct FlashBackwardSm90Params {
  CUtensorMap q, dout;  // boxes of block_q rows
  CUtensorMap k, v;     // boxes of block_k rows
  AttentionBackwardParams<T> call;
  float scale_log2 = 0;

  // The units of a section take turns, tile by tile; the last section has the rest of the units.
  // From unit first_backward on they go backward (set_backward_sm90_work).
  int units = 0, section = 1, sections = 1, first_backward = 0;
  int key_tiles = 0, query_tiles = 0;  // of a head; packed: of all sequences

  // [B·Hq, query_tiles, 2, block_q]: L·log2e and Δ·keep of every query; ∞ and 0 of one that sees
  // nothing, and behind a sequence's end. A packed sequence's tiles begin at
  // cu_seqlens_q[s] / block_q + s.
  float* statistics = nullptr;
  // [units, group, query_tiles, 2, floats of a warpgroup's part]: Σ (dS K)ᵀ, each warp's 16 columns
  // in the order of fragments.
  float* query_sums = nullptr;
  int64_t zeros = 0;  // floats of them that are 0 at first: none where the order is fixed
  // 0 at first: items taken; and where the order is fixed, the additions to each of those parts.
  int* items_taken = nullptr;
  int* additions = nullptr;
  int64_t counters = 0;  // of both
};

}  // namespace strobe
