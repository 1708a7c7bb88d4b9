#pragma once

#include <cstdint>
#include <span>

#include "strobe/core/context.h"
#include "strobe/core/dtype.h"
#include "strobe/ops/attention/cuda/portable/tile_table.h"

namespace strobe {

// One compiled variant of a kernel; Arguments is AttentionForward or AttentionBackward. The tables
// are generated with the variants, by cmake/variants.cmake.
template <class Arguments>
struct PortableVariant {
  DType dtype;
  int head_dim;
  PortableArch arch;
  void (*launch)(Context&, const Arguments&);
};

// The variant with the least head_dim that is enough; null where there is none.
template <class Arguments>
const PortableVariant<Arguments>* find_variant(std::span<const PortableVariant<Arguments>> variants,
                                               DType dtype, int64_t head_dim, PortableArch arch) {
  const PortableVariant<Arguments>* best = nullptr;
  for (const PortableVariant<Arguments>& v : variants) {
    if (v.dtype != dtype || v.arch != arch || v.head_dim < head_dim) continue;
    if (best == nullptr || v.head_dim < best->head_dim) best = &v;
  }
  return best;
}

}  // namespace strobe
