#include "strobe/core/tensor.h"

namespace strobe {

std::string to_text(const Shape& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank; ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", shape[i]);
  }
  return text + "]";
}

Tensor Tensor::contiguous(void* data, DType dtype, Shape shape, DeviceKind device) {
  Tensor t{.data = data, .dtype = dtype, .device = device, .shape = shape, .strides = shape};
  int64_t stride = 1;
  for (int i = shape.rank - 1; i >= 0; --i) {
    t.strides[i] = stride;
    stride *= shape[i];
  }
  return t;
}

bool Tensor::is_contiguous() const {
  int64_t stride = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[i] != stride) return false;
    stride *= shape[i];
  }
  return true;
}

Tensor Tensor::slice(int dim, int64_t begin, int64_t end) const {
  check(dim >= 0 && dim < rank(), "slice of dimension ", dim, " of a tensor of rank ", rank());
  check(0 <= begin && begin <= end && end <= shape[dim], "slice [", begin, ", ", end,
        ") of a dimension of size ", shape[dim]);
  Tensor t = *this;
  t.shape[dim] = end - begin;
  t.data = static_cast<char*>(data) + begin * strides[dim] * static_cast<int64_t>(size_of(dtype));
  return t;
}

Tensor Tensor::transpose(int a, int b) const {
  check(a >= 0 && a < rank() && b >= 0 && b < rank(), "transpose of dimensions ", a, " and ", b,
        " of a tensor of rank ", rank());
  Tensor t = *this;
  std::swap(t.shape[a], t.shape[b]);
  std::swap(t.strides[a], t.strides[b]);
  return t;
}

Tensor Tensor::view(Shape new_shape) const {
  check(is_contiguous(), "view of a tensor of shape ", shape, " that is not contiguous");
  check(new_shape.numel() == numel(), "view of shape ", new_shape, " of a tensor of shape ", shape);
  return contiguous(data, dtype, new_shape, device);
}

void check_shape(const char* name, const Tensor& tensor, const Shape& shape, Where where) {
  check<const char*, const char*, Shape, const char*, Shape>(
      tensor.shape == shape, name, " has shape ", tensor.shape, ", expected ", shape, where);
}

void check_tensor(const char* name, const Tensor& tensor, DType dtype, const Shape& shape,
                  Where where) {
  check<const char*, const char*>(tensor.has_data(), name, " is missing", where);
  check<const char*, const char*, DType, const char*, DType>(
      tensor.dtype == dtype, name, " is ", tensor.dtype, ", expected ", dtype, where);
  check_shape(name, tensor, shape, where);
}

void check_contiguous(const char* name, const Tensor& tensor, DType dtype, const Shape& shape,
                      Where where) {
  check_tensor(name, tensor, dtype, shape, where);
  check<const char*, const char*, Shape, const char*, Shape, const char*>(
      tensor.is_contiguous(), name, " of shape ", tensor.shape, " has strides ", tensor.strides,
      ", it must be contiguous", where);
}

}  // namespace strobe
