#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"
#include "strobe/ops/attention/cpu/flash_kernels.h"

namespace strobe {

// What flash_decode.cpp and standard_decode.cpp hand to the kernels of one instruction set: some
// keys of one sequence and key/value head, against the rows that read them, which are the `queries`
// newest positions of each of `group` query heads, head by head. Nothing here has an inline
// function (see strobe/simd/vec.h).
struct DecodeTask {
  FlashRows q;  // of the group's first head
  int64_t q_head_stride = 0;
  FlashRows k, v;  // of the sequence's first key
  int queries = 0, group = 0, head_dim = 0;
  float scale = 0;
  FlashVisible visible;    // of each query, in keys of the sequence; not padded
  int begin = 0, end = 0;  // the task's keys
};

// Keys at a time: their scores, and what is read of k and v, stay in the first-level cache.
constexpr int kDecodeTile = 128;

// At most so many tasks share a sequence's keys.
constexpr int kMostDecodeParts = 64;

// The state of row r after the keys of one task (docs/attention_forward.md, eq. 5, in base 2) is
// left at sums + r·sums_step, [head_dim], and at stats + r·stats_step: m and l.
struct DecodeState {
  float* sums = nullptr;
  float* stats = nullptr;
  int64_t sums_step = 0, stats_step = 0;
};

struct DecodeKernels {
  void (*flash)(const DecodeTask& task, const DecodeState& state);
  // out = the states of `count` ≤ kMostDecodeParts tasks joined (eq. 6 and 7), in their
  // order; those of one row follow one another. 0 when no key was seen.
  void (*merge)(const float* sums, const float* stats, int count, int head_dim, void* out);
  // scores + r·step: q·k of row r with each key of the task, from the sequence's key 0 on.
  void (*scores)(const DecodeTask& task, float* scores, int64_t step);
  // out = Σ probs[j]·v[j] over `count` keys.
  void (*weigh)(const float* probs, FlashRows v, int64_t count, int head_dim, void* out);
};

// Named after the types of q and of the cache.
struct DecodeKernelTable {
  DecodeKernels f32_f32, f32_f16, f32_bf16, bf16_bf16;
};

namespace scalar {
extern const DecodeKernelTable decode_kernels;
}
namespace avx2 {
extern const DecodeKernelTable decode_kernels;
}
namespace avx512 {
extern const DecodeKernelTable decode_kernels;
}
namespace avx512_bf16 {
extern const DecodeKernelTable decode_kernels;
}

}  // namespace strobe
