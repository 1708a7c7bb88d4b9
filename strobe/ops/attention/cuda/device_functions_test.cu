// The functions that CPU and CUDA kernels share, run on the GPU and compared with the host: Philox,
// the dropout decision, visibility under a mask, and the 16-bit conversions.
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <vector>

#include "strobe/core/dtype.h"
#include "strobe/core/random.h"
#include "strobe/ops/attention/dropout.h"
#include "strobe/ops/attention/mask.h"

namespace strobe {
namespace {

void expect_success(cudaError_t error) {
  ASSERT_EQ(error, cudaSuccess) << cudaGetErrorString(error);
}

// Skips with the reason where there is no GPU to run on.
class DeviceFunctions : public ::testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess) GTEST_SKIP() << "no GPU: " << cudaGetErrorString(error);
    if (devices == 0) GTEST_SKIP() << "no GPU";
  }
};

template <class Function, class Result>
__global__ void evaluate_kernel(Function function, int64_t count, Result* results) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) results[i] = function(i);
}

// function(0), …, function(count − 1), computed on the GPU.
template <class Function>
auto on_device(int64_t count, Function function) {
  using Result = decltype(function(int64_t{}));
  Result* device = nullptr;
  std::vector<Result> results(count);
  expect_success(cudaMalloc(&device, count * sizeof(Result)));
  evaluate_kernel<<<static_cast<unsigned>((count + 255) / 256), 256>>>(function, count, device);
  expect_success(cudaGetLastError());
  expect_success(
      cudaMemcpy(results.data(), device, count * sizeof(Result), cudaMemcpyDeviceToHost));
  expect_success(cudaFree(device));
  return results;
}

template <class Function>
auto on_host(int64_t count, Function function) {
  std::vector<decltype(function(int64_t{}))> results(count);
  for (int64_t i = 0; i < count; ++i) results[i] = function(i);
  return results;
}

std::vector<uint32_t> flatten(const std::vector<PhiloxWords>& results) {
  std::vector<uint32_t> words;
  for (const PhiloxWords& x : results) words.insert(words.end(), x.word, x.word + 4);
  return words;
}

// The published answers, as in strobe/core/random_test.cpp: zeros, ones, the digits of pi.
struct PhiloxAt {
  int rounds;
  STROBE_HD PhiloxWords operator()(int64_t i) const {
    const uint32_t ones = 0xffffffffu;
    const PhiloxWords counters[] = {{{0, 0, 0, 0}},
                                    {{ones, ones, ones, ones}},
                                    {{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}};
    const PhiloxKey keys[] = {{{0, 0}}, {{ones, ones}}, {{0xa4093822u, 0x299f31d0u}}};
    return rounds == 7 ? philox<7>(counters[i], keys[i]) : philox<10>(counters[i], keys[i]);
  }
};

TEST_F(DeviceFunctions, PhiloxGivesThePublishedKnownAnswers) {
  const std::vector<uint32_t> after_7 = {0x5f6fb709u, 0x0d893f64u, 0x4f121f81u, 0x4f730a48u,
                                         0x5207ddc2u, 0x45165e59u, 0x4d8ee751u, 0x8c52f662u,
                                         0x4dfccabau, 0x190a87f0u, 0xc47362bau, 0xb6b5242au};
  const std::vector<uint32_t> after_10 = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u,
                                          0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu,
                                          0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u};
  EXPECT_EQ(flatten(on_device(3, PhiloxAt{7})), after_7);
  EXPECT_EQ(flatten(on_device(3, PhiloxAt{10})), after_10);
}

struct RandomKeyAt {
  STROBE_HD uint64_t operator()(int64_t i) const {
    const PhiloxKey key = random_key(17, static_cast<uint64_t>(i) << 20, static_cast<uint32_t>(i));
    return static_cast<uint64_t>(key.word[1]) << 32 | key.word[0];
  }
};

TEST_F(DeviceFunctions, RandomKeysAreTheHosts) {
  EXPECT_EQ(on_device(1000, RandomKeyAt{}), on_host(1000, RandomKeyAt{}));
}

