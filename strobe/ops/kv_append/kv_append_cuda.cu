#include "strobe/gpu/launch.h"
#include "strobe/gpu/native.cuh"
#include "strobe/ops/kv_append/kv_append.h"

namespace strobe {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = 8;  // elements of a thread where rows are aligned for it, else 1

struct Strides {
  int64_t batch, time, head;
};
Strides strides_of(const Tensor& x) { return {x.strides[0], x.strides[1], x.strides[2]}; }

struct Params {
  const void* from[2];  // k, v
  void* to[2];
  Strides from_strides[2], to_strides[2];
  const int32_t *from_begin, *to_begin, *count;  // each may be null
  int64_t elements;                              // of k
  int time, capacity, heads, head_dim;
};

// kv_append
//
// Computes    cache[b, to_begin[b] + i] = x[b, from_begin[b] + i] for i < count[b], of k and of v
// Shapes      x [B,T,H,D]  →  cache [B,capacity,H,D], any strides but the last
// Mapping     a thread per kVector neighbours of x; blockIdx.y is k or v
// Shared      none
// Steps       [1] which elements  [2] convert
// Requires    sm_75; addresses and strides that are multiples of kVector elements    (is_aligned)
// Numerics    rounds to nearest
// Cost        reads x, writes as much of the caches
template <class From, class To, int kVector>
__global__ __launch_bounds__(kThreads) void kv_append_kernel(const Params params) {
  // [1] which elements
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVector;
  if (first >= params.elements) return;
  const int64_t position = first / params.head_dim / params.heads;
  const int column = static_cast<int>(first % params.head_dim);
  const int head = static_cast<int>(first / params.head_dim % params.heads);
  const int i = static_cast<int>(position % params.time),
            b = static_cast<int>(position / params.time);
  const int from = (params.from_begin == nullptr ? 0 : params.from_begin[b]) + i;
  const int to = (params.to_begin == nullptr ? 0 : params.to_begin[b]) + i;
  const int count = params.count == nullptr ? params.time : params.count[b];
  if (i >= count || from < 0 || from >= params.time || to < 0 || to >= params.capacity) return;

  // [2] convert
  const Strides in = params.from_strides[blockIdx.y], out = params.to_strides[blockIdx.y];
  const Vector<From, kVector> x =
      load_vector<From, kVector>(static_cast<const From*>(params.from[blockIdx.y]) + b * in.batch +
                                 from * in.time + head * in.head + column);
  Vector<To, kVector> y;
#pragma unroll
  for (int e = 0; e < kVector; ++e) y.element[e] = from_float<To>(to_float(x.element[e]));
  store_vector<To, kVector>(static_cast<To*>(params.to[blockIdx.y]) + b * out.batch +
                                to * out.time + head * out.head + column,
                            y);
}

// kv_extend
//
// Computes    begins = lengths, lengths += 1
// Shapes      [B] i32
// Mapping     a thread per sequence
// Shared      none
// Steps       none
// Requires    sm_75
// Numerics    integers
// Cost        a launch
__global__ void kv_extend_kernel(int32_t* lengths, int32_t* begins, int count) {
  const int b = blockIdx.x * blockDim.x + threadIdx.x;
  if (b < count) begins[b] = lengths[b]++;
}

// Whether each row begins where a vector of kWidth elements may.
bool is_aligned(const Tensor& x) {
  const auto bytes = static_cast<int64_t>(kWidth * size_of(x.dtype));
  bool is_aligned = reinterpret_cast<uintptr_t>(x.data) % bytes == 0 && x.shape[3] % kWidth == 0;
  for (int d = 0; d < 3; ++d) is_aligned = is_aligned && x.strides[d] % kWidth == 0;
  return is_aligned;
}

const int32_t* data_of(const Tensor& x) { return x.has_data() ? x.as<int32_t>() : nullptr; }

template <class From, class To>
void launch_append(Context& ctx, const Params& params, bool is_wide) {
  const int64_t threads = params.elements / (is_wide ? kWidth : 1);
  const Launch shape = {.grid = dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads), 2),
                        .block = dim3(kThreads)};
  if (is_wide) {
    launch(ctx, kv_append_kernel<From, To, kWidth>, shape, params);
  } else {
    launch(ctx, kv_append_kernel<From, To, 1>, shape, params);
  }
}

void append(Context& ctx, const KvAppend& args) {
  const Params params = {
      .from = {args.k.data, args.v.data},
      .to = {args.k_cache.data, args.v_cache.data},
      .from_strides = {strides_of(args.k), strides_of(args.v)},
      .to_strides = {strides_of(args.k_cache), strides_of(args.v_cache)},
      .from_begin = data_of(args.from_begin),
      .to_begin = data_of(args.to_begin),
      .count = data_of(args.count),
      .elements = args.k.numel(),
      .time = static_cast<int>(args.k.shape[1]),
      .capacity = static_cast<int>(args.k_cache.shape[1]),
      .heads = static_cast<int>(args.k.shape[2]),
      .head_dim = static_cast<int>(args.k.shape[3]),
  };
  const bool is_wide = is_aligned(args.k) && is_aligned(args.v) && is_aligned(args.k_cache) &&
                       is_aligned(args.v_cache);
  with_float_type(args.k.dtype, [&](auto from) {
    with_float_type(args.k_cache.dtype, [&](auto to) {
      launch_append<decltype(from), decltype(to)>(ctx, params, is_wide);
    });
  });
}

void extend(Context& ctx, const KvExtend& args) {
  const auto count = static_cast<int>(args.lengths.shape[0]);
  launch(ctx, kv_extend_kernel,
         {.grid = dim3((count + kThreads - 1) / kThreads), .block = dim3(kThreads)},
         args.lengths.as<int32_t>(), args.begins.as<int32_t>(), count);
}

std::string why_not(DType, const Device& device) { return why_not_cuda(device); }

}  // namespace

std::span<const KvAppendImpl> kv_append_impls_cuda() {
  static constexpr KvAppendImpl kRows[] = {{"cuda", &why_not, &append, &extend}};
  return kRows;
}

}  // namespace strobe
