#pragma once

#include <algorithm>
#include <type_traits>

#include "strobe/gpu/launch.h"
#include "strobe/ops/attention/cuda/make_params.h"
#include "strobe/ops/attention/cuda/portable/flash_forward.cuh"
#include "strobe/ops/attention/cuda/portable/flash_forward_fma.cuh"
#include "strobe/ops/attention/cuda/portable/flash_portable.h"

namespace strobe {

template <class T>
ForwardGrid forward_grid(const AttentionForwardParams<T>& p, int block_q, int64_t l2_bytes) {
  ForwardGrid grid;
  grid.tiles = static_cast<int>(
      most_tiles(p.seq_q, p.is_packed() ? p.sequences : 1, block_q, p.is_packed()));
  grid.heads = p.heads_q * (p.is_packed() ? 1 : p.sequences);
  // Where all tiles are as long, a head's follow one another. Otherwise the longest of a few heads
  // come first; the cache has room for others' queries and outputs beside their keys and values.
  const int64_t head_bytes =
      std::max<int64_t>(1, 2 * sizeof(T) * int64_t{p.seq_k} * p.head_dim / p.group);
  if (p.mask.kind != MaskKind::full && grid.heads > 0) {
    grid.section = static_cast<int>(std::clamp<int64_t>(l2_bytes / 3 / head_bytes, 1, grid.heads));
  }
  return grid;
}

template <class Traits, class T>
void launch_forward(Context& ctx, const AttentionForwardParams<T>& params) {
  const ForwardGrid grid =
      forward_grid(params, Traits::kBlockQ, cuda_info(ctx.device().index).l2_bytes);
  const Launch shape = {.grid = dim3(static_cast<unsigned>(grid.blocks())),
                        .block = dim3(Traits::kThreads),
                        .shared_bytes = Traits::kSharedBytes};
  if constexpr (std::is_same_v<T, float>) {
    launch(ctx, attention_forward_flash_fma_kernel<Traits>, shape, params, grid);
  } else {
    launch(ctx, attention_forward_flash_portable_kernel<Traits>, shape, params, grid);
  }
}

template <class T, int kHeadDim, PortableArch kArch>
void launch_attention_forward_flash_portable(Context& ctx, const AttentionForward& args) {
  const AttentionForwardParams<T> params = attention_params<T>(args);
  const auto launch_with = [&](auto has_dropout) {
    if constexpr (std::is_same_v<T, float>) {
      launch_forward<FlashForwardFma<kHeadDim, has_dropout.value>>(ctx, params);
    } else {
      launch_forward<FlashForwardPortable<T, kHeadDim, has_dropout.value, kArch>>(ctx, params);
    }
  };
  if (params.dropout.active()) {
    launch_with(std::true_type{});
  } else {
    launch_with(std::false_type{});
  }
}

}  // namespace strobe
