#include "strobe/ops/embedding/embedding.h"

#include <cmath>
#include <numeric>

#include "strobe/core/element_dropout.h"
#include "strobe/core/parallel.h"
#include "strobe/ops/embedding/embedding_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using Doubles = std::vector<double>;

std::string draw_case(Random& random) {
  const DType dtype =
      testing::pick(random, std::vector<DType>{DType::f32, DType::f16, DType::bf16});
  const DType table =
      dtype == DType::f32
          ? testing::pick(random, std::vector<DType>{DType::f32, DType::f16, DType::bf16})
          : dtype;
  return fmt::format(
      "b={} t={} c={} v={} dtype={} table={} positions={} accumulate={} p={} seed={}",
      testing::pick(random, std::vector<int>{1, 2, 3}),
      testing::pick(random, std::vector<int>{1, 5, 64, 300}),
      testing::pick(random, std::vector<int>{1, 3, 16, 65, 200, 768}),
      testing::pick(random, std::vector<int>{1, 7, 256}), dtype, table, random.below(2),
      random.below(2), testing::pick(random, std::vector<double>{0, 0.1, 0.5}),
      random.below(1000000));
}

std::vector<int32_t> ids_of(const Tensor& tensor) {
  const Doubles values = testing::to_doubles(tensor);
  return {values.begin(), values.end()};
}

// Z∘x by the definition.
Doubles drop(Doubles x, const Dropout& dropout) {
  for (size_t e = 0; e < x.size(); ++e) {
    const bool keeps =
        dropout_keeps_element(dropout.threshold, dropout.key, static_cast<int64_t>(e));
    x[e] = keeps ? x[e] / (1 - dropout.probability()) : 0;
  }
  return x;
}

// Forward is one addition and, with dropout, one multiplication of its rounded sum; backward, sums
// of at most B·T numbers.
void run_case(Context& ctx, const CaseLine& c) {
  const int64_t batch = c.number("b"), seq = c.number("t"), columns = c.number("c"),
                vocab = c.number("v"), position_rows = seq + 2;
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor tokens = make.empty(DType::i32, {batch, seq});
  testing::fill(tokens, [&] { return static_cast<double>(make.random.below(vocab)); });
  const Tensor positions = make.empty(DType::i32, {batch, seq});
  testing::fill(positions, [&, i = int64_t{0}]() mutable -> double {
    return c.is_set("positions") ? static_cast<double>(make.random.below(position_rows))
                                 : static_cast<double>(i++ % seq);
  });
  const Tensor given_positions = c.is_set("positions") ? positions : Tensor{};
  const Tensor token_table = make.normal(c.dtype("table"), {vocab, columns});
  const Tensor position_table = make.normal(c.dtype("table"), {position_rows, columns});
  const Tensor out = make.empty(c.dtype(), {batch, seq, columns});
  const Tensor dout = make.normal(c.dtype(), {batch, seq, columns});
  const Tensor dtokens = make.normal(DType::f32, {vocab, columns});
  const Tensor dpositions = make.empty(DType::f32, {position_rows, columns});
  if (c.is_set("accumulate")) testing::fill_normal(dpositions, make.random);
  Doubles expected_dtokens = testing::to_doubles(dtokens);
  Doubles expected_dpositions = c.is_set("accumulate") ? testing::to_doubles(dpositions)
                                                       : Doubles(position_rows * columns, 0.0);
  const Dropout dropout = Dropout::with(c.real("p"), random_key(make.random.below(1000), 3, 5));
  const testing::InputsUnchanged inputs({tokens, positions, token_table, position_table, dout});
  embedding_forward(ctx, {.tokens = tokens,
                          .positions = given_positions,
                          .token_table = token_table,
                          .position_table = position_table,
                          .out = out,
                          .dropout = dropout});
  embedding_backward(ctx, {.tokens = tokens,
                           .positions = given_positions,
                           .dout = dout,
                           .dtoken_table = dtokens,
                           .dposition_table = dpositions,
                           .accumulate = c.is_set("accumulate"),
                           .dropout = dropout});
  const Doubles expected = embedding_forward_reference(
      ids_of(tokens), ids_of(positions), testing::to_doubles(token_table),
      testing::to_doubles(position_table), columns);
  embedding_backward_reference(ids_of(tokens), ids_of(positions),
                               drop(testing::to_doubles(dout), dropout), expected_dtokens,
                               expected_dpositions, columns);
  const double roundings = dropout.active() ? 2 : 1;
  EXPECT_TRUE(testing::is_close("out", testing::to_doubles(out), drop(expected, dropout),
                                roundings * 0.5 * epsilon_of(c.dtype()) + 2e-7, 1e-7));
  EXPECT_TRUE(testing::is_close("dtoken_table", testing::to_doubles(dtokens), expected_dtokens,
                                1e-6, 1e-5));
  EXPECT_TRUE(testing::is_close("dposition_table", testing::to_doubles(dpositions),
                                expected_dpositions, 1e-6, 1e-5));
}

