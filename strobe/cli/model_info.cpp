#include "strobe/cli/model_info.h"

#include <filesystem>

#include "strobe/core/check.h"
#include "strobe/data/hub.h"
#include "strobe/data/tokenizer.h"
#include "strobe/models/gpt2.h"
#include "strobe/models/gpt2_weights.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

Json tokenizer_info(const std::string& folder) {
  for (const char* file : {"tokenizer.json", "vocab.json"}) {
    if (!std::filesystem::exists(folder + "/" + file)) continue;
    return fmt::format("{} tokens, {}", load_tokenizer(folder)->vocab_size(), file);
  }
  return nullptr;
}

}  // namespace

Json model_info(const std::string& name) {
  const std::string folder = resolve_model(name);
  const Gpt2Weights weights(folder);
  return {{"folder", folder},
          {"parameters", parameter_count(weights.config())},
          {"dtype", to_text(weights.dtype())},
          {"size", bytes_text(static_cast<double>(weights.bytes()))},
          {"tokenizer", tokenizer_info(folder)},
          {"config", Json::parse(to_json(weights.config()))}};
}

}  // namespace strobe
