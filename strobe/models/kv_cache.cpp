#include "strobe/models/kv_cache.h"

#include <algorithm>

#include "strobe/ops/cast/cast.h"

namespace strobe {

KvCache::KvCache(Context& ctx, const KvCacheSizes& sizes) : sizes_(sizes) {
  check(sizes.blocks >= 1 && sizes.sequences >= 1 && sizes.capacity >= 1 && sizes.heads >= 1 &&
            sizes.head_dim >= 1,
        "a cache of ", sizes.blocks, " blocks, ", sizes.sequences, " sequences, ", sizes.capacity,
        " positions, ", sizes.heads, " heads of ", sizes.head_dim,
        ", allowed is 1 of each or more");
  const auto allocate = [&] {
    return ctx.arena().allocate(
        MemoryUse::cache, sizes.dtype,
        {sizes.blocks * sizes.sequences, sizes.heads, sizes.capacity, sizes.head_dim});
  };
  keys_ = allocate();
  values_ = allocate();
  lengths_ = ctx.arena().allocate(MemoryUse::cache, DType::i32, {sizes.sequences});
  std::fill_n(lengths_.as<int32_t>(), sizes.sequences, 0);
}

int64_t KvCache::bytes() const {
  return static_cast<int64_t>(keys_.bytes() + values_.bytes() + lengths_.bytes());
}

void KvCache::check_sequence(int64_t sequence) const {
  check(sequence >= 0 && sequence < sizes_.sequences, "sequence ", sequence,
        " of a cache, allowed are 0 to ", sizes_.sequences - 1);
}

void KvCache::set_length(int64_t sequence, int64_t length) {
  check_sequence(sequence);
  lengths_.as<int32_t>()[sequence] = static_cast<int32_t>(length);
}

void KvCache::extend(int64_t sequence, int64_t positions) {
  check_sequence(sequence);
  const int64_t length = this->length(sequence);
  check(positions >= 0 && length + positions <= sizes_.capacity, "sequence ", sequence,
        " of the cache holds ", length, " positions and was to hold ", positions,
        " more, allowed are ", sizes_.capacity, " in all");
  set_length(sequence, length + positions);
}

void KvCache::store(Context& ctx, int64_t block, int64_t sequence, const Tensor& k,
                    const Tensor& v) {
  check_sequence(sequence);
  const int64_t end = length(sequence), begin = end - k.shape[1];
  cast(ctx, {.from = k, .to = positions_of(keys_, block, sequence, begin, end)});
  cast(ctx, {.from = v, .to = positions_of(values_, block, sequence, begin, end)});
}

void KvCache::move(Context& ctx, int64_t from, int64_t to) {
  check_sequence(from);
  check_sequence(to);
  if (from == to) return;
  for (const Tensor& all : {keys_, values_}) {
    for (int64_t block = 0; block < sizes_.blocks; ++block) {
      cast(ctx, {.from = positions_of(all, block, from, 0, length(from)),
                 .to = positions_of(all, block, to, 0, length(from))});
    }
  }
  set_length(to, length(from));
  clear(from);
}

Tensor KvCache::view_of(const Tensor& all, int64_t block, int64_t count) const {
  check(block >= 0 && block < sizes_.blocks, "block ", block, " of a cache, allowed are 0 to ",
        sizes_.blocks - 1);
  const int64_t first = block * sizes_.sequences;
  return all.slice(0, first, first + count).transpose(1, 2);
}

Tensor KvCache::positions_of(const Tensor& all, int64_t block, int64_t sequence, int64_t begin,
                             int64_t end) const {
  return view_of(all, block, sizes_.sequences)
      .slice(0, sequence, sequence + 1)
      .slice(1, begin, end);
}

}  // namespace strobe