TEST(Embedding, ConformsToReference) {
  testing::run_conformance("embedding", embedding_impls(), testing::random_cases(100, draw_case),
                           run_case);
}

// The same bits for every number of threads.
void run_repeated_case(Context& ctx, const CaseLine& c) {
  const int64_t seq = 300, columns = c.number("c"), vocab = 11;
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor tokens = make.empty(DType::i32, {1, seq});
  testing::fill(tokens, [&] { return static_cast<double>(make.random.below(vocab)); });
  const Tensor dtokens = make.empty(DType::f32, {vocab, columns});
  const Tensor dpositions = make.empty(DType::f32, {seq, columns});
  const Tensor dout = make.normal(DType::f32, {1, seq, columns});
  const int threads = thread_count();
  std::vector<unsigned char> first;
  for (const int other : {1, 2, 3}) {
    set_thread_count(other);
    testing::fill(dtokens, [] { return 0.0; });
    embedding_backward(
        ctx,
        {.tokens = tokens, .dout = dout, .dtoken_table = dtokens, .dposition_table = dpositions});
    if (first.empty()) first = testing::snapshot(dtokens);
    EXPECT_TRUE(testing::snapshot(dtokens) == first) << other << " threads";
  }
  set_thread_count(threads);
}

TEST(Embedding, BackwardIsReproducible) {
  testing::run_conformance("embedding", embedding_impls(), {"c=200 dtype=f32 seed=1"},
                           run_repeated_case);
}

// One id in nearly all rows, as padding is; sums of whole numbers are exact in any order.
void run_frequent_case(Context& ctx, const CaseLine& c) {
  const int64_t seq = c.number("t"), columns = c.number("c"), vocab = 3;
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor tokens = make.empty(DType::i32, {2, seq});
  testing::fill(tokens, [&] { return make.random.below(100) == 0 ? 2.0 : 1.0; });
  const Tensor dout = make.empty(c.dtype(), {2, seq, columns});
  testing::fill_integers(dout, make.random, 3);
  const Tensor dtokens = make.empty(DType::f32, {vocab, columns});
  const Tensor dpositions = make.empty(DType::f32, {seq, columns});
  testing::fill(dtokens, [] { return 0.0; });
  embedding_backward(
      ctx,
      {.tokens = tokens, .dout = dout, .dtoken_table = dtokens, .dposition_table = dpositions});
  const std::vector<int32_t> token_ids = ids_of(tokens);
  std::vector<int32_t> position_ids(token_ids.size());
  for (size_t i = 0; i < position_ids.size(); ++i) {
    position_ids[i] = static_cast<int32_t>(i % static_cast<size_t>(seq));
  }
  Doubles expected_tokens(vocab * columns, 0.0), expected_positions(seq * columns, 0.0);
  embedding_backward_reference(token_ids, position_ids, testing::to_doubles(dout), expected_tokens,
                               expected_positions, columns);
  EXPECT_TRUE(testing::is_equal("dtoken_table", testing::to_doubles(dtokens), expected_tokens));
  EXPECT_TRUE(
      testing::is_equal("dposition_table", testing::to_doubles(dpositions), expected_positions));
}

TEST(Embedding, OneIdInNearlyAllRows) {
  testing::run_conformance("embedding", embedding_impls(),
                           {"t=3000 c=24 dtype=f32 seed=1", "t=1501 c=16 dtype=bf16 seed=2"},
                           run_frequent_case);
}

