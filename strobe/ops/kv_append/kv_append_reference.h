#pragma once

#include <cstdint>
#include <vector>

namespace strobe {

// The definition of kv_append, in double, of keys or of values.
struct KvAppendReference {
  int64_t batch, time, capacity, row;  // row: heads · head_dim numbers of a position
  std::vector<int32_t> from_begin, to_begin, count;
};
std::vector<double> kv_append_reference(const KvAppendReference& how, const std::vector<double>& x,
                                        std::vector<double> cache);

}  // namespace strobe
