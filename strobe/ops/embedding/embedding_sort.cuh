// Grouping of ids, as a part of a kernel
//
// Computes    keys, order: the ids and the rows that they come from, so that equal ids lie side by
//             side, in the order of the rows; ids outside the table become the key `table_rows`
// Shapes      ids, keys, order [count]
// Mapping     one block for each residue of the ids, which it owns: every block reads all ids, each
//             warp a range of its own, and places those it owns; blocks know nothing of each other
// Shared      how many of each owned id each warp's range has, then where the next of them belongs
// Steps       [1] count owned ids, and all that belong to blocks before  [2] add up the counts
//             [3] place: lanes with one id find each other by match_any
// Requires    at most kMaxDigits owned ids; table_rows < 2³¹, count < 2³¹
// Numerics    integers: the same order each time
// Cost        reads the ids twice in each block, from the L2 cache; no block waits for another, and
//             the time does not depend on which ids are frequent
#pragma once

#include <bit>
#include <cstdint>

#include "strobe/gpu/reduce.cuh"

namespace strobe {

struct EmbeddingSort {
  static constexpr int kThreads = 256;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kMaxDigits = 512;  // owned ids of a block
  static constexpr int kCounts = kMaxDigits * kWarps;
  static constexpr int kBatch = 8;  // ids that a lane loads at once

  const int32_t* ids;
  uint32_t* keys;
  int32_t* order;
  int32_t count;
  uint32_t table_rows;
  uint32_t shift;  // log2 of the number of blocks

  static uint32_t shift_of(int64_t table_rows) {
    constexpr uint64_t kFewestBlocks = 64;
    const auto ids = static_cast<uint64_t>(table_rows) + 1;  // with the key of all others
    const uint64_t blocks = std::bit_ceil((ids + kMaxDigits - 1) / kMaxDigits);
    return static_cast<uint32_t>(std::countr_zero(blocks < kFewestBlocks ? kFewestBlocks : blocks));
  }

  __host__ __device__ unsigned blocks() const { return 1u << shift; }

  __device__ __forceinline__ void run(uint32_t owner) const {
    __shared__ int s_counts[kCounts];  // [digit][warp]
    __shared__ int s_scratch[2][kWarps];
    const int warp = threadIdx.x / kWarpSize;
    for (int i = threadIdx.x; i < kCounts; i += kThreads) s_counts[i] = 0;
    __syncthreads();

    int before = 0;  // [1]
    for_my_keys([&](int, uint32_t key, bool is_there) {
      const uint32_t residue = key & (blocks() - 1);
      if (is_there && residue < owner) ++before;
      if (is_there && residue == owner) atomicAdd(&s_counts[(key >> shift) * kWarps + warp], 1);
    });
    before = reduce_block<Sum, kThreads>(before, s_scratch[0]);  // a barrier, so counts are done
    scan(s_counts, before, s_scratch[1]);                        // [2]

    for_my_keys([&](int row, uint32_t key, bool is_there) {  // [3]
      const bool is_mine = is_there && (key & (blocks() - 1)) == owner;
      const uint32_t mine = __ballot_sync(kFullWarp, is_mine);
      if (mine == 0) return;
      if (is_mine) {
        int* next = &s_counts[(key >> shift) * kWarps + warp];
        const uint32_t equals = __match_any_sync(mine, key);
        const int rank = __popc(equals & ((1u << (threadIdx.x % kWarpSize)) - 1));
        const int place = *next + rank;
        keys[place] = key;
        order[place] = row;
        __syncwarp(mine);
        if (rank == 0) *next += __popc(equals);
      }
      __syncwarp();
    });
  }

 private:
  // body(row, key, is_there) for the ids of this warp's range in their order, one a lane at a time;
  // all lanes make the same number of calls.
  template <class Body>
  __device__ __forceinline__ void for_my_keys(const Body& body) const {
    const int steps = (count + kThreads - 1) / kThreads;  // of a warp
    const int begin = (threadIdx.x / kWarpSize) * steps * kWarpSize + threadIdx.x % kWarpSize;
    for (int step = 0; step < steps; step += kBatch) {
      int32_t id[kBatch];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const int row = begin + (step + b) * kWarpSize;
        id[b] = step + b < steps && row < count ? ids[row] : 0;
      }
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const int row = begin + (step + b) * kWarpSize;
        const bool is_inside = static_cast<uint32_t>(id[b]) < table_rows;
        body(row, is_inside ? static_cast<uint32_t>(id[b]) : table_rows,
             step + b < steps && row < count);
      }
    }
  }

  // counts[i] = first + the sum of all counts before i.
  static __device__ __forceinline__ void scan(int (&counts)[kCounts], int first, int* warp_sums) {
    constexpr int kEach = kCounts / kThreads;
    int* mine = counts + threadIdx.x * kEach;
    int sum = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) sum += mine[i];
    const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
    int inclusive = sum;
#pragma unroll
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const int left = __shfl_up_sync(kFullWarp, inclusive, offset);
      if (lane >= offset) inclusive += left;
    }
    if (lane == kWarpSize - 1) warp_sums[warp] = inclusive;
    __syncthreads();
    int next = first + inclusive - sum;
    for (int i = 0; i < warp; ++i) next += warp_sums[i];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int here = mine[i];
      mine[i] = next;
      next += here;
    }
    __syncthreads();
  }
};

}  // namespace strobe
