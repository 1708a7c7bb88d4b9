#include "strobe/gpu/cublas_matmul.h"

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "strobe/core/cuda/check.h"
#include "strobe/core/cuda/runtime.h"
#include "strobe/gpu/checksum.h"

namespace strobe {
namespace {

constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;  // what the library's split products ask for
constexpr int kCandidates = 8;

void cublas_check(cublasStatus_t status, std::string_view what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw_error(fmt::format("cuBLASLt: {}: {}", what, cublasLtGetStatusString(status)));
  }
}

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f16: return CUDA_R_16F;
    case DType::bf16: return CUDA_R_16BF;
    default: return CUDA_R_32F;
  }
}

// A matrix as the library sees it, by columns: `is_transposed` when it lies by rows.
struct Layout {
  bool is_transposed;
  int64_t leading;  // elements from one contiguous line to the next
  int alignment;    // bytes, at most 16, of every line
  auto operator<=>(const Layout&) const = default;
};

Layout layout_of(const Tensor& t) {
  const int64_t rows = t.shape[0], columns = t.shape[1];
  const int64_t row_stride = t.strides[0], column_stride = t.strides[1];
  const bool by_rows = (column_stride == 1 || columns == 1) && (row_stride >= columns || rows == 1);
  const int64_t leading = by_rows ? std::max(row_stride, columns) : std::max(column_stride, rows);
  const auto size = static_cast<int64_t>(size_of(t.dtype));
  const int64_t bits =
      static_cast<int64_t>(reinterpret_cast<uintptr_t>(t.data)) | leading * size | 16;
  return {
      .is_transposed = by_rows, .leading = leading, .alignment = static_cast<int>(bits & -bits)};
}

// All that the choice of an algorithm depends on. The library multiplies matrices that lie by
// columns; where c lies by rows, its transpose is made of the factors' transposes, exchanged.
struct Problem {
  int device;
  int64_t rows, columns, inner;  // of the library's product
  Layout left, right, result, aux;
  cudaDataType_t factor_type, result_type;
  cublasLtEpilogue_t epilogue;
  bool tf32;
  auto operator<=>(const Problem&) const = default;
};

cublasLtEpilogue_t epilogue_of(const CublasMatmul& args) {
  const bool has_bias = args.bias.has_data();
  if (args.gelu_input.has_data()) return CUBLASLT_EPILOGUE_DGELU;
  if (args.pre_activation.has_data()) {
    return has_bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  }
  if (args.gelu) return has_bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
  return has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

// What an epilogue reads or writes beside the bias; absent where there is none.
const Tensor& aux_of(const CublasMatmul& args) {
  return args.gelu_input.has_data() ? args.gelu_input : args.pre_activation;
}

Problem problem_of(const Context& ctx, const CublasMatmul& args) {
  Problem p = {.device = ctx.device().index,
               .rows = args.c.shape[0],
               .columns = args.c.shape[1],
               .inner = args.a.shape[1],
               .left = layout_of(args.a),
               .right = layout_of(args.b),
               .result = layout_of(args.c),
               .factor_type = type_of(args.a.dtype),
               .result_type = type_of(args.c.dtype),
               .epilogue = epilogue_of(args),
               .tf32 = args.tf32};
  if (aux_of(args).has_data()) p.aux = layout_of(aux_of(args));
  if (p.result.is_transposed) {
    std::swap(p.rows, p.columns);
    std::swap(p.left, p.right);
    p.left.is_transposed = !p.left.is_transposed;
    p.right.is_transposed = !p.right.is_transposed;
  }
  return p;
}

// One call of the library: where its matrices are, and descriptions of them that own no memory.
class Call {
 public:
  Call(const Problem& problem, const CublasMatmul& args) : args_(args) {
    const cublasComputeType_t compute =
        problem.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublas_check(cublasLtMatmulDescInit(&operation_, compute, CUDA_R_32F), "describing a product");
    set(CUBLASLT_MATMUL_DESC_TRANSA, operation_of(problem.left));
    set(CUBLASLT_MATMUL_DESC_TRANSB, operation_of(problem.right));
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, problem.epilogue);
    if (args.bias.has_data()) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, args.bias.data);
    if (const Tensor& aux = aux_of(args); aux.has_data()) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux.data);
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, problem.aux.leading);
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, static_cast<int32_t>(type_of(aux.dtype)));
    }
    describe(left_, problem.left, problem.factor_type, problem.rows, problem.inner);
    describe(right_, problem.right, problem.factor_type, problem.inner, problem.columns);
    Layout result = problem.result;
    result.is_transposed = false;
    describe(result_, result, problem.result_type, problem.rows, problem.columns);
    left_data_ = problem.result.is_transposed ? args.b.data : args.a.data;
    right_data_ = problem.result.is_transposed ? args.a.data : args.b.data;
  }

  cublasStatus_t run(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm,
                     bool accumulate, void* workspace, cudaStream_t stream) {
    const float alpha = 1, beta = accumulate ? 1.0f : 0.0f;
    return cublasLtMatmul(handle, &operation_, &alpha, left_data_, &left_, right_data_, &right_,
                          &beta, args_.c.data, &result_, args_.c.data, &result_, &algorithm,
                          workspace, kWorkspaceBytes, stream);
  }

  // What the library proposes, its first choice first. Sums split over the inner dimension are
  // joined in a fixed order, in the workspace, or they are not split.
  std::vector<cublasLtMatmulHeuristicResult_t> candidates(cublasLtHandle_t handle,
                                                          const Problem& problem) {
    cublasLtMatmulPreferenceOpaque_t preference;
    cublas_check(cublasLtMatmulPreferenceInit(&preference), "describing a preference");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      cublas_check(
          cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value),
          "setting a preference");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspaceBytes));
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, problem.left.alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, problem.right.alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, problem.result.alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, problem.result.alignment);
    std::vector<cublasLtMatmulHeuristicResult_t> results(kCandidates);
    int count = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, &operation_, &left_, &right_, &result_, &result_,
                                       &preference, kCandidates, results.data(), &count);
    results.resize(status == CUBLAS_STATUS_SUCCESS ? count : 0);
    return results;
  }

 private:
  static cublasOperation_t operation_of(const Layout& layout) {
    return layout.is_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  }
  template <class Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    cublas_check(cublasLtMatmulDescSetAttribute(&operation_, attribute, &value, sizeof value),
                 "describing a product");
  }
  static void describe(cublasLtMatrixLayoutOpaque_t& matrix, const Layout& layout,
                       cudaDataType_t type, int64_t rows, int64_t columns) {
    if (layout.is_transposed) std::swap(rows, columns);
    cublas_check(cublasLtMatrixLayoutInit(&matrix, type, rows, columns, layout.leading),
                 "describing a matrix");
  }

  const CublasMatmul& args_;
  cublasLtMatmulDescOpaque_t operation_;
  cublasLtMatrixLayoutOpaque_t left_, right_, result_;
  const void *left_data_, *right_data_;
};

