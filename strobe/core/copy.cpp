#include "strobe/core/copy.h"

#include <cstdlib>
#include <cstring>

#include "strobe/core/cuda/runtime.h"

namespace strobe {
namespace {

constexpr size_t kHostAlignment = 64;

void check_alike(const Tensor& from, const Tensor& to) {
  check(from.dtype == to.dtype && from.numel() == to.numel() && from.is_contiguous() &&
            to.is_contiguous(),
        "copying ", from.dtype, " of shape ", from.shape, " and strides ", from.strides, " to ",
        to.dtype, " of shape ", to.shape, " and strides ", to.strides,
        ", allowed are contiguous tensors of one type and size");
}

bool is_on_host(const Tensor& x) { return x.device == DeviceKind::cpu; }

}  // namespace

void copy(Context& ctx, const Tensor& from, const Tensor& to) {
  check_alike(from, to);
  if (ctx.is_planning() || from.numel() == 0) return;
  if (is_on_host(from) && is_on_host(to)) {
    std::memcpy(to.data, from.data, from.bytes());
    return;
  }
  cuda::copy(to.data, from.data, static_cast<int64_t>(from.bytes()), ctx.stream());
  if (is_on_host(from) && !cuda::is_pinned(from.data)) ctx.synchronize();
}

void copy_now(const Tensor& from, const Tensor& to) {
  check_alike(from, to);
  if (from.numel() == 0) return;
  if (is_on_host(from) && is_on_host(to)) {
    std::memcpy(to.data, from.data, from.bytes());
  } else {
    cuda::copy_now(to.data, from.data, static_cast<int64_t>(from.bytes()));
  }
}

void clear(Context& ctx, const Tensor& tensor) {
  check(tensor.is_contiguous(), "clearing a tensor of shape ", tensor.shape, " and strides ",
        tensor.strides, ", it must be contiguous");
  if (ctx.is_planning() || tensor.numel() == 0) return;
  if (is_on_host(tensor)) {
    std::memset(tensor.data, 0, tensor.bytes());
  } else {
    cuda::fill(tensor.data, 0, static_cast<int64_t>(tensor.bytes()), ctx.stream());
  }
}

Tensor on_device(Context& ctx, const Tensor& host, MemoryUse use) {
  if (!host.has_data() || host.device == ctx.device().kind) return host;
  const Tensor tensor = ctx.arena().allocate(use, host.dtype, host.shape);
  copy(ctx, host, tensor);
  return tensor;
}

HostView::HostView(const Tensor& tensor) : tensor_(tensor) {
  if (is_on_host(tensor)) return;
  memory_.resize(tensor.bytes());
  tensor_ = Tensor::contiguous(memory_.data(), tensor.dtype, tensor.shape);
  copy_now(tensor, tensor_);
}

HostBuffer::HostBuffer(const Context& ctx, int64_t bytes)
    : is_pinned_(ctx.device().kind == DeviceKind::cuda && !ctx.is_planning()),
      bytes_(bytes),
      data_(is_pinned_ ? cuda::allocate_pinned(bytes)
                       : std::aligned_alloc(kHostAlignment, (bytes + kHostAlignment - 1) /
                                                                kHostAlignment * kHostAlignment)) {
  check(data_ != nullptr, "out of memory: the system refused ", bytes, " bytes");
}

HostBuffer::~HostBuffer() {
  if (is_pinned_) {
    cuda::release_pinned(data_);
  } else {
    std::free(data_);
  }
}

Tensor HostBuffer::tensor(DType dtype, const Shape& shape, int64_t offset_bytes) const {
  const Tensor tensor = Tensor::contiguous(static_cast<char*>(data_) + offset_bytes, dtype, shape);
  check(offset_bytes >= 0 && offset_bytes + static_cast<int64_t>(tensor.bytes()) <= bytes_,
        "a tensor of shape ", shape, " at byte ", offset_bytes, " of a buffer of ", bytes_);
  return tensor;
}

}  // namespace strobe
