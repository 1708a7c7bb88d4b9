#pragma once

#include <algorithm>

#include "strobe/gpu/launch.h"
#include "strobe/ops/attention/cuda/make_params.h"
#include "strobe/ops/attention/cuda/sm90/bthd_map.h"
#include "strobe/ops/attention/cuda/sm90/flash_backward.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_backward_plan.h"
#include "strobe/ops/attention/cuda/sm90/flash_backward_statistics.cuh"
#include "strobe/ops/attention/cuda/sm90/flash_sm90.h"

namespace strobe {

// What follows from the plan; memory is still to be given.
template <class T>
FlashBackwardSm90Params<T> backward_sm90_params(const AttentionBackward& args,
                                                const AttentionProblem& problem,
                                                const FlashBackwardSm90Plan& plan) {
  constexpr float kLog2e = 1.4426950408889634f;
  FlashBackwardSm90Params<T> params;
  params.call = attention_params<T>(args);
  params.scale_log2 = args.scale * kLog2e;
  params.units = plan.units;
  params.section = plan.section;
  params.sections = plan.sections;
  params.first_backward = plan.first_backward;
  params.key_tiles = plan.key_tiles;
  params.query_tiles = plan.query_tiles;
  params.zeros = plan.zeros;
  params.counters = plan.counters;
  return params;
}

// The kernels of one pass. Without keys there are no items, and dq is the first kernel's zeros.
template <class Config>
void launch_backward_sm90(Context& ctx, const AttentionBackward& args,
                          FlashBackwardSm90Params<typename Config::T> params, int processors) {
  constexpr int kThreads = 128, kRowLanes = Config::kPanels * 8;
  const int batches =
      params.call.is_packed() ? std::min(1, params.call.sequences) : params.call.sequences;
  const int query_tiles = params.query_tiles * params.call.heads_q * batches;  // of all heads
  const int64_t lanes = int64_t{query_tiles} * (Config::kBlockQ / kStatisticsRows) * kRowLanes;
  launch(ctx,
         attention_backward_flash_sm90_statistics_kernel<typename Config::T, Config::kBlockQ,
                                                         kRowLanes, kThreads>,
         {.grid = dim3((lanes + kThreads - 1) / kThreads), .block = dim3(kThreads)}, params);
  const int items = params.units * params.key_tiles;
  if (ctx.is_planning() || items == 0) return;
  params.k = bthd_map("k", args.k, Config::kBlockK);
  params.v = bthd_map("v", args.v, Config::kBlockK);
  const bool has_queries = params.call.seq_q > 0;  // else nothing reads their maps
  params.q = has_queries ? bthd_map("q", args.q, Config::kBlockQ) : params.k;
  params.dout = has_queries ? bthd_map("dout", args.dout, Config::kBlockQ) : params.k;
  launch(ctx, attention_backward_flash_sm90_kernel<Config>,
         {.grid = dim3(std::min(items, processors)),
          .block = dim3(Config::kThreads),
          .shared_bytes = Config::kSharedBytes,
          .begins_early = true},
         params);
  launch(ctx, attention_backward_flash_sm90_query_sums_kernel<Config>,
         {.grid = dim3(query_tiles * Config::kConsumers),
          .block = dim3(Config::kRoundingThreads),
          .begins_early = true},
         params);
}

template <class T, int kHeadDim>
void launch_attention_backward_flash_sm90(Context& ctx, const AttentionBackward& args) {
  const AttentionProblem problem = problem_of(ctx, args);
  const CudaInfo& gpu = cuda_info(ctx.device().index);
  const FlashBackwardSm90Plan plan(problem, kHeadDim, gpu.multiprocessors, gpu.l2_bytes);
  const Arena::Scope scope(ctx.arena());
  const auto allocate = [&](int64_t floats) {
    return ctx.arena().allocate(MemoryUse::attention, DType::f32, {floats}).template as<float>();
  };
  auto params = backward_sm90_params<T>(args, problem, plan);
  params.statistics = allocate(plan.statistics);
  params.query_sums = allocate(plan.query_sums);
  params.items_taken = reinterpret_cast<int*>(allocate(plan.counters));
  params.additions = plan.is_ordered ? params.items_taken + plan.kOwnCounters : nullptr;
  const auto launch_steps = [&]<bool kHasDropout, int kBlockQ>() {
    using Config = FlashBackwardSm90<T, kHeadDim, kHasDropout, kBlockQ>;
    launch_backward_sm90<Config>(ctx, args, params, gpu.multiprocessors);
  };
  constexpr int kFewQueries = 0;
  constexpr int64_t kManyQueries = INT64_MAX;
  constexpr int kDropoutSteps = flash_backward_sm90_block_q(kHeadDim, true, kManyQueries);
  constexpr int kSmallSteps = flash_backward_sm90_block_q(kHeadDim, false, kFewQueries);
  constexpr int kLargeSteps = flash_backward_sm90_block_q(kHeadDim, false, kManyQueries);
  if (problem.has_dropout) {
    launch_steps.template operator()<true, kDropoutSteps>();
  } else if (plan.block_q == kLargeSteps) {
    launch_steps.template operator()<false, kLargeSteps>();
  } else {
    launch_steps.template operator()<false, kSmallSteps>();
  }
}

}  // namespace strobe