// What two algorithms must share to make their sums in the same order.
struct SumOrder {
  int32_t id = 0, splits = 0;
  uint32_t reduction = 0;
  bool operator==(const SumOrder&) const = default;
};
SumOrder sum_order_of(const cublasLtMatmulAlgo_t& algorithm) {
  SumOrder order;
  size_t written = 0;
  const auto get = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, auto& value) {
    cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written);
  };
  get(CUBLASLT_ALGO_CONFIG_ID, order.id);
  get(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, order.splits);
  get(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, order.reduction);
  return order;
}

// Times one call among some recorded ones, so that the host's time does not count.
class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream) : stream_(stream) {
    cuda_check(cudaEventCreate(&begin_), "creating an event");
    cuda_check(cudaEventCreate(&end_), "creating an event");
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  template <class Work>
  float milliseconds_of(const Work& work, int repeats) {
    cudaGraph_t graph;
    cudaGraphExec_t recorded;
    cuda_check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording");
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    for (int i = 0; i < repeats && status == CUBLAS_STATUS_SUCCESS; ++i) status = work();
    cuda_check(cudaStreamEndCapture(stream_, &graph), "recording");
    cublas_check(status, "multiplying");
    cuda_check(cudaGraphInstantiate(&recorded, graph, 0), "recording");
    cuda_check(cudaGraphLaunch(recorded, stream_), "replaying");  // warms up
    cuda_check(cudaEventRecord(begin_, stream_), "timing");
    cuda_check(cudaGraphLaunch(recorded, stream_), "replaying");
    cuda_check(cudaEventRecord(end_, stream_), "timing");
    cuda_check(cudaEventSynchronize(end_), "timing");
    cudaGraphExecDestroy(recorded);
    cudaGraphDestroy(graph);
    float elapsed = 0;
    cuda_check(cudaEventElapsedTime(&elapsed, begin_, end_), "timing");
    return elapsed / static_cast<float>(repeats);
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

// The checksum of c, in the first bytes of the workspace, as nothing else uses it now.
uint64_t checksum_of(Context& ctx, const Tensor& c, void* workspace) {
  const auto stream = static_cast<cudaStream_t>(ctx.stream());
  auto* const sum = static_cast<uint64_t*>(workspace);
  cuda_check(cudaMemsetAsync(sum, 0, sizeof(uint64_t), stream), "clearing a checksum");
  add_checksum(ctx, c, sum);
  uint64_t result = 0;
  cuda_check(cudaMemcpyAsync(&result, sum, sizeof result, cudaMemcpyDeviceToHost, stream),
             "reading a checksum");
  cuda_check(cudaStreamSynchronize(stream), "reading a checksum");
  return result;
}

// The fastest of the candidates that give the first one's bits.
cublasLtMatmulAlgo_t fastest(Context& ctx, Call& call, const Problem& problem, const Tensor& c,
                             void* workspace, cublasLtHandle_t handle,
                             const std::vector<cublasLtMatmulHeuristicResult_t>& candidates) {
  const auto stream = static_cast<cudaStream_t>(ctx.stream());
  const double flops = 2.0 * static_cast<double>(problem.rows * problem.columns) *
                       static_cast<double>(problem.inner);
  const int repeats = static_cast<int>(std::clamp(2e11 / flops, 2.0, 16.0));
  Stopwatch watch(stream);
  const cublasLtMatmulAlgo_t* best = nullptr;
  uint64_t expected = 0;
  float least = 0;
  for (const cublasLtMatmulHeuristicResult_t& candidate : candidates) {
    const bool is_first = &candidate == &candidates.front();
    if (!is_first && !(sum_order_of(candidate.algo) == sum_order_of(candidates.front().algo))) {
      continue;
    }
    const auto run = [&] { return call.run(handle, candidate.algo, false, workspace, stream); };
    const cublasStatus_t status = run();
    if (is_first) cublas_check(status, "multiplying");
    if (status != CUBLAS_STATUS_SUCCESS) continue;
    const uint64_t checksum = checksum_of(ctx, c, workspace);
    if (is_first) expected = checksum;
    if (checksum != expected) continue;
    const float elapsed = watch.milliseconds_of(run, repeats);
    if (best != nullptr && elapsed >= least) continue;
    best = &candidate.algo;
    least = elapsed;
  }
  return *best;
}

// What a process knows of the library, for all contexts.
struct Library {
  struct Choice {
    cublasLtMatmulAlgo_t algorithm;
    bool is_measured;
  };
  std::mutex mutex;
  std::map<int, cublasLtHandle_t> handles;  // by GPU; they live as long as the process
  std::map<Problem, Choice> choices;

  cublasLtHandle_t handle(int device) {
    cublasLtHandle_t& handle = handles[device];
    if (handle == nullptr) cublas_check(cublasLtCreate(&handle), "starting");
    return handle;
  }
};

Library& library() {
  static Library& instance = *new Library;  // never destroyed: the driver may be gone before
  return instance;
}

cublasLtMatmulAlgo_t algorithm_for(Context& ctx, const CublasMatmul& args, const Problem& problem,
                                   Call& call, void* workspace, bool may_measure) {
  Library& lib = library();
  const auto found = lib.choices.find(problem);
  if (found != lib.choices.end() && (found->second.is_measured || !may_measure)) {
    return found->second.algorithm;
  }
  const cublasLtHandle_t handle = lib.handle(problem.device);
  const auto candidates = call.candidates(handle, problem);
  check(!candidates.empty(), "cuBLASLt has no algorithm on ", cuda_info(problem.device).name,
        " for the product of ", args.a.dtype, " ", args.a.shape, " and ", args.b.shape, " in ",
        args.c.dtype);
  const cublasLtMatmulAlgo_t chosen =
      may_measure ? fastest(ctx, call, problem, args.c, workspace, handle, candidates)
                  : candidates.front().algo;
  lib.choices.insert_or_assign(problem, Library::Choice{chosen, may_measure});
  return chosen;
}

void validate(const CublasMatmul& args) {
  check(args.a.dtype == args.b.dtype, "the factors of a product are ", args.a.dtype, " and ",
        args.b.dtype);
  const bool has_epilogue = args.bias.has_data() || args.gelu || args.gelu_input.has_data();
  check(!has_epilogue || args.c.strides[1] == 1,
        "what follows a product needs a matrix that lies by rows, strides are ", args.c.strides);
}

void run(Context& ctx, const CublasMatmul& args, bool only_measure) {
  validate(args);
  const Arena::Scope scope(ctx.arena());
  void* const workspace =
      ctx.arena().allocate(MemoryUse::workspace, DType::f32, {kWorkspaceBytes / 4}).data;
  if (ctx.is_planning()) return;
  const Problem problem = problem_of(ctx, args);
  Call call(problem, args);
  const bool may_measure = (only_measure || !args.accumulate) && !cuda::is_capturing(ctx.stream());
  const std::lock_guard lock(library().mutex);
  const auto algorithm = algorithm_for(ctx, args, problem, call, workspace, may_measure);
  if (only_measure) return;
  cublas_check(call.run(library().handle(problem.device), algorithm, args.accumulate, workspace,
                        static_cast<cudaStream_t>(ctx.stream())),
               "multiplying");
}

}  // namespace

void cublas_matmul(Context& ctx, const CublasMatmul& args) { run(ctx, args, false); }

void cublas_measure(Context& ctx, const CublasMatmul& args) { run(ctx, args, true); }

}  // namespace strobe
