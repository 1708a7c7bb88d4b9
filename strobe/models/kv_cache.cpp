#include "strobe/models/kv_cache.h"

#include <algorithm>
#include <cstring>

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
  const auto write = [&](const Tensor& from, const Tensor& all) {
    const Tensor to = view_of(all, block, sizes_.sequences);
    cast(ctx, {.from = from, .to = to.slice(0, sequence, sequence + 1).slice(1, begin, end)});
  };
  write(k, keys_);
  write(v, values_);
}

void KvCache::move(int64_t from, int64_t to) {
  check_sequence(from);
  check_sequence(to);
  if (from == to) return;
  const int64_t used = length(from) * sizes_.head_dim;  // of each head's memory
  for (const Tensor& all : {keys_, values_}) {
    for (int64_t block = 0; block < sizes_.blocks; ++block) {
      for (int64_t head = 0; head < sizes_.heads; ++head) {
        const auto row = [&](int64_t sequence) {
          const int64_t index = (block * sizes_.sequences + sequence) * sizes_.heads + head;
          return static_cast<char*>(all.data) +
                 index * all.strides[1] * static_cast<int64_t>(size_of(all.dtype));
        };
        std::memcpy(row(to), row(from), used * size_of(all.dtype));
      }
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

}  // namespace strobe
