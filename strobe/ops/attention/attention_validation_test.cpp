// Every wrong argument is refused with a line that names it and its value.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <optional>

#include "strobe/core/context.h"
#include "strobe/core/parallel.h"
#include "strobe/ops/attention/attention.h"
#include "tests/testkit/conformance.h"

namespace strobe {
namespace {

using testing::error_of;

// A right call, of which each test spoils one argument.
class AttentionValidation : public ::testing::Test {
 protected:
  static constexpr int64_t kBatch = 2, kSeqQ = 4, kSeqK = 6, kHeadsQ = 4, kHeadsKv = 2, kDim = 16;

  AttentionValidation() {
    const Tensor q = make(DType::f32, {kBatch, kSeqQ, kHeadsQ, kDim});
    const Tensor k = make(DType::f32, {kBatch, kSeqK, kHeadsKv, kDim});
    forward_ = {.q = q,
                .k = k,
                .v = k,
                .out = make(DType::f32, q.shape),
                .lse = make(DType::f32, {kBatch, kHeadsQ, kSeqQ}),
                .scale = 0.25f,
                .saved = make(DType::f32, {kBatch * kHeadsQ * kSeqQ * kSeqK})};
    backward_ = {.q = q,
                 .k = k,
                 .v = k,
                 .out = forward_.out,
                 .lse = forward_.lse,
                 .dout = make(DType::f32, q.shape),
                 .dq = make(DType::f32, q.shape),
                 .dk = make(DType::f32, k.shape),
                 .dv = make(DType::f32, k.shape),
                 .scale = 0.25f,
                 .saved = forward_.saved};
    packed_ = forward_;
    packed_.q = make(DType::f32, {1, kSeqQ, kHeadsQ, kDim});
    packed_.k = packed_.v = make(DType::f32, {1, kSeqK, kHeadsKv, kDim});
    packed_.out = make(DType::f32, packed_.q.shape);
    packed_.lse = make(DType::f32, {1, kHeadsQ, kSeqQ});
    packed_.cu_seqlens_q = integers({0, 1, 4});
    packed_.cu_seqlens_k = integers({0, 6, 6});
  }

  Tensor make(DType dtype, const Shape& shape) {
    const Tensor tensor = ctx_.arena().allocate(MemoryUse::activations, dtype, shape);
    std::memset(tensor.data, 0, tensor.bytes());
    return tensor;
  }
  Tensor integers(const std::vector<int32_t>& values) {
    const Tensor tensor = make(DType::i32, {static_cast<int64_t>(values.size())});
    std::copy(values.begin(), values.end(), tensor.as<int32_t>());
    return tensor;
  }

  // The error of a call with one argument spoiled.
  template <class Args>
  std::string refused(Args args, const std::function<void(Args&)>& spoil) {
    spoil(args);
    return error_of([&] {
      if constexpr (std::is_same_v<Args, AttentionForward>) {
        attention_forward(ctx_, args);
      } else {
        attention_backward(ctx_, args);
      }
    });
  }
  std::string forward(const std::function<void(AttentionForward&)>& spoil) {
    return refused(forward_, spoil);
  }
  std::string packed(const std::function<void(AttentionForward&)>& spoil) {
    return refused(packed_, spoil);
  }
  std::string backward(const std::function<void(AttentionBackward&)>& spoil) {
    return refused(backward_, spoil);
  }

