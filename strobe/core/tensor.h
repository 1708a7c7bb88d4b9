#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "strobe/core/check.h"
#include "strobe/core/device.h"
#include "strobe/core/dtype.h"

namespace strobe {

// Sizes (or strides) of up to kMaxRank dimensions, outermost first.
struct Shape {
  static constexpr int kMaxRank = 5;
  std::array<int64_t, kMaxRank> dims{};
  int rank = 0;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) {
    check(sizes.size() <= kMaxRank, "a shape of rank ", sizes.size(), ", at most ", kMaxRank);
    for (int64_t size : sizes) dims[rank++] = size;
  }
  int64_t operator[](int i) const { return dims[i]; }
  int64_t& operator[](int i) { return dims[i]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
  bool operator==(const Shape& other) const = default;
};

// "[2, 128, 12, 64]"
std::string to_text(const Shape& shape);

// A non-owning view of memory: who owns it is the Arena's business. Strides are in elements.
// A default-constructed Tensor is absent: `has_data()` is false; optional arguments use that.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  DeviceKind device = DeviceKind::cpu;
  Shape shape;
  Shape strides;

  // Row-major view of `data`.
  static Tensor contiguous(void* data, DType dtype, Shape shape,
                           DeviceKind device = DeviceKind::cpu);
  template <class T>
  static Tensor of(T* data, Shape shape) {
    return contiguous(data, dtype_of<T>(), shape);
  }

  bool has_data() const { return data != nullptr; }
  int rank() const { return shape.rank; }
  int64_t numel() const { return shape.numel(); }
  size_t bytes() const { return numel() * size_of(dtype); }  // of the elements, gaps not counted
  bool is_contiguous() const;

  // Pointer to the first element; throws unless T is the tensor's dtype.
  template <class T>
  T* as() const {
    check(dtype == dtype_of<T>(), "tensor is ", dtype, ", read as ", dtype_of<T>());
    return static_cast<T*>(data);
  }

  // The elements [begin, end) of one dimension.
  Tensor slice(int dim, int64_t begin, int64_t end) const;
  // The same elements with two dimensions exchanged.
  Tensor transpose(int a, int b) const;
  // The same elements in another shape; only for contiguous tensors.
  Tensor view(Shape new_shape) const;
};

// Throws unless `tensor` has this shape (and dtype): `name` and both values are in the message.
void check_shape(const char* name, const Tensor& tensor, const Shape& shape,
                 Where where = Where::here());
void check_tensor(const char* name, const Tensor& tensor, DType dtype, const Shape& shape,
                  Where where = Where::here());
// check_tensor, and that the elements lie row-major without gaps.
void check_contiguous(const char* name, const Tensor& tensor, DType dtype, const Shape& shape,
                      Where where = Where::here());

}  // namespace strobe
