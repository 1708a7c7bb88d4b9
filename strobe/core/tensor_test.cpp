#include "strobe/core/tensor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "tests/testkit/errors.h"

namespace strobe {
namespace {

using testing::error_of;

TEST(Shape, CountsComparesAndPrints) {
  const Shape shape = {2, 128, 12, 64};
  EXPECT_EQ(shape.rank, 4);
  EXPECT_EQ(shape.numel(), 2 * 128 * 12 * 64);
  EXPECT_EQ(to_text(shape), "[2, 128, 12, 64]");
  EXPECT_EQ(to_text(Shape{}), "[]");
  EXPECT_EQ(Shape{}.numel(), 1);
  EXPECT_EQ((Shape{3, 0}).numel(), 0);
  EXPECT_EQ(shape, (Shape{2, 128, 12, 64}));
  EXPECT_FALSE((Shape{2, 1} == Shape{2}));
  EXPECT_EQ(error_of([] { Shape{1, 2, 3, 4, 5, 6}; }), "a shape of rank 6, at most 5");
}

class TensorViews : public ::testing::Test {
 protected:
  TensorViews() : values_(2 * 3 * 4) {
    std::iota(values_.begin(), values_.end(), 0.0f);
    t_ = Tensor::of(values_.data(), {2, 3, 4});
  }
  // The element at an index, found through strides.
  static float at(const Tensor& t, int64_t i, int64_t j, int64_t k) {
    return t.as<float>()[i * t.strides[0] + j * t.strides[1] + k * t.strides[2]];
  }
  std::vector<float> values_;
  Tensor t_;
};

TEST_F(TensorViews, ContiguousIsRowMajor) {
  EXPECT_EQ(t_.strides, (Shape{12, 4, 1}));
  EXPECT_EQ(t_.dtype, DType::f32);
  EXPECT_TRUE(t_.is_contiguous());
  EXPECT_EQ(t_.bytes(), 96u);
  EXPECT_EQ(at(t_, 1, 2, 3), 23);
}

TEST_F(TensorViews, SliceKeepsStrides) {
  const Tensor middle = t_.slice(1, 1, 3);
  EXPECT_EQ(middle.shape, (Shape{2, 2, 4}));
  EXPECT_FALSE(middle.is_contiguous());
  EXPECT_EQ(at(middle, 1, 0, 2), at(t_, 1, 1, 2));
  EXPECT_TRUE(t_.slice(0, 1, 2).is_contiguous());
  EXPECT_EQ(t_.slice(2, 4, 4).numel(), 0);
  EXPECT_EQ(error_of([&] { t_.slice(1, 2, 4); }), "slice [2, 4) of a dimension of size 3");
  EXPECT_EQ(error_of([&] { t_.slice(1, 2, 1); }), "slice [2, 1) of a dimension of size 3");
  EXPECT_EQ(error_of([&] { t_.slice(3, 0, 1); }), "slice of dimension 3 of a tensor of rank 3");
}

TEST_F(TensorViews, TransposeExchangesDimensions) {
  const Tensor turned = t_.transpose(0, 2);
  EXPECT_EQ(turned.shape, (Shape{4, 3, 2}));
  EXPECT_EQ(at(turned, 3, 2, 1), at(t_, 1, 2, 3));
  EXPECT_FALSE(turned.is_contiguous());
  EXPECT_TRUE(turned.transpose(2, 0).is_contiguous());
  EXPECT_EQ(error_of([&] { t_.transpose(0, 3); }),
            "transpose of dimensions 0 and 3 of a tensor of rank 3");
}

TEST_F(TensorViews, ViewReshapesContiguousTensors) {
  const Tensor flat = t_.view({6, 4});
  EXPECT_EQ(flat.strides, (Shape{4, 1}));
  EXPECT_EQ(flat.data, t_.data);
  EXPECT_EQ(error_of([&] {
              t_.view({5, 5});
            }),
            "view of shape [5, 5] of a tensor of shape [2, 3, 4]");
  EXPECT_EQ(error_of([&] { t_.transpose(0, 1).view({24}); }),
            "view of a tensor of shape [3, 2, 4] that is not contiguous");
}

TEST_F(TensorViews, StridesOfDimensionsOfSizeOneDoNotMatter) {
  Tensor t = t_.slice(0, 0, 1);
  t.strides[0] = 12345;
  EXPECT_TRUE(t.is_contiguous());
}

TEST_F(TensorViews, ReadsOnlyItsOwnType) {
  EXPECT_EQ(error_of([&] { t_.as<bf16>(); }), "tensor is f32, read as bf16");
  EXPECT_FALSE(Tensor{}.has_data());
}

TEST_F(TensorViews, ChecksNameTheArgumentAndBothValues) {
  EXPECT_EQ(error_of([&] { check_shape("x", t_, {2, 3, 4}); }), "no error");
  EXPECT_EQ(error_of([&] {
              check_shape("x", t_, {2, 3, 5});
            }),
            "x has shape [2, 3, 4], expected [2, 3, 5]");
  EXPECT_EQ(error_of([&] {
              check_tensor("x", t_, DType::bf16, {2, 3, 4});
            }),
            "x is f32, expected bf16");
  EXPECT_EQ(error_of([&] { check_tensor("x", Tensor{}, DType::f32, {2}); }), "x is missing");
}

TEST(Check, SaysWhereItFailed) {
  try {
    check(1 > 2, "one is ", 1, ", two is ", 2.5, ", ", DType::f16);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "one is 1, two is 2.5, f16");
    EXPECT_NE(error.where().find("tensor_test.cpp:"), std::string::npos) << error.where();
  }
}

}  // namespace
}  // namespace strobe
