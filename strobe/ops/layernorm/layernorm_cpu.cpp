// The CPU implementations of layernorm: threads share out the rows, and the parameters' gradients
// are summed over equal parts of the rows first, one part for each thread, then over the parts.
#include "strobe/core/parallel.h"
#include "strobe/ops/layernorm/layernorm.h"
#include "strobe/ops/layernorm/layernorm_kernels.h"
#include "strobe/simd/cpu_row.h"

namespace strobe {
namespace {

constexpr int64_t kRowGrain = 4;  // fewer rows are not worth another thread

// From row `begin` of a tensor that may be absent.
template <class T>
T* rows_from(const Tensor& tensor, int64_t begin) {
  return tensor.has_data() ? tensor.as<T>() + begin * tensor.shape[1] : nullptr;
}

template <class T>
void run_forward(const LayernormKernels<T>& kernels, const LayernormForward& args) {
  const int64_t rows = args.x.shape[0], columns = args.x.shape[1];
  parallel_ranges(rows, kRowGrain, [&](int64_t begin, int64_t end) {
    kernels.forward(rows_from<T>(args.x, begin), rows_from<T>(args.branch, begin),
                    rows_from<T>(args.residual, begin), args.weight.as<float>(),
                    args.bias.as<float>(), rows_from<T>(args.y, begin),
                    args.mean.as<float>() + begin, args.rstd.as<float>() + begin, begin,
                    end - begin, columns, args.epsilon, args.dropout.with_key_at_hand());
  });
}

// out (+)= Σ of the rows of `partials` [parts, C], in their order.
void sum_partials(const Tensor& partials, const Tensor& out, bool accumulate) {
  const int64_t count = partials.shape[0], columns = partials.shape[1];
  const float* partial = partials.as<float>();
  float* sum = out.as<float>();
  for (int64_t c = 0; c < columns; ++c) {
    float total = partial[c];
    for (int64_t k = 1; k < count; ++k) total += partial[k * columns + c];
    sum[c] = accumulate ? sum[c] + total : total;
  }
}

template <class T>
void run_backward(Context& ctx, const LayernormKernels<T>& kernels, const LayernormBackward& args) {
  const int64_t rows = args.x.shape[0], columns = args.x.shape[1];
  const int64_t parts = thread_count();
  const Arena::Scope scope(ctx.arena());
  const Tensor dweights = ctx.arena().allocate(MemoryUse::workspace, DType::f32, {parts, columns});
  const Tensor dbiases = ctx.arena().allocate(MemoryUse::workspace, DType::f32, {parts, columns});
  parallel_for_dynamic(parts, [&](int64_t part, int) {
    const int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;
    kernels.backward(rows_from<T>(args.x, begin), args.weight.as<float>(),
                     args.mean.as<float>() + begin, args.rstd.as<float>() + begin,
                     rows_from<T>(args.dy, begin), rows_from<T>(args.dresidual, begin),
                     rows_from<T>(args.dx, begin), rows_from<T>(args.dbranch, begin),
                     dweights.as<float>() + part * columns, dbiases.as<float>() + part * columns,
                     begin, end - begin, columns, args.dropout.with_key_at_hand());
  });
  sum_partials(dweights, args.dweight, args.accumulate);
  sum_partials(dbiases, args.dbias, args.accumulate);
}

template <const KernelTable<LayernormKernels>& kKernels>
void forward(Context&, const LayernormForward& args) {
  with_f32_or_bf16(args.x.dtype,
                   [&](auto type) { run_forward(kKernels.of<decltype(type)>(), args); });
}

template <const KernelTable<LayernormKernels>& kKernels>
void backward(Context& ctx, const LayernormBackward& args) {
  with_f32_or_bf16(args.x.dtype,
                   [&](auto type) { run_backward(ctx, kKernels.of<decltype(type)>(), args); });
}

template <Isa kIsa, const KernelTable<LayernormKernels>& kKernels>
constexpr LayernormImpl row(std::string_view name) {
  return {name, &why_not_f32_bf16<kIsa>, &forward<kKernels>, &backward<kKernels>};
}

}  // namespace

std::span<const LayernormImpl> layernorm_impls_cpu() {
  static constexpr LayernormImpl kRows[] = {
      row<Isa::avx512_bf16, avx512_bf16::layernorm_kernels>("cpu_avx512_bf16"),
      row<Isa::avx512, avx512::layernorm_kernels>("cpu_avx512"),
      row<Isa::avx2, avx2::layernorm_kernels>("cpu_avx2"),
      row<Isa::scalar, scalar::layernorm_kernels>("cpu_scalar"),
  };
  return kRows;
}

}  // namespace strobe
