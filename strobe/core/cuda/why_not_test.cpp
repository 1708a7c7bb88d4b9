// Why a GPU cannot be used, of answers of the CUDA runtime that no machine at hand gives.
#include "strobe/core/cuda/why_not.h"

#include <gtest/gtest.h>

namespace strobe::cuda {
namespace {

std::string reason(const Answers& answers, int index = 0) {
  return why_not(answers, index, "80 90");
}

TEST(WhyNotCuda, NothingIsWrong) {
  EXPECT_EQ(reason({.driver = 13000, .count = 1}), "");
  EXPECT_EQ(reason({.driver = 12020, .count = 2}, 1), "") << "a driver may be a little older";
}

TEST(WhyNotCuda, Driver) {
  EXPECT_EQ(reason({.counting = cudaErrorInsufficientDriver}), "there is no NVIDIA driver");
  EXPECT_EQ(
      reason({.driver = 11040, .counting = cudaErrorInsufficientDriver}),
      "the NVIDIA driver supports CUDA 11.4, this build needs " + version_text(CUDART_VERSION));
}

TEST(WhyNotCuda, Count) {
  EXPECT_EQ(reason({.driver = 13000, .counting = cudaErrorNoDevice}), "there is no GPU");
  EXPECT_EQ(reason({.driver = 13000}), "there is no GPU");
  EXPECT_EQ(reason({.driver = 13000, .counting = cudaErrorSystemNotReady}),
            cudaGetErrorString(cudaErrorSystemNotReady));
  EXPECT_EQ(reason({.driver = 13000, .count = 2}, 2), "there is no GPU 2, but 2");
  EXPECT_EQ(reason({.driver = 13000, .count = 2}, -1), "there is no GPU -1, but 2");
}

TEST(WhyNotCuda, Probe) {
  const auto failed = [](cudaError_t probe) {
    return reason({.driver = 13000,
                   .count = 1,
                   .probe = probe,
                   .gpu = {.name = "Tesla V100", .capability = 70}});
  };
  EXPECT_EQ(failed(cudaErrorNoKernelImageForDevice),
            std::string("Tesla V100 has compute capability 7.0, this build has code for compute "
                        "capability 80 90 (") +
                cudaGetErrorString(cudaErrorNoKernelImageForDevice) + ")");
  for (const cudaError_t in_use : {cudaErrorDevicesUnavailable, cudaErrorMemoryAllocation}) {
    EXPECT_EQ(failed(in_use), std::string("Tesla V100: ") + cudaGetErrorString(in_use));
  }
}

}  // namespace
}  // namespace strobe::cuda
