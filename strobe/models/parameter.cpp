#include "strobe/models/parameter.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "strobe/core/copy.h"
#include "strobe/core/parallel.h"
#include "strobe/ops/cast/cast.h"

namespace strobe {
namespace {

constexpr int64_t kGrain = 16 * 1024;  // elements; a multiple of the four normals of one counter

void fill_constant(const Tensor& tensor, float value) {
  auto* data = tensor.as<float>();
  parallel_ranges(tensor.numel(), kGrain,
                  [&](int64_t begin, int64_t end) { std::fill(data + begin, data + end, value); });
}

// Two normals of deviation `deviation` from two words (Box and Muller 1958). f32 throughout: the
// uniform argument of the logarithm is in (0, 1], so the largest normal is 6.7 deviations.
struct NormalPair {
  float first, second;
};
NormalPair normal_pair(uint32_t a, uint32_t b, float deviation) {
  const float uniform = (static_cast<float>(a) + 0.5f) * 0x1p-32f;
  const float angle = static_cast<float>(b) * (2 * std::numbers::pi_v<float> * 0x1p-32f);
  const float radius = deviation * std::sqrt(-2 * std::log(uniform));
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

// Elements 4i … 4i+3 come from the counter i.
void fill_normal(const Tensor& tensor, float deviation, PhiloxKey key) {
  auto* data = tensor.as<float>();
  parallel_ranges(tensor.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += 4) {
      const auto counter = static_cast<uint64_t>(i / 4);
      const auto [word] = philox(
          {{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0}}, key);
      const NormalPair low = normal_pair(word[0], word[1], deviation);
      const NormalPair high = normal_pair(word[2], word[3], deviation);
      const float normals[4] = {low.first, low.second, high.first, high.second};
      std::copy_n(normals, std::min<int64_t>(4, end - i), data + i);
    }
  });
}

}  // namespace

void allocate(Context& ctx, Parameter& parameter, DType dtype, bool is_trainable) {
  const auto take = [&](MemoryUse use, DType type) {
    return ctx.arena().allocate(use, type, parameter.shape);
  };
  parameter.value = take(MemoryUse::weights, parameter.decays() ? dtype : DType::f32);
  if (parameter.value.dtype == DType::f32) {
    parameter.master = parameter.value;
  } else if (is_trainable) {
    parameter.master = take(MemoryUse::weights, DType::f32);
  }
  if (!is_trainable) return;
  parameter.grad = take(MemoryUse::gradients, DType::f32);
  parameter.m = take(MemoryUse::optimizer, DType::f32);
  parameter.v = take(MemoryUse::optimizer, DType::f32);
}

void clear_moments(Context& ctx, Parameter& parameter) {
  clear(ctx, parameter.m);
  clear(ctx, parameter.v);
}

void assign(Context& ctx, Parameter& parameter, const Tensor& values) {
  check_contiguous(parameter.hf_name.c_str(), values, DType::f32, parameter.shape);
  const Arena::Scope scope(ctx.arena());
  Tensor there = parameter.master;
  if (!there.has_data()) {
    there = on_device(ctx, values, MemoryUse::workspace);
  } else if (there.data != values.data) {
    copy(ctx, values, there);
  }
  if (parameter.value.dtype != DType::f32) cast(ctx, {.from = there, .to = parameter.value});
  ctx.synchronize();  // `values` may change from here on
}

void initialize(Context& ctx, Parameter& parameter, PhiloxKey key) {
  // Made on the host for every device: so they are the same numbers.
  std::vector<float> memory;
  Tensor values = parameter.master;
  if (!values.has_data() || values.device != DeviceKind::cpu) {
    memory.resize(parameter.shape.numel());
    values = Tensor::of(memory.data(), parameter.shape);
  }
  switch (parameter.init.kind) {
    case Init::Kind::zeros: fill_constant(values, 0); break;
    case Init::Kind::ones: fill_constant(values, 1); break;
    case Init::Kind::normal:
      fill_normal(values, static_cast<float>(parameter.init.deviation), key);
      break;
  }
  assign(ctx, parameter, values);
}

}  // namespace strobe
