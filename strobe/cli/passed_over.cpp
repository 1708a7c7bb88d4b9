#include "strobe/cli/passed_over.h"

#include <fmt/format.h>

#include <cstdio>

#include "strobe/core/device.h"

namespace strobe {

std::string passed_over_text(std::string_view device, bool is_gpu_there,
                             std::string_view why_no_cuda) {
  if (device != "auto" || !is_gpu_there || why_no_cuda.empty()) return "";
  return fmt::format("on the CPU, not on the GPU: {}", why_no_cuda);
}

void say_if_gpu_is_passed_over(std::string_view device) {
  const std::string text = passed_over_text(device, is_gpu_there(), why_no_cuda());
  if (!text.empty()) fmt::print(stderr, "strobe: {}\n", text);
}

}  // namespace strobe
