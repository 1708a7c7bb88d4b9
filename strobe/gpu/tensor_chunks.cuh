#pragma once

// Kernels that go over many tensors cut them into chunks, and number all chunks together.
namespace strobe {

// The tensor that a chunk is of, where until[i] chunks are of the tensors 0 … i.
__device__ __forceinline__ int tensor_of_chunk(const int* until, int tensors, int chunk) {
  int low = 0, high = tensors - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (chunk < until[middle]) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// The chunks of the tensors before one.
__device__ __forceinline__ int chunks_before(const int* until, int tensor) {
  return tensor == 0 ? 0 : until[tensor - 1];
}

}  // namespace strobe
