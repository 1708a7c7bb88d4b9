#include "strobe/gpu/tensor_map.h"

#include <cuda_runtime.h>

#include <algorithm>

#include "strobe/core/cuda/check.h"

namespace strobe {
namespace {

// A name that the linker does not look for.
using EncodeFunction = decltype(&cuTensorMapEncodeTiled);

EncodeFunction encode_function() {
  constexpr int kSinceCuda = 12000;
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  cuda_check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSinceCuda,
                                              cudaEnableDefault, &result),
             "asking the driver for tensor maps");
  check(result == cudaDriverEntryPointSuccess, "the driver has no tensor maps");
  return reinterpret_cast<EncodeFunction>(function);
}

}  // namespace

CUtensorMap make_tensor_map(const BoxedTensor& tensor) {
  static const auto encode = encode_function();
  // The driver's function needs a context, which a thread has from its first use of the runtime.
  [[maybe_unused]] thread_local const bool is_bound =
      (cuda_check(cudaFree(nullptr), "choosing a GPU"), true);
  constexpr int kRank = 4;
  constexpr cuuint64_t kElement = 2, kAligned = 16;
  cuuint64_t size[kRank], stride[kRank - 1];
  for (int d = 0; d < kRank; ++d) size[d] = std::max<int64_t>(1, tensor.size[d]);
  for (int d = 1; d < kRank; ++d) {  // what is never stepped along may have any stride
    stride[d - 1] = size[d] == 1 ? kAligned : tensor.stride[d - 1] * kElement;
  }
  const cuuint32_t box[kRank] = {BoxedTensor::kBoxColumns, static_cast<cuuint32_t>(tensor.box_rows),
                                 1, 1};
  const cuuint32_t element_stride[kRank] = {1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map,
             tensor.dtype == DType::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                        : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
             kRank, const_cast<void*>(tensor.data), size, stride, box, element_stride,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(result == CUDA_SUCCESS, "the driver refuses a tensor map of ", tensor.name, ", ", size[0],
        " × ", size[1], " × ", size[2], " × ", size[3], " with strides of ", stride[0], ", ",
        stride[1], ", ", stride[2], " bytes at ", tensor.data, ": error ",
        static_cast<int>(result));
  return map;
}

}  // namespace strobe
