#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace strobe {

enum class DeviceKind : unsigned char { cpu, cuda };

constexpr std::string_view to_text(DeviceKind kind) {
  return kind == DeviceKind::cpu ? "cpu" : "cuda";
}

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;

  bool operator==(const Device& other) const = default;
};

// "cpu", "cuda", or "cuda:1" for another than the first.
std::string to_text(const Device& device);
// Is it one of these words, or "auto"?
bool is_device_name(std::string_view name);
// The device of such a word; "auto" is the first GPU where one can be used, else the CPU. Throws
// Error, with the reason, when there is no such device or it cannot be used.
Device device_named(std::string_view name);

// Instruction sets that CPU kernels are compiled for; each includes the ones before it.
enum class Isa : unsigned char { scalar, avx2, avx512, avx512_bf16 };

constexpr std::string_view to_text(Isa isa) {
  constexpr std::string_view names[] = {"scalar", "avx2", "avx512", "avx512_bf16"};
  return names[static_cast<int>(isa)];
}

struct CpuInfo {
  std::string model;               // as /proc/cpuinfo names it
  Isa isa = Isa::scalar;           // the best set that this machine (and STROBE_MAX_ISA) allows
  int cores = 1;                   // that this process may run on
  bool has_fast_bf16_dot = false;  // a bf16 dot product (two products a lane) outruns two f32 FMAs
  long memory_bytes = 0;           // physical memory
};

// Read once. The environment variable STROBE_MAX_ISA (scalar, avx2, avx512, avx512_bf16) lowers
// `isa`, so that one machine can test the kernels of older ones; another value is an error.
const CpuInfo& cpu_info();

// An NVIDIA GPU.
struct CudaInfo {
  std::string name;    // "NVIDIA H100 80GB HBM3"
  int capability = 0;  // compute capability, 90 for 9.0
  int multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t l2_bytes = 0;
  int64_t shared_bytes_per_block = 0;  // the most that a block may ask for
  std::string driver;                  // "580.95.05", where the system says so
  std::string driver_cuda;             // the CUDA version that the driver supports, "13.0"
  std::string runtime_cuda;            // that of this build's runtime
};

// GPUs that the driver shows; 0 in a build without CUDA and where there is no driver.
int cuda_device_count();
// Is there a GPU that is not hidden, whether or not this build can use it? A driver that is too old
// for the build does not say, and counts as one.
bool is_gpu_there();
const CudaInfo& cuda_info(int index = 0);  // throws Error unless there is such a device
// What this build has GPU code for, "80 90"; empty without CUDA.
std::string_view cuda_architectures();
// Empty when GPU `index` can run this build's kernels, else why not: no CUDA in this build, no
// driver, one that is too old, no such GPU, or one that nothing was compiled for.
const std::string& why_no_cuda(int index = 0);
// Of a GPU, what is not in use now; of a CPU, its physical memory.
int64_t free_memory_bytes(const Device& device);
// Empty when `device` is a usable GPU of at least this compute capability, else the reason why not.
std::string why_not_cuda(const Device& device, int least_capability = 75);

// Empty when `device` is a CPU that runs `isa`, else the reason why not.
std::string why_not_isa(Isa isa, const Device& device);

}  // namespace strobe
