// The products of GPT-2 small: qkv, proj, fc, mlp_proj and head [K, N], of 256 to 4096 rows as
// training has them, and of few rows as generation has them. The head's weight is the transpose of
// the token table.
#include <algorithm>

#include "strobe/core/copy.h"
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
    // Rows begin at whole cache lines, as a model's logits do.
    const int64_t stride = (layer.columns + 63) / 64 * 64;
    y = bench_tensor(ctx, dtype, {rows, stride}).slice(1, 0, layer.columns);
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

// Weights of one layer, as many as no cache holds, and the tensors for `rows` rows.
struct ColdWeights {
  static constexpr int64_t kBytes = int64_t{256} << 20;
  Tensor x, y, bias, memory;
  std::vector<Tensor> weights;

  ColdWeights(Context& ctx, DType dtype, DType weight_dtype, std::span<const Layer> layers,
              int64_t rows) {
    const int64_t elements = kBytes / static_cast<int64_t>(size_of(weight_dtype));
    memory = ctx.arena().allocate(MemoryUse::weights, weight_dtype, {elements});
    const Tensor some = bench_tensor(ctx, weight_dtype, {int64_t{1} << 20});
    for (int64_t i = 0; i < elements; i += some.numel()) {
      copy(ctx, some, memory.slice(0, i, i + some.numel()));
    }
    int64_t most_inner = 0, most_columns = 0, used = 0;
    for (size_t i = 0;; i = (i + 1) % layers.size()) {
      const Layer& layer = layers[i];
      const Shape shape = layer.is_transposed ? Shape{layer.columns, layer.inner}
                                              : Shape{layer.inner, layer.columns};
      const int64_t bytes = shape.numel() * static_cast<int64_t>(size_of(weight_dtype));
      if (used + bytes > kBytes) break;
      const Tensor w = Tensor::contiguous(static_cast<char*>(memory.data) + used, weight_dtype,
                                          shape, memory.device);
      weights.push_back(layer.is_transposed ? w.transpose(0, 1) : w);
      used += bytes;
      most_inner = std::max(most_inner, layer.inner);
      most_columns = std::max(most_columns, layer.columns);
    }
    x = bench_tensor(ctx, dtype, {rows, most_inner});
    y = bench_tensor(ctx, DType::f32, {rows, most_columns});
    bias = bench_tensor(ctx, DType::f32, {most_columns});
  }
  double bytes() const {
    double sum = 0;
    for (const Tensor& weight : weights) sum += static_cast<double>(weight.bytes());
    return sum;
  }
  void multiply(Context& ctx) const {
    for (const Tensor& weight : weights) {
      const int64_t inner = weight.shape[0], columns = weight.shape[1];
      linear_forward(ctx, {.x = x.slice(1, 0, inner),
                           .weight = weight,
                           .bias = bias.slice(0, 0, columns),
                           .y = y.slice(1, 0, columns)});
    }
  }
};

// The rows of a device share the matrix products, so the first of each is enough.
std::vector<LinearImpl> best_rows(DType dtype) {
  std::vector<LinearImpl> rows;
  for (const Device device : {Device{}, Device{DeviceKind::cuda}}) {
    for (const LinearImpl& impl : linear_impls()) {
      if (!impl.why_not(dtype, device).empty()) continue;
      rows.push_back(impl);
      break;
    }
  }
  return rows;
}

void register_few_rows() {
  struct Types {
    DType x, weight;
  };
  constexpr Types kTypes[] = {{DType::f32, DType::f32},
                              {DType::f32, DType::f16},
                              {DType::f32, DType::bf16},
                              {DType::bf16, DType::bf16},
                              {DType::f16, DType::f16}};
  for (const Types types : kTypes) {
    for (const int64_t rows : {1, 2, 4, 8, 16, 32}) {
      for (const Layer& layer : kLayers) {
        register_rows("linear", best_rows(types.x),
                      fmt::format("{}_{}_weight_{}", layer.name, rows, types.weight), types.x,
                      [=](auto& state, Context& ctx) {
                        const ColdWeights w(ctx, types.x, types.weight, {&layer, 1}, rows);
                        time_best(state, ctx, {.read_bytes = w.bytes()}, [&] { w.multiply(ctx); });
                        state.counters["us_each"] =
                            state.counters["best_us"].value / static_cast<double>(w.weights.size());
                      });
      }
    }
  }
}

const int registered = [] {
  register_few_rows();
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const int64_t rows : {256, 1024, 4096}) {
      for (const Layer& layer : kLayers) {
        for (const bool is_forward : {true, false}) {
          const std::string what =
              fmt::format("{}_{}_{}", layer.name, rows, is_forward ? "forward" : "backward");
          register_rows("linear", best_rows(dtype), what, dtype, [=](auto& state, Context& ctx) {
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
