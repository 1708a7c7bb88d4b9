#pragma once

// Barriers in shared memory on which threads wait for the bulk copy engine, and for each other
// (sm_90). A barrier's phases are numbered 0, 1, 2, …; who waits gives the parity of the phase that
// is to be over. Before the first phase is over, "parity 1" is. One PTX instruction a function.

#include <cstdint>

#include "strobe/gpu/ldmatrix.cuh"

namespace strobe {

using Mbarrier = uint64_t;

// A phase ends with `arrivals` arrivals, and the bytes that it expects.
__device__ __forceinline__ void mbarrier_init(Mbarrier* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}

// Makes initialised barriers known to the copy engine; a barrier of the block must follow.
__device__ __forceinline__ void mbarrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(Mbarrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}

// Arrives, and adds to the bytes that the phase waits for.
__device__ __forceinline__ void mbarrier_arrive_expecting(Mbarrier* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}

// May take a while before it says no.
__device__ __forceinline__ bool mbarrier_is_over(Mbarrier* barrier, uint32_t parity) {
  uint32_t is_over;
  asm volatile(
      "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
      "selp.u32 %0, 1, 0, p; }"
      : "=r"(is_over)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
  return is_over != 0;
}

__device__ __forceinline__ void mbarrier_wait(Mbarrier* barrier, uint32_t parity) {
  while (!mbarrier_is_over(barrier, parity)) {
  }
}

// Where in a ring of stages, each with its barriers, a thread stands. Who fills the stages waits
// for the phase before (`parity() ^ 1`).
template <int kStages>
class RingPosition {
 public:
  __device__ __forceinline__ int stage() const { return stage_; }
  __device__ __forceinline__ uint32_t parity() const { return parity_; }
  __device__ __forceinline__ void advance() {
    if (++stage_ == kStages) {
      stage_ = 0;
      parity_ ^= 1;
    }
  }

 private:
  int stage_ = 0;
  uint32_t parity_ = 0;
};

// The same in one register instead of two, and with an instruction or two more for each question.
template <int kStages>
class NarrowRingPosition {
 public:
  __device__ __forceinline__ int stage() const { return at_ < kStages ? at_ : at_ - kStages; }
  __device__ __forceinline__ uint32_t parity() const { return at_ < kStages ? 0 : 1; }
  __device__ __forceinline__ void advance() { at_ = at_ == kRounds - 1 ? 0 : at_ + 1; }
  __device__ __forceinline__ NarrowRingPosition before() const {
    NarrowRingPosition position;
    position.at_ = at_ == 0 ? kRounds - 1 : at_ - 1;
    return position;
  }

 private:
  static constexpr int kRounds = 2 * kStages;  // once with parity 0, once with parity 1
  int at_ = 0;
};

}  // namespace strobe
