#include "strobe/ops/attention/cuda/portable/flash_decode.h"

#include <numbers>

#include "strobe/gpu/launch.h"
#include "strobe/ops/attention/cuda/make_params.h"
#include "strobe/ops/attention/cuda/portable/flash_decode.cuh"

namespace strobe {
namespace {

constexpr int kManyRows = 8;  // query rows that share a load of K and V, where there are several

int64_t parts_of(int64_t capacity) {
  return std::max<int64_t>(1, (capacity + kDecodePartKeys - 1) / kDecodePartKeys);
}

// The kernel loads a cache 16 bytes at a time.
void check_aligned(const char* name, const Tensor& x) {
  with_float_type(x.dtype, [&](auto type) {
    check(bthd_view<decltype(type)>(x).has_aligned_rows, name, " at ", x.data, " with strides ",
          x.strides, ": its rows must begin at multiples of 16 bytes");
  });
}

DecodeStrides strides_of(const Tensor& x) { return {x.strides[0], x.strides[1], x.strides[2]}; }

FlashDecodeParams params_of(const AttentionDecode& a) {
  const int64_t heads_kv = a.k_cache.shape[2];
  return {.q = a.q.data,
          .k = a.k_cache.data,
          .v = a.v_cache.data,
          .out = a.out.data,
          .lengths = a.cache_lengths.as<int32_t>(),
          .q_strides = strides_of(a.q),
          .k_strides = strides_of(a.k_cache),
          .v_strides = strides_of(a.v_cache),
          .out_strides = strides_of(a.out),
          .part_sums = nullptr,
          .part_state = nullptr,
          .seq_q = static_cast<int32_t>(a.q.shape[1]),
          .capacity = static_cast<int32_t>(a.k_cache.shape[1]),
          .heads_kv = static_cast<int32_t>(heads_kv),
          .group = static_cast<int32_t>(a.q.shape[2] / heads_kv),
          .head_dim = static_cast<int32_t>(a.q.shape[3]),
          .parts = static_cast<int32_t>(parts_of(a.k_cache.shape[1])),
          .row_tiles = 1,
          .scale_log2 = a.scale * std::numbers::log2e_v<float>,
          .mask = a.mask};
}

template <class Q, class Cache, int kLanes, int kRows>
void launch_rows(Context& ctx, FlashDecodeParams params, int64_t batch) {
  using Kernel = FlashDecode<Q, Cache, kLanes, kRows>;
  const int rows = params.group * params.seq_q;
  params.row_tiles = (rows + kRows - 1) / kRows;
  const int64_t blocks = batch * params.heads_kv * params.parts * params.row_tiles;
  launch(ctx, attention_decode_flash_portable_kernel<Kernel>,
         {.grid = dim3(static_cast<unsigned>(blocks)),
          .block = dim3(Kernel::kThreads),
          .shared_bytes = static_cast<int>(sizeof(typename Kernel::Shared))},
         params);
  if (params.parts == 1) return;
  const int threads = (params.head_dim + kWarpSize - 1) / kWarpSize * kWarpSize;
  launch(
      ctx, attention_decode_join_flash_portable_kernel<Q>,
      {.grid = dim3(static_cast<unsigned>(batch * params.heads_kv * rows)), .block = dim3(threads)},
      params);
}

template <class Q, class Cache, int kLanes>
void launch_lanes(Context& ctx, const FlashDecodeParams& params, int64_t batch) {
  if (params.group * params.seq_q == 1) {
    launch_rows<Q, Cache, kLanes, 1>(ctx, params, batch);
  } else {
    launch_rows<Q, Cache, kLanes, kManyRows>(ctx, params, batch);
  }
}

// Calls f with the lanes that hold a key.
template <class F>
auto with_lanes(int64_t head_dim, const F& f) {
  using std::integral_constant;
  if (head_dim <= 32) return f(integral_constant<int, 4>{});
  if (head_dim <= 64) return f(integral_constant<int, 8>{});
  if (head_dim <= 128) return f(integral_constant<int, 16>{});
  return f(integral_constant<int, 32>{});
}

template <class Q, class Cache>
void launch_types(Context& ctx, const FlashDecodeParams& params, int64_t batch) {
  with_lanes(params.head_dim,
             [&](auto lanes) { launch_lanes<Q, Cache, lanes>(ctx, params, batch); });
}

}  // namespace

std::string why_not_flash_decode(const AttentionProblem& problem, const CudaInfo& info) {
  if (problem.heads_q == problem.heads_kv && problem.seq_q <= 1) return "";
  const auto bytes = static_cast<int64_t>(with_lanes(problem.head_dim, [](auto lanes) {
    return sizeof(typename FlashDecode<float, float, lanes, kManyRows>::Shared);
  }));
  if (bytes <= info.shared_bytes_per_block) return "";
  return fmt::format("head_dim {} takes {} KiB of shared memory to decode, the GPU has {}",
                     problem.head_dim, bytes >> 10, info.shared_bytes_per_block >> 10);
}

int64_t flash_decode_workspace_bytes(const AttentionProblem& problem) {
  const int64_t parts = parts_of(problem.seq_k);
  const int64_t state_bytes = (problem.head_dim + 2) * static_cast<int64_t>(sizeof(float));
  return parts == 1 ? 0 : problem.batch * problem.heads_q * problem.seq_q * parts * state_bytes;
}

void flash_decode(Context& ctx, const AttentionDecode& args) {
  check_aligned("k_cache", args.k_cache);
  check_aligned("v_cache", args.v_cache);
  FlashDecodeParams params = params_of(args);
  const int64_t batch = args.q.shape[0], head_dim = args.q.shape[3];
  const Arena::Scope scope(ctx.arena());
  if (params.parts > 1) {
    const int64_t states = args.q.numel() / head_dim * params.parts;
    const Tensor memory =
        ctx.arena().allocate(MemoryUse::attention, DType::f32, {states * (head_dim + 2)});
    params.part_sums = memory.as<float>();
    params.part_state = reinterpret_cast<float2*>(memory.as<float>() + states * head_dim);
  }
  with_float_type(args.q.dtype, [&](auto q_type) {
    using Q = decltype(q_type);
    if constexpr (std::is_same_v<Q, float>) {
      with_float_type(args.k_cache.dtype, [&](auto cache_type) {
        launch_types<float, decltype(cache_type)>(ctx, params, batch);
      });
    } else {
      launch_types<Q, Q>(ctx, params, batch);
    }
  });
}

}  // namespace strobe
