#pragma once

#include <type_traits>

#include "strobe/gpu/launch.h"
#include "strobe/ops/attention/cuda/make_params.h"
#include "strobe/ops/attention/cuda/portable/flash_forward.cuh"
#include "strobe/ops/attention/cuda/portable/flash_forward_fma.cuh"
#include "strobe/ops/attention/cuda/portable/flash_portable.h"

namespace strobe {

template <class Config, class T>
void launch_forward(Context& ctx, const AttentionForwardParams<T>& params) {
  const ForwardGrid grid =
      forward_grid(params, Config::kBlockQ, cuda_info(ctx.device().index).l2_bytes / 3);
  const Launch shape = {.grid = dim3(static_cast<unsigned>(grid.blocks())),
                        .block = dim3(Config::kThreads),
                        .shared_bytes = Config::kSharedBytes};
  if constexpr (std::is_same_v<T, float>) {
    launch(ctx, attention_forward_flash_fma_kernel<Config>, shape, params, grid);
  } else {
    launch(ctx, attention_forward_flash_portable_kernel<Config>, shape, params, grid);
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
