#include "strobe/cli/loaded_model.h"

#include <filesystem>

#include "strobe/data/hub.h"
#include "strobe/models/gpt2_files.h"

namespace strobe {
namespace {

std::unique_ptr<Tokenizer> tokenizer_of(const std::string& folder, const Gpt2Config& config) {
  const auto has = [&](const char* file) {
    std::error_code error;
    return std::filesystem::exists(std::filesystem::path(folder) / file, error);
  };
  if (config.vocab_size == ByteTokenizer::kSmallestVocab && !has("tokenizer.json") &&
      !has("vocab.json")) {
    return std::make_unique<ByteTokenizer>();
  }
  return load_tokenizer(folder);
}

}  // namespace

int32_t LoadedModel::end_of_text() const {
  const int64_t configured = model.config().eos_token_id;
  const bool is_known = configured >= 0 && configured < model.config().vocab_size;
  return is_known ? static_cast<int32_t>(configured) : tokenizer->end_of_text();
}

std::string_view LoadedModel::bytes_of(int32_t token) const {
  return token < tokenizer->vocab_size() ? tokenizer->bytes_of(token) : std::string_view{};
}

LoadedModel load_model(Context& ctx, const std::string& name, DType dtype) {
  const std::string folder = resolve_model(name);
  std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(folder, load_gpt2_config(folder));
  return {load_gpt2(ctx, folder, dtype, /*is_trainable=*/false), std::move(tokenizer)};
}

}  // namespace strobe
