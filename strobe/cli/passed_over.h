#pragma once

#include <string>
#include <string_view>

namespace strobe {

// Why --device, "auto", is the CPU although a GPU is there; else empty.
std::string passed_over_text(std::string_view device, bool is_gpu_there,
                             std::string_view why_no_cuda);

// Says it on stderr: every command that computes, before it does.
void say_if_gpu_is_passed_over(std::string_view device);

}  // namespace strobe
