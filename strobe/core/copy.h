#pragma once

#include <vector>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// to = from: contiguous, of one type and as many elements; each in host memory or on the context's
// device. On a GPU in the order of the context's stream, and asynchronous where the host's memory
// is a HostBuffer's: what is copied from one must stay as it is until then. A host tensor that is
// set is there after ctx.synchronize().
void copy(Context& ctx, const Tensor& from, const Tensor& to);

// The same at once, after all that the GPU is at in whose memory one of the two lies; for files and
// tests.
void copy_now(const Tensor& from, const Tensor& to);

// All bytes 0: contiguous, on the context's device.
void clear(Context& ctx, const Tensor& tensor);

// A copy of a host tensor on the context's device, in memory of its arena; where that is the host,
// the tensor itself. An absent tensor stays absent.
Tensor on_device(Context& ctx, const Tensor& host, MemoryUse use = MemoryUse::activations);

// A contiguous tensor's elements where the host can read them: the tensor itself, or a copy of what
// lies on a device now.
class HostView {
 public:
  explicit HostView(const Tensor& tensor);
  const Tensor& tensor() const { return tensor_; }

 private:
  std::vector<char> memory_;
  Tensor tensor_;
};

// Host memory that a context's device copies to and from asynchronously (pinned, for a GPU).
class HostBuffer {
 public:
  HostBuffer(const Context& ctx, int64_t bytes);
  ~HostBuffer();
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;

  // A tensor at an offset of the buffer.
  Tensor tensor(DType dtype, const Shape& shape, int64_t offset_bytes = 0) const;

 private:
  bool is_pinned_;
  int64_t bytes_;
  void* data_;
};

}  // namespace strobe
