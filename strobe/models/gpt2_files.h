#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "strobe/data/safetensors.h"
#include "strobe/models/gpt2.h"

namespace strobe {

// GPT-2 as Hugging Face's transformers keeps it: a folder with config.json and model.safetensors,
// or model.safetensors.index.json and the files that it names.

// The folder that holds a model's files: `path` itself, or, where it is a model's folder of the hub
// cache (models--gpt2), the snapshot that its refs/main names. Throws Error when there is no such
// folder or it has no config.json.
std::string model_folder(const std::string& path);

// The configuration in a model's folder. Throws Error, naming the file, when it is none of a GPT-2
// that Strobe can run.
Gpt2Config load_gpt2_config(const std::string& path);

// The parameters of a GPT-2 in its files, shown under our names and in our layout. Files may have
//  - names with the prefix "transformer.", or without;
//  - linear weights [inputs, outputs] (Conv1D), or all of them [outputs, inputs] (Linear);
//  - f32, f16, bf16;
//  - a head that is equal to the token table, or left out, or there instead of it;
//  - the attention masks that old files carry ("attn.bias", "attn.masked_bias").
// Nothing is read but the files' headers, and the head if there is one.
class Gpt2Checkpoint {
 public:
  // Throws Error, naming the file, when a tensor is missing (all of them are listed), is there
  // without a meaning, or has another shape or type, and when the head differs from the table.
  explicit Gpt2Checkpoint(const std::string& path);

  const Gpt2Config& config() const { return config_; }
  const std::string& folder() const { return folder_; }
  // The type of the token table, which is that of all matrices in any usual file.
  DType dtype() const;
  // Of the parameters as they lie in the files.
  int64_t bytes() const;

  // Sets `to`, contiguous f32, f16 or bf16 of the parameter's shape, to the values of the parameter
  // with this name of ours, rounded where its type is narrower. What was read of the files leaves
  // this process's memory again.
  void read(Context& ctx, std::string_view name, const Tensor& to) const;

 private:
  struct Source {
    std::string name;  // in the files
    bool is_transposed = false;
  };

  std::string folder_;
  Gpt2Config config_;
  SafetensorsFile file_;
  std::map<std::string, Source, std::less<>> sources_;  // by our names
};

// Reads a model. `dtype` is that of the model, whatever the files have; f16 is for evaluation only.
Gpt2 load_gpt2(Context& ctx, const std::string& path, DType dtype, bool is_trainable);

struct Gpt2FileFormat {
  DType dtype = DType::f32;
  std::string_view prefix = "transformer.";  // of the names; "" as in the files of the first GPT-2
  // More bytes of tensors than this are cut into several files with an index; a tensor stays whole.
  int64_t max_shard_bytes = int64_t{5} * 1000 * 1000 * 1000;
};

// Writes config.json and the weights into a folder, made where missing, as transformers reads them.
// Each file is replaced as a whole; weights of an earlier model there are removed at the end.
void save_gpt2(Context& ctx, Gpt2& model, const std::string& folder, const Gpt2FileFormat& format);
void save_gpt2(Context& ctx, Gpt2& model, const std::string& folder, DType file_dtype);

// The same from one folder to another, one parameter after another: little memory for any model.
void convert_gpt2(Context& ctx, const Gpt2Checkpoint& from, const std::string& folder,
                  const Gpt2FileFormat& format);

}  // namespace strobe
