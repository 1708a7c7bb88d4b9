// mma_rows_kernel
//
// Computes    y = x·weight + bias, then GELU, as yᵀ = weightᵀ·xᵀ: columns of the weight are the 16
//             rows of a tensor core's product, rows of x its 8 columns
// Shapes      x [M, K]  weight [K, N]  bias [N]  →  y [M, N],  M ≤ 8·kTiles
// Mapping     a block has a group of columns, and kTeams teams of warps that take every kTeams-th
//             step along K; the warps of a team have kColumns columns each
// Shared      each team's ring of steps on their way, of the weight and of x; then the teams' sums
// Steps       [1] multiply  [2] add up the teams' sums and finish
// Requires    sm_80; N (by rows) and K multiples of 8, lines of weight and x aligned to 16 bytes
// Numerics    f32 sums, in an order that K and N alone decide: a row's bits do not depend on the
//             rows beside it
// Cost        reads the weight once from memory, in pieces of 64 bytes (by rows) or 128, and x once
//             a block from the cache
#include "strobe/gpu/cp_async.cuh"
#include "strobe/gpu/ldmatrix.cuh"
#include "strobe/gpu/mma.cuh"
#include "strobe/ops/linear/linear_few_rows_cuda.cuh"
#include "strobe/ops/linear/linear_mma_rows_cuda.h"

namespace strobe {
namespace {

constexpr int kTileRows = 8;      // of x, in a product
constexpr int kTileColumns = 16;  // of the weight
constexpr int kChunk = 8;         // elements of 16 bytes

// A weight by rows: a step is 16 of them. Blocks are small, and have many teams, so that all of one
// of GPT-2's smaller weights is in flight at once; the rings take up to 96 KiB, which every GPU
// has.
struct ByRows {
  static constexpr int kColumns = 2 * kTileColumns, kStep = 16;
  static constexpr int kTeams = 16, kTeamWarps = 1;
  static constexpr int stages(int tiles) { return tiles == 4 ? 3 : 4; }
};

// By columns, a step is 64 elements of them. Where there are so many columns that their blocks fill
// a GPU, a block is one team.
constexpr int kManyColumns = 16384;
struct ByManyColumns {
  static constexpr int kColumns = kTileColumns, kStep = 64;
  static constexpr int kTeams = 1, kTeamWarps = 4;
  static constexpr int stages(int) { return 3; }
};
struct ByColumns {
  static constexpr int kColumns = kTileColumns, kStep = 64;
  static constexpr int kTeams = 4, kTeamWarps = 1;
  static constexpr int stages(int) { return 4; }
};

template <class T, class Layout, int kTiles>
struct MmaRows {
  static constexpr bool kByRows = Layout::kStep == 16;
  static constexpr int kStep = Layout::kStep, kColumns = Layout::kColumns;  // columns of a warp
  static constexpr int kTeams = Layout::kTeams, kTeamWarps = Layout::kTeamWarps;
  static constexpr int kTeamThreads = kTeamWarps * kWarpSize, kThreads = kTeams * kTeamThreads;
  static constexpr int kBlockColumns = kTeamWarps * kColumns;
  static constexpr int kStages = Layout::stages(kTiles);
  static constexpr int kRows = kTiles * kTileRows;
  static constexpr int kWeightBytes = kStep * kBlockColumns * 2, kXBytes = kStep * kRows * 2;
  static constexpr int kStageBytes = kWeightBytes + kXBytes;
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr int kSums = kRows * kBlockColumns;
  static constexpr int kSharedBytes = kTeams * kRingBytes;
  static_assert(kSharedBytes >= kTeams * kSums * int{sizeof(float)});

  // Where 16 bytes of a step lie, of a line of kLine elements.
  template <int kLine>
  static __device__ __forceinline__ uint32_t offset(int line, int chunk) {
    if constexpr (kLine == 16) {
      return line * 32 + chunk * 16;
    } else {
      return swizzled_offset<kLine>(line, chunk);
    }
  }

