#include "strobe/ops/sample/sample.h"

#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "strobe/core/copy.h"
#include "strobe/ops/sample/sample_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using testing::pick;
using testing::to_doubles;
using Doubles = std::vector<double>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What a run of sample() takes and gives: `logits` are all rows, one after the other.
struct Draws {
  Context& ctx;
  Tensor logits, indices, tokens;

  Draws(Context& context, DType dtype, const Doubles& values, int64_t batch)
      : ctx(context),
        logits(make(dtype, {batch, static_cast<int64_t>(values.size()) / batch})),
        indices(make(DType::i32, {batch})),
        tokens(make(DType::i32, {batch})) {
    testing::fill(logits, values);
    set_indices(0);
  }
  Tensor make(DType dtype, const Shape& shape) {
    return ctx.arena().allocate(MemoryUse::activations, dtype, shape);
  }
  // first, first + 1, …
  void set_indices(int32_t first) {
    std::vector<int32_t> values(indices.numel());
    std::iota(values.begin(), values.end(), first);
    copy_now(Tensor::of(values.data(), indices.shape), indices);
  }
  std::vector<int32_t> draw(const SamplerOptions& options) {
    testing::poison(tokens);
    sample(ctx, {.logits = logits, .indices = indices, .tokens = tokens, .options = options});
    std::vector<int32_t> result;
    for (const double token : to_doubles(tokens)) result.push_back(static_cast<int32_t>(token));
    return result;
  }
};

// ties   the logits are whole numbers
std::string draw_case(Random& random) {
  return fmt::format(
      "b={} vocab={} dtype={} spread={} ties={} temperature={} top_k={} top_p={} index={} seed={}",
      pick<int>(random, {1, 2, 5}), pick<int>(random, {1, 2, 31, 257, 1000, 5000, 50257}),
      pick<DType>(random, {DType::f32, DType::f32, DType::f16, DType::bf16}),
      pick<double>(random, {0.5, 3, 10}), random.below(2), pick<double>(random, {0, 0.3, 1, 1.5}),
      pick<int>(random, {0, 0, 1, 2, 40, 300}), pick<double>(random, {1, 1, 0.3, 0.9, 0.999}),
      random.below(1000), random.below(100000));
}

// The drawn token is the one whose share holds the pointer, or one at whose edge it lies.
void expect_drawn(const Doubles& logits, const SamplerOptions& options, int64_t index,
                  int32_t token) {
  constexpr double kRounding = 2e-5;  // of the shares' sums: exp and its argument in f32
  ASSERT_GE(token, 0);
  ASSERT_LT(token, static_cast<int32_t>(logits.size()));
  const Doubles shares = sample_shares(logits, options);
  const double pointer = sample_pointer(options.seed, index);
  const double before = std::accumulate(shares.begin(), shares.begin() + token, 0.0);
  ASSERT_GT(shares[token], 0) << "token " << token << " is cut off";
  ASSERT_GE(pointer, before - kRounding) << "token " << token;
  ASSERT_LE(pointer, before + shares[token] + kRounding) << "token " << token;
}

void run_case(Context& ctx, const CaseLine& c) {
  Random random = c.random();
  const int64_t batch = c.number("b"), vocab = c.number("vocab");
  const SamplerOptions options = {.temperature = c.real("temperature"),
                                  .top_k = c.number("top_k"),
                                  .top_p = c.real("top_p"),
                                  .seed = static_cast<uint64_t>(c.number("seed"))};
  Doubles values(batch * vocab);
  for (double& value : values) {
    value = random.normal() * c.real("spread");
    if (c.is_set("ties")) value = std::round(value);
  }
  Draws draws(ctx, c.dtype(), values, batch);
  const auto index = static_cast<int32_t>(c.number("index"));
  draws.set_indices(index);
  const testing::InputsUnchanged inputs({draws.logits});
  const std::vector<int32_t> tokens = draws.draw(options);
  const Doubles rounded = to_doubles(draws.logits), after = to_doubles(draws.indices);
  for (int64_t b = 0; b < batch; ++b) {
    const Doubles row = {rounded.begin() + b * vocab, rounded.begin() + (b + 1) * vocab};
    SCOPED_TRACE(fmt::format("row {}", b));
    expect_drawn(row, options, index + b, tokens[b]);
    EXPECT_EQ(after[b], static_cast<double>(index + b + 1));
  }
}

