// The decode pass of every implementation against the definition, which is a forward pass over all
// keys of a sequence, and what must hold between two calls.
//   strobe_attention_decode_test --case "b=2 tq=1 …" --impl cpu_flash_avx2     repeats one failure
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "strobe/core/parallel.h"
#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/attention_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using testing::fill;
using testing::pick;
using testing::to_doubles;
using Doubles = std::vector<double>;

// layout   0 contiguous, 1 gaps of NaN between rows, 2 head by head in memory, q out of packed QKV
// lengths  0 drawn, else every sequence has so many keys
std::string draw_case(Random& random) {
  const int64_t hkv = pick<int64_t>(random, {1, 1, 2, 3, 12});
  const int64_t hq = hkv == 12 ? 12 : hkv * pick<int64_t>(random, {1, 1, 2, 4, 7});
  std::vector<std::string> all_types = {"dtype=f32 cache=f32", "dtype=f32 cache=f16",
                                        "dtype=f32 cache=bf16", "dtype=bf16 cache=bf16"};
  if (testing::options().device.kind == DeviceKind::cuda) {
    all_types.emplace_back("dtype=f16 cache=f16");
  }
  const std::string types = pick(random, all_types);
  return fmt::format(
      "b={} tq={} capacity={} lengths=0 hq={} hkv={} d={} {} mask={} left={} layout={} threads={} "
      "seed={}",
      pick<int64_t>(random, {1, 1, 2, 5}), pick<int64_t>(random, {1, 1, 1, 2, 3, 4, 5}),
      pick<int64_t>(random, {1, 2, 15, 16, 17, 31, 64, 127, 128, 129, 200, 257, 400, 513}), hq, hkv,
      pick<int64_t>(random, {8, 16, 24, 40, 64, 64, 72, 128, 136, 256}), types,
      random.below(3) == 0 ? "window" : "causal", random.below(random.below(2) ? 4 : 200),
      random.below(3), 1 + random.below(4), random.below(100'000));
}

// Many parts of several tiles each, and the steps between part sizes.
const std::vector<std::string> kLongCases = {
    "b=1 tq=1 capacity=16384 lengths=16384 hq=2 hkv=1 d=8 dtype=f32 cache=f16 mask=causal left=0 "
    "layout=0 threads=4 seed=1",
    "b=2 tq=2 capacity=17000 lengths=16385 hq=2 hkv=2 d=8 dtype=f32 cache=f32 mask=causal left=0 "
    "layout=1 threads=3 seed=2",
    "b=1 tq=3 capacity=40001 lengths=40001 hq=1 hkv=1 d=16 dtype=bf16 cache=bf16 mask=causal "
    "left=0 layout=2 threads=2 seed=3",
    "b=1 tq=3 capacity=40001 lengths=40000 hq=1 hkv=1 d=16 dtype=f32 cache=bf16 mask=window "
    "left=9000 layout=0 threads=4 seed=4"};

struct Problem {
  int64_t batch, seq_q, capacity, heads_q, heads_kv, head_dim;
  std::vector<int64_t> lengths;
  AttentionDecode args;
  testing::StridedTensor k, v, out;

  Problem(Context& ctx, const CaseLine& c);
  AttentionReferenceCase sequence(int64_t b) const;
};

// A [B, T, H, D] tensor of the case's layout, all NaN.
testing::StridedTensor allocate(Arena& arena, DType dtype, const Shape& shape, int64_t layout) {
  if (layout != 2) return testing::allocate_strided(arena, dtype, shape, layout == 1 ? 8 : 0);
  const Shape by_head = {shape[0], shape[2], shape[1], shape[3]};
  testing::StridedTensor tensor = testing::allocate_strided(arena, dtype, by_head, 0);
  tensor.view = tensor.view.transpose(1, 2);
  return tensor;
}

Problem::Problem(Context& ctx, const CaseLine& c)
    : batch(c.number("b")),
      seq_q(c.number("tq")),
      capacity(c.number("capacity")),
      heads_q(c.number("hq")),
      heads_kv(c.number("hkv")),
      head_dim(c.number("d")) {
  Random random = c.random();
  const auto normal = [&] { return random.normal(); };
  const int64_t layout = c.number("layout");
  const bool is_packed = layout == 2;
  args.q = testing::allocate_strided(ctx.arena(), c.dtype(),
                                     {batch, seq_q, heads_q * (is_packed ? 3 : 1), head_dim}, 0)
               .view.slice(2, 0, heads_q);
  fill(args.q, normal);
  k = allocate(ctx.arena(), c.dtype("cache"), {batch, capacity, heads_kv, head_dim}, layout);
  v = allocate(ctx.arena(), c.dtype("cache"), {batch, capacity, heads_kv, head_dim}, layout);
  out = allocate(ctx.arena(), c.dtype(), {batch, seq_q, heads_q, head_dim}, layout);
  args.k_cache = k.view;
  args.v_cache = v.view;
  args.out = out.view;
  args.cache_lengths = ctx.arena().allocate(MemoryUse::activations, DType::i32, {batch});
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t drawn =
        random.below(8) == 0 ? 0 : static_cast<int64_t>(random.below(capacity + 1));
    lengths.push_back(c.number("lengths") != 0 ? c.number("lengths") : drawn);
    for (const Tensor& x : {args.k_cache, args.v_cache}) {  // NaN behind the length
      fill(x.slice(0, b, b + 1).slice(1, 0, lengths.back()), normal);
    }
  }
  fill(args.cache_lengths, Doubles(lengths.begin(), lengths.end()));
  args.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)));
  const bool is_window = testing::value_in_case(c.text(), "mask") == "window";
  args.mask = is_window ? window(c.number("left"), 0) : causal();
}

