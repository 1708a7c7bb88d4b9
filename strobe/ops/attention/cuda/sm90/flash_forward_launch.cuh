#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "strobe/gpu/launch.h"
#include "strobe/ops/attention/cuda/make_params.h"
#include "strobe/ops/attention/cuda/sm90/bthd_map.h"
#include "strobe/ops/attention/cuda/sm90/flash_forward.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_sm90.h"

namespace strobe {

template <class Config>
typename Config::Params forward_sm90_params(const AttentionForward& args, int64_t l2_bytes) {
  typename Config::Params params;
  params.q = bthd_map("q", args.q, Config::kBlockQ);
  params.k = bthd_map("k", args.k, Config::kBlockK);
  params.v = bthd_map("v", args.v, Config::kBlockK);
  params.out = bthd_map("out", args.out, Config::kWarpRows);
  params.call = attention_params<typename Config::T>(args);
  // Long sections, so that what is left at the end is short; but at the beginning of a section the
  // keys and values of all its heads come from memory at once.
  constexpr int kMostKeyHeads = 32;
  params.grid = forward_grid(params.call, Config::kBlockQ, l2_bytes * 2 / 3);
  params.grid.section = std::min(params.grid.section, kMostKeyHeads * params.call.group);
  params.tiles = static_cast<int>(params.grid.blocks());
  constexpr float kLog2E = 1.4426950408889634f;
  params.score_sign = (args.scale > 0) - (args.scale < 0);
  params.exponent_scale = kLog2E * (params.score_sign == 0 ? 1 : std::abs(args.scale));
  return params;
}

template <class Config>
void launch_forward_sm90(Context& ctx, const AttentionForward& args) {
  const Arena::Scope scope(ctx.arena());
  int* counter = ctx.arena().allocate(MemoryUse::attention, DType::i32, {1}).as<int>();
  if (ctx.is_planning()) return;
  const CudaInfo& info = cuda_info(ctx.device().index);
  auto params = forward_sm90_params<Config>(args, info.l2_bytes);
  params.counter = counter;
  cuda_check(cudaMemsetAsync(counter, 0, sizeof(int), stream_of(ctx)), "clearing a counter");
  const int64_t blocks = std::min<int64_t>(info.multiprocessors, params.grid.blocks());
  launch(ctx, attention_forward_flash_sm90_kernel<Config>,
         {.grid = dim3(static_cast<unsigned>(blocks)),
          .block = dim3(Config::kThreads),
          .shared_bytes = static_cast<int>(sizeof(FlashForwardSm90Shared<Config>))},
         params);
}

template <class T, int kHeadDim>
void launch_attention_forward_flash_sm90(Context& ctx, const AttentionForward& args) {
  const auto launch_with = [&](auto has_dropout) {
    constexpr bool kHasDropout = has_dropout.value;
    constexpr FlashForwardSm90Tile kShort = flash_forward_sm90_tile(kHeadDim, kHasDropout, false);
    constexpr FlashForwardSm90Tile kLong = flash_forward_sm90_tile(kHeadDim, kHasDropout, true);
    if constexpr (!(kLong == kShort)) {
      const AttentionProblem problem = problem_of(ctx, args);
      const int64_t sequences = problem.is_packed ? std::max<int64_t>(1, problem.batch) : 1;
      if (problem.seq_q >= kLongSequence * sequences) {
        return launch_forward_sm90<FlashForwardSm90<T, kHeadDim, kHasDropout, kLong>>(ctx, args);
      }
    }
    launch_forward_sm90<FlashForwardSm90<T, kHeadDim, kHasDropout, kShort>>(ctx, args);
  };
  if (args.dropout.active()) {
    launch_with(std::true_type{});
  } else {
    launch_with(std::false_type{});
  }
}

}  // namespace strobe
