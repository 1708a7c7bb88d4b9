#pragma once

// The bulk copy engine (sm_90): one thread moves a piece of memory, or a box of a tensor of four
// dimensions, between global and shared memory. strobe/gpu/tensor_map.h makes the maps of tensors.
// One PTX instruction a function.

#include <cuda.h>

#include <cstdint>

#include "strobe/gpu/ldmatrix.cuh"
#include "strobe/gpu/mbarrier.cuh"

namespace strobe {

__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// The box at these coordinates, innermost first; `barrier` learns of its bytes, all of them:
// elements outside the tensor arrive as 0.
__device__ __forceinline__ void load_box(void* to, const CUtensorMap& map, Mbarrier* barrier,
                                         int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%3, %4, %5, %6}], [%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(barrier)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}

// Elements outside the tensor are left out.
__device__ __forceinline__ void store_box(const CUtensorMap& map, const void* from, int c0, int c1,
                                          int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(
          &map),
      "r"(shared_address(from)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}

// A multiple of 16 bytes between addresses that are, too.
__device__ __forceinline__ void load_bulk(void* to, const void* from, uint32_t bytes,
                                          Mbarrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
      "[%3];" ::"r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}

__device__ __forceinline__ void store_bulk(void* to, const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
               "r"(shared_address(from)), "r"(bytes)
               : "memory");
}

// A multiple of 16 bytes, of f32 that are added to what lies in global memory, each atomically.
__device__ __forceinline__ void add_bulk(float* to, const float* from, uint32_t bytes) {
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
      "r"(shared_address(from)), "r"(bytes)
      : "memory");
}

// Closes a group of the thread's copies out of shared memory.
__device__ __forceinline__ void commit_stores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

// Waits until the shared memory of all but the newest kPending groups has been read.
template <int kPending>
__device__ __forceinline__ void wait_until_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}

// Waits until all but the newest kPending groups are in global memory.
template <int kPending>
__device__ __forceinline__ void wait_until_written() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
}

// Between accesses of global memory by threads and by the copy engine, whichever come first: this
// thread's, those that it has waited for, and those of who waits for it.
__device__ __forceinline__ void fence_async_proxy_global() {
  asm volatile("fence.proxy.async.global;" ::: "memory");
}

// Shows what this thread wrote to shared memory to the copy engine and to wgmma. A barrier with who
// starts those must follow.
__device__ __forceinline__ void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace strobe
