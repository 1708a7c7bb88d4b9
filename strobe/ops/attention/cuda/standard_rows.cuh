#pragma once

#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/attention/cuda/standard_params.h"
#include "strobe/ops/attention/dropout.h"

// What cuda_standard's two kernels over the scores share: which part of a row is visible, how its
// elements are spread over threads, and which of them dropout keeps.
namespace strobe {

// A row of scores. Columns are rows of k, packed or not; the keys that it sees are [begin, end).
struct ScoreRow {
  int begin, end;
  int query;              // its position in its sequence
  int first_key;          // the column of its sequence's key 0
  uint32_t dropout_head;  // what dropout takes as its head
};

template <class T>
__device__ ScoreRow score_row(const AttentionCall<T>& call, int batch, int head, int row) {
  int index = batch;
  if (call.is_packed()) {  // the last sequence that begins at or before `row`
    int above = call.sequences;
    for (index = 0; above - index > 1;) {
      const int middle = (index + above) / 2;
      (call.cu_seqlens_q[middle] <= row ? index : above) = middle;
    }
  }
  const AttentionDeviceSequence s = device_sequence(call, index);
  const Span keys = s.visibility.keys_of(row - s.first_q);
  const auto column = [&](int64_t key) {
    return static_cast<int>(min(max(s.first_k + key, int64_t{0}), int64_t{call.seq_k}));
  };
  return {.begin = column(keys.begin),
          .end = column(keys.end),
          .query = row - s.first_q,
          .first_key = s.first_k,
          .dropout_head = s.dropout_head + static_cast<uint32_t>(head)};
}

// kScoreVector neighbours at an address that is a multiple of 16 bytes.
template <class T>
__device__ __forceinline__ void load_scores(const T* from, float (&x)[kScoreVector]) {
  constexpr int kWidth = kVectorWidth<T>;
#pragma unroll
  for (int i = 0; i < kScoreVector; i += kWidth) {
    const WideVector<T> part = load_vector<T, kWidth>(from + i);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) x[i + e] = to_float(part.element[e]);
  }
}
template <class T>
__device__ __forceinline__ void store_scores(T* to, const float (&x)[kScoreVector]) {
  constexpr int kWidth = kVectorWidth<T>;
#pragma unroll
  for (int i = 0; i < kScoreVector; i += kWidth) {
    WideVector<T> part;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) part.element[e] = from_float<T>(x[i + e]);
    store_vector(to + i, part);
  }
}

// A row is held by kThreads threads, a warp or a block, kVectors vectors each; a longer one is
// taken in several tiles.
template <int kThreads_, int kVectors_>
struct RowLayout {
  static constexpr int kThreads = kThreads_, kVectors = kVectors_;
  static constexpr int kTile = kThreads * kVectors * kScoreVector;
  static constexpr int kBlock = kThreads == kWarpSize ? 4 * kWarpSize : kThreads;
  static constexpr int kRowsPerBlock = kBlock / kThreads;

  static __device__ int thread() { return static_cast<int>(threadIdx.x) % kThreads; }
  // The first column of vector `v` of this thread.
  static __device__ int column(int tile_begin, int v) {
    return tile_begin + (v * kThreads + thread()) * kScoreVector;
  }
  // The same of the first lane of its warp.
  static __device__ int warp_column(int tile_begin, int v) {
    return tile_begin + (v * kThreads + thread() / kWarpSize * kWarpSize) * kScoreVector;
  }
  // For all threads of the row; `scratch` is shared memory of its own for every place of call.
  template <class Operation>
  static __device__ float reduce(float x, float* scratch) {
    if constexpr (kThreads == kWarpSize) return reduce_warp<Operation>(x);
    return reduce_block<Operation, kThreads>(x, scratch);
  }
};

// The rows that one counter of dropout decides: 2a, 2a + 1, 2a + 8, 2a + 9 of 16. Groups of threads
// take them together, so that no bit is made twice.
constexpr int kQuad = 4;
__host__ __device__ constexpr int quads_of(int rows) { return (rows + 15) / 16 * kQuad; }
__device__ __forceinline__ int quad_row(int quad, int r) {
  return quad / kQuad * 16 + quad % kQuad * 2 + r % 2 + r / 2 * 8;
}

