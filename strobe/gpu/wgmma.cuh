#pragma once

// wgmma (sm_90a): matrix products of a warpgroup of four warps, asynchronous. One PTX instruction a
// function; the PTX ISA's section "Asynchronous Warpgroup Level Matrix Instructions".
//
// An accumulator d [64, N] f32 is spread over the 128 threads: register 4j + 2i + e of thread t is
// row 16·(t / 32) + t % 32 / 4 + 8i, column 8j + 2·(t % 4) + e. Until wgmma_wait() nothing may read
// or write d, nor write the registers of `a`.

#include <cstdint>
#include <type_traits>

#include "strobe/core/dtype.h"
#include "strobe/gpu/ldmatrix.cuh"

namespace strobe {

// Orders earlier accesses of registers before the products that follow.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// Closes a group of the products issued since the last one.
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until at most kPending groups, the newest, are unfinished.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Keeps the compiler from moving accesses of registers that a product works on: after a wait, of d
// and of `a`, whose registers nvcc 13.0 otherwise takes for free while they are being read.
template <int kCount>
__device__ __forceinline__ void pin_registers(float (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}
template <int kCount>
__device__ __forceinline__ void pin_registers(uint32_t (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}

// One, to hold back what is computed of it.
__device__ __forceinline__ void pin_registers(uint32_t& only) {
  asm volatile("" : "+r"(only)::"memory");
}
__device__ __forceinline__ void pin_registers(uint64_t& only) {
  asm volatile("" : "+l"(only)::"memory");
}

// Describes an operand in shared memory: 16-bit elements in panels of 64 columns, rows of 128 bytes
// whose 16-byte chunks are exchanged by the 128-byte swizzle as the bulk copy engine does it; a
// panel begins at a multiple of 1024 bytes. `panel_bytes` is the distance of panels, which only an
// operand with its contraction down the rows needs (Major::mn).
//
// Descriptions of what lies further on in memory differ by operand_step(); a step of 16 along the
// contraction is kStepAlongRow within a panel (four steps), kStepDownRows down the rows.
constexpr uint64_t operand_step(uint64_t bytes) { return bytes >> 4; }
constexpr uint64_t kStepAlongRow = operand_step(32), kStepDownRows = operand_step(16 * 128);

// The part of a description that its panels' distance is.
constexpr uint64_t operand_panels(uint64_t panel_bytes) { return panel_bytes >> 4 << 16; }

__device__ __forceinline__ uint64_t swizzled_operand(const void* tile, uint32_t panel_bytes = 16) {
  constexpr uint64_t kSwizzle128 = 1, kEightRows = 1024;
  return (shared_address(tile) & 0x3ffffu) >> 4 | operand_panels(panel_bytes) |
         (kEightRows >> 4) << 32 | kSwizzle128 << 62;
}

// How an operand lies in shared memory: with the contraction along its rows, or down them.
enum class Major : int { k = 0, mn = 1 };

// wgmma_m64k16<T, kMajorA, kMajorB>(d, a, b, accumulate): d = a·b (+ d when `accumulate`) with
// a [64, 16] and b [16, N] in shared memory; N is twice the size of d.
// wgmma_m64k16<T, kMajorB>(d, a, b, accumulate): the same with a in registers, as mma.sync has it:
// those of d of two neighbouring j, packed in pairs.
//
// An instruction names every register of d: what differs between the shapes is how many there are,
// and so the numbers of the operands behind them. Hence macros, which end with this file.
#define STROBE_WGMMA_D16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define STROBE_WGMMA_D24 \
  STROBE_WGMMA_D16       \
  ", %16, %17, %18, %19, %20, %21, %22, %23"
#define STROBE_WGMMA_D32 \
  STROBE_WGMMA_D24       \
  ", %24, %25, %26, %27, %28, %29, %30, %31"
#define STROBE_WGMMA_D40 \
  STROBE_WGMMA_D32       \
  ", %32, %33, %34, %35, %36, %37, %38, %39"
#define STROBE_WGMMA_D48 \
  STROBE_WGMMA_D40       \
  ", %40, %41, %42, %43, %44, %45, %46, %47"
#define STROBE_WGMMA_D64 \
  STROBE_WGMMA_D48       \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define STROBE_WGMMA_D128                                                                    \
  STROBE_WGMMA_D64                                                                           \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, "  \
  "%81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, "    \
  "%98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, " \
  "%113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define STROBE_WGMMA_D(i)                                                                     \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define STROBE_WGMMA_OUT16 STROBE_WGMMA_D(0), STROBE_WGMMA_D(8)
#define STROBE_WGMMA_OUT24 STROBE_WGMMA_OUT16, STROBE_WGMMA_D(16)
#define STROBE_WGMMA_OUT32 STROBE_WGMMA_OUT24, STROBE_WGMMA_D(24)
#define STROBE_WGMMA_OUT40 STROBE_WGMMA_OUT32, STROBE_WGMMA_D(32)
#define STROBE_WGMMA_OUT48 STROBE_WGMMA_OUT40, STROBE_WGMMA_D(40)
#define STROBE_WGMMA_OUT64 STROBE_WGMMA_OUT48, STROBE_WGMMA_D(48), STROBE_WGMMA_D(56)
#define STROBE_WGMMA_OUT128                                                             \
  STROBE_WGMMA_OUT64, STROBE_WGMMA_D(64), STROBE_WGMMA_D(72), STROBE_WGMMA_D(80),       \
      STROBE_WGMMA_D(88), STROBE_WGMMA_D(96), STROBE_WGMMA_D(104), STROBE_WGMMA_D(112), \
      STROBE_WGMMA_D(120)

#define STROBE_WGMMA_SS(n, count, type, a, b, p, major_a, major_b)                   \
  asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #p                                 \
               ", 0;\n"                                                              \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." #type "." #type     \
               " {" STROBE_WGMMA_D##count "}, %" #a ", %" #b ", p, 1, 1, %" #major_a \
                                          ", %" #major_b "; }\n"                     \
               : STROBE_WGMMA_OUT##count                                             \
               : "l"(a_tile), "l"(b_tile), "r"(static_cast<int>(accumulate)),        \
                 "n"(static_cast<int>(kMajorA)), "n"(static_cast<int>(kMajorB)))
#define STROBE_WGMMA_RS(n, count, type, a0, a1, a2, a3, b, p, major_b)                        \
  asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #p                                          \
               ", 0;\n"                                                                       \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." #type "." #type              \
               " {" STROBE_WGMMA_D##count "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b \
                                          ", p, 1, 1, %" #major_b "; }\n"                     \
               : STROBE_WGMMA_OUT##count                                                      \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_tile),                     \
                 "r"(static_cast<int>(accumulate)), "n"(static_cast<int>(kMajorB)))

// `count` is n / 2; i1 … i6 are the numbers behind it.
#define STROBE_WGMMA(n, count, i1, i2, i3, i4, i5, i6)                                             \
  template <class T, Major kMajorA = Major::k, Major kMajorB = Major::k>                           \
  __device__ __forceinline__ void wgmma_m64k16(float(&d)[count], uint64_t a_tile, uint64_t b_tile, \
                                               bool accumulate) {                                  \
    static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, f16>);                              \
    if constexpr (std::is_same_v<T, bf16>) {                                                       \
      STROBE_WGMMA_SS(n, count, bf16, count, i1, i2, i3, i4);                                      \
    } else {                                                                                       \
      STROBE_WGMMA_SS(n, count, f16, count, i1, i2, i3, i4);                                       \
    }                                                                                              \
  }                                                                                                \
  template <class T, Major kMajorB = Major::k>                                                     \
  __device__ __forceinline__ void wgmma_m64k16(float(&d)[count], const uint32_t(&a)[4],            \
                                               uint64_t b_tile, bool accumulate) {                 \
    static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, f16>);                              \
    if constexpr (std::is_same_v<T, bf16>) {                                                       \
      STROBE_WGMMA_RS(n, count, bf16, count, i1, i2, i3, i4, i5, i6);                              \
    } else {                                                                                       \
      STROBE_WGMMA_RS(n, count, f16, count, i1, i2, i3, i4, i5, i6);                               \
    }                                                                                              \
  }

