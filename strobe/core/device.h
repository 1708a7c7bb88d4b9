#pragma once

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
};

// Instruction sets that CPU kernels are compiled for; each includes the ones before it.
enum class Isa : unsigned char { scalar, avx2, avx512, avx512_bf16 };

constexpr std::string_view to_text(Isa isa) {
  constexpr std::string_view names[] = {"scalar", "avx2", "avx512", "avx512_bf16"};
  return names[static_cast<int>(isa)];
}

struct CpuInfo {
  std::string model;      // as /proc/cpuinfo names it
  Isa isa = Isa::scalar;  // the best set that this machine (and STROBE_MAX_ISA) allows
  int cores = 1;          // that this process may run on
  bool has_fast_bf16_dot = false;  // a bf16 dot product (two products a lane) outruns two f32 FMAs
  long memory_bytes = 0;  // physical memory
};

// Read once. The environment variable STROBE_MAX_ISA (scalar, avx2, avx512, avx512_bf16) lowers
// `isa`, so that one machine can test the kernels of older ones; another value is an error.
const CpuInfo& cpu_info();

// Empty when `device` is a CPU that runs `isa`, else the reason why not.
std::string why_not_isa(Isa isa, const Device& device);

}  // namespace strobe