TEST(Sample, ConformsToReference) {
  testing::run_conformance("sample", sample_impls(), testing::random_cases(120, draw_case),
                           run_case);
}

void for_all_implementations(const std::function<void(Context&)>& body) {
  testing::run_conformance("sample", sample_impls(), {"dtype=f32 seed=1"},
                           [&](Context& ctx, const CaseLine&) { body(ctx); });
}

// How often each id is drawn, as a share of kDraws.
constexpr int kDraws = 20000;
std::map<int32_t, double> shares(Context& ctx, const SamplerOptions& options,
                                 const Doubles& logits) {
  Doubles rows;
  for (int i = 0; i < kDraws; ++i) rows.insert(rows.end(), logits.begin(), logits.end());
  const Arena::Scope scope(ctx.arena());
  std::map<int32_t, double> result;
  for (const int32_t token : Draws(ctx, DType::f32, rows, kDraws).draw(options)) {
    result[token] += 1.0 / kDraws;
  }
  return result;
}

// Five standard errors.
void expect_share(const std::map<int32_t, double>& actual, int32_t id, double expected) {
  const auto found = actual.find(id);
  const double share = found == actual.end() ? 0 : found->second;
  EXPECT_NEAR(share, expected, 5 * std::sqrt(expected * (1 - expected) / kDraws)) << "id " << id;
}

Doubles logarithms(const Doubles& probabilities) {
  Doubles logits;
  for (const double p : probabilities) logits.push_back(std::log(p) + 3);
  return logits;
}

TEST(Sample, GreedyTakesTheFirstOfTheLargest) {
  for_all_implementations([](Context& ctx) {
    const auto greedy = [&](const Doubles& logits, const SamplerOptions& options) {
      return Draws(ctx, DType::f32, logits, 1).draw(options)[0];
    };
    EXPECT_EQ(greedy({1, 5, -2, 5, 4}, {}), 1);
    EXPECT_EQ(greedy({7}, {}), 0);
    EXPECT_EQ(greedy({-0.0, 0.0}, {}), 0);
    EXPECT_EQ(greedy({-kInfinity, -9, -kInfinity}, {}), 1);
    EXPECT_EQ(greedy({1, 5, 5}, {.temperature = 2, .top_k = 1}), 1);
    // A probability smaller than the first one's alone leaves only that.
    EXPECT_EQ(shares(ctx, {.temperature = 1, .top_p = 1e-9}, {1, 2, 3}).size(), 1U);
    EXPECT_EQ(shares(ctx, {.temperature = 1e-300}, {1, 2, 3}).size(), 1U);
  });
}

TEST(Sample, DrawsByProbability) {
  for_all_implementations([](Context& ctx) {
    const Doubles logits = logarithms({0.1, 0.4, 0.2, 0.3});
    const auto plain = shares(ctx, {.temperature = 1}, logits);
    for (const auto& [id, p] : std::map<int32_t, double>{{0, 0.1}, {1, 0.4}, {2, 0.2}, {3, 0.3}}) {
      expect_share(plain, id, p);
    }
    // Half the temperature squares the probabilities: 1, 16, 4, 9 of 30.
    const auto cold = shares(ctx, {.temperature = 0.5}, logits);
    for (const auto& [id, p] : std::map<int32_t, double>{{0, 1}, {1, 16}, {2, 4}, {3, 9}}) {
      expect_share(cold, id, p / 30);
    }
  });
}