AttentionReferenceCase Problem::sequence(int64_t b) const {
  const auto keys = [&](const Tensor& cache) {
    return to_doubles(cache.slice(0, b, b + 1).slice(1, 0, lengths[b]));
  };
  return {.seq_q = seq_q,
          .seq_k = lengths[b],
          .heads_q = heads_q,
          .heads_kv = heads_kv,
          .head_dim = head_dim,
          .scale = args.scale,
          .is_causal = args.mask.kind == MaskKind::causal,
          .is_window = args.mask.kind == MaskKind::window,
          .left = args.mask.left,
          .right = args.mask.right,
          .q = to_doubles(args.q.slice(0, b, b + 1)),
          .k = keys(args.k_cache),
          .v = keys(args.v_cache)};
}

// A row of the table, as run_conformance() wants one.
struct Row {
  std::string_view name;
  const AttentionImpl* impl;
  std::string why_not(DType dtype, const Device& device) const {
    return impl->why_not({.dtype = dtype, .is_decode = true}, device);
  }
};

void for_all_implementations(const std::vector<std::string>& lines,
                             const std::function<void(Context&, const CaseLine&)>& body) {
  std::vector<Row> rows;
  for (const AttentionImpl& impl : attention_impls()) rows.push_back({impl.name, &impl});
  const int threads = thread_count();
  testing::run_conformance("attention_decode", rows, lines, [&](Context& ctx, const CaseLine& c) {
    ctx.prefer("attention", ctx.wish("attention_decode"));
    set_thread_count(static_cast<int>(c.number("threads")));
    body(ctx, c);
  });
  set_thread_count(threads);
}

// What a call leaves in `out`, which is NaN before it.
Doubles run(Context& ctx, const AttentionDecode& args) {
  testing::poison(args.out);
  attention_decode(ctx, args);
  return to_doubles(args.out);
}

void expect_zero_rows(const Doubles& actual, const Doubles& exact, int64_t row) {
  for (size_t i = 0; i < exact.size(); i += row) {
    const auto is_zero = [&](const Doubles& x) {
      return std::all_of(&x[i], &x[i] + row, [](double value) { return value == 0; });
    };
    ASSERT_TRUE(!is_zero(exact) || is_zero(actual)) << "row " << i / row;
  }
}

void expect_conforms(Context& ctx, const CaseLine& c) {
  const Problem p(ctx, c);
  const AttentionImpl& impl = select_attention(ctx, problem_of(ctx, p.args));
  ctx.arena().reset_peaks();
  const int64_t before = ctx.arena().report().current_bytes[static_cast<int>(MemoryUse::attention)];
  {
    const testing::InputsUnchanged inputs({p.k.storage, p.v.storage, p.args.cache_lengths});
    attention_decode(ctx, p.args);
  }
  EXPECT_EQ(ctx.arena().report().peak_bytes[static_cast<int>(MemoryUse::attention)] - before,
            impl.workspace_bytes(problem_of(ctx, p.args)));
  for (int64_t b = 0; b < p.batch; ++b) {
    const AttentionReferenceCase one = p.sequence(b);
    const AttentionReferenceResult exact = attention_reference(one);
    const AttentionReferenceResult plain = attention_plain(one, c.dtype());
    // Scores are f32 sums: their rounding errors change the probabilities, relatively, by as much.
    const double growth =
        1 + exact.score_terms * epsilon_of(DType::f32) / epsilon_of(c.dtype()) / 4;
    double largest = 0;
    for (const double x : exact.out) largest = std::max(largest, std::abs(x));
    const Doubles actual = to_doubles(p.args.out.slice(0, b, b + 1));
    EXPECT_TRUE(testing::as_good_as_plain("out", actual, plain.out, exact.out, p.head_dim,
                                          c.dtype(), growth * largest))
        << "sequence " << b << " of length " << p.lengths[b];
    expect_zero_rows(actual, exact.out, p.head_dim);
  }
  if (c.number("layout") != 1) return;
  for (const double gap : to_doubles(p.out.storage.slice(1, p.head_dim, p.head_dim + 8))) {
    ASSERT_TRUE(std::isnan(gap)) << "a gap between rows was written";
  }
}

