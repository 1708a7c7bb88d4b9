#pragma once

// Copies from global to shared memory that pass by the registers and go on beside the computation
// (sm_80). A thread commits what it has asked for as a group, and waits for groups in their order;
// a barrier then makes the block's copies visible to all.

#include <cstdint>

namespace strobe {

// 16 bytes, both addresses aligned to 16; zeros, and nothing is read, where `is_inside` is false.
__device__ __forceinline__ void cp_async_16(uint32_t shared_address, const void* global,
                                            bool is_inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address), "l"(global),
               "r"(is_inside ? 16 : 0)
               : "memory");
}

// The same of 8 bytes, aligned to 8.
__device__ __forceinline__ void cp_async_8(uint32_t shared_address, const void* global,
                                           bool is_inside) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address), "l"(global),
               "r"(is_inside ? 8 : 0)
               : "memory");
}

__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Until at most kPending of the thread's newest groups are under way.
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace strobe
