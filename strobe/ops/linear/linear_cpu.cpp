// The CPU implementations of linear: oneDNN multiplies, and its post-operations add the bias, apply
// GELU or accumulate where that can be fused.
#include "strobe/core/parallel.h"
#include "strobe/ops/linear/linear.h"
#include "strobe/ops/linear/linear_kernels.h"
#include "strobe/simd/cpu_row.h"
#include "strobe/simd/onednn_matmul.h"

namespace strobe {
namespace {

constexpr int64_t kColumnGrain = 128;  // columns of the bias's gradient: whole cache lines

template <class T>
void apply_gelu(const LinearKernels<T>& kernels, const Tensor& x, const Tensor& y) {
  parallel_ranges(x.shape[0], 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      kernels.gelu(x.as<T>() + row * x.strides[0], y.as<T>() + row * y.strides[0], x.shape[1]);
    }
  });
}

template <class T>
void sum_columns(const LinearKernels<T>& kernels, const Tensor& x, const Tensor& sums,
                 bool accumulate) {
  parallel_ranges(x.shape[1], kColumnGrain, [&](int64_t begin, int64_t end) {
    kernels.sum_columns(x.as<T>() + begin, x.strides[0], x.shape[0], sums.as<float>() + begin,
                        end - begin, accumulate);
  });
}

template <const KernelTable<LinearKernels>& kKernels>
void forward(Context& ctx, const LinearForward& args) {
  const bool keeps_argument = args.pre_activation.has_data();
  onednn_matmul(ctx, {.a = args.x,
                      .b = args.weight,
                      .c = keeps_argument ? args.pre_activation : args.y,
                      .bias = args.bias,
                      .gelu = args.gelu && !keeps_argument});
  if (!keeps_argument) return;
  with_f32_or_bf16(args.y.dtype, [&](auto type) {
    apply_gelu(kKernels.of<decltype(type)>(), args.pre_activation, args.y);
  });
}

template <const KernelTable<LinearKernels>& kKernels>
void backward(Context& ctx, const LinearBackward& args) {
  if (args.dx.has_data()) {
    onednn_matmul(ctx, {.a = args.dy, .b = args.weight.transpose(0, 1), .c = args.dx});
  }
  onednn_matmul(ctx, {.a = args.x.transpose(0, 1),
                      .b = args.dy,
                      .c = args.dweight,
                      .accumulate = args.accumulate});
  if (!args.dbias.has_data()) return;
  with_f32_or_bf16(args.dy.dtype, [&](auto type) {
    sum_columns(kKernels.of<decltype(type)>(), args.dy, args.dbias, args.accumulate);
  });
}

template <Isa kIsa>
std::string why_not(DType dtype, const Device& device) {
  std::string reason = why_not_f32_bf16<kIsa>(dtype, device);
  if (reason.empty() && dtype == DType::bf16 && cpu_info().isa < Isa::avx512) {
    reason = "oneDNN multiplies bf16 with AVX-512 only";
  }
  return reason;
}

template <Isa kIsa, const KernelTable<LinearKernels>& kKernels>
constexpr LinearImpl row(std::string_view name) {
  return {name, &why_not<kIsa>, &forward<kKernels>, &backward<kKernels>};
}

}  // namespace

std::span<const LinearImpl> linear_impls() {
  static constexpr LinearImpl kRows[] = {
      row<Isa::avx512_bf16, avx512_bf16::linear_kernels>("cpu_onednn_avx512_bf16"),
      row<Isa::avx512, avx512::linear_kernels>("cpu_onednn_avx512"),
      row<Isa::avx2, avx2::linear_kernels>("cpu_onednn_avx2"),
      row<Isa::scalar, scalar::linear_kernels>("cpu_onednn_scalar"),
  };
  return kRows;
}

}  // namespace strobe
