#pragma once

#include <cstdint>

#include "strobe/core/random.h"
#include "strobe/ops/attention/mask.h"

namespace strobe {

// What the kernels of attention are given of a call: plain values and device pointers, copied into
// the kernel's parameters (make_params.h fills them in). Whatever may change from one run of a
// recorded step to the next is read from device memory.

// [batch, time, heads, head_dim] in device memory, head_dim contiguous. Strides are in elements.
template <class T>
struct BthdView {
  T* data = nullptr;
  int64_t batch_stride = 0, time_stride = 0, head_stride = 0;
  bool has_aligned_rows = true;  // every row of head_dim elements begins at a multiple of 16 bytes

  STROBE_HD T* row(int64_t batch, int64_t time, int64_t head) const {
    return data + batch * batch_stride + time * time_stride + head * head_stride;
  }
};

// f32, added to the scaled scores. A stride is 0 where the bias is broadcast.
struct AttentionBiasView {
  const float* data = nullptr;  // null: no bias
  int64_t batch_stride = 0, head_stride = 0, query_stride = 0;

  STROBE_HD const float* row(int64_t batch, int64_t head, int64_t query) const {
    return data + batch * batch_stride + head * head_stride + query * query_stride;
  }
};

// What forward and backward share.
template <class T>
struct AttentionCall {
  BthdView<const T> q, k, v;
  int sequences = 0;         // B, or the number of packed sequences
  int seq_q = 0, seq_k = 0;  // Tq, Tk; packed: rows of all sequences together
  int heads_q = 0, heads_kv = 0;
  int group = 1;  // heads_q / heads_kv
  int head_dim = 0;
  float scale = 0;
  Mask mask;
  AttentionBiasView bias;
  Dropout dropout;
  const int32_t *key_begin = nullptr, *key_end = nullptr;          // null: from 0 to Tk
  const int32_t *query_begin = nullptr, *query_end = nullptr;      // null: from 0 to Tq
  const int32_t *cu_seqlens_q = nullptr, *cu_seqlens_k = nullptr;  // null: not packed

  STROBE_HD bool is_packed() const { return cu_seqlens_q != nullptr; }
};

template <class T>
struct AttentionForwardParams : AttentionCall<T> {
  BthdView<T> out;
  float* lse = nullptr;  // [B, Hq, Tq]
};

template <class T>
struct AttentionBackwardParams : AttentionCall<T> {
  BthdView<const T> out, dout;
  const float* lse = nullptr;  // [B, Hq, Tq]
  BthdView<T> dq, dk, dv;
};

// One sequence of a call, and who sees whom in it; a kernel asks for it once.
struct AttentionDeviceSequence {
  int batch = 0;                 // index in the tensors' first dimension; 0 when packed
  int first_q = 0, first_k = 0;  // its first row in the time dimension; 0 unless packed
  uint32_t dropout_head = 0;     // what dropout takes as the head of query head 0
  Visibility visibility;         // positions count from the start of the sequence
};

template <class T>
STROBE_HD AttentionDeviceSequence device_sequence(const AttentionCall<T>& call, int index) {
  AttentionDeviceSequence s;
  s.dropout_head = static_cast<uint32_t>(index) * static_cast<uint32_t>(call.heads_q);
  s.visibility.mask = call.mask;
  s.visibility.seq_q = call.seq_q;
  s.visibility.seq_k = call.seq_k;
  // Nobody has checked what lies in device memory: nothing outside the tensors may follow from it.
  const auto clamped = [](int64_t x, int64_t limit) { return x < 0 ? 0 : x > limit ? limit : x; };
  if (call.is_packed()) {
    s.first_q = static_cast<int>(clamped(call.cu_seqlens_q[index], call.seq_q));
    s.first_k = static_cast<int>(clamped(call.cu_seqlens_k[index], call.seq_k));
    s.visibility.seq_q = clamped(call.cu_seqlens_q[index + 1] - s.first_q, call.seq_q - s.first_q);
    s.visibility.seq_k = clamped(call.cu_seqlens_k[index + 1] - s.first_k, call.seq_k - s.first_k);
  } else {
    s.batch = index;
  }
  const auto value_or = [&](const int32_t* values, int64_t otherwise, int64_t length) {
    return values == nullptr ? otherwise : clamped(values[index], length);
  };
  const int64_t seq_q = s.visibility.seq_q, seq_k = s.visibility.seq_k;
  s.visibility.queries = {value_or(call.query_begin, 0, seq_q),
                          value_or(call.query_end, seq_q, seq_q)};
  s.visibility.keys = {value_or(call.key_begin, 0, seq_k), value_or(call.key_end, seq_k, seq_k)};
  return s;
}

// The most tiles of `tile_rows` rows that the rows of a call take, no tile spanning two sequences.
// `rows` are those of all sequences together when packed, of one sequence when not.
constexpr int64_t most_tiles(int64_t rows, int64_t sequences, int64_t tile_rows, bool is_packed) {
  return is_packed ? rows / tile_rows + sequences : (rows + tile_rows - 1) / tile_rows * sequences;
}

}  // namespace strobe
