// Grouping of ids, as a part of a kernel
//
// Computes    keys, order: the ids and the rows that they come from, so that equal ids lie side by
//             side, in the order of the rows; ids outside the table become the key `table_rows`.
//             starts: where the equals of each begin
// Shapes      ids, keys, order, starts [count]
// Mapping     one block for each residue of the ids, which it owns: every block reads all ids, each
//             warp a range of its own, and places those it owns; blocks know nothing of each other
// Shared      how many of each owned id each warp's range has, then where the next of them belongs;
//             the first kListed owned ids of each warp, so that only where an id is very frequent
//             all are read again
// Steps       [1] count owned ids, and all that belong to blocks before  [2] add up the counts
//             [3] place: lanes with one id find each other by match_any
// Requires    at most kMaxDigits owned ids; table_rows < 2³¹, count < 2³¹
// Numerics    integers: the same order each time
// Cost        reads the ids once in each block, from the L2 cache; no block waits for another
#pragma once

#include <bit>
#include <cstdint>

#include "strobe/gpu/reduce.cuh"

namespace strobe {

struct EmbeddingSort {
  static constexpr int kThreads = 512;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kMaxDigits = 512;  // owned ids of a block
  static constexpr int kCounts = kMaxDigits * kWarps;
  static constexpr int kListed = 96;  // of a warp
  static constexpr int kBatch = 8;    // ids that a lane loads at once

  struct Entry {
    uint32_t key;
    int32_t row;
  };
  struct Shared {
    int counts[kCounts];  // [digit][warp]
    int starts[kMaxDigits];
    Entry listed[kWarps][kListed];
    int scratch[2][kWarps];
  };

  const int32_t* ids;
  uint32_t* keys;
  int32_t* order;
  int32_t* starts;
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
    __shared__ Shared shared;
    const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
    const uint32_t lanes_before = (1u << lane) - 1;
    for (int i = threadIdx.x; i < kCounts; i += kThreads) shared.counts[i] = 0;
    __syncthreads();

    int before = 0, owned = 0;  // [1]
    for_my_keys([&](Entry entry, bool is_there) {
      const uint32_t residue = entry.key & (blocks() - 1);
      before += is_there && residue < owner ? 1 : 0;
      const bool is_mine = is_there && residue == owner;
      const uint32_t mine = __ballot_sync(kFullWarp, is_mine);
      if (mine == 0) return;
      if (is_mine) {
        atomicAdd(&shared.counts[(entry.key >> shift) * kWarps + warp], 1);
        const int at = owned + __popc(mine & lanes_before);
        if (at < kListed) shared.listed[warp][at] = entry;
      }
      owned += __popc(mine);
    });
    before = reduce_block<Sum, kThreads>(before, shared.scratch[0]);  // a barrier: counts are done
    scan(shared, before);                                             // [2]

    const auto place = [&](Entry entry, bool is_mine) {  // [3]
      const uint32_t mine = __ballot_sync(kFullWarp, is_mine);
      if (mine == 0) return;
      if (is_mine) {
        const uint32_t digit = entry.key >> shift;
        int* next = &shared.counts[digit * kWarps + warp];
        const uint32_t equals = __match_any_sync(mine, entry.key);
        const int rank = __popc(equals & lanes_before), at = *next + rank;
        keys[at] = entry.key;
        order[at] = entry.row;
        starts[at] = shared.starts[digit];
        __syncwarp(mine);
        if (rank == 0) *next += __popc(equals);
      }
      __syncwarp();
    };
    if (owned <= kListed) {
      for (int i = lane; i < owned + lane; i += kWarpSize) {
        place(shared.listed[warp][i < owned ? i : 0], i < owned);
      }
    } else {
      for_my_keys([&](Entry entry, bool is_there) {
        place(entry, is_there && (entry.key & (blocks() - 1)) == owner);
      });
    }
  }

 private:
  // body(entry, is_there) for the ids of this warp's range in their order, one a lane at a time;
  // all lanes make the same number of calls.
  template <class Body>
  __device__ __forceinline__ void for_my_keys(const Body& body) const {
    const int steps = (count + kThreads - 1) / kThreads;  // of a warp
    const int begin = (threadIdx.x / kWarpSize) * steps * kWarpSize + threadIdx.x % kWarpSize;
    const int end = min(count, begin + steps * kWarpSize);
    for (int first = begin; first < begin + steps * kWarpSize; first += kBatch * kWarpSize) {
      int32_t id[kBatch];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const int row = first + b * kWarpSize;
        id[b] = row < end ? ids[row] : 0;
      }
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const int row = first + b * kWarpSize;
        const auto key = min(static_cast<uint32_t>(id[b]), table_rows);  // negative ones are large
        body({key, row}, row < end);
      }
    }
  }

  // counts[i] = first + the sum of all counts before i, and each digit's first of them its start.
  static __device__ __forceinline__ void scan(Shared& shared, int first) {
    constexpr int kEach = kCounts / kThreads;
    static_assert(kEach == kWarps, "a thread takes one digit");
    int* mine = shared.counts + threadIdx.x * kEach;
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
    if (lane == kWarpSize - 1) shared.scratch[1][warp] = inclusive;
    __syncthreads();
    int next = first + inclusive - sum;
    for (int i = 0; i < warp; ++i) next += shared.scratch[1][i];
    shared.starts[threadIdx.x] = next;
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
