#include "strobe/core/cuda/runtime.h"

#include <cuda_runtime.h>

#include <cstdlib>
#include <fstream>

#include "strobe/core/cuda/check.h"
#include "strobe/core/cuda/why_not.h"

namespace strobe::cuda {
namespace {

// Is there code for this GPU? What the runtime says of one kernel holds for all.
__global__ void probe_kernel() {}

int driver_version() {
  int driver = 0;
  return cudaDriverGetVersion(&driver) == cudaSuccess ? driver : 0;
}

// The word in "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 …" that is a
// version; empty where the kernel module does not show itself.
std::string driver_release() {
  std::ifstream file("/proc/driver/nvidia/version");
  for (std::string word; file >> word;) {
    const bool is_version = word.find_first_not_of("0123456789.") == std::string::npos;
    if (is_version && word.find('.') != std::string::npos) return word;
  }
  return "";
}

cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t as_event(void* event) { return static_cast<cudaEvent_t>(event); }

cudaPointerAttributes attributes_of(const void* memory) {
  cudaPointerAttributes attributes;
  cuda_check(cudaPointerGetAttributes(&attributes, memory), "asking where memory lies");
  return attributes;
}

// The GPU in whose memory one of the two lies.
int gpu_of(const void* a, const void* b) {
  const cudaPointerAttributes of_a = attributes_of(a);
  return of_a.type == cudaMemoryTypeDevice ? of_a.device : attributes_of(b).device;
}

}  // namespace

int device_count() {
  static const int count = [] {
    int found = 0;
    if (cudaGetDeviceCount(&found) == cudaSuccess) return found;
    cudaGetLastError();
    return 0;
  }();
  return count;
}

bool is_gpu_there() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (status == cudaSuccess || status == cudaErrorNoDevice) return count > 0;
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return driver_version() > 0 && (visible == nullptr || *visible != '\0');
}

std::string_view architectures() { return STROBE_CUDA_ARCHITECTURES; }

std::string why_not(int index) {
  Answers answers = {.driver = driver_version()};
  answers.counting = cudaGetDeviceCount(&answers.count);
  cudaGetLastError();
  if (answers.counting == cudaSuccess && index >= 0 && index < answers.count) {
    try {
      const CurrentDevice current(index);
      cudaFuncAttributes attributes;
      answers.probe = cudaFuncGetAttributes(&attributes, probe_kernel);
      cudaGetLastError();
    } catch (const Error& error) {
      return error.what();
    }
    if (answers.probe != cudaSuccess) answers.gpu = info(index);
  }
  return why_not(answers, index, architectures());
}

CudaInfo info(int index) {
  cudaDeviceProp properties;
  cuda_check(cudaGetDeviceProperties(&properties, index), "asking for a GPU's properties");
  return {.name = properties.name,
          .capability = 10 * properties.major + properties.minor,
          .multiprocessors = properties.multiProcessorCount,
          .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem),
          .l2_bytes = properties.l2CacheSize,
          .shared_bytes_per_block = static_cast<int64_t>(properties.sharedMemPerBlockOptin),
          .driver = driver_release(),
          .driver_cuda = version_text(driver_version()),
          .runtime_cuda = version_text(CUDART_VERSION)};
}

void* allocate(int index, int64_t bytes) {
  const CurrentDevice current(index);
  void* memory = nullptr;
  if (cudaMalloc(&memory, static_cast<size_t>(bytes)) == cudaSuccess) return memory;
  cudaGetLastError();
  return nullptr;
}

// Where the GPU has failed, nothing is left to free, and what failed has been thrown.
void release(int index, void* memory) noexcept {
  try {
    const CurrentDevice current(index);
    cudaFree(memory);
  } catch (const Error&) {
  }
}

int64_t free_bytes(int index) {
  const CurrentDevice current(index);
  size_t free = 0, total = 0;
  cuda_check(cudaMemGetInfo(&free, &total), "asking for a GPU's free memory");
  return static_cast<int64_t>(free);
}

void* allocate_pinned(int64_t bytes) {
  void* memory = nullptr;
  cuda_check(cudaMallocHost(&memory, static_cast<size_t>(bytes)),
             fmt::format("allocating {} bytes of pinned memory", bytes));
  return memory;
}

void release_pinned(void* memory) { cudaFreeHost(memory); }

bool is_pinned(const void* memory) { return attributes_of(memory).type == cudaMemoryTypeHost; }

CurrentDevice::CurrentDevice(int index) {
  cuda_check(cudaGetDevice(&before_), "asking for the current GPU");
  if (before_ != index) use(index);
}

CurrentDevice::~CurrentDevice() { cudaSetDevice(before_); }

void use(int index) { cuda_check(cudaSetDevice(index), "choosing a GPU"); }

void* make_stream(int index) {
  const CurrentDevice current(index);
  cudaStream_t stream = nullptr;
  cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  return stream;
}

void destroy_stream(void* stream) { cudaStreamDestroy(as_stream(stream)); }

void synchronize(void* stream) {
  cuda_check(cudaStreamSynchronize(as_stream(stream)), "waiting for the GPU");
}

void copy(void* to, const void* from, int64_t bytes, void* stream) {
  if (bytes == 0) return;
  cuda_check(
      cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, as_stream(stream)),
      "copying");
}

void fill(void* memory, int byte, int64_t bytes, void* stream) {
  if (bytes == 0) return;
  cuda_check(cudaMemsetAsync(memory, byte, static_cast<size_t>(bytes), as_stream(stream)),
             "filling memory");
}

void copy_now(void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  const CurrentDevice current(gpu_of(to, from));
  cuda_check(cudaDeviceSynchronize(), "waiting for the GPU");
  cuda_check(cudaMemcpy(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault), "copying");
  // A copy from pageable memory returns before it has arrived, and other streams do not wait.
  cuda_check(cudaDeviceSynchronize(), "waiting for the GPU");
}

void* record_event(void* stream) {
  cudaEvent_t event = nullptr;
  cuda_check(cudaEventCreate(&event), "making an event");
  const cudaError_t status = cudaEventRecord(event, as_stream(stream));
  if (status != cudaSuccess) cudaEventDestroy(event);
  cuda_check(status, "recording an event");
  return event;
}

double seconds_between(void* begin, void* end) {
  float ms = 0;
  cuda_check(cudaEventSynchronize(as_event(end)), "waiting for an event");
  cuda_check(cudaEventElapsedTime(&ms, as_event(begin), as_event(end)), "reading a time");
  return 1e-3 * ms;
}

void wait_for_event(void* event) {
  cuda_check(cudaEventSynchronize(as_event(event)), "waiting for an event");
}

void destroy_event(void* event) { cudaEventDestroy(as_event(event)); }

bool is_capturing(void* stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cuda_check(cudaStreamIsCapturing(as_stream(stream), &status), "asking about a capture");
  return status != cudaStreamCaptureStatusNone;
}

void begin_capture(void* stream) {
  cuda_check(cudaStreamBeginCapture(as_stream(stream), cudaStreamCaptureModeThreadLocal),
             "beginning to record a graph");
}

void* end_capture(void* stream) {
  cudaGraph_t graph = nullptr;
  cuda_check(cudaStreamEndCapture(as_stream(stream), &graph), "recording a graph");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  cuda_check(status, "making a graph ready");
  return executable;
}

void abandon_capture(void* stream) noexcept {
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(as_stream(stream), &graph);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
}

void launch_graph(void* graph, void* stream) {
  cuda_check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), as_stream(stream)),
             "launching a graph");
}

void destroy_graph(void* graph) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

}  // namespace strobe::cuda
