#include "strobe/ops/kv_append/kv_append.h"

#include "strobe/core/copy.h"
#include "strobe/ops/kv_append/kv_append_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using testing::pick;
using testing::to_doubles;
using Doubles = std::vector<double>;

// places   0 absent: all of k goes to the caches' beginnings; else drawn
// layout   0 contiguous, 1 k, v of a packed projection and caches head by head, 2 gaps of 3
std::string draw_case(Random& random) {
  const std::vector<std::string> types = {"f32", "f16", "bf16"};
  return fmt::format(
      "b={} time={} capacity={} heads={} d={} dtype={} cache={} places={} layout={} "
      "seed={}",
      pick<int>(random, {1, 2, 5}), pick<int>(random, {1, 1, 3, 17, 64}), 64 + random.below(20),
      pick<int>(random, {1, 2, 12}), pick<int>(random, {1, 5, 8, 64, 72, 256}), pick(random, types),
      pick(random, types), random.below(2), random.below(3), random.below(100000));
}

Tensor make(Context& ctx, DType dtype, const Shape& shape, int64_t layout, bool is_cache) {
  if (layout == 2) return testing::allocate_strided(ctx.arena(), dtype, shape, 3).view;
  if (layout == 0) return ctx.arena().allocate(MemoryUse::activations, dtype, shape);
  if (is_cache) {
    return ctx.arena()
        .allocate(MemoryUse::cache, dtype, {shape[0], shape[2], shape[1], shape[3]})
        .transpose(1, 2);
  }
  return ctx.arena()
      .allocate(MemoryUse::activations, dtype, {shape[0], shape[1], 3 * shape[2], shape[3]})
      .slice(2, shape[2], 2 * shape[2]);
}

// The numbers on the context's device.
Tensor integers(Context& ctx, std::vector<int32_t>& values) {
  const Tensor host = Tensor::of(values.data(), {static_cast<int64_t>(values.size())});
  const Tensor tensor = ctx.arena().allocate(MemoryUse::activations, DType::i32, host.shape);
  copy_now(host, tensor);
  return tensor;
}

void run_case(Context& ctx, const CaseLine& c) {
  Random random = c.random();
  const int64_t batch = c.number("b"), time = c.number("time"), capacity = c.number("capacity");
  const int64_t heads = c.number("heads"), head_dim = c.number("d"), layout = c.number("layout");
  const DType dtype = c.dtype(), cache_dtype = c.dtype("cache");
  KvAppendReference how = {.batch = batch,
                           .time = time,
                           .capacity = capacity,
                           .row = heads * head_dim,
                           .from_begin = std::vector<int32_t>(batch),
                           .to_begin = std::vector<int32_t>(batch),
                           .count = std::vector<int32_t>(batch, static_cast<int32_t>(time))};
  KvAppend args;
  if (c.is_set("places")) {
    for (int64_t b = 0; b < batch; ++b) {
      how.count[b] = static_cast<int32_t>(random.below(time + 1));
      how.from_begin[b] = static_cast<int32_t>(random.below(time - how.count[b] + 1));
      how.to_begin[b] = static_cast<int32_t>(random.below(capacity - how.count[b] + 1));
    }
    args.from_begin = integers(ctx, how.from_begin);
    args.to_begin = integers(ctx, how.to_begin);
    args.count = integers(ctx, how.count);
  }
  const Shape shape = {batch, time, heads, head_dim};
  const Shape cache_shape = {batch, capacity, heads, head_dim};
  args.k = make(ctx, dtype, shape, layout, false);
  args.v = make(ctx, dtype, shape, layout, false);
  args.k_cache = make(ctx, cache_dtype, cache_shape, layout, true);
  args.v_cache = make(ctx, cache_dtype, cache_shape, layout, true);
  testing::fill_normal(args.k, random);
  testing::fill_normal(args.v, random);
  for (const auto& [x, cache] :
       {std::pair{args.k, args.k_cache}, std::pair{args.v, args.v_cache}}) {
    testing::fill_integers(cache, random, 50);
    Doubles values = to_doubles(x);
    for (double& value : values) value = testing::rounded(value, cache_dtype);
    const Doubles expected = kv_append_reference(how, values, to_doubles(cache));
    kv_append(ctx, args);
    EXPECT_TRUE(testing::is_equal("cache", to_doubles(cache), expected));
  }
}

TEST(KvAppend, ConformsToReference) {
  std::vector<std::string> cases = testing::random_cases(50, draw_case);
  for (const char* sizes :
       {"b=2 time=0 capacity=3 heads=2 d=8", "b=2 time=3 capacity=3 heads=2 d=0",
        "b=0 time=3 capacity=3 heads=2 d=8"}) {
    cases.push_back(fmt::format("{} dtype=f32 cache=f16 places=1 layout=0 seed=1", sizes));
  }
  testing::run_conformance("kv_append", kv_append_impls(), cases, run_case);
}

void run_extend(Context& ctx, const CaseLine&) {
  std::vector<int32_t> values = {0, 7, 1000};
  const Tensor lengths = integers(ctx, values);
  const Tensor begins = ctx.arena().allocate(MemoryUse::activations, DType::i32, {3});
  kv_extend(ctx, {.lengths = lengths, .begins = begins});
  EXPECT_EQ(to_doubles(begins), (Doubles{0, 7, 1000}));
  EXPECT_EQ(to_doubles(lengths), (Doubles{1, 8, 1001}));
}

TEST(KvAppend, ExtendsEachSequenceByOne) {
  testing::run_conformance("kv_append", kv_append_impls(), {"dtype=f32 seed=1"}, run_extend);
}

TEST(KvAppend, BadArgumentsAreNamed) {
  Context ctx;
  const auto make_new = [&](const Shape& shape) {
    return ctx.arena().allocate(MemoryUse::cache, DType::f32, shape);
  };
  const KvAppend good = {.k = make_new({2, 3, 1, 4}),
                         .v = make_new({2, 3, 1, 4}),
                         .k_cache = make_new({2, 5, 1, 4}),
                         .v_cache = make_new({2, 5, 1, 4})};
  const auto refused = [&](const std::function<void(KvAppend&)>& spoil) {
    KvAppend args = good;
    spoil(args);
    return testing::error_of([&] { kv_append(ctx, args); });
  };
  std::vector<int32_t> begins = {0, 3};
  EXPECT_EQ(refused([](auto&) {}), "no error");
  EXPECT_EQ(refused([&](auto& a) {
              a.v = make_new({2, 2, 1, 4});
            }),
            "kv_append v has shape [2, 2, 1, 4], expected [2, 3, 1, 4]");
  EXPECT_EQ(refused([&](auto& a) {
              a.k_cache = make_new({2, 5, 2, 4});
            }),
            "kv_append k_cache has shape [2, 5, 2, 4], expected [2, 5, 1, 4]");
  EXPECT_EQ(refused([&](auto& a) { a.to_begin = Tensor::of(begins.data(), {2}); }),
            "kv_append: sequence 1 stores 3 positions from 0 of 3 at 3 of 5");
}

}  // namespace
}  // namespace strobe
