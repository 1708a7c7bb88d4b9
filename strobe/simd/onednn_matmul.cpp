#include "strobe/simd/onednn_matmul.h"

#include <compare>
#include <cstring>
#include <map>
#include <unordered_map>
#include <utility>

#include <dnnl.hpp>

#include "strobe/core/parallel.h"

namespace strobe {
namespace {

// oneDNN before 2.6 (Ubuntu 22.04) writes results with gaps between rows as if there were none. It
// writes past the end of some results in bf16, and of some narrow ones with a bias and no
// post-operation.
constexpr bool kIsSound = DNNL_VERSION_MAJOR > 2 || DNNL_VERSION_MINOR >= 6;

constexpr size_t kMostPrimitives = 1024;  // of changing shapes; then the cache begins anew

// Everything that a primitive is made for.
struct Key {
  std::array<int64_t, Shape::kMaxRank> a_shape, a_strides, b_shape, b_strides, c_strides;
  int rank;
  DType in, out;
  bool has_bias, gelu, accumulate;
  int threads;  // oneDNN cuts the work for a number of threads
  auto operator<=>(const Key&) const = default;
};

struct Primitive {
  dnnl::memory::desc a, b, c, bias, scratch;
  dnnl::matmul matmul;
};

// STROBE_MAX_ISA holds for oneDNN too; it must be told before its first primitive is made.
dnnl::engine make_engine() {
  switch (cpu_info().isa) {
    case Isa::scalar: dnnl::set_max_cpu_isa(dnnl::cpu_isa::sse41); break;
    case Isa::avx2: dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2); break;
    case Isa::avx512: dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core); break;
    case Isa::avx512_bf16: break;
  }
  return {dnnl::engine::kind::cpu, 0};
}

const dnnl::engine& engine() {
  static const dnnl::engine instance = make_engine();
  return instance;
}

dnnl::memory::data_type type_of(DType dtype) {
  return dtype == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

dnnl::memory::desc describe(const Tensor& t) {
  const auto dims = [&](const Shape& s) {
    return dnnl::memory::dims(s.dims.begin(), s.dims.begin() + s.rank);
  };
  return {dims(t.shape), type_of(t.dtype), dims(t.strides)};
}

void append_eltwise(dnnl::post_ops& post_ops, dnnl::algorithm function, float alpha, float beta) {
#if DNNL_VERSION_MAJOR >= 3
  post_ops.append_eltwise(function, alpha, beta);
#else
  post_ops.append_eltwise(1.0f, function, alpha, beta);
#endif
}

// `operands` are a, b, bias where there is one, and c.
template <class... Operands>
dnnl::matmul::primitive_desc choose_matmul(const dnnl::primitive_attr& attributes,
                                           const Operands&... operands) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine(), operands..., attributes};
#else
  return {dnnl::matmul::desc(operands...), attributes, engine()};
#endif
}

Primitive make_primitive(const Matmul& args) {
  Primitive p{.a = describe(args.a), .b = describe(args.b), .c = describe(args.c)};
  if (args.bias.has_data())
    p.bias = {{1, args.c.shape[1]}, type_of(DType::f32), {args.c.shape[1], 1}};
  dnnl::primitive_attr attributes;
  dnnl::post_ops post_ops;
  if (args.accumulate) post_ops.append_sum(1.0f);
  if (args.gelu) append_eltwise(post_ops, dnnl::algorithm::eltwise_gelu_tanh, 0.0f, 0.0f);
  if (!kIsSound && args.bias.has_data() && !args.gelu) {
    append_eltwise(post_ops, dnnl::algorithm::eltwise_linear, 1.0f, 0.0f);  // x → x
  }
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attributes.set_post_ops(post_ops);
  const dnnl::matmul::primitive_desc chosen = args.bias.has_data()
                                                  ? choose_matmul(attributes, p.a, p.b, p.bias, p.c)
                                                  : choose_matmul(attributes, p.a, p.b, p.c);
  p.scratch = chosen.scratchpad_desc();
  p.matmul = dnnl::matmul(chosen);
  return p;
}

const Primitive& primitive_for(const Matmul& args) {
  thread_local std::map<Key, Primitive> cache;
  const Key key = {
      .a_shape = args.a.shape.dims,
      .a_strides = args.a.strides.dims,
      .b_shape = args.b.shape.dims,
      .b_strides = args.b.strides.dims,
      .c_strides = args.c.strides.dims,
      .rank = args.a.rank(),
      .in = args.a.dtype,
      .out = args.c.dtype,
      .has_bias = args.bias.has_data(),
      .gelu = args.gelu,
      .accumulate = args.accumulate,
      .threads = thread_count(),
  };
  const auto found = cache.find(key);
  if (found != cache.end()) return found->second;
  if (cache.size() >= kMostPrimitives) cache.clear();
  return cache.emplace(key, make_primitive(args)).first->second;
}

