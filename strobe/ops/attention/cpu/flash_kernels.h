#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe {

// What flash_cpu.cpp hands to the kernels of one instruction set: raw pointers into one sequence,
// rows `stride` elements apart. Nothing here has an inline function (see strobe/simd/vec.h).
struct FlashRows {
  void* data = nullptr;
  int64_t stride = 0;
};

// The visible keys of query row r are [begin[r], end[r]), none when equal. The rows that see keys
// are consecutive, and neither end falls from one to the next. Both arrays are padded to a multiple
// of kFlashRowGrain with rows that see none.
struct FlashVisible {
  const int32_t* begin = nullptr;
  const int32_t* end = nullptr;
};

struct FlashBias {
  const float* data = nullptr;  // of row 0 and key 0; null: no bias
  int64_t row_stride = 0;       // 0 where all rows share one
};

struct FlashDropout {
  uint32_t threshold = 0;  // of 256; 0: no dropout
  uint32_t key[2] = {};
  float keep_scale = 1;
  uint32_t head = 0;  // as dropout.h counts heads
};

// A block of consecutive query rows of one head, against all their keys.
struct FlashForwardTask {
  FlashRows q, k, v, out;
  float* lse = nullptr;
  int first_row = 0;  // position of row 0 in the sequence, a multiple of kFlashRowGrain
  int rows = 0;
  int head_dim = 0;
  float scale = 0;
  FlashVisible visible;  // of the block's rows
  FlashBias bias;
  FlashDropout dropout;
  char* scratch = nullptr;  // FlashForwardKernels::scratch_bytes(), 64-byte aligned
};

// One key/value head and some tiles of its keys, against all query heads that read it.
struct FlashBackwardTask {
  FlashRows q, k, v, out, dout, dq, dk, dv;  // q, out, dout, dq: of the group's first head
  const float* lse = nullptr;
  int group = 1;  // query heads
  int64_t q_head_stride = 0, out_head_stride = 0, dout_head_stride = 0, dq_head_stride = 0;
  int64_t lse_head_stride = 0, bias_head_stride = 0;
  int rows = 0, keys = 0;
  int first_tile = 0, last_tile = 0;  // key tiles [first, last) are this task's
  int head_dim = 0;
  float scale = 0;
  FlashVisible visible;
  FlashBias bias;
  FlashDropout dropout;  // of the group's first head
  // f32 [rows padded to kFlashRowGrain, dq_columns()] for each head: where the sum over this task's
  // keys is left, unscaled, when other tasks hold other keys. Null: dq is set.
  float* dq_partial = nullptr;
  int64_t dq_partial_head_stride = 0;
  char* scratch = nullptr;  // FlashBackwardKernels::scratch_bytes(), 64-byte aligned
};

// Query blocks begin at multiples of this: whole row panels of every instruction set and whole
// dropout blocks.
constexpr int kFlashRowGrain = 48;

struct FlashForwardKernels {
  int64_t (*scratch_bytes)(int rows, int head_dim);
  void (*run)(const FlashForwardTask& task);
};

struct FlashBackwardKernels {
  // For tasks of so many rows and keys, or, where it `is_packed`, of any that do not have more;
  // `partial`: with dq_partial.
  int64_t (*scratch_bytes)(int rows, int keys, bool is_packed, int group, int head_dim,
                           bool partial);
  void (*run)(const FlashBackwardTask& task);
  // dq = scale · Σ over `count` partial sums, `step` floats apart, of `rows` rows.
  void (*reduce_dq)(const float* partial, int count, int64_t step, float scale, FlashRows dq,
                    int rows, int head_dim);
  int64_t (*dq_columns)(int head_dim);  // row length of dq_partial
  int key_tile;                         // keys in a tile
};

// One for each element type of the tensors. avx512_bf16 has no f32 kernels of its own: those of
// avx512 are the same.
namespace scalar {
extern const FlashForwardKernels flash_forward_f32, flash_forward_bf16;
extern const FlashBackwardKernels flash_backward_f32, flash_backward_bf16;
}  // namespace scalar
namespace avx2 {
extern const FlashForwardKernels flash_forward_f32, flash_forward_bf16;
extern const FlashBackwardKernels flash_backward_f32, flash_backward_bf16;
}  // namespace avx2
namespace avx512 {
extern const FlashForwardKernels flash_forward_f32, flash_forward_bf16;
extern const FlashBackwardKernels flash_backward_f32, flash_backward_bf16;
}  // namespace avx512
namespace avx512_bf16 {
extern const FlashForwardKernels flash_forward_bf16;
extern const FlashBackwardKernels flash_backward_bf16;
}  // namespace avx512_bf16

}  // namespace strobe
