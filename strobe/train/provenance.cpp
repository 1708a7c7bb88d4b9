#include "strobe/train/provenance.h"

#include <dlfcn.h>
#include <dnnl.h>
#include <fmt/chrono.h>

#include <chrono>
#include <string>

#include "strobe/core/device.h"
#include "strobe/core/parallel.h"
#include "strobe/train/build_info.h"

namespace strobe {
namespace {

std::string compiler() {
#ifdef __clang__
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

std::string date() {
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now));
}

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

// Of the library that this process has loaded: looked up by its name, because it is not there in a
// build without CUDA.
std::string cublaslt_version() {
  const auto version = reinterpret_cast<size_t (*)()>(dlsym(RTLD_DEFAULT, "cublasLtGetVersion"));
  if (version == nullptr) return "";
  const size_t number = version();
  return fmt::format("{}.{}.{}", number / 10000, number / 100 % 100, number % 100);
}

}  // namespace

Json gpu_json(const CudaInfo& gpu) {
  return {{"gpu", gpu.name},
          {"capability", fmt::format("{}.{}", gpu.capability / 10, gpu.capability % 10)},
          {"multiprocessors", gpu.multiprocessors},
          {"gpu_memory_bytes", gpu.memory_bytes},
          {"driver", gpu.driver},
          {"driver_cuda", gpu.driver_cuda},
          {"cuda", gpu.runtime_cuda},
          {"cublaslt", cublaslt_version()}};
}

Json provenance(const Device& device) {
  const CpuInfo& cpu = cpu_info();
  Json json = {{"strobe", kVersion},
               {"git", kGitHash},
               {"date", date()},
               {"device", to_text(device)},
               {"cpu", cpu.model},
               {"isa", to_text(cpu.isa)},
               {"cores", cpu.cores},
               {"memory_bytes", cpu.memory_bytes},
               {"threads", thread_count()},
               {"compiler", compiler()},
               {"build_type", kBuildType},
               {"onednn", onednn_version()}};
  if (device.kind == DeviceKind::cuda) json.update(gpu_json(cuda_info(device.index)));
  return json;
}

}  // namespace strobe
