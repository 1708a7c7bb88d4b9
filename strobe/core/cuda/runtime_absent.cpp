// In place of runtime.cu where Strobe is built without CUDA.
#include "strobe/core/check.h"
#include "strobe/core/cuda/runtime.h"

namespace strobe::cuda {
namespace {

[[noreturn]] void refuse() { throw_error("this build has no CUDA"); }

}  // namespace

int device_count() { return 0; }
bool is_gpu_there() { return false; }
std::string_view architectures() { return ""; }
std::string why_not(int) { return "this build has no CUDA"; }
CudaInfo info(int) { refuse(); }

void* allocate(int, int64_t) { refuse(); }
void release(int, void*) noexcept {}
int64_t free_bytes(int) { refuse(); }
void* allocate_pinned(int64_t) { refuse(); }
void release_pinned(void*) {}
bool is_pinned(const void*) { refuse(); }

CurrentDevice::CurrentDevice(int) { refuse(); }
CurrentDevice::~CurrentDevice() = default;
void use(int) { refuse(); }
void* make_stream(int) { refuse(); }
void destroy_stream(void*) {}
void synchronize(void*) { refuse(); }

void copy(void*, const void*, int64_t, void*) { refuse(); }
void fill(void*, int, int64_t, void*) { refuse(); }
void copy_now(void*, const void*, int64_t) { refuse(); }

void* record_event(void*) { refuse(); }
double seconds_between(void*, void*) { refuse(); }
void wait_for_event(void*) { refuse(); }
void destroy_event(void*) {}

bool is_capturing(void*) { return false; }
void begin_capture(void*) { refuse(); }
void* end_capture(void*) { refuse(); }
void abandon_capture(void*) noexcept {}
void launch_graph(void*, void*) { refuse(); }
void destroy_graph(void*) {}

}  // namespace strobe::cuda
