#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"
#include "strobe/data/safetensors.h"
#include "strobe/models/gpt2_config.h"

namespace strobe {

// The configuration in a model's folder. Throws Error, naming the file, when it is none of a GPT-2
// that Strobe can run.
Gpt2Config load_gpt2_config(const std::string& folder);

// The parameters of a GPT-2 in the files of its folder, model.safetensors, or
// model.safetensors.index.json and the files that it names. They are shown under our names and in
// our layout; the files may have
//  - names with the prefix "transformer.", or without;
//  - linear weights [inputs, outputs] (Conv1D), or all of them [outputs, inputs] (Linear);
//  - f32, f16, bf16;
//  - a head that is equal to the token table, or left out, or there instead of it;
//  - the attention masks that old files carry ("attn.bias", "attn.masked_bias").
// Nothing is read but the files' headers, and the head if there is one.
class Gpt2Weights {
 public:
  // Throws Error, naming the file, when tensors are missing (each is named) or have no meaning
  // (likewise), when one has another shape or type than it should, and when the head differs from
  // the token table.
  explicit Gpt2Weights(const std::string& folder);

  const Gpt2Config& config() const { return config_; }
  // The type of the token table, which in any usual file is that of all parameters.
  DType dtype() const;
  // Of the parameters as they lie in the files.
  int64_t bytes() const;

  // Begins to read all parameters from the disk: for who reads them all at once.
  void prefetch() const;

  // Sets `to`, contiguous f32, f16 or bf16 of the parameter's shape, to the values of the parameter
  // of this name (ours), rounded where its type is narrower. What was read of the files leaves this
  // process's memory again.
  void read(Context& ctx, std::string_view name, const Tensor& to) const;

 private:
  struct Source {
    std::string name;  // in the files
    DType dtype;
    Shape shape;  // ours
    bool is_transposed;
  };
  using FileNames = std::map<std::string, std::string, std::less<>>;

  FileNames meaningful_names() const;
  void check_complete(FileNames file_names) const;
  Source source(const std::string& file_name, const Shape& shape, bool is_transposed) const;
  void check_head(const FileNames& file_names) const;

  Gpt2Config config_;
  SafetensorsFile file_;
  std::map<std::string, Source, std::less<>> sources_;  // by our names
};

}  // namespace strobe
