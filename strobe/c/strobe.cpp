#include "strobe/c/strobe.h"

#include <cstring>
#include <memory>
#include <new>
#include <optional>

#include "strobe/core/cuda/runtime.h"
#include "strobe/core/parallel.h"
#include "strobe/ops/attention/attention.h"

struct strobe_context {
  strobe::Context context;
  void* own_stream = context.stream();
};

namespace strobe {
namespace {

thread_local std::string last_error;

strobe_status fail(strobe_status status, const char* message) {
  last_error = message;
  return status;
}

// Nothing that is thrown crosses the border to C.
template <class F>
strobe_status guarded(F&& f) {
  try {
    f();
    return STROBE_OK;
  } catch (const OutOfMemory& error) {
    return fail(STROBE_OUT_OF_MEMORY, error.what());
  } catch (const std::bad_alloc&) {
    return fail(STROBE_OUT_OF_MEMORY, "the system has no memory left");
  } catch (const Error& error) {
    return fail(STROBE_ERROR, error.what());
  } catch (const std::exception& error) {
    return fail(STROBE_INTERNAL, error.what());
  }
}

Context& context_of(strobe_context* context) {
  check(context != nullptr, "context is NULL");
  return context->context;
}

// While it lives, a GPU is the thread's current device; after it, what the caller has chosen.
using CurrentGpu = std::optional<cuda::CurrentDevice>;

// One call: on the context's device, on the stream that the caller gave or the context's own.
class Call {
 public:
  Call(strobe_context* context, void* stream) : ctx_(context_of(context)) {
    if (ctx_.device().kind == DeviceKind::cpu) {
      check(stream == nullptr, "stream is given, allowed is NULL on the CPU");
    } else {
      current_.emplace(ctx_.device().index);
      ctx_.set_stream(stream != nullptr ? stream : context->own_stream);
    }
  }
  Context& context() const { return ctx_; }

 private:
  Context& ctx_;
  CurrentGpu current_;
};

// The arguments as this version knows them: fields that an older program lacks are zero.
template <class Struct>
Struct known_fields(const char* name, const Struct* given) {
  check(given != nullptr, name, " is NULL");
  check(given->struct_size > 0 && given->struct_size <= sizeof(Struct), name, ".struct_size is ",
        given->struct_size, ", this version of the library knows up to ", sizeof(Struct));
  Struct known{};
  std::memcpy(&known, given, given->struct_size);
  return known;
}

DType dtype_from(const char* name, strobe_dtype dtype) {
  switch (dtype) {
    case STROBE_F32: return DType::f32;
    case STROBE_F16: return DType::f16;
    case STROBE_BF16: return DType::bf16;
    case STROBE_I32: return DType::i32;
    default:
      throw_error(fmt::format("{}.dtype is {}, allowed are 0 (f32) to 3 (i32)", name, dtype));
  }
}

// Makes tensors of a context's device.
class TensorReader {
 public:
  explicit TensorReader(const Context& ctx) : device_(ctx.device().kind) {}

  Tensor operator()(const char* name, const strobe_tensor& given) const {
    check(given.rank >= 0 && given.rank <= 4, name, ".rank is ", given.rank,
          ", allowed are 0 to 4");
    Tensor tensor{.data = given.data, .dtype = dtype_from(name, given.dtype), .device = device_};
    tensor.shape.rank = tensor.strides.rank = given.rank;
    for (int i = 0; i < given.rank; ++i) {
      check(given.shape[i] >= 0, name, ".shape[", i, "] is ", given.shape[i],
            ", allowed is at least 0");
      tensor.shape[i] = given.shape[i];
      tensor.strides[i] = given.strides[i];
    }
    return tensor;
  }

 private:
  DeviceKind device_;
};

Mask mask_from(strobe_mask kind, int64_t left, int64_t right) {
  switch (kind) {
    case STROBE_FULL: return full();
    case STROBE_CAUSAL: return causal();
    case STROBE_WINDOW: return window(left, right);
    default:
      throw_error(fmt::format("mask is {}, allowed are 0 (full), 1 (causal) and 2 (window)", kind));
  }
}

Dropout dropout_from(const strobe_attention& a) {
  return Dropout::with(a.dropout, random_key(a.dropout_seed, a.dropout_step, a.dropout_site));
}

// What forward and backward have in common.
template <class Args>
Args common_from(const Context& ctx, const strobe_attention& a) {
  const TensorReader tensor(ctx);
  return {.q = tensor("q", a.q),
          .k = tensor("k", a.k),
          .v = tensor("v", a.v),
          .out = tensor("out", a.out),
          .lse = tensor("lse", a.lse),
          .scale = a.scale,
          .mask = mask_from(a.mask, a.window_left, a.window_right),
          .padding = {.key_begin = tensor("key_begin", a.key_begin),
                      .key_end = tensor("key_end", a.key_end),
                      .query_begin = tensor("query_begin", a.query_begin),
                      .query_end = tensor("query_end", a.query_end)},
          .bias = tensor("bias", a.bias),
          .dropout = dropout_from(a),
          .cu_seqlens_q = tensor("cu_seqlens_q", a.cu_seqlens_q),
          .cu_seqlens_k = tensor("cu_seqlens_k", a.cu_seqlens_k),
          .saved = tensor("saved", a.saved)};
}

AttentionBackward backward_from(const Context& ctx, const strobe_attention& a) {
  const TensorReader tensor(ctx);
  AttentionBackward args = common_from<AttentionBackward>(ctx, a);
  args.dout = tensor("dout", a.dout);
  args.dq = tensor("dq", a.dq);
  args.dk = tensor("dk", a.dk);
  args.dv = tensor("dv", a.dv);
  args.dbias = tensor("dbias", a.dbias);
  return args;
}

// The problem with a backward to follow, and what would run it.
struct Choice {
  AttentionProblem problem;
  const AttentionImpl* impl;
};
Choice choose(strobe_context* context, const strobe_attention* attention) {
  const Context& ctx = context_of(context);
  const strobe_attention given = known_fields("attention", attention);
  const auto args = common_from<AttentionForward>(ctx, given);
  check(args.q.rank() == 4 && args.k.rank() == 4, "q and k have rank ", args.q.rank(), " and ",
        args.k.rank(), ", allowed is 4");
  AttentionProblem problem = problem_of(ctx, args);
  problem.needs_backward = true;
  problem.has_dbias = given.dbias.data != nullptr;
  return {problem, &select_attention(ctx, problem)};
}

template <class T>
void set(T* to, const char* name, T value) {
  check(to != nullptr, name, " is NULL");
  *to = value;
}

}  // namespace
}  // namespace strobe