  // Puts lines on their way: a thread 16 bytes, and again.
  template <int kLines, int kLine, class Inside>
  static __device__ __forceinline__ void copy(uint32_t to, const T* from, int64_t stride,
                                              const Inside& is_inside) {
    constexpr int kChunks = kLine / kChunk;
#pragma unroll
    for (int i = threadIdx.x % kTeamThreads; i < kLines * kChunks; i += kTeamThreads) {
      const int line = i / kChunks, element = i % kChunks * kChunk;
      const bool inside = is_inside(line, element);
      cp_async_16(to + offset<kLine>(line, i % kChunks),
                  from + (inside ? line * stride + element : 0), inside);
    }
  }

  // `column` is the block's first.
  static __device__ __forceinline__ void copy_step(const FewRows<T, T>& call, uint32_t stage,
                                                   int step, int column) {
    const int k = step * kStep;
    if (k < call.inner) {
      if constexpr (kByRows) {
        copy<kStep, kBlockColumns>(stage, call.weight + k * call.weight_stride + column,
                                   call.weight_stride, [&](int line, int element) {
                                     return k + line < call.inner &&
                                            column + element < call.columns;
                                   });
      } else {
        copy<kBlockColumns, kStep>(stage, call.weight + column * call.weight_stride + k,
                                   call.weight_stride, [&](int line, int element) {
                                     return column + line < call.columns &&
                                            k + element < call.inner;
                                   });
      }
      copy<kRows, kStep>(
          stage + kWeightBytes, call.x + k, call.x_stride,
          [&](int line, int element) { return line < call.rows && k + element < call.inner; });
    }
    cp_async_commit();
  }

  static __device__ __forceinline__ void wait_for_team() {
    if constexpr (kTeamWarps == 1) {
      __syncwarp();
    } else {
      static_assert(kTeams == 1 || kTeamWarps == 1);
      __syncthreads();
    }
  }

  // sum[a][b] += 16 columns of the weight, the warp's a-th, times 8 rows of x, the b-th.
  static __device__ __forceinline__ void multiply(float (&sum)[kColumns / kTileColumns][kTiles][4],
                                                  uint32_t stage) {
    const int lane = threadIdx.x % kWarpSize;
    const int row = lane % 8, matrix = lane / 8;  // whose address the lane gives
    const int first_column = threadIdx.x / kWarpSize % kTeamWarps * kColumns;
#pragma unroll
    for (int k = 0; k < kStep / 16; ++k) {
      uint32_t x[kTiles + 1][2];
#pragma unroll
      for (int tile = 0; tile < kTiles; tile += 2) {  // two at once; of one, the second is not used
        const int line = min(tile + matrix / 2, kTiles - 1) * kTileRows + row;
        uint32_t fragments[4];
        ldmatrix_x4(fragments, stage + kWeightBytes + offset<kStep>(line, 2 * k + matrix % 2));
        x[tile][0] = fragments[0], x[tile][1] = fragments[1];
        x[tile + 1][0] = fragments[2], x[tile + 1][1] = fragments[3];
      }
#pragma unroll
      for (int part = 0; part < kColumns / kTileColumns; ++part) {
        const int column = first_column + part * kTileColumns;
        uint32_t weight[4];
        if constexpr (kByRows) {
          const int chunk = column / kChunk + matrix % 2;
          ldmatrix_x4_transposed(weight,
                                 stage + offset<kBlockColumns>(matrix / 2 * 8 + row, chunk));
        } else {
          const int line = column + matrix % 2 * 8 + row;
          ldmatrix_x4(weight, stage + offset<kStep>(line, 2 * k + matrix / 2));
        }
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          mma_m16n8k16<T>(sum[part][tile], weight, x[tile][0], x[tile][1]);
        }
      }
    }
  }
};

template <class T, class Layout, int kTiles>
__global__ void __launch_bounds__(MmaRows<T, Layout, kTiles>::kThreads)
    mma_rows_kernel(FewRows<T, T> call) {
  using Kernel = MmaRows<T, Layout, kTiles>;
  constexpr int kStages = Kernel::kStages, kTeams = Kernel::kTeams;
  constexpr int kParts = Kernel::kColumns / kTileColumns, kBlockColumns = Kernel::kBlockColumns;
  extern __shared__ __align__(128) char shared[];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % Kernel::kTeamWarps;
  const int team = threadIdx.x / Kernel::kTeamThreads;
  const int first_column = blockIdx.x * kBlockColumns;
  const uint32_t ring = shared_address(shared) + team * Kernel::kRingBytes;

  // [1] multiply
  float sum[kParts][kTiles][4] = {};
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) {
    Kernel::copy_step(call, ring + i * Kernel::kStageBytes, team + i * kTeams, first_column);
  }
  int stage = 0;
  for (int step = team; step * Kernel::kStep < call.inner; step += kTeams) {
    cp_async_wait<kStages - 2>();
    Kernel::wait_for_team();  // the step is here, and the one before is no longer read
    const int free = stage == 0 ? kStages - 1 : stage - 1;
    Kernel::copy_step(call, ring + free * Kernel::kStageBytes, step + (kStages - 1) * kTeams,
                      first_column);
    Kernel::multiply(sum, ring + stage * Kernel::kStageBytes);
    stage = stage + 1 == kStages ? 0 : stage + 1;
  }

