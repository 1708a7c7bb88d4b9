#pragma once

#include <span>

#include "strobe/ops/attention/attention.h"
#include "strobe/ops/attention/cuda/portable/variants.h"

namespace strobe {

// The rows "cuda_flash_portable" (sm_80 and newer) and "cuda_flash_sm75", which uses nothing that a
// Turing GPU lacks and runs on newer ones, too.
extern const AttentionImpl kCudaFlashPortable, kCudaFlashSm75;

// Compiled variants. The forward pass takes no workspace.
std::span<const PortableVariant<AttentionForward>> flash_forward_variants();
std::span<const PortableVariant<AttentionBackward>> flash_backward_variants();

// What they are instances of: flash_forward_launch.cuh, flash_backward_launch.cuh.
template <class T, int kHeadDim, PortableArch kArch>
void launch_attention_forward_flash_portable(Context& ctx, const AttentionForward& args);
template <class T, int kHeadDim, PortableArch kArch>
void launch_attention_backward_flash_portable(Context& ctx, const AttentionBackward& args);

// The backward pass. `arch` says which variants run: of the types and head dims that the forward
// pass has, but a block may need more shared memory.
std::string why_not_flash_backward(const AttentionProblem& problem, PortableArch arch,
                                   const CudaInfo& info);
int64_t flash_backward_workspace_bytes(const AttentionProblem& problem, PortableArch arch);
void flash_backward(Context& ctx, const AttentionBackward& args, PortableArch arch);

}  // namespace strobe
