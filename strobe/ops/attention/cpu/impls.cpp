#include "strobe/ops/attention/cpu/impls.h"

#include <vector>

#include "strobe/ops/attention/impls.h"

namespace strobe {

std::span<const AttentionImpl> attention_impls_cpu() {
  static const std::vector<AttentionImpl> rows = [] {
    std::vector<AttentionImpl> all;
    for (const auto& impls : {attention_impls_cpu_flash(), attention_impls_cpu_standard()}) {
      all.insert(all.end(), impls.begin(), impls.end());
    }
    return all;
  }();
  return rows;
}

}  // namespace strobe