  // [2] add up the teams' sums and finish
  cp_async_wait<0>();
  __syncthreads();
  auto* const sums = reinterpret_cast<float*>(shared);  // [team][row of x][column]
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = tile * kTileRows + lane % 4 * 2 + i % 2;
        const int own = warp * Kernel::kColumns + part * kTileColumns + lane / 4 + i / 2 * 8;
        sums[team * Kernel::kSums + row * kBlockColumns + own] = sum[part][tile][i];
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < call.rows * kBlockColumns; i += Kernel::kThreads) {
    const int row = i / kBlockColumns, n = first_column + i % kBlockColumns;
    if (n >= call.columns) continue;
    float total = 0;
#pragma unroll
    for (int part = 0; part < kTeams; ++part) total += sums[part * Kernel::kSums + i];
    call.finish(row, n, total);
  }
}

template <class T, class Layout, int kTiles>
void launch_for_tiles(Context& ctx, const FewRows<T, T>& call) {
  using Kernel = MmaRows<T, Layout, kTiles>;
  const dim3 grid((call.columns + Kernel::kBlockColumns - 1) / Kernel::kBlockColumns);
  launch(ctx, mma_rows_kernel<T, Layout, kTiles>,
         {.grid = grid, .block = dim3(Kernel::kThreads), .shared_bytes = Kernel::kSharedBytes},
         call);
}

template <class T, class Layout>
void launch_for(Context& ctx, const FewRows<T, T>& call) {
  if (call.rows <= kTileRows) {
    launch_for_tiles<T, Layout, 1>(ctx, call);
  } else if (call.rows <= 2 * kTileRows) {
    launch_for_tiles<T, Layout, 2>(ctx, call);
  } else {
    launch_for_tiles<T, Layout, 4>(ctx, call);
  }
}

bool is_by_rows(const Tensor& weight) { return weight.strides[1] == 1; }

bool has_aligned_lines(const Tensor& t, int64_t stride) {
  return stride % kChunk == 0 && reinterpret_cast<uintptr_t>(t.data) % 16 == 0;
}

}  // namespace

bool can_use_mma_rows(const Context& ctx, const LinearForward& args) {
  const Tensor &x = args.x, &w = args.weight;
  return x.shape[0] <= kMostMmaRows && w.dtype == x.dtype && size_of(w.dtype) == 2 &&
         cuda_info(ctx.device().index).capability >= 80 && w.shape[0] % kChunk == 0 &&
         (!is_by_rows(w) || w.shape[1] % kChunk == 0) && has_aligned_lines(x, x.strides[0]) &&
         has_aligned_lines(w, w.strides[is_by_rows(w) ? 0 : 1]);
}

void mma_rows_forward(Context& ctx, const LinearForward& args) {
  const auto run = [&](auto type) {
    using T = decltype(type);
    const FewRows<T, T> call(args);
    if (is_by_rows(args.weight)) {
      launch_for<T, ByRows>(ctx, call);
    } else if (call.columns >= kManyColumns) {
      launch_for<T, ByManyColumns>(ctx, call);
    } else {
      launch_for<T, ByColumns>(ctx, call);
    }
  };
  args.x.dtype == DType::f16 ? run(f16{}) : run(bf16{});
}

}  // namespace strobe
