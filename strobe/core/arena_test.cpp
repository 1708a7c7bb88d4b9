#include "strobe/core/arena.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "strobe/core/check.h"
#include "tests/testkit/errors.h"

namespace strobe {
namespace {

constexpr ArenaOptions kPoisoned = {.poison = true};

int64_t current(const Arena& arena, MemoryUse use) {
  return arena.report().current_bytes[static_cast<size_t>(use)];
}
int64_t peak(const Arena& arena, MemoryUse use) {
  return arena.report().peak_bytes[static_cast<size_t>(use)];
}

TEST(Arena, AllocatesAlignedContiguousTensorsThatDoNotOverlap) {
  for (const bool poison : {false, true}) {
    Arena arena({.poison = poison});
    const Tensor a = arena.allocate(MemoryUse::weights, DType::f32, {3, 5});
    const Tensor b = arena.allocate(MemoryUse::weights, DType::bf16, {1, 1, 7});
    EXPECT_TRUE(a.is_contiguous());
    EXPECT_EQ(a.shape, (Shape{3, 5}));
    EXPECT_EQ(b.dtype, DType::bf16);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data) % 64, 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data) % 64, 0u);
    EXPECT_GE(static_cast<char*>(b.data) - static_cast<char*>(a.data), 60);
  }
}

TEST(Arena, EmptyTensorsAreAllocated) {
  Arena arena(kPoisoned);
  const Tensor t = arena.allocate(MemoryUse::workspace, DType::f32, {4, 0});
  EXPECT_TRUE(t.has_data());
  EXPECT_EQ(t.numel(), 0);
  arena.check_guards();
}

TEST(Arena, ServesTensorsLargerThanAChunkAndKeepsAddresses) {
  Arena arena({.poison = false});
  const Tensor small = arena.allocate(MemoryUse::weights, DType::f32, {16});
  small.as<float>()[0] = 42;
  const int64_t large = int64_t{50} << 20;  // floats: 200 MiB, more than one chunk
  const Tensor first = arena.allocate(MemoryUse::weights, DType::f32, {large});
  first.as<float>()[large - 1] = 1;
  void* address = nullptr;
  for (int pass = 0; pass < 2; ++pass) {  // the same memory is found again after a release
    const Arena::Scope scope(arena);
    const Tensor t = arena.allocate(MemoryUse::activations, DType::f32, {large});
    t.as<float>()[0] = 2;
    if (pass == 0) address = t.data;
    EXPECT_EQ(t.data, address);
  }
  EXPECT_EQ(small.as<float>()[0], 42);
  EXPECT_EQ(first.as<float>()[large - 1], 1);
}

TEST(Arena, HighWaterIsTheMostThatWasTakenAtATimeOverAllChunks) {
  Arena arena({.poison = false});
  constexpr int64_t kHalfChunk = int64_t{32} << 20, kAlignment = 64;
  arena.allocate(MemoryUse::weights, DType::bf16, {1});
  EXPECT_EQ(arena.high_water_bytes(), kAlignment);
  for (int pass = 0; pass < 2; ++pass) {
    const Arena::Scope scope(arena);
    for (int i = 0; i < 3; ++i) {  // the second half of the first chunk is left empty
      arena.allocate(MemoryUse::activations, DType::f32, {kHalfChunk / 4});
    }
    EXPECT_EQ(arena.high_water_bytes(), kAlignment + 3 * kHalfChunk);
  }
  arena.allocate(MemoryUse::activations, DType::f32, {16});
  EXPECT_EQ(arena.high_water_bytes(), kAlignment + 3 * kHalfChunk);
}

TEST(Arena, PoisonsEveryAllocationAlsoReusedMemory) {
  Arena arena(kPoisoned);
  for (int pass = 0; pass < 2; ++pass) {
    const Arena::Scope scope(arena);
    const Tensor f = arena.allocate(MemoryUse::workspace, DType::f32, {100});
    const Tensor h = arena.allocate(MemoryUse::workspace, DType::bf16, {100});
    const Tensor g = arena.allocate(MemoryUse::workspace, DType::f16, {100});
    const Tensor i = arena.allocate(MemoryUse::workspace, DType::i32, {100});
    for (int n = 0; n < 100; ++n) {
      EXPECT_TRUE(std::isnan(f.as<float>()[n]));
      EXPECT_TRUE(std::isnan(to_f32(h.as<bf16>()[n])));
      EXPECT_TRUE(std::isnan(to_f32(g.as<f16>()[n])));
      EXPECT_EQ(i.as<int32_t>()[n], 0x7f7f7f7f);
    }
    std::memset(f.data, 0, f.bytes());
    std::memset(i.data, 0, i.bytes());
  }
}

TEST(Arena, SeesWritesOnEitherSideOfAnAllocation) {
  for (const int64_t where : {int64_t{-1}, int64_t{-2048}, int64_t{12}, int64_t{2048}}) {
    Arena arena(kPoisoned);
    const Tensor t = arena.allocate(MemoryUse::attention, DType::f32, {3});  // 12 bytes
    char* byte = static_cast<char*>(t.data) + where;
    arena.check_guards();
    const char before = *byte;
    *byte = 0;
    try {
      arena.check_guards();
      ADD_FAILURE() << "a write at byte " << where << " went unseen";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("12 bytes (attention)"), std::string::npos)
          << error.what();
    }
    *byte = before;
    arena.check_guards();
  }
}