void execute(Context& ctx, const Matmul& args) {
  const Primitive& p = primitive_for(args);
  const Arena::Scope scope(ctx.arena());
  const auto scratch_bytes = static_cast<int64_t>(p.scratch.get_size());
  const Tensor scratch =
      ctx.arena().allocate(MemoryUse::workspace, DType::f32, {(scratch_bytes + 3) / 4});
  std::unordered_map<int, dnnl::memory> memories = {
      {DNNL_ARG_SRC, {p.a, engine(), args.a.data}},
      {DNNL_ARG_WEIGHTS, {p.b, engine(), args.b.data}},
      {DNNL_ARG_DST, {p.c, engine(), args.c.data}},
      {DNNL_ARG_SCRATCHPAD, {p.scratch, engine(), scratch.data}},
  };
  if (args.bias.has_data()) memories.insert({DNNL_ARG_BIAS, {p.bias, engine(), args.bias.data}});
  dnnl::stream stream(engine());
  p.matmul.execute(stream, memories);
  stream.wait();
}

// The stride of a dimension of size 1 means nothing, but oneDNN reads the layout from it: gives it
// the value that makes the matrix row-major, or column-major where that cannot be.
Tensor with_clear_layout(Tensor t) {
  const int row = t.rank() - 2, column = t.rank() - 1;
  if (t.shape[column] == 1) t.strides[column] = 1;
  if (t.shape[row] == 1) t.strides[row] = t.strides[column] == 1 ? t.shape[column] : 1;
  return t;
}

bool can_write(const Tensor& c) {
  return kIsSound || (c.dtype == DType::f32 && c.is_contiguous());
}

// Where row `row` of a batch of matrices begins, counted over all of them.
int64_t row_offset(const Tensor& t, int64_t row) {
  int64_t offset = 0;
  for (int d = t.rank() - 2; d >= 0; row /= t.shape[d--]) offset += row % t.shape[d] * t.strides[d];
  return offset;
}

template <class From, class To>
void copy_rows(const Tensor& from, const Tensor& to) {
  if (from.numel() == 0) return;
  const int64_t columns = from.shape[from.rank() - 1];
  parallel_ranges(from.numel() / columns, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const From* x = from.as<From>() + row_offset(from, row);
      To* y = to.as<To>() + row_offset(to, row);
      for (int64_t i = 0; i < columns; ++i) y[i] = from_f32<To>(to_f32(x[i]));
    }
  });
}

// By way of a result that every oneDNN can write.
void execute_by_copy(Context& ctx, const Matmul& args) {
  const Arena::Scope scope(ctx.arena());
  Matmul dense = args;
  dense.c = ctx.arena().allocate(MemoryUse::workspace, DType::f32, args.c.shape);
  with_float_type(args.c.dtype, [&](auto type) {
    using T = decltype(type);
    if (args.accumulate) copy_rows<T, float>(args.c, dense.c);
    execute(ctx, dense);
    copy_rows<float, T>(dense.c, args.c);
  });
}

}  // namespace

void onednn_matmul(Context& ctx, const Matmul& args) {
  const DType in = args.a.dtype, out = args.c.dtype;
  check((in == DType::f32 || in == DType::bf16) && args.b.dtype == in &&
            (out == in || out == DType::f32),
        "oneDNN is given ", in, " times ", args.b.dtype, " to ", out,
        ", allowed is f32, or bf16 to bf16 or f32");
  Matmul call = args;
  for (Tensor* t : {&call.a, &call.b, &call.c}) *t = with_clear_layout(*t);
  const int row = call.c.rank() - 2, column = call.c.rank() - 1;
  if (call.c.strides[column] != 1) {  // oneDNN writes row-major results only: cᵀ = bᵀ·aᵀ
    call.a = std::exchange(call.b, call.a.transpose(row, column)).transpose(row, column);
    call.c = call.c.transpose(row, column);
  }
  try {
    can_write(call.c) ? execute(ctx, call) : execute_by_copy(ctx, call);
  } catch (const dnnl::error& error) {
    throw_error(fmt::format("oneDNN cannot multiply {} {} by {}: {}", args.a.dtype, args.a.shape,
                            args.b.shape, error.what()));
  }
}

}  // namespace strobe
