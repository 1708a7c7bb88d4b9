#pragma once

#include <string>

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/cuda/attention_params.h"

namespace strobe {

// Empty where positions, and what kernels add to them, fit into 32 bits.
inline std::string why_not_lengths(const AttentionProblem& problem) {
  constexpr int64_t kMost = (int64_t{1} << 29) - 1;
  const int64_t length = problem.seq_q > problem.seq_k ? problem.seq_q : problem.seq_k;
  if (length <= kMost) return "";
  return fmt::format("takes sequences of up to {} positions, not {}", kMost, length);
}

// What kernels are given of a call. Apart from attention_params.h, which files of kernels include:
// those need neither Tensor nor what it includes.

template <class T>
BthdView<T> bthd_view(const Tensor& x) {
  const auto is_multiple = [&](int64_t elements) {
    return elements * static_cast<int64_t>(sizeof(T)) % 16 == 0;
  };
  // A dimension of one entry is never stepped along, whatever its stride.
  const auto steps_aligned = [&](int dim) {
    return x.shape[dim] <= 1 || is_multiple(x.strides[dim]);
  };
  return {.data = static_cast<T*>(x.data),
          .batch_stride = x.strides[0],
          .time_stride = x.strides[1],
          .head_stride = x.strides[2],
          .has_aligned_rows = reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && steps_aligned(0) &&
                              steps_aligned(1) && steps_aligned(2)};
}

// Args is AttentionForward or AttentionBackward, validated.
template <class T, class Args>
AttentionCall<T> attention_call(const Args& args) {
  const auto positions = [](const Tensor& x) {
    return x.has_data() ? x.template as<int32_t>() : nullptr;
  };
  AttentionCall<T> call = {.q = bthd_view<const T>(args.q),
                           .k = bthd_view<const T>(args.k),
                           .v = bthd_view<const T>(args.v),
                           .seq_q = static_cast<int>(args.q.shape[1]),
                           .seq_k = static_cast<int>(args.k.shape[1]),
                           .heads_q = static_cast<int>(args.q.shape[2]),
                           .heads_kv = static_cast<int>(args.k.shape[2]),
                           .group = static_cast<int>(args.q.shape[2] / args.k.shape[2]),
                           .head_dim = static_cast<int>(args.q.shape[3]),
                           .scale = args.scale,
                           .mask = args.mask,
                           .dropout = args.dropout,
                           .key_begin = positions(args.padding.key_begin),
                           .key_end = positions(args.padding.key_end),
                           .query_begin = positions(args.padding.query_begin),
                           .query_end = positions(args.padding.query_end),
                           .cu_seqlens_q = positions(args.cu_seqlens_q),
                           .cu_seqlens_k = positions(args.cu_seqlens_k)};
  call.sequences =
      static_cast<int>(call.is_packed() ? args.cu_seqlens_q.shape[0] - 1 : args.q.shape[0]);
  if (args.bias.has_data()) {
    const auto stride = [&](int dim) {
      return args.bias.shape[dim] == 1 ? 0 : args.bias.strides[dim];
    };
    call.bias = {.data = static_cast<const float*>(args.bias.data),
                 .batch_stride = stride(0),
                 .head_stride = stride(1),
                 .query_stride = stride(2)};
  }
  return call;
}

template <class T>
AttentionForwardParams<T> attention_params(const AttentionForward& args) {
  return {attention_call<T>(args), bthd_view<T>(args.out), args.lse.as<float>()};
}

template <class T>
AttentionBackwardParams<T> attention_params(const AttentionBackward& args) {
  return {attention_call<T>(args), bthd_view<const T>(args.out), bthd_view<const T>(args.dout),
          args.lse.as<float>(),    bthd_view<T>(args.dq),        bthd_view<T>(args.dk),
          bthd_view<T>(args.dv)};
}

}  // namespace strobe