// Which of a thread's elements dropout keeps, for the four rows of a quad: bit 8r + i is element i
// of the vector in row r.
template <class Layout>
class KeepBits {
 public:
  __device__ explicit KeepBits(const Dropout& dropout)
      : threshold_(dropout.threshold), key_(dropout.current_key()) {}

  // For the visible part of `row` in the tile; all threads of a warp together.
  __device__ void set(const ScoreRow& row, int tile_begin) {
    const int quad = row.query / 16 * kQuad + row.query / 2 % kQuad;
    // The other rows of the quad see some keys more, or fewer.
    const int begin = row.begin - 16, end = row.end + 16;
    if (quad == quad_ && row.dropout_head == head_ && row.first_key == first_key_ &&
        tile_begin == tile_begin_ && row.begin >= begin_ && row.end <= end_) {
      return;
    }
    quad_ = quad;
    head_ = row.dropout_head;
    first_key_ = row.first_key;
    tile_begin_ = tile_begin;
    begin_ = begin;
    end_ = end;
#pragma unroll
    for (int v = 0; v < Layout::kVectors; ++v) {
      const int warp_column = Layout::warp_column(tile_begin, v);
      if (warp_column >= end || warp_column + kWarpSize * kScoreVector <= begin) continue;
      const int key = Layout::column(tile_begin, v) - first_key_;
      bits_[v] = first_key_ % 16 == 0 ? shared_bits(key) : single_bits(key);
    }
  }

  // Those of `row` in vector v: bit i is element i.
  __device__ uint32_t of(const ScoreRow& row, int v) const {
    return bits_[v] >> (8 * (row.query % 2 + row.query / 8 % 2 * 2));
  }

 private:
  // Two neighbouring lanes hold the halves of 16 keys; each asks for two of the four counters.
  __device__ uint32_t shared_bits(int key) const {
    const uint32_t half = static_cast<uint32_t>(key) / 8 % 2;
    const uint32_t q16 = quad_ / kQuad, k16 = static_cast<uint32_t>(key) / 16;
    uint32_t own = 0, other = 0;
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
      const uint32_t b = 2 * half + i;
      const PhiloxWords words = philox<kPhiloxAttentionRounds>(
          {{q16, k16, static_cast<uint32_t>(quad_ % kQuad) * 4 + b, head_}}, key_);
#pragma unroll
      for (uint32_t row = 0; row < 2; ++row) {
#pragma unroll
        for (uint32_t column = 0; column < 2; ++column) {
          // Byte 2·(query/8) + half of this word: one bit a byte, then two bits a half.
          const uint32_t kept =
              __vcmpgeu4(word_of(words, (row ^ k16) % 2, (column ^ q16) % 2), bytes_of(threshold_));
          const uint32_t place = 8 * row + 2 * b + column;
          own |= (kept >> (8 * half) & 0x10001u) << place;
          other |= (kept >> (8 - 8 * half) & 0x10001u) << place;
        }
      }
    }
    return own | __shfl_xor_sync(kFullWarp, other, 1);
  }

  // Where a packed sequence does not begin at a multiple of 16: element by element.
  __device__ uint32_t single_bits(int key) const {
    const Dropout dropout = {.threshold = threshold_, .key = key_};
    uint32_t bits = 0;
    for (int r = 0; r < kQuad; ++r) {
      for (int i = 0; i < kScoreVector; ++i) {
        const bool keeps = dropout_keeps(dropout, head_, quad_row(quad_, r), key + i);
        bits |= static_cast<uint32_t>(keeps) << (8 * r + i);
      }
    }
    return bits;
  }

  static __device__ uint32_t word_of(const PhiloxWords& words, uint32_t high, uint32_t low) {
    const uint32_t even = high == 0 ? words.word[0] : words.word[2];
    const uint32_t odd = high == 0 ? words.word[1] : words.word[3];
    return low == 0 ? even : odd;
  }
  static __device__ uint32_t bytes_of(uint32_t x) { return x * 0x01010101u; }

  uint32_t threshold_;
  PhiloxKey key_;
  uint32_t bits_[Layout::kVectors] = {};
  int quad_ = -1, first_key_ = 0, tile_begin_ = 0, begin_ = 0, end_ = 0;  // what the bits are of
  uint32_t head_ = 0;
};

}  // namespace strobe
