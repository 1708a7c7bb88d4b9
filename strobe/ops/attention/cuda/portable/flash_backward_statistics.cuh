#pragma once

#include <cstdint>

#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_params.h"

namespace strobe {

// attention_backward_flash_statistics
//
// Computes    Δ = rowsum(dO∘O)                                                      (11)
//             of docs/attention_backward.md, and L in kExponentUnit: what backward needs of a query
// Shapes      out dout [B,Tq,Hq,D]  lse [B,Hq,Tq]  →  statistics [B,Hq,Tq] of two f32
// Mapping     kLanes lanes per row, rows in the order of memory: heads, then queries
// Numerics    Δ is summed in f32 and multiplied by the keep rate, so that dropout's factor can be
//             left out until the last sum
// Cost        reads O and dO once
template <class T, int kLanes>
__global__ void __launch_bounds__(256) attention_backward_flash_statistics_kernel(
    const __grid_constant__ FlashBackwardParams<T> params, int64_t rows) {
  constexpr int kCount = kVectorWidth<T>;
  // Lanes too many take the last row, too: whole warps add up.
  const int64_t own = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kLanes;
  const int64_t index = min(own, rows - 1);
  const int head = static_cast<int>(index % params.heads_q);
  const int64_t row = index / params.heads_q;  // of all batches
  const int query = static_cast<int>(row % params.seq_q);
  const int64_t batch = row / params.seq_q;
  const int begin = params.query_begin == nullptr ? 0 : params.query_begin[batch];
  const int end = params.query_end == nullptr ? params.seq_q : params.query_end[batch];
  const bool is_inside = query >= begin && query < end;

  float delta = 0;
  if (is_inside) {
    const T *out = params.out.row(batch, query, head), *dout = params.dout.row(batch, query, head);
    const bool is_aligned = params.out.has_aligned_rows && params.dout.has_aligned_rows;
    for (int d = static_cast<int>(threadIdx.x) % kLanes * kCount; d < params.head_dim;
         d += kLanes * kCount) {
      Vector<T, kCount> a, b;
      if (is_aligned) {
        a = load_vector<T, kCount>(out + d);
        b = load_vector<T, kCount>(dout + d);
      } else {
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          a.element[i] = out[d + i];
          b.element[i] = dout[d + i];
        }
      }
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        delta = fmaf(to_float(a.element[i]), to_float(b.element[i]), delta);
      }
    }
  }
  delta = reduce_warp<Sum, kLanes>(delta);
  if (own >= rows || threadIdx.x % kLanes != 0) return;
  const int64_t at = (batch * params.heads_q + head) * params.seq_q + query;
  const float lse = params.lse[at];
  const bool sees_keys = is_inside && lse != -INFINITY;
  const float keep = 1.0f - static_cast<float>(params.dropout.threshold) / 256.0f;
  params.statistics[at] =
      sees_keys ? float2{lse * kExponentUnit<T>, delta * keep} : float2{INFINITY, 0};
}

}  // namespace strobe
