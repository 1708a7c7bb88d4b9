#pragma once

#include <vector>

#include <optional>

#include "strobe/gpu/cublas.h"
#include "strobe/ops/attention/cuda/standard_memory.cuh"
#include "strobe/ops/attention/cuda/standard_plan.h"

namespace strobe {

template <class T>
constexpr cudaDataType_t kCublasType = CUDA_R_32F;
template <>
constexpr cudaDataType_t kCublasType<f16> = CUDA_R_16F;
template <>
constexpr cudaDataType_t kCublasType<bf16> = CUDA_R_16BF;

// One operand of a batched product: row-major matrices at the addresses of an array.
struct Matrices {
  int array = 0;
  int64_t row_stride = 0;
  cudaDataType_t type = CUDA_R_32F;

  // The same matrices, to be read with rows and columns exchanged.
  bool is_transposed = false;
  Matrices transposed() const { return {array, row_stride, type, !is_transposed}; }
};

// The matrix products of one pass of cuda_standard.
class StandardProducts {
 public:
  StandardProducts(Context& ctx, const StandardPlan& plan, int arrays)
      : ctx_(ctx),
        addresses_(ctx.arena().allocate(MemoryUse::attention, DType::i32,
                                        {plan.address_bytes(arrays) / 4})),
        workspace_(cublas_workspace(ctx)) {
    arrays_.pairs = static_cast<int>(plan.pairs());
    arrays_.chunk_units = static_cast<int>(plan.chunk_units);
    arrays_.heads_kv = static_cast<int>(plan.heads_kv);
    arrays_.group = static_cast<int>(plan.group);
  }

  // The matrices [time, head_dim] of a "bthd" tensor.
  template <class T>
  Matrices of_tensor(const BthdView<T>& x, const Tensor& like, bool is_kv) {
    const bool steps = like.shape[1] > 1;
    return add<std::remove_const_t<T>>({.data = address(x.data),
                                        .batch_stride = x.batch_stride * kBytes<T>,
                                        .head_stride = x.head_stride * kBytes<T>,
                                        .is_kv = is_kv},
                                       steps ? x.time_stride : like.shape[3]);
  }
  // Matrices [rows, row_stride] of all pairs, or of those of a chunk.
  template <class T>
  Matrices of_pairs(T* data, int64_t elements, int64_t row_stride) {
    return add<T>({.data = address(data), .pair_stride = elements * kBytes<T>}, row_stride);
  }
  template <class T>
  Matrices of_chunk(T* data, int64_t elements, int64_t row_stride) {
    return add<T>({.data = address(data), .chunk_pair_stride = elements * kBytes<T>}, row_stride);
  }
  // Those of the key/value heads of a chunk.
  template <class T>
  Matrices of_units(T* data, int64_t elements, int64_t row_stride) {
    return add<T>({.data = address(data), .chunk_unit_stride = elements * kBytes<T>}, row_stride);
  }

  // Before the first product.
  void start() {
    constexpr int kThreads = 128;
    const auto blocks = static_cast<unsigned>((arrays_.pairs + kThreads - 1) / kThreads);
    launch(ctx_, set_addresses_kernel, {.grid = dim3(blocks), .block = dim3(kThreads)}, arrays_,
           reinterpret_cast<char**>(addresses_.data));
    if (!ctx_.is_planning()) handle_.emplace(ctx_, workspace_);
  }

  struct Range {
    int64_t first, count;  // entries of the arrays
  };
  struct Size {
    int64_t rows, columns, depth;
  };
  // c [rows, columns] = factor·a·b, or that added to c.
  void multiply(Range range, Size size, const Matrices& a, const Matrices& b, const Matrices& c,
                float factor = 1, bool accumulate = false) const {
    if (ctx_.is_planning() || range.count == 0) return;
    // cuBLAS counts by columns, where a row-major matrix is its own transpose: cᵀ = bᵀ·aᵀ.
    const float sum_factor = accumulate ? 1 : 0;
    const auto operation = [](const Matrices& x) {
      return x.is_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    };
    const auto narrow = [](int64_t n) { return static_cast<int>(n); };
    // Batches of one have kernels of f32 that take up to ten times as long as those for a matrix.
    if (range.count == 1) {
      const auto at = [&](const Matrices& x) {
        return matrix_address(arrays_, arrays_.of[x.array], narrow(range.first));
      };
      cublas_check(cublasGemmEx(handle_->get(), operation(b), operation(a), narrow(size.columns),
                                narrow(size.rows), narrow(size.depth), &factor, at(b), b.type,
                                narrow(b.row_stride), at(a), a.type, narrow(a.row_stride),
                                &sum_factor, at(c), c.type, narrow(c.row_stride),
                                CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                   "multiplying matrices of attention");
      return;
    }
    const auto at = [&](const Matrices& x) {
      return reinterpret_cast<void**>(addresses_.data) + int64_t{x.array} * arrays_.pairs +
             range.first;
    };
    cublas_check(
        cublasGemmBatchedEx(handle_->get(), operation(b), operation(a), narrow(size.columns),
                            narrow(size.rows), narrow(size.depth), &factor, at(b), b.type,
                            narrow(b.row_stride), at(a), a.type, narrow(a.row_stride), &sum_factor,
                            at(c), c.type, narrow(c.row_stride), narrow(range.count),
                            CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
        "multiplying matrices of attention");
  }

 private:
  template <class T>
  static constexpr int64_t kBytes = static_cast<int64_t>(sizeof(T));
  template <class T>
  static char* address(T* data) {
    return reinterpret_cast<char*>(const_cast<std::remove_const_t<T>*>(data));
  }
  template <class T>
  Matrices add(const MatrixArray& array, int64_t row_stride) {
    arrays_.of[arrays_.count] = array;
    return {arrays_.count++, row_stride, kCublasType<T>};
  }

  Context& ctx_;
  MatrixArrays arrays_;
  Tensor addresses_, workspace_;
  std::optional<CublasHandle> handle_;
};

}  // namespace strobe
