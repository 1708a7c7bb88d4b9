// GPT-2's files against Hugging Face's transformers: tools/make_weights_golden.py made the folders
// tests/golden/weights_*.
#include "strobe/models/gpt2_files.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>

#include "strobe/core/json.h"
#include "strobe/models/gpt2_testing.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"
#include "tests/testkit/tensors.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kFolders = {"weights_f32", "weights_sharded_bf16",
                                           "weights_first_gpt2", "weights_linear_f16"};

std::string golden(const std::string& name) { return STROBE_SOURCE_DIR "/tests/golden/" + name; }

Gpt2 load(Context& ctx, const std::string& folder, DType dtype = DType::f32) {
  return load_gpt2(ctx, folder, dtype, /*is_trainable=*/false);
}

// The values of a folder's parameters, each rounded to a type.
NamedValues values_in(const std::string& folder, DType dtype = DType::f32) {
  Context ctx(Device{}, {.poison = true});
  Gpt2 model = load(ctx, folder);
  NamedValues values = values_of(model);
  with_float_type(dtype, [&](auto type) {
    for (auto& [name, numbers] : values) {
      for (double& x : numbers) x = to_f32(from_f32<decltype(type)>(static_cast<float>(x)));
    }
  });
  return values;
}

void expect_same_values(const NamedValues& actual, const NamedValues& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, values] : actual) {
    EXPECT_TRUE(is_equal(name, values, expected.at(name)));
  }
}

void expect_same_file(const std::string& path, const std::string& expected_path) {
  EXPECT_EQ(content_of(path), content_of(expected_path)) << path;
}