TEST(Sample, TopKThenTopP) {
  for_all_implementations([](Context& ctx) {
    const Doubles logits = logarithms({0.1, 0.4, 0.2, 0.3});
    const auto two = shares(ctx, {.temperature = 1, .top_k = 2}, logits);
    EXPECT_EQ(two.size(), 2U);
    expect_share(two, 1, 4.0 / 7);
    expect_share(two, 3, 3.0 / 7);
    // 0.4 alone is less than 0.65, 0.4 + 0.3 is not.
    const auto most = shares(ctx, {.temperature = 1, .top_p = 0.65}, logits);
    EXPECT_EQ(most.size(), 2U);
    expect_share(most, 1, 4.0 / 7);
    // Of the two that top_k leaves, the first has 4/7 of the probability: enough for 0.5.
    EXPECT_EQ(shares(ctx, {.temperature = 1, .top_k = 2, .top_p = 0.5}, logits).size(), 1U);
    EXPECT_EQ(shares(ctx, {.temperature = 1, .top_p = 0.5}, logits).size(), 2U);
    EXPECT_EQ(shares(ctx, {.temperature = 1, .top_k = 99, .top_p = 1}, logits).size(), 4U);
    // Equal ones: the smaller ids stay.
    const auto equal = shares(ctx, {.temperature = 1, .top_k = 2}, {0, -0.0, 0, 0});
    EXPECT_EQ(equal.count(0) + equal.count(1), 2U);
    const auto half = shares(ctx, {.temperature = 1, .top_p = 0.5}, {2, 2, 2, 2});
    EXPECT_EQ(half.size(), 2U);
    EXPECT_EQ(half.count(0) + half.count(1), 2U);
  });
}

// A row's token is that of the row alone, and depends on nothing but seed and index.
TEST(Sample, FollowsSeedAndIndexAlone) {
  for_all_implementations([](Context& ctx) {
    Random random(random_key(1, 0, 0));
    constexpr int kRows = 10;
    Doubles row(1000), rows;
    for (double& logit : row) logit = random.normal();
    for (int i = 0; i < kRows; ++i) rows.insert(rows.end(), row.begin(), row.end());
    const auto batch = [&](uint64_t seed) {
      return Draws(ctx, DType::f32, rows, kRows).draw({.temperature = 1, .seed = seed});
    };
    const std::vector<int32_t> seven = batch(7), eight = batch(8);
    int changes = 0;
    for (int i = kRows - 1; i >= 0; --i) {
      Draws alone(ctx, DType::f32, row, 1);
      alone.set_indices(i);
      EXPECT_EQ(alone.draw({.temperature = 1, .seed = 7})[0], seven[i]);
      changes += seven[i] != eight[i];
    }
    EXPECT_GE(changes, kRows - 1);
  });
}

TEST(Sample, LogitsThatAreNotFiniteGiveNoToken) {
  for_all_implementations([](Context& ctx) {
    for (const double bad : {double{kInfinity}, std::nan("")}) {
      for (const size_t at : {0, 2}) {
        Doubles logits = {1, 2, 3};
        logits[at] = bad;
        EXPECT_EQ(Draws(ctx, DType::f32, logits, 1).draw({})[0], -1);
        EXPECT_EQ(Draws(ctx, DType::f32, logits, 1).draw({.temperature = 1, .top_k = 2})[0], -1);
      }
    }
    EXPECT_EQ(Draws(ctx, DType::f32, {-kInfinity, -kInfinity}, 1).draw({})[0], -1);
  });
}

TEST(Sample, ErrorsNameTheValue) {
  const auto refused = [](const SamplerOptions& options) {
    return testing::error_of([&] { validate(options); });
  };
  EXPECT_EQ(refused({.temperature = -0.5}), "temperature is -0.5, allowed is 0 or more");
  EXPECT_NE(refused({.temperature = std::nan("")}), "no error");
  EXPECT_EQ(refused({.top_k = -1}), "top_k is -1, allowed is 0 or more");
  for (const double top_p : {0.0, -1.0, 1.5, std::nan("")}) {
    EXPECT_NE(refused({.top_p = top_p}).find("more than 0 and up to 1"), std::string::npos);
  }
  Context ctx;
  Draws draws(ctx, DType::f32, {1, 2}, 1);
  draws.tokens = draws.make(DType::i32, {2});
  EXPECT_EQ(testing::error_of([&] { draws.draw({}); }),
            "sample tokens has shape [2], expected [1]");
}

}  // namespace
}  // namespace strobe