TEST(AttentionDecode, ConformsToItsDefinition) {
  for_all_implementations(testing::random_cases(120, draw_case), expect_conforms);
}

TEST(AttentionDecode, LongSequencesConform) {
  for_all_implementations(kLongCases, expect_conforms);
}

const std::vector<std::string> kBatches = {
    "b=5 tq=1 capacity=700 lengths=0 hq=6 hkv=2 d=64 dtype=f32 cache=f16 mask=causal left=0 "
    "layout=0 threads=3 seed=21",
    "b=4 tq=3 capacity=20001 lengths=0 hq=2 hkv=1 d=24 dtype=f32 cache=f32 mask=window left=600 "
    "layout=2 threads=4 seed=22",
    "b=3 tq=2 capacity=300 lengths=0 hq=3 hkv=3 d=40 dtype=bf16 cache=bf16 mask=causal left=0 "
    "layout=1 threads=2 seed=23"};

// Bit by bit: a sequence of a batch, the same one alone, in a larger cache, on other threads.
TEST(AttentionDecode, SequenceDoesNotDependOnItsBatch) {
  for_all_implementations(kBatches, [](Context& ctx, const CaseLine& c) {
    const Problem p(ctx, c);
    const Doubles batch = run(ctx, p.args);
    const int64_t size = static_cast<int64_t>(batch.size()) / p.batch;
    for (const int threads : {1, 2, 4}) {
      set_thread_count(threads);
      EXPECT_TRUE(testing::is_equal("out", run(ctx, p.args), batch)) << threads << " threads";
      for (int64_t b = 0; b < p.batch; ++b) {
        AttentionDecode one = p.args;
        for (Tensor* x : {&one.q, &one.k_cache, &one.v_cache, &one.cache_lengths, &one.out}) {
          *x = x->slice(0, b, b + 1);
        }
        one.k_cache = one.k_cache.slice(1, 0, p.lengths[b]);
        one.v_cache = one.v_cache.slice(1, 0, p.lengths[b]);
        const Doubles expected = {batch.begin() + b * size, batch.begin() + (b + 1) * size};
        EXPECT_TRUE(testing::is_equal("out", run(ctx, one), expected)) << "sequence " << b;
      }
    }
  });
}

// Whatever lies behind a sequence's length: nothing changes, to the bit.
TEST(AttentionDecode, KeysBehindTheLengthDoNotMatter) {
  for_all_implementations(kBatches, [](Context& ctx, const CaseLine& c) {
    const Problem p(ctx, c);
    const Doubles with_nan = run(ctx, p.args);
    for (int64_t b = 0; b < p.batch; ++b) {
      for (const Tensor& x : {p.args.k_cache, p.args.v_cache}) {
        fill(x.slice(0, b, b + 1).slice(1, p.lengths[b], p.capacity), [] { return 9000.0; });
      }
    }
    EXPECT_TRUE(testing::is_equal("out", run(ctx, p.args), with_nan));
  });
}

// Lengths in a GPU's memory are checked by nobody, and yet nothing outside the cache is read.
TEST(AttentionDecode, LengthsOutOfRangeEndWithTheCache) {
  if (testing::options().device.kind == DeviceKind::cpu) GTEST_SKIP() << "a CPU refuses them";
  const std::vector<std::string> lines = {
      "b=2 tq=1 capacity=900 lengths=900 hq=2 hkv=1 d=64 dtype=f32 cache=f16 mask=causal left=0 "
      "layout=0 threads=1 seed=51",
      "b=2 tq=3 capacity=2200 lengths=2200 hq=2 hkv=2 d=40 dtype=bf16 cache=bf16 mask=window "
      "left=1200 layout=0 threads=1 seed=52"};
  for_all_implementations(lines, [](Context& ctx, const CaseLine& c) {
    Problem p(ctx, c);
    const int64_t capacity = p.capacity / 2;  // behind it there are other keys
    p.args.k_cache = p.args.k_cache.slice(1, 0, capacity);
    p.args.v_cache = p.args.v_cache.slice(1, 0, capacity);
    fill(p.args.cache_lengths, {static_cast<double>(capacity), 0});
    const Doubles expected = run(ctx, p.args);
    fill(p.args.cache_lengths, {1e6, -3});
    EXPECT_TRUE(testing::is_equal("out", run(ctx, p.args), expected));
  });
}

