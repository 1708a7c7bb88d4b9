#include "strobe/core/context.h"

#include <utility>

#include "strobe/core/cuda/runtime.h"

namespace strobe {
namespace {

void* make_stream(const Device& device, bool is_planning) {
  if (device.kind == DeviceKind::cpu || is_planning) return nullptr;
  check(why_no_cuda(device.index).empty(), "device '", device, "': ", why_no_cuda(device.index));
  cuda::use(device.index);
  return cuda::make_stream(device.index);
}

}  // namespace

Context::Context(Device device, ArenaOptions options)
    : device_(device),
      own_stream_(make_stream(device, options.is_planning)),
      stream_(own_stream_),
      arena_(options, device, own_stream_) {}

Context::~Context() {
  for (const DeviceSpan& span : spans_) {
    cuda::destroy_event(span.begin);
    cuda::destroy_event(span.end);
  }
  arena_.set_stream(nullptr);
  if (own_stream_ != nullptr) cuda::destroy_stream(own_stream_);
}

void Context::set_stream(void* stream) {
  stream_ = stream;
  arena_.set_stream(stream);
}

void Context::synchronize() const {
  if (device_.kind == DeviceKind::cuda && !is_planning()) cuda::synchronize(stream_);
}

// A stream that is being recorded has no time.
bool Context::times_device() const {
  return device_.kind == DeviceKind::cuda && is_timing_ && !is_planning() &&
         !cuda::is_capturing(stream_);
}

double Context::seconds_in(std::string_view op) {
  for (const DeviceSpan& span : std::exchange(spans_, {})) {
    seconds_[span.op] += cuda::seconds_between(span.begin, span.end);
    cuda::destroy_event(span.begin);
    cuda::destroy_event(span.end);
  }
  const auto found = seconds_.find(op);
  return found == seconds_.end() ? 0 : found->second;
}

void check_on_device(const Context& ctx, std::initializer_list<NamedArgument> tensors,
                     Where where) {
  const DeviceKind device = ctx.device().kind;
  for (const auto& [name, tensor] : tensors) {
    check<const char*, const char*, DeviceKind, const char*, DeviceKind>(
        !tensor.has_data() || tensor.device == device, name, " is on ", tensor.device,
        ", the context on ", device, where);
  }
}

Context::Timer::Timer(Context& ctx, std::string_view op) : ctx_(ctx), op_(op) {
  if (ctx.times_device()) begin_ = cuda::record_event(ctx.stream());
}

Context::Timer::~Timer() {
  if (ctx_.device().kind == DeviceKind::cpu) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
    ctx_.seconds_[std::string(op_)] += elapsed.count();
  } else if (begin_ != nullptr) {
    try {
      ctx_.spans_.push_back({std::string(op_), begin_, cuda::record_event(ctx_.stream())});
    } catch (const Error&) {  // the GPU has failed: the op, or the next call, says how
      cuda::destroy_event(begin_);
    }
  }
}

}  // namespace strobe
