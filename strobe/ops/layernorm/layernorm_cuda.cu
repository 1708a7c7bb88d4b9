// The CUDA implementation of layernorm: which kernel takes which rows.
#include <algorithm>

#include "strobe/gpu/cuda_row.h"
#include "strobe/ops/layernorm/layernorm.h"
#include "strobe/ops/layernorm/layernorm_backward.cuh"
#include "strobe/ops/layernorm/layernorm_forward.cuh"

namespace strobe {
namespace {

// Calls f(per_lane, warps) with the kernels' constants for rows of so many columns, or returns
// false where rows do not fit in registers.
template <class F>
bool with_row_constants(int64_t columns, const F& f) {
  const auto call = [&](auto per_lane, auto warps) {
    if (columns > per_lane * warps * kWarpSize) return false;
    f(per_lane, warps);
    return true;
  };
  using std::integral_constant;
  constexpr integral_constant<int, 1> kWarp;
  constexpr integral_constant<int, kLayernormThreads / kWarpSize> kBlock;
  return call(integral_constant<int, 24>{}, kWarp) || call(integral_constant<int, 32>{}, kWarp) ||
         call(integral_constant<int, 8>{}, kBlock) || call(integral_constant<int, 32>{}, kBlock);
}

template <class T>
T* data_or_null(const Tensor& tensor) {
  return tensor.has_data() ? tensor.as<T>() : nullptr;
}

template <class T>
bool are_aligned(std::initializer_list<const T*> rows,
                 std::initializer_list<const float*> parameters, int64_t columns) {
  const auto is_aligned = [&](const auto* data) { return is_aligned_for_vectors(data, 0); };
  return columns % kVectorWidth<T> == 0 && std::ranges::all_of(rows, is_aligned) &&
         std::ranges::all_of(parameters, is_aligned);
}

template <class T>
void run_forward(Context& ctx, const LayernormForward& args) {
  const int64_t rows = args.x.shape[0], columns = args.x.shape[1];
  const LayernormForwardPointers<T> p = {.x = args.x.as<T>(),
                                         .branch = data_or_null<T>(args.branch),
                                         .residual = data_or_null<T>(args.residual),
                                         .weight = args.weight.as<float>(),
                                         .bias = args.bias.as<float>(),
                                         .y = args.y.as<T>(),
                                         .mean = args.mean.as<float>(),
                                         .rstd = args.rstd.as<float>()};
  const bool is_done =
      are_aligned<T>({p.x, p.branch, p.residual, p.y}, {p.weight, p.bias}, columns) &&
      with_row_constants(columns, [&](auto per_lane, auto warps) {
        constexpr int kRows = LayernormRow<T, per_lane, warps>::kRowsPerBlock;
        const auto kernel = p.branch == nullptr
                                ? layernorm_forward_kernel<T, per_lane, warps, false>
                                : layernorm_forward_kernel<T, per_lane, warps, true>;
        launch(ctx, kernel,
               {.grid = dim3((rows + kRows - 1) / kRows), .block = dim3(kLayernormThreads)}, p,
               rows, columns, args.epsilon, args.dropout);
      });
  if (is_done) return;
  launch(ctx, layernorm_forward_any_kernel<T>,
         {.grid = dim3(rows), .block = dim3(kLayernormThreads)}, p, columns, args.epsilon,
         args.dropout);
}

template <class T>
void run_backward(Context& ctx, const LayernormBackward& args) {
  const int64_t rows = args.x.shape[0], columns = args.x.shape[1];
  LayernormBackwardPointers<T> p = {.x = args.x.as<T>(),
                                    .weight = args.weight.as<float>(),
                                    .mean = args.mean.as<float>(),
                                    .rstd = args.rstd.as<float>(),
                                    .dy = args.dy.as<T>(),
                                    .dresidual = data_or_null<T>(args.dresidual),
                                    .dx = args.dx.as<T>(),
                                    .dbranch = data_or_null<T>(args.dbranch),
                                    .partials = nullptr};
  // Two blocks are as many as a multiprocessor has registers for.
  const int64_t parts = std::min<int64_t>(rows, 2 * cuda_info(ctx.device().index).multiprocessors);
  const Arena::Scope scope(ctx.arena());
  const Tensor partials =
      ctx.arena().allocate(MemoryUse::workspace, DType::f32, {parts, 2 * columns});
  p.partials = partials.as<float>();
  const Launch grid = {.grid = dim3(parts), .block = dim3(kLayernormThreads)};
  const bool is_done =
      are_aligned<T>({p.x, p.dy, p.dresidual, p.dx, p.dbranch}, {p.weight}, columns) &&
      with_row_constants(columns, [&](auto per_lane, auto warps) {
        launch(ctx, layernorm_backward_kernel<T, per_lane, warps>, grid, p, rows, columns,
               args.dropout);
      });
  if (!is_done) {
    launch(ctx, layernorm_backward_any_kernel<T>, grid, p, rows, columns, args.dropout);
  }
  launch(ctx, layernorm_backward_parameters_kernel,
         {.grid = dim3((2 * columns + kWarpSize - 1) / kWarpSize),
          .block = dim3(kLayernormSumThreads)},
         p.partials, args.dweight.as<float>(), args.dbias.as<float>(), parts, columns,
         args.accumulate);
}

void forward(Context& ctx, const LayernormForward& args) {
  with_float_type(args.x.dtype, [&](auto type) { run_forward<decltype(type)>(ctx, args); });
}

void backward(Context& ctx, const LayernormBackward& args) {
  with_float_type(args.x.dtype, [&](auto type) { run_backward<decltype(type)>(ctx, args); });
}

}  // namespace

std::span<const LayernormImpl> layernorm_impls_cuda() {
  static constexpr LayernormImpl kRows[] = {{"cuda", &why_not_cuda_floats, &forward, &backward}};
  return kRows;
}

}  // namespace strobe
