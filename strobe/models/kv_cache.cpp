#include "strobe/models/kv_cache.h"

#include <algorithm>

#include "strobe/core/copy.h"
#include "strobe/ops/cast/cast.h"
#include "strobe/ops/kv_append/kv_append.h"

namespace strobe {

KvCache::KvCache(Context& ctx, const KvCacheSizes& sizes) : sizes_(sizes) {
  check(sizes.blocks >= 1 && sizes.sequences >= 1 && sizes.capacity >= 1 && sizes.heads >= 1 &&
            sizes.head_dim >= 1,
        "a cache of ", sizes.blocks, " blocks, ", sizes.sequences, " sequences, ", sizes.capacity,
        " positions, ", sizes.heads, " heads of ", sizes.head_dim,
        ", allowed is 1 of each or more");
  const auto allocate = [&](DType dtype, const Shape& shape) {
    return ctx.arena().allocate(MemoryUse::cache, dtype, shape);
  };
  const Shape shape = {sizes.blocks * sizes.sequences, sizes.heads, sizes.capacity, sizes.head_dim};
  keys_ = allocate(sizes.dtype, shape);
  values_ = allocate(sizes.dtype, shape);
  lengths_ = allocate(DType::i32, {sizes.sequences});
  newest_ = allocate(DType::i32, {sizes.sequences});
  counted_.assign(sizes.sequences, 0);
  strobe::clear(ctx, lengths_);
  strobe::clear(ctx, newest_);
}

int64_t KvCache::bytes() const {
  return static_cast<int64_t>(keys_.bytes() + values_.bytes() + lengths_.bytes() + newest_.bytes());
}

void KvCache::check_sequence(int64_t sequence) const {
  check(sequence >= 0 && sequence < sizes_.sequences, "sequence ", sequence,
        " of a cache, allowed are 0 to ", sizes_.sequences - 1);
}

void KvCache::hold(Context& ctx, int64_t first, std::span<const int32_t> lengths) {
  const auto count = static_cast<int64_t>(lengths.size());
  for (int64_t i = 0; i < count; ++i) {
    check_sequence(first + i);
    check(lengths[i] >= 0 && lengths[i] <= sizes_.capacity, "sequence ", first + i,
          " of the cache was to hold ", lengths[i], " positions, allowed are ", sizes_.capacity);
  }
  std::ranges::copy(lengths, counted_.begin() + first);
  copy(ctx, Tensor::of(counted_.data() + first, {count}), lengths_.slice(0, first, first + count));
}

void KvCache::clear(Context& ctx, int64_t sequence) {
  check_sequence(sequence);
  counted_[sequence] = 0;
  strobe::clear(ctx, lengths_.slice(0, sequence, sequence + 1));
}

void KvCache::move(Context& ctx, int64_t from, int64_t to) {
  check_sequence(from);
  check_sequence(to);
  if (from == to) return;
  for (const Tensor& all : {keys_, values_}) {
    for (int64_t block = 0; block < sizes_.blocks; ++block) {
      const auto positions = [&](int64_t sequence) {
        return view_of(all, block, sequence, 1).slice(1, 0, length(from));
      };
      cast(ctx, {.from = positions(from), .to = positions(to)});
    }
  }
  counted_[to] = counted_[from];
  copy(ctx, lengths_.slice(0, from, from + 1), lengths_.slice(0, to, to + 1));
  clear(ctx, from);
}

void KvCache::store(Context& ctx, int64_t block, int64_t first, const Tensor& k, const Tensor& v,
                    const Tensor& begins) {
  const int64_t count = k.shape[0];
  check_sequence(first);
  check_sequence(first + count - 1);
  kv_append(ctx, {.k = k,
                  .v = v,
                  .k_cache = view_of(keys_, block, first, count),
                  .v_cache = view_of(values_, block, first, count),
                  .from_begin = begins,
                  .count = lengths_.slice(0, first, first + count)});
}

void KvCache::extend(int64_t count) {
  for (int64_t sequence = 0; sequence < count; ++sequence) {
    check_sequence(sequence);
    check(length(sequence) < sizes_.capacity, "sequence ", sequence, " of the cache holds ",
          length(sequence), " positions and was to hold 1 more, allowed are ", sizes_.capacity,
          " in all");
  }
  for (int64_t sequence = 0; sequence < count; ++sequence) ++counted_[sequence];
}

void KvCache::advance(Context& ctx, int64_t count) {
  kv_extend(ctx, {.lengths = lengths(count), .begins = newest(count)});
}

void KvCache::store_newest(Context& ctx, int64_t block, const Tensor& k, const Tensor& v) {
  const int64_t count = k.shape[0];
  kv_append(ctx, {.k = k,
                  .v = v,
                  .k_cache = keys(block, count),
                  .v_cache = values(block, count),
                  .to_begin = newest(count)});
}

Tensor KvCache::view_of(const Tensor& all, int64_t block, int64_t first, int64_t count) const {
  check(block >= 0 && block < sizes_.blocks, "block ", block, " of a cache, allowed are 0 to ",
        sizes_.blocks - 1);
  const int64_t begin = block * sizes_.sequences + first;
  return all.slice(0, begin, begin + count).transpose(1, 2);
}

}  // namespace strobe
