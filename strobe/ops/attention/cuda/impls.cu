#include "strobe/ops/attention/impls.h"

#include "strobe/ops/attention/cuda/portable/flash_portable.h"
#include "strobe/ops/attention/cuda/sm90/flash_sm90.h"
#include "strobe/ops/attention/cuda/standard.h"

namespace strobe {

std::span<const AttentionImpl> attention_impls_cuda() {
  static const AttentionImpl kRows[] = {kCudaFlashSm90, kCudaFlashPortable, kCudaFlashSm75,
                                        kCudaStandard};
  return kRows;
}

}  // namespace strobe