// A step over the cache is the last rows of attention_forward over the same keys.
TEST(AttentionDecode, StepIsTheEndOfAPrefill) {
  const std::vector<std::string> lines = {
      "b=2 tq=1 capacity=150 lengths=137 hq=4 hkv=2 d=64 dtype=f32 cache=f32 mask=causal left=0 "
      "layout=0 threads=3 seed=31",
      "b=2 tq=5 capacity=400 lengths=400 hq=2 hkv=2 d=32 dtype=f32 cache=f32 mask=window left=150 "
      "layout=2 threads=2 seed=32",
      "b=1 tq=4 capacity=260 lengths=257 hq=2 hkv=1 d=64 dtype=bf16 cache=bf16 mask=causal left=0 "
      "layout=1 threads=4 seed=33"};
  for_all_implementations(lines, [](Context& ctx, const CaseLine& c) {
    if (!select_attention(ctx, {.is_decode = true})
             .why_not({.dtype = c.dtype()}, ctx.device())
             .empty()) {
      return;  // an implementation whose forward pass does not take the type
    }
    const Problem p(ctx, c);
    const int64_t length = p.lengths[0];
    const auto make = [&](DType dtype, const Shape& shape) {
      return ctx.arena().allocate(MemoryUse::activations, dtype, shape);
    };
    const Tensor q = make(c.dtype(), {p.batch, length, p.heads_q, p.head_dim});
    fill(q, [] { return 0.5; });
    fill(q.slice(1, length - p.seq_q, length), to_doubles(p.args.q));
    const Tensor out = make(c.dtype(), q.shape);
    attention_forward(ctx, {.q = q,
                            .k = p.args.k_cache.slice(1, 0, length),
                            .v = p.args.v_cache.slice(1, 0, length),
                            .out = out,
                            .lse = make(DType::f32, {p.batch, p.heads_q, length}),
                            .scale = p.args.scale,
                            .mask = p.args.mask});
    const bool is_f32 = c.dtype() == DType::f32;
    EXPECT_TRUE(testing::is_close("out", run(ctx, p.args),
                                  to_doubles(out.slice(1, length - p.seq_q, length)),
                                  is_f32 ? 1e-5 : 2e-2, is_f32 ? 1e-6 : 4e-3));
  });
}

// Several queries of one call see what one query of each of several calls sees.
TEST(AttentionDecode, ManyQueriesAreManySteps) {
  for_all_implementations(kBatches, [](Context& ctx, const CaseLine& c) {
    const Problem p(ctx, c);
    const Doubles together = run(ctx, p.args);
    AttentionDecode step = p.args;
    step.q = p.args.q.slice(1, 0, 1);
    step.out = p.args.out.slice(1, 0, 1);
    step.cache_lengths = ctx.arena().allocate(MemoryUse::activations, DType::i32, {p.batch});
    Doubles before;
    for (const int64_t length : p.lengths) {
      before.push_back(static_cast<double>(std::max<int64_t>(length - (p.seq_q - 1), 0)));
    }
    fill(step.cache_lengths, before);
    const Doubles first = run(ctx, step);
    const int64_t row = p.heads_q * p.head_dim;
    for (int64_t b = 0; b < p.batch; ++b) {
      const auto begin = [&](const Doubles& x, int64_t rows) { return x.begin() + b * rows * row; };
      EXPECT_TRUE(
          testing::is_close("out", {begin(together, p.seq_q), begin(together, p.seq_q) + row},
                            {begin(first, 1), begin(first, 1) + row}, epsilon_of(c.dtype()), 1e-6));
    }
  });
}

