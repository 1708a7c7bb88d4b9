#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

struct KvCacheSizes {
  int64_t blocks = 0;
  int64_t sequences = 0;
  int64_t capacity = 0;  // positions of each sequence
  int64_t heads = 0;     // of keys and values
  int64_t head_dim = 0;
  DType dtype = DType::f32;  // f32, f16 or bf16
};

// The keys and values of the positions that a transformer has read, of each block and sequence:
// what a decode step reads instead of computing it again. Sequences have their own lengths.
//
// The host counts the lengths, and so does the device, so that a decode step depends on nothing
// that the host would have to tell it: it may be recorded (Graph), and the host may be ahead.
//
// A reader of prompts says with hold() how many positions it will store, then stores them by block.
// A decode step is extend(), by the host; then advance() and, by block, store_newest().
class KvCache {
 public:
  // All sequences are empty. The memory is the arena's (MemoryUse::cache): it lives as long as the
  // Scope in which the cache is made.
  KvCache(Context& ctx, const KvCacheSizes& sizes);

  const KvCacheSizes& sizes() const { return sizes_; }
  int64_t bytes() const;

  // As the host counts.
  int64_t length(int64_t sequence) const { return counted_[sequence]; }
  // As the device counts, i32 [count]: the lengths of the first `count` sequences, and what they
  // were before advance(), which is where the newest positions are.
  Tensor lengths(int64_t count) const { return lengths_.slice(0, 0, count); }
  Tensor newest(int64_t count) const { return newest_.slice(0, 0, count); }

  // The sequences first, first + 1, … have so many positions from now on, which store() sets.
  // Throws Error, and changes nothing, when one has no room.
  void hold(Context& ctx, int64_t first, std::span<const int32_t> lengths);
  void clear(Context& ctx, int64_t sequence);
  // Sequence `to` becomes what `from` was; `from` is empty then.
  void move(Context& ctx, int64_t from, int64_t to);

  // Keys and values [B, T, heads, head_dim] of the sequences first, first + 1, …, rounded to the
  // cache's type: of each those from `begins` on (i32 [B]; absent: from 0).
  void store(Context& ctx, int64_t block, int64_t first, const Tensor& k, const Tensor& v,
             const Tensor& begins);

  // One more position in each of the first `count` sequences: the host's part, and the device's.
  // Throws Error, and changes nothing, when a sequence is full.
  void extend(int64_t count);
  void advance(Context& ctx, int64_t count);
  // Keys and values [B, 1, heads, head_dim] of the newest position.
  void store_newest(Context& ctx, int64_t block, const Tensor& k, const Tensor& v);

  // [count, capacity, heads, head_dim] of the first `count` sequences. In memory a head's positions
  // follow each other, so that a decode step reads long runs.
  Tensor keys(int64_t block, int64_t count) const { return view_of(keys_, block, 0, count); }
  Tensor values(int64_t block, int64_t count) const { return view_of(values_, block, 0, count); }

 private:
  void check_sequence(int64_t sequence) const;
  Tensor view_of(const Tensor& all, int64_t block, int64_t first, int64_t count) const;

  KvCacheSizes sizes_;
  Tensor keys_, values_;          // [blocks · sequences, heads, capacity, head_dim]
  Tensor lengths_, newest_;       // i32 [sequences]
  std::vector<int32_t> counted_;  // the lengths
};

}  // namespace strobe
