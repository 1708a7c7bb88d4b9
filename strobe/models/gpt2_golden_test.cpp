// GPT-2 against Hugging Face's, evaluated in float64: tools/make_golden.py made the files.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "strobe/models/gpt2.h"
#include "strobe/models/gpt2_testing.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/options.h"
#include "tests/testkit/tensors.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(STROBE_SOURCE_DIR) / "tests" / "golden";

struct Golden {
  nlohmann::json index;
  std::map<std::string, std::vector<float>> tensors;

  explicit Golden(const std::string& name) {
    std::ifstream(kFolder / (name + ".json")) >> index;
    std::ifstream file(kFolder / (name + ".bin"), std::ios::binary);
    for (const auto& entry : index["tensors"]) {
      int64_t size = 1;
      for (const int64_t dim : entry["shape"]) size *= dim;
      std::vector<float>& values = tensors[entry["name"]];
      values.resize(size);
      file.seekg(entry["offset"].get<int64_t>() * 4);
      file.read(reinterpret_cast<char*>(values.data()), size * 4);
      check(file.good(), name, ".bin ends before ", entry["name"].get<std::string>());
    }
  }

  Gpt2Config config() const { return gpt2_config_from_json(index["config"].dump()); }

  TestBatch batch() const {
    TestBatch result;
    result.batch = static_cast<int64_t>(index["tokens"].size());
    result.time = static_cast<int64_t>(index["tokens"][0].size());
    const auto append = [](std::vector<int32_t>& to, const nlohmann::json& row) {
      to.insert(to.end(), row.begin(), row.end());
    };
    for (const auto& row : index["tokens"]) append(result.tokens, row);
    for (const auto& row : index["labels"]) append(result.labels, row);
    append(result.begin, index["begin"]);
    append(result.end, index["end"]);
    return result;
  }

  std::vector<double> values(const std::string& name) const {
    const std::vector<float>& found = tensors.at(name);
    return {found.begin(), found.end()};
  }
};

void load(Context& ctx, Gpt2& model, Golden& golden) {
  model.for_each_parameter([&](Parameter& p) {
    assign(ctx, p, Tensor::of(golden.tensors.at(p.hf_name).data(), p.shape));
  });
}

// Rows of logits that are not padding: what a model computes there concerns nobody.
std::vector<double> without_padding(const std::vector<double>& logits, const TestBatch& batch,
                                    int64_t vocab) {
  std::vector<double> kept;
  for (int64_t b = 0; b < batch.batch; ++b) {
    const auto first = logits.begin() + b * batch.time * vocab;
    kept.insert(kept.end(), first + batch.begin[b] * vocab, first + batch.end[b] * vocab);
  }
  return kept;
}

// Errors relative to the loss, and to the norm of the logits and of each gradient. In f32 they are
// the rounding of sums: four times what was seen. In bf16 every weight and activation is rounded by
// up to 2⁻⁹ of itself; through two blocks, with weights ten times as large as GPT-2's first ones,
// 3e-4, 8e-3 and 1.6e-2 were seen.
struct Bounds {
  DType dtype;
  double loss, logits, gradient;
};
constexpr Bounds kBounds[] = {{DType::f32, 2e-7, 1e-6, 2e-6}, {DType::bf16, 1e-3, 2e-2, 4e-2}};

class Gpt2Golden : public ::testing::TestWithParam<std::tuple<const char*, Bounds>> {};

TEST_P(Gpt2Golden, EqualsHuggingFace) {
  const char* name = std::get<0>(GetParam());
  const Bounds bounds = std::get<1>(GetParam());
  Golden golden(name);
  TestBatch batch = golden.batch();
  Context ctx(options().device, {.poison = true});
  Gpt2 model(ctx, golden.config(), bounds.dtype);
  load(ctx, model, golden);

  const int64_t vocab = model.config().vocab_size;
  EXPECT_LE(
      relative_error(without_padding(to_doubles(model.logits(ctx, batch.view())), batch, vocab),
                     without_padding(golden.values("logits"), batch, vocab)),
      bounds.logits);

  const double expected = golden.index["loss"];
  EXPECT_NEAR(model.loss(ctx, batch.view()), expected, bounds.loss * expected);
  EXPECT_NEAR(model.forward_backward(ctx, batch.view(), {}), expected, bounds.loss * expected);

  size_t parameters = 0;
  model.for_each_parameter([&](Parameter& p) {
    EXPECT_LE(relative_error(to_doubles(p.grad), golden.values("grad " + p.hf_name)),
              bounds.gradient)
        << p.hf_name;
    ++parameters;
  });
  EXPECT_EQ(golden.tensors.size(), 2 * parameters + 1);  // no parameter of theirs that is not ours
}

INSTANTIATE_TEST_SUITE_P(Cases, Gpt2Golden,
                         ::testing::Combine(::testing::Values("gpt2_two_heads", "gpt2_padded",
                                                              "gpt2_one_wide_head"),
                                            ::testing::ValuesIn(kBounds)),
                         [](const auto& test) {
                           return fmt::format("{}_{}", std::get<0>(test.param),
                                              std::get<1>(test.param).dtype);
                         });

}  // namespace
}  // namespace strobe::testing
