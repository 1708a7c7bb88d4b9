#include "strobe/gpu/tensor_map.h"

#include <gtest/gtest.h>

#include "strobe/core/device.h"
#include "tests/testkit/errors.h"

namespace strobe::testing {
namespace {

TEST(TensorMap, RefusalsNameTheTensorAndItsLayout) {
  const std::string reason = why_not_cuda({DeviceKind::cuda, 0}, 90);
  if (!reason.empty()) GTEST_SKIP() << reason;
  BoxedTensor tensor = {.name = "dout",
                        .data = reinterpret_cast<void*>(uintptr_t{1} << 30),  // is not read
                        .size = {64, 70, 4, 2},
                        .stride = {64, 70 * 64, 4 * 70 * 64},
                        .box_rows = 64};
  EXPECT_EQ(error_of([&] { make_tensor_map(tensor); }), "no error");
  tensor.stride[0] = 68;
  EXPECT_EQ(error_of([&] { make_tensor_map(tensor); }),
            "the driver refuses a tensor map of dout, 64 × 70 × 4 × 2 with strides of 136, 8960, "
            "35840 bytes at 0x40000000: error 1");
}

}  // namespace
}  // namespace strobe::testing
