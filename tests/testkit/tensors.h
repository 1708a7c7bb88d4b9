#pragma once

#include <functional>
#include <vector>

#include "strobe/core/arena.h"
#include "strobe/core/random.h"
#include "strobe/core/tensor.h"

// All of these work on tensors in GPU memory too: once what the GPU is at is done.
namespace strobe::testing {

// Reads any tensor (strided, any float type) into row-major doubles.
std::vector<double> to_doubles(const Tensor& tensor);

// Sets element after element, row-major, to next() rounded to the tensor's type.
void fill(const Tensor& tensor, const std::function<double()>& next);
void fill(const Tensor& tensor, const std::vector<double>& values);
void fill_normal(const Tensor& tensor, Random& random, double deviation = 1);
// Small integers in [−limit, limit], exactly representable in every type.
void fill_integers(const Tensor& tensor, Random& random, int limit);
// All bytes of all elements to NaN (integers: 0x7f7f7f7f).
void poison(const Tensor& tensor);

// A tensor inside a larger, poisoned allocation: gaps between rows and around, so that a kernel
// that ignores strides or writes outside is seen. `gap` elements follow every innermost row.
struct StridedTensor {
  Tensor view;     // the shape asked for
  Tensor storage;  // [rows, innermost + gap], contiguous
};
StridedTensor allocate_strided(Arena& arena, DType dtype, const Shape& shape, int64_t gap);

// The bytes of a tensor's storage; two snapshots are equal if nothing was written between.
std::vector<unsigned char> snapshot(const Tensor& contiguous);

}  // namespace strobe::testing
