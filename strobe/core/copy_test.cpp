// Copies and recorded launches, of whatever device the test is run on.
#include "strobe/core/copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "strobe/core/graph.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/options.h"
#include "tests/testkit/tensors.h"

namespace strobe::testing {
namespace {

constexpr int64_t kCount = 1 << 16;

Tensor device_tensor(Context& ctx, const Shape& shape) {
  return ctx.arena().allocate(MemoryUse::workspace, DType::f32, shape);
}

TEST(Copy, HasReadTheHostsMemoryOnReturn) {
  Context ctx(options().device);
  const Tensor device = device_tensor(ctx, {kCount});
  std::vector<float> values(kCount), read(kCount);
  std::iota(values.begin(), values.end(), 1.0f);
  const std::vector<float> expected = values;
  copy(ctx, Tensor::of(values.data(), {kCount}), device);
  values.assign(kCount, -1.0f);
  copy(ctx, device, Tensor::of(read.data(), {kCount}));
  ctx.synchronize();
  EXPECT_EQ(read, expected);
}

TEST(Copy, NowWaitsForTheContextsStream) {
  Context ctx(options().device);
  const Tensor device = device_tensor(ctx, {kCount}), empty = device_tensor(ctx, {0});
  std::vector<float> values(kCount, 3.0f), read(kCount);
  copy_now(Tensor::of(values.data(), {kCount}), device);
  const Tensor other = device_tensor(ctx, {kCount});
  copy(ctx, device, other);
  copy_now(other, Tensor::of(read.data(), {kCount}));
  EXPECT_EQ(read, values);
  const Tensor nothing = Tensor::of(static_cast<float*>(nullptr), {0});
  copy_now(nothing, empty);
  copy(ctx, nothing, empty);
  clear(ctx, empty);
}

TEST(CheckOnDevice, NamesATensorOfAnotherDevice) {
  Context ctx(options().device);
  const Tensor here = device_tensor(ctx, {4}), absent;
  check_on_device(ctx, {{"here", here}, {"absent", absent}});
  Tensor there = here;
  there.device = here.device == DeviceKind::cpu ? DeviceKind::cuda : DeviceKind::cpu;
  EXPECT_EQ(error_of([&] {
              check_on_device(ctx, {{"here", here}, {"there", there}});
            }),
            fmt::format("there is on {}, the context on {}", there.device, here.device));
}

// At another top of the arena the body is run anew before it is recorded.
TEST(Graph, RunsItsBodyAtEveryTopOfTheArena) {
  Context ctx(options().device);
  const Tensor source = device_tensor(ctx, {4}), result = device_tensor(ctx, {4});
  Graph graph;
  int calls = 0;
  const auto run = [&](double value) {
    fill(source, [&] { return value; });
    fill(result, [] { return 0.0; });
    graph.run(ctx, [&] {
      ++calls;
      const Arena::Scope scope(ctx.arena());
      const Tensor between = device_tensor(ctx, {4});
      copy(ctx, source, between);
      copy(ctx, between, result);
    });
    ctx.synchronize();
    EXPECT_EQ(to_doubles(result), std::vector<double>(4, value));
  };
  const bool is_cpu = options().device.kind == DeviceKind::cpu;
  for (int i = 1; i <= 4; ++i) {
    run(i);
    EXPECT_EQ(calls, is_cpu ? i : std::min(i, 2));
    EXPECT_EQ(graph.is_recorded(), !is_cpu && i >= 2);
  }
  const Arena::Scope scope(ctx.arena());
  // Beyond the memory that there is, so that the body needs more.
  device_tensor(ctx, {int64_t{64} << 20});
  calls = 0;
  for (int i = 1; i <= 4; ++i) {
    run(i);
    EXPECT_EQ(calls, is_cpu ? i : std::min(i, 2));
    EXPECT_EQ(graph.is_recorded(), !is_cpu && i >= 2);
  }
}

}  // namespace
}  // namespace strobe::testing
