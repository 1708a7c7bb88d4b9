#pragma once

#include <cuda.h>

#include <array>
#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe {

// A tensor of four dimensions of 16-bit elements in device memory as the bulk copy engine sees it
// (strobe/gpu/tma.cuh): dimensions from the innermost on, which is contiguous; strides in elements.
// Boxes are `box_rows` of dimension 1 × 64 of dimension 0, in shared memory in rows of 128 bytes
// with the 128-byte swizzle.
//
// Address and strides are multiples of 16 bytes, and strides are positive and less than 2⁴⁰ bytes;
// of dimensions with one entry they do not matter.
struct BoxedTensor {
  const char* name = "";  // in errors
  const void* data = nullptr;
  DType dtype = DType::bf16;
  std::array<int64_t, 4> size{};
  std::array<int64_t, 3> stride{};  // of the dimensions 1, 2, 3
  int box_rows = 0;

  static constexpr int kBoxColumns = 64;
};

// Throws Error when the driver refuses. The driver's function is asked for at run time: a program
// that has it starts without a driver.
CUtensorMap make_tensor_map(const BoxedTensor& tensor);

}  // namespace strobe