  Context ctx_{{}, {.poison = true}};
  AttentionForward forward_, packed_;
  AttentionBackward backward_;
};

TEST_F(AttentionValidation, TakesWhatIsRight) {
  EXPECT_EQ(forward([](auto&) {}), "no error");
  EXPECT_EQ(packed([](auto&) {}), "no error");
  EXPECT_EQ(backward([](auto&) {}), "no error");
}

TEST_F(AttentionValidation, Tensors) {
  EXPECT_EQ(forward([](auto& a) { a.q = {}; }), "q is absent");
  EXPECT_EQ(forward([](auto& a) { a.v = {}; }), "v is absent");
  EXPECT_EQ(forward([](auto& a) { a.out = {}; }), "out is missing");
  EXPECT_EQ(forward([](auto& a) {
              a.k = a.k.view({12, 32});
            }),
            "k has shape [12, 32], expected [batch, time, heads, head_dim]");
  EXPECT_EQ(forward([&](auto& a) { a.q = make(DType::i32, a.q.shape); }),
            "q is i32, allowed are f32, f16 and bf16");
  EXPECT_EQ(forward([&](auto& a) { a.k = make(DType::bf16, a.k.shape); }),
            "k is bf16, expected f32");
  EXPECT_EQ(forward([&](auto& a) {
              a.v = make(DType::f32, {2, 5, 2, 16});
            }),
            "v has shape [2, 5, 2, 16], expected [2, 6, 2, 16]");
  EXPECT_EQ(forward([&](auto& a) {
              a.k = make(DType::f32, {3, 6, 2, 16});
            }),
            "k has shape [3, 6, 2, 16], expected [2, 6, 2, 16]");
  EXPECT_EQ(forward([&](auto& a) {
              a.lse = make(DType::f32, {2, 4, 5});
            }),
            "lse has shape [2, 4, 5], expected [2, 4, 4]");
  EXPECT_EQ(forward([](auto& a) { a.lse = a.lse.transpose(1, 2); }),
            "lse has strides [16, 1, 4], must be contiguous");
  EXPECT_EQ(forward([&](auto& a) {
              a.out = make(DType::f32, {2, 4, 16, 4}).transpose(2, 3);
            }),
            "out has stride 4 in its last dimension, head_dim must be contiguous");
  EXPECT_EQ(forward([](auto& a) { a.v.device = DeviceKind::cuda; }),
            "v is on cuda, the context on cpu");
}

TEST_F(AttentionValidation, Sizes) {
  const auto with_dim = [&](int64_t dim) {
    return forward([&](auto& a) {
      a.q = make(DType::f32, {2, 4, 4, dim});
      a.k = a.v = make(DType::f32, {2, 6, 2, dim});
    });
  };
  const std::string allowed = ", allowed are the multiples of 8 from 8 to 256";
  EXPECT_EQ(with_dim(20), "head_dim is 20" + allowed);
  EXPECT_EQ(with_dim(0), "head_dim is 0" + allowed);
  EXPECT_EQ(with_dim(264), "head_dim is 264" + allowed);
  EXPECT_EQ(forward([&](auto& a) {
              a.k = a.v = make(DType::f32, {2, 6, 3, 16});
            }),
            "k has 3 heads, which must divide q's 4");
  EXPECT_EQ(forward([&](auto& a) {
              a.k = a.v = make(DType::f32, {2, 6, 0, 16});
            }),
            "k has 0 heads, which must divide q's 4");
}

TEST_F(AttentionValidation, NumbersAndMasks) {
  EXPECT_EQ(forward([](auto& a) { a.scale = INFINITY; }), "scale is inf, must be finite");
  EXPECT_EQ(forward([](auto& a) { a.mask = window(-1, 0); }),
            "mask window left is -1, must be at least 0");
  EXPECT_EQ(forward([](auto& a) { a.mask = window(0, -3); }),
            "mask window right is -3, must be at least 0");
  EXPECT_EQ(forward([&](auto& a) {
              a.padding.key_end = integers({6, 7});
            }),
            "key_end[1] is 7, allowed is 0 to 6");
  EXPECT_EQ(forward([&](auto& a) {
              a.padding.query_begin = integers({-1, 0});
            }),
            "query_begin[0] is -1, allowed is 0 to 4");
  EXPECT_EQ(forward([&](auto& a) {
              a.padding.query_end = integers({1, 2, 3});
            }),
            "query_end has shape [3], expected [2]");
  EXPECT_EQ(forward([&](auto& a) { a.padding.key_begin = make(DType::f32, {2}); }),
            "key_begin is f32, expected i32");
  EXPECT_EQ(forward([&](auto& a) {
              a.padding.key_begin = integers({5, 6});  // begin beyond end: nothing but padding
              a.padding.key_end = integers({2, 0});
            }),
            "no error");
}

TEST_F(AttentionValidation, Bias) {
  EXPECT_EQ(forward([&](auto& a) { a.bias = make(DType::f32, {1, 4, 1, 6}); }), "no error");
  EXPECT_EQ(forward([&](auto& a) {
              a.bias = make(DType::bf16, {2, 4, 4, 6});
            }),
            "bias is bf16, must be f32");
  EXPECT_EQ(forward([&](auto& a) {
              a.bias = make(DType::f32, {2, 4, 4, 1});
            }),
            "bias has shape [2, 4, 4, 1], expected [2, 4, 4, 6], where each but the last may be 1");
  EXPECT_EQ(forward([&](auto& a) {
              a.bias = make(DType::f32, {2, 2, 4, 6});
            }),
            "bias has shape [2, 2, 4, 6], expected [2, 4, 4, 6], where each but the last may be 1");
}

TEST_F(AttentionValidation, BiasGradient) {
  ctx_.prefer("attention", {.algorithm = Algorithm::standard});
  backward_.bias = make(DType::f32, {1, 4, 4, 6});
  EXPECT_EQ(backward([&](auto& a) { a.dbias = make(DType::f32, {1, 4, 4, 6}); }), "no error");
  EXPECT_EQ(backward([&](auto& a) {
              a.dbias = make(DType::f32, {1, 4, 1, 6});
            }),
            "dbias has shape [1, 4, 1, 6], expected [1, 4, 4, 6]");
  EXPECT_EQ(backward([&](auto& a) {
              a.dbias = make(DType::bf16, {1, 4, 4, 6});
            }),
            "dbias is bf16, expected f32");
  EXPECT_EQ(backward([&](auto& a) {
              a.dbias = make(DType::f32, {1, 4, 4, 6});
              a.bias = {};
            }),
            "dbias is given without a bias");
  EXPECT_EQ(backward([&](auto& a) {
              a.dbias = make(DType::f32, {1, 4, 4, 6});
              a.dbias.device = DeviceKind::cuda;
            }),
            "dbias is on cuda, the context on cpu");
  EXPECT_NE(
      backward([&](auto& a) {
        a.dbias = make(DType::f32, {1, 4, 6, 4}).transpose(2, 3);
      }).find("dbias of shape [1, 4, 4, 6] has strides [96, 24, 1, 4], it must be contiguous"),
      std::string::npos);
}

// A type that only GPUs take, and a gradient that flash does not have: each row says so.
TEST_F(AttentionValidation, RowsRefuseInWords) {
  const auto half = [&](const Shape& shape) { return make(DType::f16, shape); };
  const std::string types = forward([&](auto& a) {
    a.q = a.out = half(a.q.shape);
    a.k = a.v = half(a.k.shape);
  });
  EXPECT_NE(types.find("cpu_flash_avx2: takes f32 and bf16, not f16"), std::string::npos) << types;
  EXPECT_NE(types.find("cpu_standard_avx2: takes f32 and bf16, not f16"), std::string::npos);
  ctx_.prefer("attention", {.algorithm = Algorithm::flash});
  backward_.bias = make(DType::f32, {1, 4, 4, 6});
  const std::string dbias = backward([&](auto& a) { a.dbias = make(DType::f32, a.bias.shape); });
  EXPECT_NE(dbias.find("cpu_flash_avx2: leaves no gradient of the bias, which standard does"),
            std::string::npos)
      << dbias;
}

// These strides are right, but a GPU's copy engine does not take all of them.
TEST_F(AttentionValidation, LayoutsOfTheCopyEngine) {
  EXPECT_TRUE(problem_of(ctx_, forward_).fits_copy_engine);
  EXPECT_TRUE(problem_of(ctx_, backward_).fits_copy_engine);
  const auto fits = [&](int dimension, int64_t stride) {
    AttentionForward a = forward_;
    a.k.strides[dimension] = stride;
    return problem_of(ctx_, a).fits_copy_engine;
  };
  const int64_t end = int64_t{1} << 38;  // 2⁴⁰ bytes of f32
  for (int dimension = 0; dimension < 3; ++dimension) {
    EXPECT_TRUE(fits(dimension, 4));
    EXPECT_TRUE(fits(dimension, end - 4));
    for (const int64_t stride : {end, INT64_MAX - 3, int64_t{0}, int64_t{-16}, int64_t{18}}) {
      EXPECT_FALSE(fits(dimension, stride)) << "dimension " << dimension << ", " << stride;
    }
  }
  AttentionForward one = forward_;  // of one entry, which is never stepped along
  one.v = make(DType::f32, {1, 6, 2, 16});
  one.v.strides[0] = 0;
  EXPECT_TRUE(problem_of(ctx_, one).fits_copy_engine);
  AttentionForward none = forward_;
  none.k = none.v = make(DType::f32, {2, 0, 2, 16});
  EXPECT_EQ(none.k.strides[0], 0);
  EXPECT_TRUE(problem_of(ctx_, none).fits_copy_engine);
  for (Tensor AttentionBackward::*x :
       {&AttentionBackward::q, &AttentionBackward::k, &AttentionBackward::v,
        &AttentionBackward::out, &AttentionBackward::dout, &AttentionBackward::dq,
        &AttentionBackward::dk, &AttentionBackward::dv}) {
    AttentionBackward shifted = backward_;
    (shifted.*x).data = (shifted.*x).as<float>() + 1;
    EXPECT_FALSE(problem_of(ctx_, shifted).fits_copy_engine);
  }
}

TEST_F(AttentionValidation, PackedSequences) {
  EXPECT_EQ(packed([](auto& a) { a.cu_seqlens_k = {}; }),
            "cu_seqlens_k is absent, packed sequences need both cu_seqlens_q and cu_seqlens_k");
  EXPECT_EQ(forward([&](auto& a) {
              a.cu_seqlens_q = a.cu_seqlens_k = integers({0, 4});
            }),
            "q has batch 2, packed sequences need batch 1");
  EXPECT_EQ(packed([&](auto& a) {
              a.cu_seqlens_q = integers({0, 4});
            }),
            "cu_seqlens_k has shape [3], cu_seqlens_q has [2]");
  EXPECT_EQ(packed([&](auto& a) {
              a.cu_seqlens_q = integers({1, 2, 4});
            }),
            "cu_seqlens_q[0] is 1, must be 0");
  EXPECT_EQ(packed([&](auto& a) {
              a.cu_seqlens_q = integers({0, 5, 4});
            }),
            "cu_seqlens_q[2] is 4, less than the value before, 5");
  EXPECT_EQ(packed([&](auto& a) {
              a.cu_seqlens_k = integers({0, 2, 5});
            }),
            "cu_seqlens_k ends with 5, the rows to share out are 6");
  EXPECT_EQ(packed([&](auto& a) { a.cu_seqlens_q = a.cu_seqlens_k = integers({0}); }),
            "cu_seqlens_q has no sequences, the rows to share out are 4");
  EXPECT_EQ(packed([&](auto& a) { a.padding.key_end = integers({6}); }),
            "padding is given with cu_seqlens, packed sequences have none");
  EXPECT_EQ(packed([&](auto& a) {
              a.bias = make(DType::f32, {1, 1, 1, 6});
            }),
            "bias is given with cu_seqlens, packed sequences have none");
}

TEST_F(AttentionValidation, BackwardAndSaved) {
  ctx_.prefer("attention", {.algorithm = Algorithm::standard});
  EXPECT_EQ(backward([](auto& a) { a.dout = {}; }), "dout is missing");
  EXPECT_EQ(backward([&](auto& a) {
              a.dk = make(DType::f32, {2, 6, 4, 16});
            }),
            "dk has shape [2, 6, 4, 16], expected [2, 6, 2, 16]");
  const std::string name(select_attention(ctx_, problem_of(ctx_, backward_)).name);
  EXPECT_EQ(backward([](auto& a) { a.saved = {}; }),
            "saved is absent, " + name + " keeps 768 bytes from forward to backward");
  EXPECT_EQ(backward([&](auto& a) { a.saved = make(DType::f32, {100}); }),
            "saved has 400 bytes, " + name + " keeps 768");
  EXPECT_EQ(forward([&](auto& a) { a.saved = make(DType::f32, {100}); }),
            "saved has 400 bytes, " + name + " keeps 768");
}

// A wish for what there is not lists what there is.
TEST_F(AttentionValidation, NoImplementation) {
  ctx_.prefer("attention", {.algorithm = Algorithm::any, .implementation = "cpu_flash_z80"});
  const std::string error = forward([](auto&) {});
  for (const AttentionImpl& impl : attention_impls()) {
    EXPECT_NE(error.find(impl.name), std::string::npos) << error;
  }
}

TEST(AttentionSelection, TakesTheFasterAlgorithmAndSaysWhy) {
  const int threads = thread_count();
  set_thread_count(1);
  Context ctx;
  AttentionProblem p = {
      .batch = 1, .seq_q = 16, .seq_k = 16, .heads_q = 12, .heads_kv = 12, .head_dim = 128};
  const auto chosen = [&] {
    std::optional<AttentionVerdict> found;
    const std::vector<AttentionVerdict> verdicts = explain_attention(ctx, p);
    EXPECT_EQ(verdicts.size(), attention_impls().size());
    for (const AttentionVerdict& verdict : verdicts) {
      EXPECT_FALSE(verdict.reason.empty()) << verdict.impl->name;
      if (!verdict.is_chosen) continue;
      EXPECT_FALSE(found) << "two are chosen";
      EXPECT_EQ(verdict.impl, &select_attention(ctx, p));
      found = verdict;
    }
    return found.value();
  };
  EXPECT_EQ(chosen().impl->algorithm, Algorithm::standard);
  EXPECT_EQ(chosen().reason,
            "standard is faster up to 16 queries and keys of head_dim 128 or more on at most 2 "
            "threads");
  p.seq_k = 17;
  EXPECT_EQ(chosen().impl->algorithm, Algorithm::flash);
  EXPECT_EQ(chosen().reason, "first in the order of preference that can run it");
  p.seq_k = 16;
  ctx.prefer("attention", {.algorithm = Algorithm::flash});
  EXPECT_EQ(chosen().impl->algorithm, Algorithm::flash);
  set_thread_count(threads);
}

}  // namespace
}  // namespace strobe