constexpr int64_t kQueries = 50, kKeys = 70, kHeads = 3;  // not multiples of a block

struct KeepsAt {
  Dropout dropout;
  STROBE_HD char operator()(int64_t i) const {
    return dropout_keeps(dropout, static_cast<uint32_t>(i / (kQueries * kKeys)),
                         static_cast<uint32_t>(i / kKeys % kQueries),
                         static_cast<uint32_t>(i % kKeys));
  }
};

TEST_F(DeviceFunctions, DropoutDropsTheHostsElements) {
  constexpr int64_t kCount = kHeads * kQueries * kKeys;
  for (const double p : {1 / 256.0, 0.1, 0.5, 255 / 256.0}) {
    const KeepsAt keeps = {Dropout::with(p, random_key(1, 2, 3))};
    const auto device = on_device(kCount, keeps);
    EXPECT_EQ(device, on_host(kCount, keeps)) << "p = " << p;
    double kept = 0;
    for (const char keep : device) kept += keep;
    EXPECT_NEAR(kept / kCount, 1 - keeps.dropout.probability(), 0.02) << "p = " << p;
  }
}

struct VisibleAt {
  Visibility visibility;
  STROBE_HD char operator()(int64_t i) const {
    return visibility.visible(i / visibility.seq_k, i % visibility.seq_k);
  }
};

struct KeyTilesAt {
  Visibility visibility;
  int64_t block_q, block_k;
  STROBE_HD KeyTiles operator()(int64_t i) const {
    const int64_t end = (i + 1) * block_q < visibility.seq_q ? (i + 1) * block_q : visibility.seq_q;
    return visibility.key_tiles({i * block_q, end}, block_k);
  }
};

TEST_F(DeviceFunctions, MasksShowTheHostsElements) {
  for (const Mask& mask : {full(), causal(), window(5, 2), window(0, 0)}) {
    for (const Span keys : {Span{0, kKeys}, Span{7, kKeys - 9}}) {
      const Visibility visibility = {
          .mask = mask, .seq_q = kQueries, .seq_k = kKeys, .queries = {0, kQueries}, .keys = keys};
      const VisibleAt visible = {visibility};
      EXPECT_EQ(on_device(kQueries * kKeys, visible), on_host(kQueries * kKeys, visible));

      const KeyTilesAt tiles = {visibility, 16, 8};
      const int64_t blocks = (kQueries + 15) / 16;
      const auto device = on_device(blocks, tiles), host = on_host(blocks, tiles);
      for (int64_t i = 0; i < blocks; ++i) {
        EXPECT_EQ(device[i].first, host[i].first);
        EXPECT_EQ(device[i].full_begin, host[i].full_begin);
        EXPECT_EQ(device[i].full_end, host[i].full_end);
        EXPECT_EQ(device[i].last, host[i].last);
      }
    }
  }
}

// Widens the 16 bits, and rounds the value just above back: both directions at once.
template <class T>
struct ConvertedAt {
  STROBE_HD uint64_t operator()(int64_t i) const {
    const float wide = to_f32(T{static_cast<uint16_t>(i)});
    const uint32_t bits = std::bit_cast<uint32_t>(wide);
    const float above = std::bit_cast<float>(bits + 0x1234u);
    uint16_t rounded = 0;
    if constexpr (dtype_of<T>() == DType::f16) {
      rounded = to_f16(above).bits;
    } else {
      rounded = to_bf16(above).bits;
    }
    return static_cast<uint64_t>(bits) << 16 | rounded;
  }
};

TEST_F(DeviceFunctions, ConversionsAreTheHosts) {
  EXPECT_EQ(on_device(0x10000, ConvertedAt<bf16>{}), on_host(0x10000, ConvertedAt<bf16>{}));
  EXPECT_EQ(on_device(0x10000, ConvertedAt<f16>{}), on_host(0x10000, ConvertedAt<f16>{}));
}

}  // namespace
}  // namespace strobe
