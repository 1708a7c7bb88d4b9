#include "strobe/c/strobe.h"

#include <cstring>
#include <memory>
#include <new>

#include "strobe/core/parallel.h"
#include "strobe/ops/attention/attention.h"

struct strobe_context {
  strobe::Context context;
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

void check_stream(const void* stream) {
  check(stream == nullptr, "stream is given, allowed is NULL on the CPU");
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

Tensor tensor_from(const char* name, const strobe_tensor& given) {
  check(given.rank >= 0 && given.rank <= 4, name, ".rank is ", given.rank, ", allowed are 0 to 4");
  Tensor tensor{.data = given.data, .dtype = dtype_from(name, given.dtype)};
  tensor.shape.rank = tensor.strides.rank = given.rank;
  for (int i = 0; i < given.rank; ++i) {
    check(given.shape[i] >= 0, name, ".shape[", i, "] is ", given.shape[i],
          ", allowed is at least 0");
    tensor.shape[i] = given.shape[i];
    tensor.strides[i] = given.strides[i];
  }
  return tensor;
}

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
Args common_from(const strobe_attention& a) {
  return {.q = tensor_from("q", a.q),
          .k = tensor_from("k", a.k),
          .v = tensor_from("v", a.v),
          .out = tensor_from("out", a.out),
          .lse = tensor_from("lse", a.lse),
          .scale = a.scale,
          .mask = mask_from(a.mask, a.window_left, a.window_right),
          .padding = {.key_begin = tensor_from("key_begin", a.key_begin),
                      .key_end = tensor_from("key_end", a.key_end),
                      .query_begin = tensor_from("query_begin", a.query_begin),
                      .query_end = tensor_from("query_end", a.query_end)},
          .bias = tensor_from("bias", a.bias),
          .dropout = dropout_from(a),
          .cu_seqlens_q = tensor_from("cu_seqlens_q", a.cu_seqlens_q),
          .cu_seqlens_k = tensor_from("cu_seqlens_k", a.cu_seqlens_k),
          .saved = tensor_from("saved", a.saved)};
}

AttentionBackward backward_from(const strobe_attention& a) {
  AttentionBackward args = common_from<AttentionBackward>(a);
  args.dout = tensor_from("dout", a.dout);
  args.dq = tensor_from("dq", a.dq);
  args.dk = tensor_from("dk", a.dk);
  args.dv = tensor_from("dv", a.dv);
  return args;
}

// The problem with a backward to follow, and what would run it.
struct Choice {
  AttentionProblem problem;
  const AttentionImpl* impl;
};
Choice choose(strobe_context* context, const strobe_attention* attention) {
  const Context& ctx = context_of(context);
  const auto args = common_from<AttentionForward>(known_fields("attention", attention));
  check(args.q.rank() == 4 && args.k.rank() == 4, "q and k have rank ", args.q.rank(), " and ",
        args.k.rank(), ", allowed is 4");
  AttentionProblem problem = problem_of(ctx, args);
  problem.needs_backward = true;
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
    check(device != nullptr && std::string_view(device) == "cpu", "device is '",
          device == nullptr ? "NULL" : device, "', allowed is 'cpu'");
    check(context != nullptr, "context is NULL");
    *context = new strobe_context{};
  });
}

void strobe_context_destroy(strobe_context* context) { delete context; }

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
    check_stream(stream);
    attention_forward(context_of(context),
                      common_from<AttentionForward>(known_fields("attention", attention)));
  });
}

strobe_status strobe_attention_backward(strobe_context* context, const strobe_attention* attention,
                                        void* stream) {
  return guarded([&] {
    check_stream(stream);
    attention_backward(context_of(context), backward_from(known_fields("attention", attention)));
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
    check_stream(stream);
    const strobe_decode d = known_fields("decode", decode);
    attention_decode(context_of(context),
                     {.q = tensor_from("q", d.q),
                      .k_cache = tensor_from("k_cache", d.k_cache),
                      .v_cache = tensor_from("v_cache", d.v_cache),
                      .cache_lengths = tensor_from("cache_lengths", d.cache_lengths),
                      .out = tensor_from("out", d.out),
                      .scale = d.scale,
                      .mask = mask_from(d.mask, d.window_left, d.window_right)});
  });
}
