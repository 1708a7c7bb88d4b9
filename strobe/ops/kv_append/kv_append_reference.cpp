#include "strobe/ops/kv_append/kv_append_reference.h"

namespace strobe {

std::vector<double> kv_append_reference(const KvAppendReference& how, const std::vector<double>& x,
                                        std::vector<double> cache) {
  for (int64_t b = 0; b < how.batch; ++b) {
    for (int64_t i = 0; i < how.count[b]; ++i) {
      for (int64_t e = 0; e < how.row; ++e) {
        cache[(b * how.capacity + how.to_begin[b] + i) * how.row + e] =
            x[(b * how.time + how.from_begin[b] + i) * how.row + e];
      }
    }
  }
  return cache;
}

}  // namespace strobe
