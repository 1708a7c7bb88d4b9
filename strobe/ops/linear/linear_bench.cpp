// The products of GPT-2 small, of 256 and of 1024 rows: qkv, proj, fc, mlp_proj and head [K, N].
// The head's weight is the transpose of the token table.
#include "strobe/ops/linear/linear.h"
#include "tests/testkit/bench.h"

namespace strobe {
namespace {

using testing::bench_tensor;
using testing::register_rows;
using testing::time_best;

struct Layer {
  const char* name;
  int64_t inner, columns;
  bool is_transposed;
};
constexpr Layer kLayers[] = {{"qkv", 768, 2304, false},
                             {"proj", 768, 768, false},
                             {"fc", 768, 3072, false},
                             {"mlp_proj", 3072, 768, false},
                             {"head", 768, 50257, true}};

struct Tensors {
  Tensor x, weight, bias, y, dx, dweight, dbias;
  Tensors(Context& ctx, DType dtype, const Layer& layer, int64_t rows) {
    const auto make_weight = [&](DType type) {
      if (!layer.is_transposed) return bench_tensor(ctx, type, {layer.inner, layer.columns});
      return bench_tensor(ctx, type, {layer.columns, layer.inner}).transpose(0, 1);
    };
    x = bench_tensor(ctx, dtype, {rows, layer.inner});
    weight = make_weight(dtype);
    y = bench_tensor(ctx, dtype, {rows, layer.columns});
    dx = bench_tensor(ctx, dtype, {rows, layer.inner});
    dweight = make_weight(DType::f32);
    if (layer.is_transposed) return;  // GPT-2's head has no bias
    bias = bench_tensor(ctx, DType::f32, {layer.columns});
    dbias = bench_tensor(ctx, DType::f32, {layer.columns});
  }
};

void run(benchmark::State& state, Context& ctx, DType dtype, const Layer& layer, int64_t rows,
         bool is_forward) {
  const Tensors t(ctx, dtype, layer, rows);
  const double flops = 2.0 * static_cast<double>(rows * layer.inner * layer.columns);
  if (is_forward) {
    return time_best(state, ctx, {.flops = flops}, [&] {
      linear_forward(ctx, {.x = t.x, .weight = t.weight, .bias = t.bias, .y = t.y});
    });
  }
  time_best(state, ctx, {.flops = 2 * flops}, [&] {
    linear_backward(ctx, {.x = t.x,
                          .weight = t.weight,
                          .dy = t.y,
                          .dx = t.dx,
                          .dweight = t.dweight,
                          .dbias = t.dbias});
  });
}

const int registered = [] {
  // The rows share the matrix products, so the first is enough.
  const std::span best(&select("linear", linear_impls(), DType::f32, Device{}), 1);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t rows : {256, 1024}) {
      for (const Layer& layer : kLayers) {
        for (const bool is_forward : {true, false}) {
          const std::string what =
              fmt::format("{}_{}_{}", layer.name, rows, is_forward ? "forward" : "backward");
          register_rows("linear", best, what, dtype, [=](auto& state, Context& ctx) {
            run(state, ctx, dtype, layer, rows, is_forward);
          });
        }
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace strobe
