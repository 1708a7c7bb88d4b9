#include "strobe/cli/bench_kit.h"

#include "strobe/core/copy.h"
#include "strobe/core/device_stopwatch.h"
#include "strobe/core/random.h"
#include "strobe/ops/linear/linear.h"
#include "strobe/simd/onednn_matmul.h"
#include "strobe/train/provenance.h"

namespace strobe {
namespace {

// As much as Triton's do_bench clears between calls, with which peers are timed: a GPU rests as
// long before each of ours as before each of theirs.
constexpr int64_t kFlushBytes = int64_t{256} << 20;

constexpr double kWarmUpSeconds = 0.1;
// Calls between two waits for the device: while it clears and computes, the host is ahead of it.
constexpr int kCallsInFlight = 8;

std::vector<double> time_on_gpu(Context& ctx, const TimingPlan& plan,
                                const std::function<void()>& call) {
  const Arena::Scope scope(ctx.arena());
  const Tensor flush = ctx.arena().allocate(MemoryUse::workspace, DType::i32, {kFlushBytes / 4});
  DeviceStopwatch watch(ctx);
  const auto calls = [&](int count) {
    for (int i = 0; i < count; ++i) {
      clear(ctx, flush);
      watch.begin();
      call();
      watch.end();
    }
    return watch.take_ms();
  };
  for (const Stopwatch whole; whole.seconds() < kWarmUpSeconds;) calls(kCallsInFlight);
  std::vector<double> ms;
  for (const Stopwatch whole; !plan.is_done(ms.size(), whole.seconds());) {
    const int64_t left = plan.repeats - static_cast<int64_t>(ms.size());
    const bool is_last = plan.repeats > 0 && left < kCallsInFlight;
    for (const double one : calls(is_last ? static_cast<int>(left) : kCallsInFlight)) {
      ms.push_back(one);
    }
  }
  return ms;
}

double measure_cpu_matmul_gflops(Context& ctx, DType dtype) {
  constexpr int64_t m = 2048, n = 3072, k = 768;
  const Arena::Scope scope(ctx.arena());
  const Matmul product = {.a = ctx.arena().allocate(MemoryUse::workspace, dtype, {m, k}),
                          .b = ctx.arena().allocate(MemoryUse::workspace, dtype, {k, n}),
                          .c = ctx.arena().allocate(MemoryUse::workspace, dtype, {m, n}),
                          .bias = {}};
  fill_normal(product.a, 1);
  fill_normal(product.b, 2);
  const std::vector<double> ms = time_calls({.repeats = 7}, [&] { onednn_matmul(ctx, product); });
  return 2e-6 * m * n * k / median(ms);
}

double measure_gpu_matmul_gflops(Context& ctx, DType dtype) {
  constexpr int64_t n = 8192;
  const Arena::Scope scope(ctx.arena());
  const auto make = [&] { return ctx.arena().allocate(MemoryUse::workspace, dtype, {n, n}); };
  const LinearForward product = {
      .x = make(), .weight = make(), .bias = {}, .y = make(), .pre_activation = {}};
  fill_normal(product.x, 1);
  fill_normal(product.weight, 2);
  const std::vector<double> ms =
      time_calls(ctx, {.repeats = 7}, [&] { linear_forward(ctx, product); });
  return 2e-6 * n * n * n / median(ms);
}

}  // namespace

std::vector<double> time_calls(Context& ctx, const TimingPlan& plan,
                               const std::function<void()>& call) {
  return ctx.device().kind == DeviceKind::cuda ? time_on_gpu(ctx, plan, call)
                                               : time_calls(plan, call);
}

double measure_matmul_gflops(Context& ctx, DType dtype) {
  return ctx.device().kind == DeviceKind::cuda ? measure_gpu_matmul_gflops(ctx, dtype)
                                               : measure_cpu_matmul_gflops(ctx, dtype);
}

const char* matmul_name(const Device& device) {
  return device.kind == DeviceKind::cuda ? "cuBLASLt's rate at 8192×8192×8192"
                                         : "oneDNN's rate at 2048×3072×768";
}

double MatmulRate::gflops(DType dtype) {
  if (ctx_.device().kind == DeviceKind::cpu) return measure_matmul_gflops(ctx_, dtype);
  const auto found = measured_.find(dtype);
  if (found != measured_.end()) return found->second;
  return measured_[dtype] = measure_matmul_gflops(ctx_, dtype);
}

void fill_normal(const Tensor& tensor, uint64_t seed) {
  // Odd, so that no row of a tensor repeats the one before it.
  constexpr size_t kPool = 65537;
  static const std::vector<float> pool = [] {
    Random random(random_key(1, 0, 0));
    std::vector<float> values(kPool);
    for (float& value : values) value = static_cast<float>(random.normal());
    return values;
  }();
  check(tensor.is_contiguous(), "a tensor of shape ", tensor.shape, " has gaps");
  const int64_t count = tensor.numel();
  const int64_t period = std::min<int64_t>(count, kPool);
  const Tensor all = tensor.view({count});
  with_float_type(tensor.dtype, [&](auto type) {
    using T = decltype(type);
    const size_t first = Random(random_key(seed, 0, 0)).below(kPool);
    std::vector<T> values(static_cast<size_t>(period));
    for (size_t i = 0; i < values.size(); ++i) values[i] = from_f32<T>(pool[(first + i) % kPool]);
    copy_now(Tensor::of(values.data(), {period}), all.slice(0, 0, period));
  });
  // The pool again and again: what is filled already, doubled, is in step with it.
  for (int64_t done = period; done < count;) {
    const int64_t more = std::min(done, count - done);
    copy_now(all.slice(0, 0, more), all.slice(0, done, done + more));
    done += more;
  }
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

BenchRows::BenchRows(const std::string& path, const Device& device)
    : provenance_(provenance(device)) {
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