std::vector<std::string> files_of(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

TEST(Gpt2FilesTest, LogitsEqualTransformers) {
  for (const std::string& name : kFolders) {
    Context ctx(Device{}, {.poison = true});
    Gpt2 model = load(ctx, golden(name));
    const SafetensorsFile expected(golden(name) + "/expected.safetensors");
    const Tensor logits = model.logits(ctx, {.tokens = expected.tensor("tokens")});
    EXPECT_TRUE(is_close(name, to_doubles(logits), to_doubles(expected.tensor("logits")), 0, 1e-5));
  }
}

// To the rounding of weights and, in bf16, activations, through two blocks with weights ten times
// as large as GPT-2's first ones.
TEST(Gpt2FilesTest, SixteenBitsAreNearTransformers) {
  for (const std::string& name : kFolders) {
    const SafetensorsFile expected(golden(name) + "/expected.safetensors");
    for (const auto& [dtype, bound] : {std::pair{DType::f16, 2e-3}, {DType::bf16, 2e-2}}) {
      Context ctx(Device{}, {.poison = true});
      Gpt2 model = load(ctx, golden(name), dtype);
      const Tensor logits = model.logits(ctx, {.tokens = expected.tensor("tokens")});
      EXPECT_LE(relative_error(to_doubles(logits), to_doubles(expected.tensor("logits"))), bound)
          << name << " " << dtype;
    }
  }
}

// A model of 16 bits has the file's values rounded once, whatever their type there.
TEST(Gpt2FilesTest, ValuesAreRoundedOnceToTheModelsType) {
  for (const std::string& name : kFolders) {
    const NamedValues exact = values_in(golden(name));
    for (const DType dtype : {DType::f16, DType::bf16}) {
      const NamedValues rounded = values_in(golden(name), dtype);
      Context ctx(Device{}, {.poison = true});
      Gpt2 model = load(ctx, golden(name), dtype);
      model.for_each_parameter([&](Parameter& p) {
        EXPECT_EQ(p.value.dtype, p.decays() ? dtype : DType::f32);
        EXPECT_TRUE(
            is_equal(p.hf_name, to_doubles(p.value), (p.decays() ? rounded : exact).at(p.hf_name)));
      });
    }
  }
}

TEST(Gpt2FilesTest, AModelToTrainHasMastersInF32) {
  const std::string folder = golden("weights_f32");
  const NamedValues exact = values_in(folder);
  Context ctx(Device{}, {.poison = true});
  Gpt2 model = load_gpt2(ctx, folder, DType::bf16, /*is_trainable=*/true);
  Gpt2 rounded = load(ctx, folder, DType::bf16);
  expect_same_values(values_of(model), values_of(rounded));
  model.for_each_parameter([&](Parameter& p) {
    EXPECT_TRUE(is_equal(p.hf_name, to_doubles(p.master), exact.at(p.hf_name)));
    EXPECT_TRUE(is_equal(p.hf_name, to_doubles(p.m), std::vector<double>(p.m.numel(), 0)));
  });
}

// transformers reads its own files, so it reads these: they are the same to the byte.
TEST(Gpt2FilesTest, WritesWhatTransformersWrites) {
  const TemporaryFolder folder;
  Context ctx(Device{}, {.poison = true});
  Gpt2 whole = load(ctx, golden("weights_f32"));
  save_gpt2(ctx, whole, folder.path() + "/whole", DType::f32);
  expect_same_file(folder.path() + "/whole/model.safetensors",
                   golden("weights_f32") + "/model.safetensors");
  EXPECT_EQ(load_gpt2_config(folder.path() + "/whole"), whole.config());

  Gpt2 sharded = load(ctx, golden("weights_sharded_bf16"));
  save_gpt2(ctx, sharded, folder.path() + "/saved",
            {.dtype = DType::bf16, .max_shard_bytes = 4000});
  convert_gpt2(ctx, golden("weights_sharded_bf16"), folder.path() + "/converted",
               {.dtype = DType::bf16, .max_shard_bytes = 4000});
  int files = 0;
  for (const std::string& name : files_of(golden("weights_sharded_bf16"))) {
    if (!name.starts_with("model")) continue;
    ++files;
    for (const char* copy : {"/saved/", "/converted/"}) {
      expect_same_file(folder.path() + copy + name, golden("weights_sharded_bf16/") + name);
    }
  }
  EXPECT_EQ(files, 6);
  expect_same_file(folder.path() + "/converted/config.json",
                   golden("weights_sharded_bf16/config.json"));
}

TEST(Gpt2FilesTest, ConfigSaysWhatTransformersAsksFor) {
  const TemporaryFolder folder;
  Context ctx;
  Gpt2Config config = {.vocab_size = 20, .n_positions = 8, .n_embd = 8, .n_layer = 1, .n_head = 1};
  config.attn_implementation = "flash";
  Gpt2 model(ctx, config, DType::bf16, /*is_trainable=*/false);
  model.initialize(ctx, 1);
  save_gpt2(ctx, model, folder.path(), DType::bf16);
  const SortedJson json = SortedJson::parse(content_of(folder.path() + "/config.json"));
  EXPECT_EQ(json["architectures"], SortedJson::array({"GPT2LMHeadModel"}));
  EXPECT_EQ(json["model_type"], "gpt2");
  EXPECT_EQ(json["torch_dtype"], "bfloat16");
  EXPECT_EQ(json["attn_implementation"], "sdpa");
  EXPECT_EQ(load_gpt2_config(folder.path()), config);

  SortedJson edited = json;  // by a user of ours
  edited["attn_implementation"] = "flash";
  edited["summary_type"] = "mean";
  folder.file("config.json", edited.dump());
  const std::string converted = folder.path() + "/converted";
  convert_gpt2(ctx, folder.path(), converted, {.dtype = DType::f16});
  edited["attn_implementation"] = "sdpa";
  edited["torch_dtype"] = "float16";
  EXPECT_EQ(SortedJson::parse(content_of(converted + "/config.json")), edited);
}

TEST(Gpt2FilesTest, ConvertsEveryLayoutIntoOurs) {
  const TemporaryFolder folder;
  Context ctx(Device{}, {.poison = true});
  const std::string to = folder.path() + "/to";
  for (const std::string& name : kFolders) {
    convert_gpt2(ctx, golden(name), to, {.dtype = DType::f32});
    expect_same_values(values_in(to), values_in(golden(name)));
    EXPECT_EQ(files_of(to), (std::vector<std::string>{"config.json", "model.safetensors"}));
    convert_gpt2(ctx, golden(name), to, {.dtype = DType::f16, .prefix = "", .max_shard_bytes = 1});
    EXPECT_TRUE(SafetensorsFile(to + "/model.safetensors.index.json").contains("h.0.ln_1.weight"));
    expect_same_values(values_in(to), values_in(golden(name), DType::f16));
    EXPECT_EQ(Gpt2Weights(to).dtype(), DType::f16);
    EXPECT_FALSE(fs::exists(to + "/model.safetensors")) << "of the conversion before";
  }
  EXPECT_EQ(error_of([&] { convert_gpt2(ctx, to, to + "2", {.prefix = "gpt2."}); }),
            "the prefix is 'gpt2.', allowed are 'transformer.' and none");
  EXPECT_EQ(error_of([&] { convert_gpt2(ctx, to, to + "/.", {}); }),
            "'" + to + "/.' is the folder that is converted; allowed is another one");
}

// A table that is read and written in several pieces, of which no more than one is in memory.
TEST(Gpt2FilesTest, PiecesMakeTheWholeAndLeaveNoSecondCopy) {
  const TemporaryFolder folder;
  const Gpt2Config config = {.vocab_size = 70'000, .n_embd = 64, .n_layer = 1, .n_head = 1};
  {
    Context ctx;
    Gpt2 model(ctx, config, DType::f32, /*is_trainable=*/false);
    model.initialize(ctx, 1);
    save_gpt2(ctx, model, folder.path() + "/f32", DType::f32);
    save_gpt2(ctx, model, folder.path() + "/f16", DType::f16);
  }
  Context ctx;
  Gpt2 model = load(ctx, folder.path() + "/f16");
  const MemoryReport& report = ctx.arena().report();
  const int64_t bytes = 4 * parameter_count(config);
  EXPECT_EQ(report.current_total_bytes, bytes);
  EXPECT_LE(report.peak_total_bytes, bytes + 2 * (1 << 20));
  expect_same_values(values_of(model), values_in(folder.path() + "/f32", DType::f16));
}

// A copy of a golden folder whose tensors were changed.
std::string changed(const TemporaryFolder& folder, const std::string& name,
                    const std::function<void(std::vector<NamedTensor>&)>& change) {
  const std::string path = folder.path() + "/changed";
  fs::create_directories(path);
  const SafetensorsFile file(golden(name) + "/model.safetensors");
  std::vector<NamedTensor> tensors;
  for (const std::string& tensor : file.names()) tensors.push_back({tensor, file.tensor(tensor)});
  change(tensors);
  fs::copy_file(golden(name) + "/config.json", path + "/config.json",
                fs::copy_options::overwrite_existing);
  write_safetensors(path + "/model.safetensors", tensors, {});
  return path;
}

NamedTensor& find(std::vector<NamedTensor>& tensors, const std::string& name) {
  return *std::ranges::find(tensors, name, &NamedTensor::name);
}

TEST(Gpt2FilesTest, ErrorsNameTensorsAndShapes) {
  const TemporaryFolder folder;
  const std::string file = folder.path() + "/changed/model.safetensors";
  const auto message = [&](const std::string& name,
                           const std::function<void(std::vector<NamedTensor>&)>& change) {
    const std::string path = changed(folder, name, change);
    return error_of([&] { const Gpt2Weights weights(path); });
  };
  EXPECT_EQ(message("weights_f32",
                    [](auto& tensors) {
                      std::erase_if(tensors, [](const NamedTensor& t) {
                        return t.name.ends_with("attn.c_proj.bias");
                      });
                    }),
            "'" + file + R"(' lacks the tensors "h.0.attn.c_proj.bias", "h.1.attn.c_proj.bias")");
  EXPECT_EQ(message("weights_f32",
                    [](auto& tensors) {
                      NamedTensor& bias = find(tensors, "transformer.h.1.ln_1.bias");
                      tensors.push_back({"transformer.h.2.ln_1.bias", bias.tensor});
                    }),
            "'" + file + "' has tensors that a GPT-2 of 2 blocks does not have: " +
                "\"transformer.h.2.ln_1.bias\"");
  EXPECT_EQ(message("weights_f32",
                    [](auto& tensors) {
                      Tensor& weight = find(tensors, "transformer.h.1.mlp.c_fc.weight").tensor;
                      weight = weight.view({64, 16});
                    }),
            "the tensor \"transformer.h.1.mlp.c_fc.weight\" in '" + file +
                "' has the shape [64, 16], expected is [16, 64]");
  // One matrix of another layout than the rest.
  EXPECT_EQ(message("weights_linear_f16",
                    [](auto& tensors) {
                      Tensor& weight = find(tensors, "transformer.h.0.mlp.c_fc.weight").tensor;
                      weight = weight.view({16, 64});
                    }),
            "the tensor \"transformer.h.0.mlp.c_fc.weight\" in '" + file +
                "' has the shape [16, 64], expected is [64, 16]");
  EXPECT_EQ(message("weights_f32",
                    [](auto& tensors) {
                      Tensor& bias = find(tensors, "transformer.ln_f.bias").tensor;
                      bias.dtype = DType::i32;
                    }),
            "the tensor \"transformer.ln_f.bias\" in '" + file +
                "' is I32, allowed are F32, F16 and BF16");
  EXPECT_EQ(message("weights_f32",
                    [](auto& tensors) {
                      const Tensor table = find(tensors, "transformer.wte.weight").tensor;
                      tensors.push_back({"wte.weight", table});
                    }),
            "'" + file + "' has both \"transformer.wte.weight\" and \"wte.weight\"");
}

TEST(Gpt2FilesTest, TheHeadIsTheTokenTable) {
  const TemporaryFolder folder;
  const auto without_table = [](auto& tensors) {
    std::erase_if(tensors, [](auto& t) { return t.name == "transformer.wte.weight"; });
  };
  expect_same_values(values_in(changed(folder, "weights_linear_f16", without_table)),
                     values_in(golden("weights_linear_f16")));
  std::vector<uint16_t> other(40 * 16);
  const auto with_other_head = [&](auto& tensors) {
    Tensor& head = find(tensors, "lm_head.weight").tensor;
    std::memcpy(other.data(), head.data, head.bytes());
    other.back() ^= 1;
    head.data = other.data();
  };
  const std::string path = changed(folder, "weights_linear_f16", with_other_head);
  EXPECT_EQ(error_of([&] { const Gpt2Weights weights(path); }),
            "'" + path + "/model.safetensors' has a head (lm_head.weight) that differs from the " +
                "token table (wte.weight); allowed is a head tied to it");
}

TEST(Gpt2FilesTest, ErrorsNameWhatAFolderLacks) {
  const TemporaryFolder folder;
  Context ctx;
  const auto message = [&](const std::string& path) {
    return error_of([&] { load_gpt2(ctx, path, DType::f32, false); });
  };
  const std::string& path = folder.path();
  EXPECT_EQ(message(path + "/nowhere"), "'" + path + "/nowhere' is not a folder");
  EXPECT_EQ(message(path), "'" + path + "' has no config.json: it is not the folder of a model");
  folder.file("config.json", R"({"model_type": "bert"})");
  EXPECT_EQ(message(path),
            "cannot read '" + path + "/config.json': model_type is \"bert\", allowed is \"gpt2\"");
  folder.file("config.json", std::string(2'000'000, ' '));
  EXPECT_EQ(message(path), "'" + path + "/config.json' has 2000000 bytes, allowed are 1048576");
  folder.file("config.json", "{}");
  EXPECT_EQ(message(path),
            "'" + path + "' has neither model.safetensors nor model.safetensors.index.json");
  folder.file("pytorch_model.bin", "");
  EXPECT_EQ(message(path), "'" + path +
                               "' has its weights in pytorch_model.bin alone, allowed is "
                               "model.safetensors (transformers' save_pretrained writes it)");
  folder.file("model.safetensors", "");
  EXPECT_EQ(message(path),
            "cannot read '" + path +
                "/model.safetensors': it has 0 bytes, a safetensors file at least 8");
}

// A configuration that asks for more than the file has costs no memory.
TEST(Gpt2FilesTest, ALyingConfigurationIsFoundBeforeMemoryIsTaken) {
  const TemporaryFolder folder;
  const std::string path = changed(folder, "weights_f32", [](auto&) {});
  SortedJson config = SortedJson::parse(content_of(path + "/config.json"));
  config["vocab_size"] = 2'000'000'000;
  folder.file("changed/config.json", config.dump());
  Context ctx;
  EXPECT_EQ(error_of([&] { load(ctx, path); }),
            "the tensor \"transformer.wte.weight\" in '" + path +
                "/model.safetensors' has the shape [61, 16], expected is [2000000000, 16]");
  EXPECT_EQ(ctx.arena().report().peak_total_bytes, 0);
  config["vocab_size"] = 61;
  config["n_layer"] = 10'000;
  folder.file("changed/config.json", config.dump());
  EXPECT_NE(error_of([&] { load(ctx, path); }).find("and 119956 more"), std::string::npos);
}

}  // namespace
}  // namespace strobe::testing