using namespace strobe;

const char* strobe_version() { return STROBE_VERSION; }
const char* strobe_last_error() { return last_error.c_str(); }

strobe_tensor strobe_tensor_of(void* data, strobe_dtype dtype, int32_t rank, const int64_t* shape) {
  strobe_tensor tensor{};
  if (rank < 0 || rank > 4) return tensor;
  tensor.data = data;
  tensor.dtype = dtype;
  tensor.rank = rank;
  int64_t stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    tensor.shape[i] = shape[i];
    tensor.strides[i] = stride;
    stride *= shape[i];
  }
  return tensor;
}

strobe_status strobe_context_create(const char* device, strobe_context** context) {
  return guarded([&] {
    const std::string_view name = device != nullptr ? device : "NULL";
    check(is_device_name(name) && name != "auto", "device is '", name,
          "', allowed are 'cpu', 'cuda' and 'cuda:N'");
    check(context != nullptr, "context is NULL");
    const Device chosen = device_named(name);
    CurrentGpu current;
    if (chosen.kind == DeviceKind::cuda) current.emplace(chosen.index);
    *context = new strobe_context{.context = Context(chosen)};
  });
}

void strobe_context_destroy(strobe_context* context) { delete context; }

strobe_status strobe_context_synchronize(strobe_context* context) {
  return guarded([&] { Call(context, nullptr).context().synchronize(); });
}

strobe_status strobe_context_set_deterministic(strobe_context* context, int32_t is_deterministic) {
  return guarded([&] { context_of(context).set_deterministic(is_deterministic != 0); });
}

strobe_status strobe_context_set_attention(strobe_context* context, const char* name) {
  return guarded([&] {
    check(name != nullptr, "name is NULL");
    context_of(context).prefer("attention", attention_wish(name));
  });
}

strobe_status strobe_set_threads(int32_t threads) {
  return guarded([&] { set_thread_count(threads); });
}

strobe_status strobe_attention_forward(strobe_context* context, const strobe_attention* attention,
                                       void* stream) {
  return guarded([&] {
    const Call call(context, stream);
    Context& ctx = call.context();
    attention_forward(ctx,
                      common_from<AttentionForward>(ctx, known_fields("attention", attention)));
  });
}

strobe_status strobe_attention_backward(strobe_context* context, const strobe_attention* attention,
                                        void* stream) {
  return guarded([&] {
    const Call call(context, stream);
    Context& ctx = call.context();
    attention_backward(ctx, backward_from(ctx, known_fields("attention", attention)));
  });
}

strobe_status strobe_attention_saved_bytes(strobe_context* context,
                                           const strobe_attention* attention, int64_t* bytes) {
  return guarded([&] {
    const Choice choice = choose(context, attention);
    set(bytes, "bytes", choice.impl->saved_bytes(choice.problem));
  });
}

strobe_status strobe_attention_workspace_bytes(strobe_context* context,
                                               const strobe_attention* attention, int64_t* bytes) {
  return guarded([&] {
    const Choice choice = choose(context, attention);
    set(bytes, "bytes", choice.impl->workspace_bytes(choice.problem));
  });
}

strobe_status strobe_attention_implementation(strobe_context* context,
                                              const strobe_attention* attention,
                                              const char** name) {
  return guarded([&] {
    // The names are string literals.
    set(name, "name", choose(context, attention).impl->name.data());
  });
}

strobe_status strobe_attention_decode(strobe_context* context, const strobe_decode* decode,
                                      void* stream) {
  return guarded([&] {
    const Call call(context, stream);
    const TensorReader tensor(call.context());
    const strobe_decode d = known_fields("decode", decode);
    attention_decode(call.context(), {.q = tensor("q", d.q),
                                      .k_cache = tensor("k_cache", d.k_cache),
                                      .v_cache = tensor("v_cache", d.v_cache),
                                      .cache_lengths = tensor("cache_lengths", d.cache_lengths),
                                      .out = tensor("out", d.out),
                                      .scale = d.scale,
                                      .mask = mask_from(d.mask, d.window_left, d.window_right)});
  });
}
