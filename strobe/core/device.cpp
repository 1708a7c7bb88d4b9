#include "strobe/core/device.h"

#include <sched.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>

#include "strobe/core/check.h"
#include "strobe/core/cuda/runtime.h"

namespace strobe {
namespace {

#if defined(__x86_64__)
// clang 14's __builtin_cpu_supports() does not know this one.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

Isa detect_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (!avx2) return Isa::scalar;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) return Isa::avx2;
  return __builtin_cpu_supports("avx512bf16") ? Isa::avx512_bf16 : Isa::avx512;
#else
  return Isa::scalar;
#endif
}

// AMD's Zen 4 and 5 issue bf16 dot products like FMAs. Intel's cores take several times as long: on
// a Sapphire Rapids the f32 kernels do the same work in half the time.
bool detect_fast_bf16_dot() {
#if defined(__x86_64__)
  return !__builtin_cpu_is("intel");
#else
  return false;
#endif
}

Isa allowed_isa(Isa detected) {
  const char* wish = std::getenv("STROBE_MAX_ISA");
  if (wish == nullptr) return detected;
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (to_text(isa) == wish) return isa < detected ? isa : detected;
  }
  throw_error(
      fmt::format("STROBE_MAX_ISA is '{}', allowed are scalar, avx2, avx512, avx512_bf16", wish));
}

std::string read_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

int count_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

const CpuInfo& cpu_info() {
  static const CpuInfo info = {
      .model = read_model(),
      .isa = allowed_isa(detect_isa()),
      .cores = count_cores(),
      .has_fast_bf16_dot = detect_fast_bf16_dot(),
      .memory_bytes = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGE_SIZE),
  };
  return info;
}

std::string to_text(const Device& device) {
  if (device.kind == DeviceKind::cpu) return "cpu";
  return device.index == 0 ? "cuda" : fmt::format("cuda:{}", device.index);
}

bool is_device_name(std::string_view name) {
  if (name == "auto" || name == "cpu" || name == "cuda") return true;
  constexpr std::string_view kNumbered = "cuda:";
  return name.starts_with(kNumbered) && name.size() > kNumbered.size() &&
         name.find_first_not_of("0123456789", kNumbered.size()) == std::string_view::npos;
}

Device device_named(std::string_view name) {
  constexpr Device kGpu = {DeviceKind::cuda, 0};
  if (name == "cpu") return {};
  if (name == "auto") return why_no_cuda().empty() ? kGpu : Device{};
  const int count = cuda_device_count();
  check(count > 0 || !is_device_name(name), "device '", name, "': ", why_no_cuda());
  for (int index = 0; index < count; ++index) {
    const Device device = {DeviceKind::cuda, index};
    if (name != to_text(device) && name != fmt::format("cuda:{}", index)) continue;
    check(why_no_cuda(index).empty(), "device '", name, "': ", why_no_cuda(index));
    return device;
  }
  throw_error(fmt::format(
      "device is '{}', allowed are auto, cpu, cuda, and cuda:N for one of {} GPUs", name, count));
}

std::string_view cuda_architectures() { return cuda::architectures(); }

int cuda_device_count() { return cuda::device_count(); }

bool is_gpu_there() { return cuda::is_gpu_there(); }

const CudaInfo& cuda_info(int index) {
  check(index >= 0 && index < cuda_device_count(), "GPU ", index, ", there are ",
        cuda_device_count());
  static std::mutex mutex;
  static std::map<int, CudaInfo> infos;
  const std::scoped_lock lock(mutex);
  const auto found = infos.find(index);
  return found != infos.end() ? found->second
                              : infos.emplace(index, cuda::info(index)).first->second;
}

const std::string& why_no_cuda(int index) {
  static std::mutex mutex;
  static std::map<int, std::string> reasons;
  const std::scoped_lock lock(mutex);
  const auto found = reasons.find(index);
  return found != reasons.end() ? found->second
                                : reasons.emplace(index, cuda::why_not(index)).first->second;
}

int64_t free_memory_bytes(const Device& device) {
  return device.kind == DeviceKind::cuda ? cuda::free_bytes(device.index) : cpu_info().memory_bytes;
}

std::string why_not_cuda(const Device& device, int least_capability) {
  if (device.kind != DeviceKind::cuda) return fmt::format("runs on cuda, not on {}", device.kind);
  const std::string& reason = why_no_cuda(device.index);
  if (!reason.empty()) return reason;
  const int capability = cuda_info(device.index).capability;
  if (capability >= least_capability) return "";
  return fmt::format("needs compute capability {}.{}, this GPU has {}.{}", least_capability / 10,
                     least_capability % 10, capability / 10, capability % 10);
}

std::string why_not_isa(Isa isa, const Device& device) {
  if (device.kind != DeviceKind::cpu) {
    return fmt::format("runs on cpu, not on {}", device.kind);
  }
  if (isa > cpu_info().isa) {
    return fmt::format("needs {}, this CPU offers {}", isa, cpu_info().isa);
  }
  return "";
}

}  // namespace strobe
