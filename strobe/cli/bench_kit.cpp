#include "strobe/cli/bench_kit.h"

#include "strobe/core/random.h"
#include "strobe/simd/onednn_matmul.h"
#include "strobe/train/provenance.h"

namespace strobe {

double measure_matmul_gflops(Context& ctx, DType dtype) {
  constexpr int64_t m = 2048, n = 3072, k = 768;
  constexpr TimingPlan kPlan = {.repeats = 7};
  const Arena::Scope scope(ctx.arena());
  const Matmul product = {.a = ctx.arena().allocate(MemoryUse::workspace, dtype, {m, k}),
                          .b = ctx.arena().allocate(MemoryUse::workspace, dtype, {k, n}),
                          .c = ctx.arena().allocate(MemoryUse::workspace, dtype, {m, n}),
                          .bias = {}};
  fill_normal(product.a, 1);
  fill_normal(product.b, 2);
  return 2e-6 * m * n * k / median(time_calls(kPlan, [&] { onednn_matmul(ctx, product); }));
}

void fill_normal(const Tensor& tensor, uint64_t seed) {
  // Odd, so that no row of a tensor repeats the one before it.
  static const std::vector<float> pool = [] {
    Random random(random_key(1, 0, 0));
    std::vector<float> values(65537);
    for (float& value : values) value = static_cast<float>(random.normal());
    return values;
  }();
  with_float_type(tensor.dtype, [&](auto type) {
    using T = decltype(type);
    size_t next = Random(random_key(seed, 0, 0)).below(pool.size());
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      tensor.as<T>()[i] = from_f32<T>(pool[next]);
      if (++next == pool.size()) next = 0;
    }
  });
}

void add_speed(Json& row, const std::vector<double>& ms, double flop, double matmul_gflops) {
  const double typical = median(ms);
  row["repeats"] = ms.size();
  row["ms_median"] = typical;
  row["ms_p10"] = percentile(ms, 10);
  row["ms_p90"] = percentile(ms, 90);
  row["gflops"] = flop / typical / 1e6;
  row["matmul_gflops"] = matmul_gflops;
  row["ratio"] = flop / typical / 1e6 / matmul_gflops;
}

BenchRows::BenchRows(const std::string& path) : provenance_(provenance()) {
  if (!path.empty()) file_.emplace(path, JsonlMode::append);
}

void BenchRows::write(const Json& row) {
  if (!file_) return;
  Json whole = {{"kind", "bench"}};
  whole.update(row);
  for (const auto& [key, value] : provenance_.items()) {
    if (!whole.contains(key)) whole[key] = value;  // a row knows better on how many threads it was
  }
  file_->write(whole);
}

}  // namespace strobe
