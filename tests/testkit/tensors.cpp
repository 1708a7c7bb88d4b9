#include "tests/testkit/tensors.h"

#include <cstring>

#include "strobe/core/copy.h"

namespace strobe::testing {
namespace {

// Calls f(offset) with the offset of every element, row-major.
template <class F>
void for_each_offset(const Tensor& t, F&& f) {
  if (t.numel() == 0) return;
  std::array<int64_t, Shape::kMaxRank> index{};
  for (;;) {
    int64_t offset = 0;
    for (int d = 0; d < t.rank(); ++d) offset += index[d] * t.strides[d];
    f(offset);
    int d = t.rank() - 1;
    while (d >= 0 && ++index[d] == t.shape[d]) index[d--] = 0;
    if (d < 0) return;
  }
}

// A tensor as the host sees it: itself, or a copy of the memory from its first element to its last.
class OnHost {
 public:
  explicit OnHost(const Tensor& tensor) : tensor_(tensor), view_(tensor) {
    if (tensor.device == DeviceKind::cpu || tensor.numel() == 0) return;
    int64_t last = 0;
    for (int d = 0; d < tensor.rank(); ++d) last += (tensor.shape[d] - 1) * tensor.strides[d];
    bytes_.resize((last + 1) * size_of(tensor.dtype));
    copy_now(range_of(tensor), range());
    view_.data = bytes_.data();
    view_.device = DeviceKind::cpu;
  }
  const Tensor& view() const { return view_; }
  // Takes what was written to the view to where the tensor is.
  void put_back() {
    if (!bytes_.empty()) copy_now(range(), range_of(tensor_));
  }

 private:
  Tensor range_of(const Tensor& tensor) const {
    return Tensor::contiguous(tensor.data, tensor.dtype, elements(), tensor.device);
  }
  Tensor range() { return Tensor::contiguous(bytes_.data(), tensor_.dtype, elements()); }
  Shape elements() const { return {static_cast<int64_t>(bytes_.size() / size_of(tensor_.dtype))}; }

  Tensor tensor_, view_;
  std::vector<char> bytes_;
};

}  // namespace

std::vector<double> to_doubles(const Tensor& any) {
  const OnHost on_host(any);
  const Tensor& tensor = on_host.view();
  std::vector<double> values;
  values.reserve(tensor.numel());
  if (tensor.dtype == DType::i32) {
    for_each_offset(tensor, [&](int64_t i) { values.push_back(tensor.as<int32_t>()[i]); });
  } else {
    with_float_type(tensor.dtype, [&](auto type) {
      const auto* data = tensor.as<decltype(type)>();
      for_each_offset(tensor, [&](int64_t i) { values.push_back(to_f32(data[i])); });
    });
  }
  return values;
}

void fill(const Tensor& any, const std::function<double()>& next) {
  OnHost on_host(any);
  const Tensor& tensor = on_host.view();
  if (tensor.dtype == DType::i32) {
    for_each_offset(tensor,
                    [&](int64_t i) { tensor.as<int32_t>()[i] = static_cast<int32_t>(next()); });
  } else {
    with_float_type(tensor.dtype, [&](auto type) {
      using T = decltype(type);
      for_each_offset(
          tensor, [&](int64_t i) { tensor.as<T>()[i] = from_f32<T>(static_cast<float>(next())); });
    });
  }
  on_host.put_back();
}

void fill(const Tensor& tensor, const std::vector<double>& values) {
  check(static_cast<int64_t>(values.size()) == tensor.numel(), "fill with ", values.size(),
        " values, tensor has ", tensor.numel());
  size_t i = 0;
  fill(tensor, [&] { return values[i++]; });
}

void fill_normal(const Tensor& tensor, Random& random, double deviation) {
  fill(tensor, [&] { return deviation * random.normal(); });
}

void fill_integers(const Tensor& tensor, Random& random, int limit) {
  fill(tensor, [&] { return static_cast<double>(random.below(2 * limit + 1)) - limit; });
}

void poison(const Tensor& any) {
  OnHost on_host(any);
  const Tensor& tensor = on_host.view();
  const size_t size = size_of(tensor.dtype);
  for_each_offset(tensor, [&](int64_t i) {
    std::memset(static_cast<char*>(tensor.data) + i * size,
                tensor.dtype == DType::i32 ? 0x7f : 0xff, size);
  });
  on_host.put_back();
}

StridedTensor allocate_strided(Arena& arena, DType dtype, const Shape& shape, int64_t gap) {
  const int64_t inner = shape[shape.rank - 1];
  const int64_t rows = inner == 0 ? 0 : shape.numel() / inner;
  StridedTensor result;
  result.storage = arena.allocate(MemoryUse::workspace, dtype, {rows, inner + gap});
  poison(result.storage);
  result.view = Tensor::contiguous(result.storage.data, dtype, shape, result.storage.device);
  int64_t stride = inner + gap;
  for (int d = shape.rank - 2; d >= 0; --d) {
    result.view.strides[d] = stride;
    stride *= shape[d];
  }
  return result;
}

std::vector<unsigned char> snapshot(const Tensor& any) {
  const OnHost on_host(any);
  const auto* bytes = static_cast<const unsigned char*>(on_host.view().data);
  return {bytes, bytes + any.bytes()};
}

}  // namespace strobe::testing