STROBE_WGMMA(32, 16, 17, 18, 19, 20, 21, 22)
STROBE_WGMMA(48, 24, 25, 26, 27, 28, 29, 30)
STROBE_WGMMA(64, 32, 33, 34, 35, 36, 37, 38)
STROBE_WGMMA(80, 40, 41, 42, 43, 44, 45, 46)
STROBE_WGMMA(96, 48, 49, 50, 51, 52, 53, 54)
STROBE_WGMMA(128, 64, 65, 66, 67, 68, 69, 70)
STROBE_WGMMA(256, 128, 129, 130, 131, 132, 133, 134)

#undef STROBE_WGMMA
#undef STROBE_WGMMA_RS
#undef STROBE_WGMMA_SS
#undef STROBE_WGMMA_D
#undef STROBE_WGMMA_D16
#undef STROBE_WGMMA_OUT16
#undef STROBE_WGMMA_D24
#undef STROBE_WGMMA_OUT24
#undef STROBE_WGMMA_D32
#undef STROBE_WGMMA_OUT32
#undef STROBE_WGMMA_D40
#undef STROBE_WGMMA_OUT40
#undef STROBE_WGMMA_D48
#undef STROBE_WGMMA_OUT48
#undef STROBE_WGMMA_D64
#undef STROBE_WGMMA_OUT64
#undef STROBE_WGMMA_D128
#undef STROBE_WGMMA_OUT128

}  // namespace strobe