// All scores equal and a number of keys that is a power of two: the mean of integers, exactly, over
// many parts. Then one part holds all the weight.
TEST(AttentionDecode, PartsAreJoined) {
  const std::vector<std::string> lines = {
      "b=1 tq=1 capacity=4096 lengths=4096 hq=2 hkv=1 d=24 dtype=f32 cache=f16 mask=causal left=0 "
      "layout=0 threads=3 seed=41",
      "b=1 tq=1 capacity=16384 lengths=16384 hq=1 hkv=1 d=8 dtype=bf16 cache=bf16 mask=causal "
      "left=0 layout=0 threads=4 seed=42"};
  for_all_implementations(lines, [](Context& ctx, const CaseLine& c) {
    const Problem p(ctx, c);
    const int64_t length = p.lengths[0];
    fill(p.args.q, [] { return 1.0; });
    fill(p.args.k_cache, [] { return 0.25; });
    fill(p.args.v_cache, [i = int64_t{0}, &p]() mutable {
      return static_cast<double>(i++ / (p.heads_kv * p.head_dim) % 4);  // of the key
    });
    EXPECT_TRUE(testing::is_equal("out", run(ctx, p.args),
                                  Doubles(p.heads_q * p.head_dim, 1.5)));  // of 0, 1, 2, 3
    for (const int64_t key : {int64_t{0}, int64_t{130}, length - 1}) {
      fill(p.args.k_cache.slice(1, key, key + 1), [] { return 200.0; });
      const double value = static_cast<double>(key % 4);
      EXPECT_TRUE(
          testing::is_equal("out", run(ctx, p.args), Doubles(p.heads_q * p.head_dim, value)))
          << "key " << key;
      fill(p.args.k_cache.slice(1, key, key + 1), [] { return 0.25; });
    }
  });
}

TEST(AttentionDecode, BadArgumentsAreNamed) {
  Context ctx;  // the checks are the same on every device
  const Problem p(ctx, CaseLine("b=2 tq=1 capacity=8 lengths=5 hq=4 hkv=2 d=16 dtype=f32 cache=f16 "
                                "mask=causal left=0 layout=0 threads=1 seed=1"));
  const auto refused = [&](const std::function<void(AttentionDecode&)>& spoil) {
    AttentionDecode args = p.args;
    spoil(args);
    return testing::error_of([&] { attention_decode(ctx, args); });
  };
  const auto make = [&](DType dtype, const Shape& shape) {
    return ctx.arena().allocate(MemoryUse::activations, dtype, shape);
  };
  EXPECT_EQ(refused([](auto&) {}), "no error");
  EXPECT_EQ(refused([](auto& a) { a.k_cache = {}; }), "k_cache is absent");
  EXPECT_EQ(refused([](auto& a) { a.cache_lengths = {}; }), "cache_lengths is absent");
  EXPECT_EQ(refused([&](auto& a) {
              a.q = make(DType::f16, a.q.shape);
              a.k_cache = make(DType::bf16, a.k_cache.shape);
            }),
            "k_cache is bf16, allowed with q in f16 is f16");
  EXPECT_EQ(refused([&](auto& a) { a.q = make(DType::i32, a.q.shape); }),
            "q is i32, allowed are f32, f16 and bf16");
  EXPECT_EQ(refused([&](auto& a) { a.k_cache = make(DType::i32, a.k_cache.shape); }),
            "k_cache is i32, allowed with q in f32 are f32, f16 and bf16");
  EXPECT_EQ(refused([&](auto& a) { a.q = make(DType::bf16, a.q.shape); }),
            "k_cache is f16, allowed with q in bf16 is bf16");
  EXPECT_EQ(refused([&](auto& a) { a.v_cache = make(DType::f32, a.v_cache.shape); }),
            "v_cache is f32, expected f16");
  EXPECT_EQ(refused([&](auto& a) {
              a.v_cache = make(DType::f16, {2, 7, 2, 16});
            }),
            "v_cache has shape [2, 7, 2, 16], expected [2, 8, 2, 16]");
  EXPECT_EQ(refused([&](auto& a) {
              a.q = a.out = make(DType::f32, {2, 1, 3, 16});
            }),
            "k_cache has 2 heads, which must divide q's 3");
  EXPECT_EQ(refused([](auto& a) { a.mask = full(); }),
            "mask is full, allowed are causal and window");
  EXPECT_EQ(refused([](auto& a) { a.scale = NAN; }), "scale is nan, must be finite");
  p.args.cache_lengths.as<int32_t>()[1] = 9;
  EXPECT_EQ(refused([](auto&) {}), "cache_lengths[1] is 9, allowed is 0 to 8");
  p.args.cache_lengths.as<int32_t>()[1] = -1;
  EXPECT_EQ(refused([](auto&) {}), "cache_lengths[1] is -1, allowed is 0 to 8");
}

}  // namespace
}  // namespace strobe
