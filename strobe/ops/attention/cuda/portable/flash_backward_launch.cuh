#pragma once

#include <algorithm>
#include <type_traits>

#include "strobe/gpu/launch.h"
#include "strobe/ops/attention/cuda/make_params.h"
#include "strobe/ops/attention/cuda/portable/flash_backward_bias.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_kernel.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_plan.h"
#include "strobe/ops/attention/cuda/portable/flash_backward_query_sums.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_statistics.cuh"

namespace strobe {

// The kernels of one pass on a context's stream.
template <class T, int kHeadDim, bool kHasDropout, PortableArch kArch>
class FlashBackwardLauncher {
 public:
  using Params = FlashBackwardParams<T>;
  template <BackwardSums kSums>
  using Kernel = FlashBackward<T, kHeadDim, kHasDropout, kSums, kArch>;

  FlashBackwardLauncher(Context& ctx, const Params& params)
      : ctx_(ctx),
        params_(params),
        shared_limit_(cuda_info(ctx.device().index).shared_bytes_per_block) {}

  void statistics() {
    constexpr int kThreads = 256, kLanes = lanes(kHeadDim / kVectorWidth<T>);
    const int64_t rows = batches() * params_.seq_q * params_.heads_q;
    launch(ctx_, attention_backward_flash_statistics_kernel<T, kLanes>,
           {.grid = dim3(blocks(rows * kLanes, kThreads)), .block = dim3(kThreads)}, params_, rows);
  }

  template <BackwardSums kSums>
  void sums() {
    using Config = Kernel<kSums>;
    const int64_t rows = Config::kRowsAreKeys ? params_.seq_k : params_.seq_q;
    const int64_t tiles = most_tiles(rows, params_.is_packed() ? params_.sequences : 1,
                                     Config::kBlockRows, params_.is_packed());
    (Config::kRowsAreKeys ? params_.key_tiles : params_.query_tiles) = static_cast<int>(tiles);
    const int heads = Config::kRowsAreKeys ? params_.heads_kv : params_.heads_q;
    params_.stages = Config::kSharedBytes <= shared_limit_ ? 2 : 1;
    launch_block<Config>(attention_backward_flash_kernel<Config>, tiles * heads * batches());
  }

  void clear_query_sums(int64_t floats) {
    if (ctx_.is_planning() || floats == 0) return;
    cuda_check(cudaMemsetAsync(params_.query_sums, 0, floats * sizeof(float), stream_of(ctx_)),
               "clearing the sums of dq");
  }

  void round_query_sums() {
    using Config = Kernel<BackwardSums::all>;
    const int64_t tiles = batches() * params_.heads_q * params_.query_sum_tiles;
    launch(ctx_, attention_backward_flash_query_sums_kernel<Config>,
           {.grid = dim3(blocks(tiles, 1)), .block = dim3(Config::kThreads)}, params_);
  }

  void bias(const BiasGradient& dbias) {
    using Config = Kernel<BackwardSums::queries>;
    const int64_t row_tiles = dbias.queries == 1 ? 1 : blocks(params_.seq_q, Config::kBlockRows);
    const int64_t column_tiles = blocks(params_.seq_k, Config::kStreamRows);
    params_.stages = 1;
    launch_block<Config>(attention_backward_flash_bias_kernel<Config>,
                         row_tiles * column_tiles * dbias.heads * dbias.batches, dbias);
  }

 private:
  // That share a row of so many vectors: a power of two.
  static constexpr int lanes(int vectors) {
    return vectors >= 32 ? 32 : vectors >= 16 ? 16 : vectors >= 8 ? 8 : 4;
  }
  static unsigned blocks(int64_t count, int64_t of_block) {
    return static_cast<unsigned>((count + of_block - 1) / of_block);
  }
  int64_t batches() const { return params_.is_packed() ? 1 : params_.sequences; }

  template <class Config, class Function, class... Arguments>
  void launch_block(Function* kernel, int64_t grid, const Arguments&... arguments) {
    launch(ctx_, kernel,
           {.grid = dim3(blocks(grid, 1)),
            .block = dim3(Config::kThreads),
            .shared_bytes = params_.stages == 2 ? Config::kSharedBytes : Config::kLeastSharedBytes},
           params_, arguments...);
  }

  Context& ctx_;
  Params params_;
  const int64_t shared_limit_;
};

template <class T, int kHeadDim, PortableArch kArch>
void launch_attention_backward_flash_portable(Context& ctx, const AttentionBackward& args) {
  const FlashBackwardPlan plan(problem_of(ctx, args), kHeadDim, kArch,
                               cuda_info(ctx.device().index).shared_bytes_per_block);
  const Arena::Scope scope(ctx.arena());
  const auto allocate = [&](int64_t floats) {
    return floats == 0 ? nullptr
                       : ctx.arena()
                             .allocate(MemoryUse::attention, DType::f32, {floats})
                             .template as<float>();
  };
  FlashBackwardParams<T> params = {attention_params<T>(args)};
  params.statistics = reinterpret_cast<float2*>(allocate(2 * plan.queries));
  params.query_sums = allocate(plan.query_sums);
  params.query_sum_tiles = static_cast<int>(plan.query_sum_tiles);
  const auto run = [&](auto has_dropout) {
    FlashBackwardLauncher<T, kHeadDim, has_dropout.value, kArch> launcher(ctx, params);
    launcher.statistics();
    if constexpr (flash_backward_has_all(sizeof(T) == 2, kHeadDim, kArch)) {
      if (plan.makes_all) {
        launcher.clear_query_sums(plan.query_sums);
        launcher.template sums<BackwardSums::all>();
        launcher.round_query_sums();
      }
    }
    if (!plan.makes_all) {
      launcher.template sums<BackwardSums::queries>();
      launcher.template sums<BackwardSums::keys>();
    }
    if (args.dbias.has_data()) {
      launcher.bias({.data = args.dbias.template as<float>(),
                     .batches = static_cast<int>(args.dbias.shape[0]),
                     .heads = static_cast<int>(args.dbias.shape[1]),
                     .queries = static_cast<int>(args.dbias.shape[2])});
    }
  };
  if (params.dropout.active()) {
    run(std::true_type{});
  } else {
    run(std::false_type{});
  }
}

}  // namespace strobe
