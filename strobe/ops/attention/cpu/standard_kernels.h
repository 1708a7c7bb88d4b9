#pragma once

#include <cstdint>

#include "strobe/ops/attention/cpu/flash_kernels.h"
#include "strobe/simd/kernel_table.h"

namespace strobe {

constexpr int kStripeRows = 16;

// What standard.cpp hands to the kernels of one instruction set: up to 16 rows of one head's
// scores, from one block of 16 queries (so that dropout's bits are made once). Rows and columns of
// the matrices count from the stripe's first query and first key. Nothing here has an inline
// function (see strobe/simd/vec.h).
struct ScoreStripe {
  int rows = 0;
  int64_t keys = 0;
  int64_t begin[kStripeRows] = {}, end[kStripeRows] = {};  // the keys that a row sees: [begin, end)
  float scale = 0;

  const float* bias = nullptr;  // of row 0 and key 0; null: none
  int64_t bias_stride = 0;      // 0 where all rows share one

  FlashDropout dropout;
  int64_t first_query = 0, first_key = 0;  // positions of row 0 and key 0 in the sequence
  uint16_t* masks = nullptr;  // scratch of standard_mask_words() for each of 16 rows, if dropout
  int64_t mask_stride = 0;
};

// Words of 16 dropout decisions for `keys` keys from any position on, and room to read in eights.
constexpr int64_t standard_mask_words(int64_t keys) { return keys / 16 + 6; }

// Matrices below are [rows, keys] with `stride` elements from row to row, or the rows' vectors.
struct SoftmaxStripe {
  ScoreStripe stripe;
  float* scores = nullptr;  // q·k; overwritten
  int64_t scores_stride = 0;
  void* probs = nullptr;  // eq. 3; may be `scores` itself. Null: not kept
  int64_t probs_stride = 0;
  void* dropped = nullptr;  // Z∘P of eq. 4, only with dropout; may be `scores` itself
  int64_t dropped_stride = 0;
  float* lse = nullptr;
};

struct SoftmaxBackwardStripe {
  ScoreStripe stripe;
  const void* probs = nullptr;
  int64_t probs_stride = 0;
  float* dprobs = nullptr;  // dout·v, read
  int64_t dprobs_stride = 0;
  void* dscores = nullptr;  // P∘(Z∘dprobs − delta)·scale, set; may be `dprobs` itself
  int64_t dscores_stride = 0;
  float* dbias = nullptr;    // P∘(Z∘dprobs − delta), added; null: not wanted
  int64_t dbias_stride = 0;  // 0 where all rows share one
  const void *out = nullptr, *dout = nullptr;  // rows of head_dim, whose product is delta
  int64_t out_stride = 0, dout_stride = 0;
  int head_dim = 0;
};

struct DropStripe {
  ScoreStripe stripe;
  const void* probs = nullptr;
  int64_t probs_stride = 0;
  void* dropped = nullptr;
  int64_t dropped_stride = 0;
};

template <class T>
struct StandardKernels {
  void (*softmax)(const SoftmaxStripe&);
  void (*softmax_backward)(const SoftmaxBackwardStripe&);
  void (*drop)(const DropStripe&);
};

namespace scalar {
extern const KernelTable<StandardKernels> standard_kernels;
}
namespace avx2 {
extern const KernelTable<StandardKernels> standard_kernels;
}
namespace avx512 {
extern const KernelTable<StandardKernels> standard_kernels;
}
namespace avx512_bf16 {
extern const KernelTable<StandardKernels> standard_kernels;
}

}  // namespace strobe