// An id that the host cannot check shows in out, and its gradient is left out.
void run_bad_id_case(Context& ctx, const CaseLine& c) {
  if (ctx.device().kind == DeviceKind::cpu) return;
  constexpr int64_t kTokens = 40, kColumns = 8, kVocab = 5;
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor tokens = make.empty(DType::i32, {1, kTokens});
  testing::fill(tokens, [i = 0]() mutable { return i++ % (kVocab + 2) - 1; });  // −1 … 5
  const Tensor table = make.normal(c.dtype(), {kVocab, kColumns});
  const Tensor positions = make.normal(c.dtype(), {kTokens, kColumns});
  const Tensor out = make.empty(c.dtype(), {1, kTokens, kColumns});
  const Tensor dout = make.normal(c.dtype(), {1, kTokens, kColumns});
  const Tensor dtable = make.empty(DType::f32, {kVocab, kColumns});
  const Tensor dpositions = make.empty(DType::f32, {kTokens, kColumns});
  testing::fill(dtable, [] { return 0.0; });
  embedding_forward(
      ctx, {.tokens = tokens, .token_table = table, .position_table = positions, .out = out});
  embedding_backward(
      ctx, {.tokens = tokens, .dout = dout, .dtoken_table = dtable, .dposition_table = dpositions});
  const Doubles values = testing::to_doubles(out), gradient = testing::to_doubles(dout),
                sums = testing::to_doubles(dtable);
  Doubles expected(kVocab * kColumns, 0.0);
  for (int64_t i = 0; i < kTokens * kColumns; ++i) {
    const int64_t token = i / kColumns % (kVocab + 2) - 1;
    const bool is_inside = token >= 0 && token < kVocab;
    EXPECT_EQ(std::isnan(values[i]), !is_inside);
    if (is_inside) expected[token * kColumns + i % kColumns] += gradient[i];
  }
  EXPECT_TRUE(testing::is_close("dtoken_table", sums, expected, 1e-6, 1e-5));
}

TEST(Embedding, BadIdsOnAGpuAreSeen) {
  testing::run_conformance("embedding", embedding_impls(), {"dtype=f32 seed=1"}, run_bad_id_case);
}

TEST(Embedding, ReferenceGradientsAreDerivatives) {
  const std::vector<int32_t> tokens = {2, 0, 2, 1}, positions = {0, 1, 0, 1};
  const int64_t columns = 3;
  Random random(PhiloxKey{{1, 5}});
  const auto normal = [&](size_t n) {
    Doubles values(n);
    for (double& value : values) value = random.normal();
    return values;
  };
  const Doubles token_table = normal(9), position_table = normal(6), dout = normal(12);
  const auto loss = [&](const Doubles& by_token, const Doubles& by_position) {
    const Doubles out =
        embedding_forward_reference(tokens, positions, by_token, by_position, columns);
    return std::inner_product(out.begin(), out.end(), dout.begin(), 0.0);
  };
  Doubles dtokens(9, 0.0), dpositions(6, 0.0);
  embedding_backward_reference(tokens, positions, dout, dtokens, dpositions, columns);
  EXPECT_TRUE(testing::is_close(
      "dtokens", dtokens,
      testing::numerical_gradient([&](auto& v) { return loss(v, position_table); }, token_table),
      1e-7, 1e-8));
  EXPECT_TRUE(testing::is_close(
      "dpositions", dpositions,
      testing::numerical_gradient([&](auto& v) { return loss(token_table, v); }, position_table),
      1e-7, 1e-8));
}

TEST(Embedding, BadIdsAreNamed) {
  Context ctx;
  std::vector<float> memory(64);
  std::vector<int32_t> tokens = {0, 1, 2, 4};
  EmbeddingForward args = {.tokens = Tensor::of(tokens.data(), {2, 2}),
                           .token_table = Tensor::of(memory.data(), {4, 2}),
                           .position_table = Tensor::of(memory.data(), {2, 2}),
                           .out = Tensor::of(memory.data() + 32, {2, 2, 2})};
  const auto message = [&] { return testing::error_of([&] { embedding_forward(ctx, args); }); };
  EXPECT_EQ(message(), "embedding: token 4 at [1, 1], allowed are 0 to 3");
  tokens = {0, 1, -1, 3};
  EXPECT_EQ(message(), "embedding: token -1 at [1, 0], allowed are 0 to 3");
  tokens = {0, 1, 2, 3};
  args.position_table = Tensor::of(memory.data(), {1, 2});
  EXPECT_EQ(message(), "embedding: 2 positions, the table has 1");
  args.out = Tensor::contiguous(memory.data() + 32, DType::bf16, {2, 2, 2});
  EXPECT_EQ(message(), "embedding token table is f32, allowed with out in bf16 is the same type");
}

}  // namespace
}  // namespace strobe