TEST(ArenaDeathTest, AbortsWhenAnOverrunAllocationIsReleased) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        Arena arena(kPoisoned);
        const Tensor t = arena.allocate(MemoryUse::workspace, DType::f32, {16});
        t.as<float>()[16] = 0;
      },
      "memory was written outside an allocation");
}

TEST(Arena, ScopesReleaseInStackOrder) {
  Arena arena(kPoisoned);
  const Tensor outer = arena.allocate(MemoryUse::weights, DType::f32, {10});
  void* inner_address = nullptr;
  {
    const Arena::Scope scope(arena);
    inner_address = arena.allocate(MemoryUse::activations, DType::f32, {10}).data;
    {
      const Arena::Scope nested(arena);
      arena.allocate(MemoryUse::workspace, DType::f32, {10});
      EXPECT_EQ(arena.report().current_total_bytes, 120);
    }
    EXPECT_EQ(arena.report().current_total_bytes, 80);
  }
  EXPECT_EQ(arena.report().current_total_bytes, 40);
  EXPECT_EQ(arena.allocate(MemoryUse::gradients, DType::f32, {10}).data, inner_address);
  EXPECT_NE(outer.data, inner_address);
}

TEST(Arena, ReportsPeaksByCategoryAndOfTheSum) {
  Arena arena({.poison = false});
  arena.allocate(MemoryUse::weights, DType::f32, {100});
  {
    const Arena::Scope scope(arena);
    arena.allocate(MemoryUse::activations, DType::bf16, {500});
    const Arena::Scope nested(arena);
    arena.allocate(MemoryUse::attention, DType::f32, {50});
  }
  {
    const Arena::Scope scope(arena);
    arena.allocate(MemoryUse::attention, DType::f32, {250});
  }
  EXPECT_EQ(current(arena, MemoryUse::weights), 400);
  EXPECT_EQ(current(arena, MemoryUse::attention), 0);
  EXPECT_EQ(peak(arena, MemoryUse::activations), 1000);
  EXPECT_EQ(peak(arena, MemoryUse::attention), 1000);
  EXPECT_EQ(peak(arena, MemoryUse::optimizer), 0);
  // The peaks of activations and attention did not coincide.
  EXPECT_EQ(arena.report().peak_total_bytes, 1600);
  int64_t sum = 0;
  for (int64_t bytes : arena.report().at_peak_bytes) sum += bytes;
  EXPECT_EQ(sum, arena.report().peak_total_bytes);
  EXPECT_EQ(arena.report().at_peak_bytes[static_cast<size_t>(MemoryUse::attention)], 200);

  arena.reset_peaks();
  EXPECT_EQ(arena.report().peak_total_bytes, 400);
  EXPECT_EQ(peak(arena, MemoryUse::activations), 0);
}

TEST(Arena, RefusesToGrowBeyondItsLimit) {
  Arena arena({.limit_bytes = 1 << 20});
  arena.allocate(MemoryUse::weights, DType::f32, {1 << 17});
  try {
    arena.allocate(MemoryUse::activations, DType::f32, {2, (1 << 16) + 1});
    FAIL() << "the limit was passed";
  } catch (const OutOfMemory& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("out of memory: activations"), std::string::npos) << message;
    EXPECT_NE(message.find("[2, 65537]"), std::string::npos) << message;
  }
  EXPECT_EQ(arena.report().current_total_bytes, 1 << 19);
  arena.allocate(MemoryUse::activations, DType::f32, {1 << 17});  // exactly the limit fits
}

TEST(Arena, TheEnvironmentSwitchesPoisonOn) {
  setenv("STROBE_POISON", "1", 1);
  EXPECT_TRUE(Arena::options_from_environment().poison);
  setenv("STROBE_POISON", "0", 1);
  EXPECT_FALSE(Arena::options_from_environment().poison);
  unsetenv("STROBE_POISON");
  EXPECT_FALSE(Arena::options_from_environment().poison);
}

TEST(Arena, TheEnvironmentSetsALimit) {
  setenv("STROBE_MEMORY_LIMIT", "3", 1);
  EXPECT_EQ(Arena::options_from_environment().limit_bytes, 3 << 20);
  for (const char* wrong : {"", "0", "-1", "1.5", "3 MiB", "99999999999999999999"}) {
    setenv("STROBE_MEMORY_LIMIT", wrong, 1);
    EXPECT_EQ(testing::error_of([] { Arena::options_from_environment(); }),
              std::string("STROBE_MEMORY_LIMIT is '") + wrong +
                  "', allowed is a whole number of MiB of at least 1");
  }
  unsetenv("STROBE_MEMORY_LIMIT");
  EXPECT_EQ(Arena::options_from_environment().limit_bytes, 0);
}

}  // namespace
}  // namespace strobe
