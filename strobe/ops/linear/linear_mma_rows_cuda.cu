// mma_rows_kernel
//
// Computes    y = x·weight + bias, then GELU, as yᵀ = weightᵀ·xᵀ: columns of the weight are the 16
//             rows of a tensor core's product, rows of x its 8 columns
// Shapes      x [M, K]  weight [K, N]  bias [N]  →  y [M, N],  M ≤ 8·kTiles
// Mapping     a block has kSplit warps for each group of columns, which take every kSplit-th step
//             along K: 16 columns and 16 warps where the weight lies by rows, so that all of a small
//             one is in flight at once
// Shared      each warp's ring of steps on their way, of the weight and of x; then the warps' sums
// Steps       [1] multiply  [2] add up the warps' sums and finish
// Requires    sm_80; N (by rows) and K multiples of 8, lines of the weight and of x aligned to 16 bytes
// Numerics    f32 sums, in an order that K and N alone decide: a row's bits do not depend on the rows
//             beside it
// Cost        reads the weight once, from memory, and x once a group of columns, from the cache
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

// A weight by rows: a step is 16 rows of 16 columns.
struct ByRows {
  static constexpr int kColumns = kTileColumns, kStep = 16;
  static constexpr int kWarps = 16, kSplit = 16;
  // About 96 KiB in all, which every GPU has.
  static constexpr int stages(int tiles) { return tiles == 1 ? 8 : tiles == 2 ? 6 : 4; }
};

// By columns: 32 elements of 32 columns.
template <int kSplit_>
struct ByColumns {
  static constexpr int kColumns = 2 * kTileColumns, kStep = 32;
  static constexpr int kWarps = 4, kSplit = kSplit_;
  static constexpr int stages(int) { return 4; }
};
constexpr int kManyColumns = 16384;  // whose warps fill a GPU without being split along K

template <class T, class Layout, int kTiles>
struct MmaRows {
  static constexpr bool kByRows = Layout::kStep == 16;
  static constexpr int kStep = Layout::kStep, kColumns = Layout::kColumns;
  static constexpr int kWarps = Layout::kWarps, kSplit = Layout::kSplit;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kBlockColumns = kWarps / kSplit * kColumns;
  static constexpr int kStages = Layout::stages(kTiles);
  static constexpr int kRows = kTiles * kTileRows;
  static constexpr int kWeightBytes = kStep * kColumns * 2, kXBytes = kStep * kRows * 2;
  static constexpr int kStageBytes = kWeightBytes + kXBytes;
  static constexpr int kSums = kRows * kColumns;
  static constexpr int kSharedBytes = kWarps * kStages * kStageBytes;
  static_assert(kSharedBytes >= kWarps * kSums * int{sizeof(float)});

  // Where 16 bytes of a step lie: of line `line`, kStep or kTileColumns elements long.
  static __device__ __forceinline__ uint32_t offset(int line, int chunk) {
    if constexpr (kByRows) return line * 32 + chunk * 16;
    return swizzled_offset<32>(line, chunk);
  }

  // Puts `lines` lines of kLine elements on their way: a lane 16 bytes, and again.
  template <int kLines, int kLine, class Inside>
  static __device__ __forceinline__ void copy(uint32_t to, const T* from, int64_t stride,
                                              const Inside& is_inside) {
    constexpr int kChunks = kLine / kChunk;
#pragma unroll
    for (int i = threadIdx.x % kWarpSize; i < kLines * kChunks; i += kWarpSize) {
      const int line = i / kChunks, element = i % kChunks * kChunk;
      const bool inside = is_inside(line, element);
      cp_async_16(to + offset(line, i % kChunks), from + (inside ? line * stride + element : 0),
                  inside);
    }
  }

  static __device__ __forceinline__ void copy_step(const FewRows<T, T>& call, uint32_t stage,
                                                   int step, int column) {
    const int k = step * kStep;
    if (k < call.inner) {
      if constexpr (kByRows) {
        copy<kStep, kColumns>(stage, call.weight + k * call.weight_stride + column,
                              call.weight_stride, [&](int line, int element) {
                                return k + line < call.inner && column + element < call.columns;
                              });
      } else {
        copy<kColumns, kStep>(stage, call.weight + column * call.weight_stride + k,
                              call.weight_stride, [&](int line, int element) {
                                return column + line < call.columns && k + element < call.inner;
                              });
      }
      copy<kRows, kStep>(
          stage + kWeightBytes, call.x + k, call.x_stride,
          [&](int line, int element) { return line < call.rows && k + element < call.inner; });
    }
    cp_async_commit();
  }

