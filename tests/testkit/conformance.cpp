#include "tests/testkit/conformance.h"

#include <algorithm>
#include <cstdlib>

#include "tests/testkit/tensors.h"

namespace strobe::testing {

DType CaseLine::dtype(const std::string& key) const {
  const std::string name = value_in_case(text_, key);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::i32}) {
    if (to_text(dtype) == name) return dtype;
  }
  throw_error(fmt::format("the case '{}' has {}={}, which is no type", text_, key, name));
}

Random CaseLine::random() const {
  return Random(PhiloxKey{{static_cast<uint32_t>(number("seed")), 0xCA5Eu}});
}

std::vector<std::string> random_cases(int64_t count,
                                      const std::function<std::string(Random&)>& draw) {
  const char* scale = std::getenv("STROBE_TEST_SCALE");
  if (scale != nullptr) count = std::max<int64_t>(1, std::llround(count * std::atof(scale)));
  if (options().cases > 0) count = options().cases;
  Random random(PhiloxKey{{static_cast<uint32_t>(options().seed), 0x7E57u}});
  std::vector<std::string> cases;
  for (int64_t i = 0; i < count; ++i) cases.push_back(draw(random));
  return cases;
}

Tensor TensorSource::normal(DType dtype, const Shape& shape, double deviation) {
  const Tensor tensor = empty(dtype, shape);
  fill_normal(tensor, random, deviation);
  return tensor;
}

Tensor TensorSource::number(DType dtype, double value) {
  const Tensor tensor = empty(dtype, {1});
  fill(tensor, [&] { return value; });
  return tensor;
}

InputsUnchanged::InputsUnchanged(std::vector<Tensor> tensors) : tensors_(std::move(tensors)) {
  for (const Tensor& tensor : tensors_) before_.push_back(snapshot(tensor));
}

InputsUnchanged::~InputsUnchanged() {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    EXPECT_TRUE(snapshot(tensors_[i]) == before_[i]) << "input " << i << " was written";
  }
}

std::vector<double> numerical_gradient(const std::function<double(const std::vector<double>&)>& f,
                                       std::vector<double> x, double step) {
  std::vector<double> gradient;
  gradient.reserve(x.size());
  for (double& element : x) {
    const double middle = element;
    element = middle + step;
    const double above = f(x);
    element = middle - step;
    const double below = f(x);
    element = middle;
    gradient.push_back((above - below) / (2 * step));
  }
  return gradient;
}

double rounded(double value, DType dtype) {
  double result = 0;
  with_float_type(dtype, [&](auto type) {
    result = to_f32(from_f32<decltype(type)>(static_cast<float>(value)));
  });
  return result;
}

}  // namespace strobe::testing
