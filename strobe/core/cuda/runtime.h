#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "strobe/core/device.h"

// What core needs of the CUDA runtime; nothing else in core knows it. In a build without CUDA,
// runtime_absent.cpp says that there is no device, and nothing else of it can be reached.
//
// Streams, events and graphs are the runtime's, as void*. Failures throw Error.
namespace strobe::cuda {

int device_count();
bool is_gpu_there();
std::string_view architectures();
std::string why_not(int index);  // as why_no_cuda()
CudaInfo info(int index);        // of an existing device

void* allocate(int index, int64_t bytes);  // null when the device refuses
void release(int index, void* memory) noexcept;
int64_t free_bytes(int index);
void* allocate_pinned(int64_t bytes);  // host memory that copies to and from asynchronously
void release_pinned(void* memory);
bool is_pinned(const void* memory);

// While it lives, a GPU is the thread's current device; after it, the one that was before.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = 0;
};
void use(int index);  // from now on
void* make_stream(int index);
void destroy_stream(void* stream);
void synchronize(void* stream);

// Between any two of host and device; asynchronous where the host's memory is pinned. When other
// memory of the host is read depends on the machine.
void copy(void* to, const void* from, int64_t bytes, void* stream);
void fill(void* memory, int byte, int64_t bytes, void* stream);
// The same between host and device, or within one, after all that the device is at; returns when
// done.
void copy_now(void* to, const void* from, int64_t bytes);

void* record_event(void* stream);
double seconds_between(void* begin, void* end);  // waits for `end`
void wait_for_event(void* event);                // the host does
void destroy_event(void* event);

bool is_capturing(void* stream);
void begin_capture(void* stream);
void* end_capture(void* stream);  // a graph that can be launched
void abandon_capture(void* stream) noexcept;
void launch_graph(void* graph, void* stream);
void destroy_graph(void* graph);

}  // namespace strobe::cuda
