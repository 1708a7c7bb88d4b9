#pragma once

#include <cstdint>

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
// A reader first extends sequences by the new positions, then stores keys and values by block.
class KvCache {
 public:
  // All sequences are empty. The memory is the arena's (MemoryUse::cache): it lives as long as the
  // Scope in which the cache is made.
  KvCache(Context& ctx, const KvCacheSizes& sizes);

  const KvCacheSizes& sizes() const { return sizes_; }
  int64_t bytes() const;

  int64_t length(int64_t sequence) const {
    check_sequence(sequence);
    return lengths_.as<int32_t>()[sequence];
  }
  // i32 [count]: the lengths of the first `count` sequences.
  Tensor lengths(int64_t count) const { return lengths_.slice(0, 0, count); }

  void clear(int64_t sequence) { set_length(sequence, 0); }
  // Makes room for `positions` more. Throws Error when the sequence is full.
  void extend(int64_t sequence, int64_t positions);
  // Keys and values [1, T, heads, head_dim] of the last T positions, rounded to the cache's type.
  void store(Context& ctx, int64_t block, int64_t sequence, const Tensor& k, const Tensor& v);
  // Sequence `to` becomes what `from` was; `from` is empty then.
  void move(Context& ctx, int64_t from, int64_t to);

  // [count, capacity, heads, head_dim] of the first `count` sequences. In memory a head's positions
  // follow each other, so that a decode step reads long runs.
  Tensor keys(int64_t block, int64_t count) const { return view_of(keys_, block, count); }
  Tensor values(int64_t block, int64_t count) const { return view_of(values_, block, count); }

 private:
  void check_sequence(int64_t sequence) const;
  void set_length(int64_t sequence, int64_t length);
  Tensor view_of(const Tensor& all, int64_t block, int64_t count) const;
  // [1, end − begin, heads, head_dim]
  Tensor positions_of(const Tensor& all, int64_t block, int64_t sequence, int64_t begin,
                      int64_t end) const;

  KvCacheSizes sizes_;
  Tensor keys_, values_;  // [blocks · sequences, heads, capacity, head_dim]
  Tensor lengths_;        // i32 [sequences]
};

}  // namespace strobe
