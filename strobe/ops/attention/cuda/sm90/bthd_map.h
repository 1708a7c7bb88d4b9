#pragma once

#include "strobe/core/tensor.h"
#include "strobe/gpu/tensor_map.h"

namespace strobe {

// [batch, time, heads, head_dim] as the copy engine takes it, a head's rows at a time.
inline CUtensorMap bthd_map(const char* name, const Tensor& x, int box_rows) {
  return make_tensor_map({.name = name,
                          .data = x.data,
                          .dtype = x.dtype,
                          .size = {x.shape[3], x.shape[1], x.shape[2], x.shape[0]},
                          .stride = {x.strides[1], x.strides[2], x.strides[0]},
                          .box_rows = box_rows});
}

}  // namespace strobe