  // sum[a][b] += 16 columns of the weight, the a-th, times 8 rows of x, the b-th.
  static __device__ __forceinline__ void multiply(float (&sum)[kColumns / kTileColumns][kTiles][4],
                                                  uint32_t stage) {
    const int lane = threadIdx.x % kWarpSize;
    const int row = lane % 8, matrix = lane / 8;  // whose address the lane gives
#pragma unroll
    for (int k = 0; k < kStep / 16; ++k) {
      uint32_t x[kTiles + 1][2];
#pragma unroll
      for (int tile = 0; tile < kTiles; tile += 2) {  // two at once; of one, the second is not used
        const int line = min(tile + matrix / 2, kTiles - 1) * kTileRows + row;
        uint32_t fragments[4];
        ldmatrix_x4(fragments, stage + kWeightBytes + offset(line, 2 * k + matrix % 2));
        x[tile][0] = fragments[0], x[tile][1] = fragments[1];
        x[tile + 1][0] = fragments[2], x[tile + 1][1] = fragments[3];
      }
#pragma unroll
      for (int part = 0; part < kColumns / kTileColumns; ++part) {
        uint32_t weight[4];
        if constexpr (kByRows) {
          ldmatrix_x4_transposed(weight, stage + offset(matrix / 2 * 8 + row, matrix % 2));
        } else {
          const int line = part * kTileColumns + matrix % 2 * 8 + row;
          ldmatrix_x4(weight, stage + offset(line, 2 * k + matrix / 2));
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
  constexpr int kColumns = Kernel::kColumns, kStages = Kernel::kStages, kSplit = Kernel::kSplit;
  extern __shared__ __align__(128) char shared[];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int column = blockIdx.x * Kernel::kBlockColumns + warp / kSplit * kColumns;
  const uint32_t ring = shared_address(shared) + warp * kStages * Kernel::kStageBytes;

  // [1] multiply
  float sum[kColumns / kTileColumns][kTiles][4] = {};
#pragma unroll
  for (int i = 0; i < kStages; ++i) {
    Kernel::copy_step(call, ring + i * Kernel::kStageBytes, warp % kSplit + i * kSplit, column);
  }
  int stage = 0;
  for (int step = warp % kSplit; step * Kernel::kStep < call.inner; step += kSplit) {
    const uint32_t at = ring + stage * Kernel::kStageBytes;
    cp_async_wait<kStages - 1>();
    __syncwarp();
    Kernel::multiply(sum, at);
    __syncwarp();
    Kernel::copy_step(call, at, step + kStages * kSplit, column);
    stage = (stage + 1) % kStages;
  }

  // [2] add up the warps' sums and finish
  cp_async_wait<0>();
  __syncthreads();
  auto* const sums = reinterpret_cast<float*>(shared);  // [warp][row of x][column]
#pragma unroll
  for (int part = 0; part < kColumns / kTileColumns; ++part) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = tile * kTileRows + lane % 4 * 2 + i % 2;
        const int own = part * kTileColumns + lane / 4 + i / 2 * 8;
        sums[warp * Kernel::kSums + row * kColumns + own] = sum[part][tile][i];
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < call.rows * Kernel::kBlockColumns; i += Kernel::kThreads) {
    const int row = i / Kernel::kBlockColumns, own = i % Kernel::kBlockColumns;
    const int n = blockIdx.x * Kernel::kBlockColumns + own;
    if (n >= call.columns) continue;
    const float* first =
        sums + own / kColumns * kSplit * Kernel::kSums + row * kColumns + own % kColumns;
    float total = 0;
#pragma unroll
    for (int part = 0; part < kSplit; ++part) total += first[part * Kernel::kSums];
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
      launch_for<T, ByColumns<1>>(ctx, call);
    } else {
      launch_for<T, ByColumns<4>>(ctx, call);
    }
  };
  args.x.dtype == DType::f16 ? run(f16{}) : run(bf16{});
}

}  // namespace strobe
