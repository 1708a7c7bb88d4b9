#include "strobe/ops/kv_append/kv_append.h"

namespace strobe {
namespace {

void check_bthd(const char* name, const Tensor& x, DType dtype, const Shape& shape) {
  check_tensor(name, x, dtype, shape);
  check(dtype != DType::i32, name, " is i32, allowed are f32, f16 and bf16");
  check(x.strides[3] == 1 || shape[3] == 1, name, " has stride ", x.strides[3],
        " in its last dimension, which must be contiguous");
}

int32_t value_or(const Tensor& values, int64_t index, int64_t otherwise) {
  return values.has_data() ? values.as<int32_t>()[index] : static_cast<int32_t>(otherwise);
}

// Where the host can read begins and counts, every position must lie inside.
void check_positions(const KvAppend& a) {
  const int64_t batch = a.k.shape[0], time = a.k.shape[1], capacity = a.k_cache.shape[1];
  for (const Tensor* x : {&a.from_begin, &a.to_begin, &a.count}) {
    if (!x->has_data()) continue;
    check_contiguous("kv_append positions", *x, DType::i32, {batch});
    if (x->device != DeviceKind::cpu) return;
  }
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t from = value_or(a.from_begin, b, 0), to = value_or(a.to_begin, b, 0);
    const int64_t count = value_or(a.count, b, time);
    check(from >= 0 && to >= 0 && count >= 0 && from + count <= time && to + count <= capacity,
          "kv_append: sequence ", b, " stores ", count, " positions from ", from, " of ", time,
          " at ", to, " of ", capacity);
  }
}

const KvAppendImpl& select_kv_append(const Context& ctx, DType dtype) {
  return select("kv_append", kv_append_impls(), dtype, ctx.device(), ctx.wish("kv_append"));
}

}  // namespace

void kv_append(Context& ctx, const KvAppend& args) {
  check_on_device(ctx, {{"kv_append k", args.k},
                        {"kv_append v", args.v},
                        {"kv_append k_cache", args.k_cache},
                        {"kv_append v_cache", args.v_cache},
                        {"kv_append from_begin", args.from_begin},
                        {"kv_append to_begin", args.to_begin},
                        {"kv_append count", args.count}});
  check(args.k.rank() == 4 && args.k_cache.rank() == 4, "kv_append k and k_cache have shapes ",
        args.k.shape, " and ", args.k_cache.shape, ", expected [batch, time, heads, head_dim]");
  const int64_t batch = args.k.shape[0], heads = args.k.shape[2], head_dim = args.k.shape[3];
  const Shape cache_shape = {batch, args.k_cache.shape[1], heads, head_dim};
  check_bthd("kv_append k", args.k, args.k.dtype, args.k.shape);
  check_bthd("kv_append v", args.v, args.k.dtype, args.k.shape);
  check_bthd("kv_append k_cache", args.k_cache, args.k_cache.dtype, cache_shape);
  check_bthd("kv_append v_cache", args.v_cache, args.k_cache.dtype, cache_shape);
  check_positions(args);
  select_kv_append(ctx, args.k.dtype).append(ctx, args);
}

void kv_extend(Context& ctx, const KvExtend& args) {
  check_on_device(ctx, {{"kv_extend lengths", args.lengths}, {"kv_extend begins", args.begins}});
  check_contiguous("kv_extend lengths", args.lengths, DType::i32, {args.lengths.shape[0]});
  check_contiguous("kv_extend begins", args.begins, DType::i32, args.lengths.shape);
  select_kv_append(ctx, DType::f32).extend(ctx, args);
}

std::span<const KvAppendImpl> kv_append_impls() {
  static const auto rows = join_impls(kv_append_impls_cpu(), kv_append_impls_cuda());
  return rows;
}

}  // namespace strobe
