#include "strobe/simd/simd_test_kernels.h"

#include "strobe/simd/math.h"
#include "strobe/simd/philox.h"
#include "strobe/simd/reduce.h"

namespace strobe::STROBE_ISA {
namespace {

template <auto kFunction>
void map(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(y + i, kFunction(load(x + i)));
}

template <class From, class To>
void convert(const From* x, To* y, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(y + i, load(x + i));
}

template <class T>
void copy_partial(const T* x, T* y, int n) {
  store_partial(y, load_partial(x, n), n);
}

void keep(uint32_t bits, const float* x, float* y) { store(y, keep_lanes(bits, load(x))); }
bool is_any_above(const float* x, const float* y) { return any_above(load(x), load(y)); }
float sum(const float* x) { return sum_lanes(load(x)); }
void sum_all(const float* x, float* sums) {
  F32 vectors[kLanes];
  for (int i = 0; i < kLanes; ++i) vectors[i] = load(x + i * kLanes);
  store(sums, sum_each(vectors));
}
float maximum(const float* x) { return max_lanes(load(x)); }

void philox7(uint32_t counter, uint32_t key0, uint32_t key1, uint32_t* words) {
  const U32 counters = broadcast_u32(counter) + bit_cast_to<U32>(lane_index());
  const PhiloxLanes random =
      philox<7>({{counters, broadcast_u32(1), broadcast_u32(2), broadcast_u32(3)}}, key0, key1);
  for (int i = 0; i < kLanes; ++i) {
    for (int w = 0; w < 4; ++w) words[4 * i + w] = random.word[w][i];
  }
}

}  // namespace

const SimdFunctions simd_functions = {
    .lanes = kLanes,
    .exp2 = &map<exp2>,
    .exp = &map<exp>,
    .gelu = &map<gelu>,
    .gelu_derivative = &map<gelu_derivative>,
    .sqrt = &map<sqrt>,
    .round_to_bf16 = &convert<float, bf16>,
    .widen_bf16 = &convert<bf16, float>,
    .copy_partial = &copy_partial<float>,
    .copy_partial_bf16 = &copy_partial<bf16>,
    .keep_lanes = &keep,
    .any_above = &is_any_above,
    .sum_lanes = &sum,
    .sum_each = &sum_all,
    .max_lanes = &maximum,
    .philox7 = &philox7,
};

}  // namespace strobe::STROBE_ISA
