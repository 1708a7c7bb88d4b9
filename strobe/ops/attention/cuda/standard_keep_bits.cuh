#pragma once

#include "strobe/ops/attention/cuda/standard_rows.cuh"
#include "strobe/ops/attention/dropout.h"

namespace strobe {

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
// One vector at a time, for the sake of registers: dropout is made once for four rows.
#pragma unroll 1
    for (int v = 0; v < Layout::kVectors; ++v) {
      const int warp_column = Layout::warp_column(tile_begin, v);
      if (warp_column >= end || warp_column + kWarpSize * kScoreVector <= begin) continue;
      const int key = Layout::column(tile_begin, v) - first_key_;
      const uint32_t bits = first_key_ % 16 == 0 ? shared_bits(key) : single_bits(key);
#pragma unroll
      for (int i = 0; i < Layout::kVectors; ++i) bits_[i] = i == v ? bits : bits_[i];
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
#pragma unroll 1
    for (int r = 0; r < kQuad; ++r) {
#pragma unroll 1
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
