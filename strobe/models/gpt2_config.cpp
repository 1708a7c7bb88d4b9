#include "strobe/models/gpt2_config.h"

#include <nlohmann/json.hpp>

#include "strobe/core/check.h"
#include "strobe/core/random.h"

namespace strobe {
namespace {

using Json = nlohmann::ordered_json;

// The one list of fields: calls f(name, field) for each.
template <class Config, class F>
void for_each_field(Config& config, F&& f) {
  f("vocab_size", config.vocab_size);
  f("n_positions", config.n_positions);
  f("n_embd", config.n_embd);
  f("n_layer", config.n_layer);
  f("n_head", config.n_head);
  f("n_inner", config.n_inner);
  f("activation_function", config.activation_function);
  f("layer_norm_epsilon", config.layer_norm_epsilon);
  f("initializer_range", config.initializer_range);
  f("resid_pdrop", config.resid_pdrop);
  f("embd_pdrop", config.embd_pdrop);
  f("attn_pdrop", config.attn_pdrop);
  f("bos_token_id", config.bos_token_id);
  f("eos_token_id", config.eos_token_id);
  f("tie_word_embeddings", config.tie_word_embeddings);
}

// Fields of transformers' GPT2Config that choose another computation, and the value implemented.
const std::pair<const char*, Json> kOtherMathematics[] = {
    {"model_type", "gpt2"},
    {"scale_attn_weights", true},
    {"scale_attn_by_inverse_layer_idx", false},
    {"add_cross_attention", false},
};

void read(const char* name, const Json& value, int64_t& field) {
  check(value.is_number_integer(), name, " is ", value.dump(), ", allowed is a whole number");
  field = value.get<int64_t>();
}
void read(const char* name, const Json& value, std::optional<int64_t>& field) {
  read(name, value, field.emplace());
}
void read(const char* name, const Json& value, double& field) {
  check(value.is_number(), name, " is ", value.dump(), ", allowed is a number");
  field = value.get<double>();
}
void read(const char* name, const Json& value, bool& field) {
  check(value.is_boolean(), name, " is ", value.dump(), ", allowed is true or false");
  field = value.get<bool>();
}
void read(const char* name, const Json& value, std::string& field) {
  check(value.is_string(), name, " is ", value.dump(), ", allowed is a string");
  field = value.get<std::string>();
}

void check_at_least_one(const char* name, int64_t value) {
  check(value >= 1, name, " is ", value, ", allowed is 1 or more");
}

void check_dropout(const char* name, double p) {
  check(p >= 0 && p < 1, name, " is ", p, ", allowed is [0, 1)");
  Dropout::with(p, {});  // refuses what it would round to 0 or to 1
}

}  // namespace

void validate(const Gpt2Config& config) {
  check_at_least_one("vocab_size", config.vocab_size);
  check_at_least_one("n_positions", config.n_positions);
  check_at_least_one("n_embd", config.n_embd);
  check_at_least_one("n_layer", config.n_layer);
  check_at_least_one("n_head", config.n_head);
  check_at_least_one("n_inner", config.inner_dim());
  check(config.vocab_size <= INT32_MAX, "vocab_size is ", config.vocab_size, ", allowed is up to ",
        INT32_MAX);
  check(config.n_embd % config.n_head == 0, "n_embd is ", config.n_embd,
        ", allowed is a multiple of n_head, which is ", config.n_head);
  check(config.head_dim() % 8 == 0 && config.head_dim() <= 256, "n_embd / n_head is ",
        config.head_dim(), " (", config.n_embd, " / ", config.n_head,
        "), allowed is a multiple of 8 up to 256");
  check(config.activation_function == "gelu_new", "activation_function is '",
        config.activation_function, "', allowed is 'gelu_new'");
  check(config.layer_norm_epsilon > 0, "layer_norm_epsilon is ", config.layer_norm_epsilon,
        ", allowed is more than 0");
  check(config.initializer_range >= 0, "initializer_range is ", config.initializer_range,
        ", allowed is 0 or more");
  check_dropout("resid_pdrop", config.resid_pdrop);
  check_dropout("embd_pdrop", config.embd_pdrop);
  check_dropout("attn_pdrop", config.attn_pdrop);
  check(config.tie_word_embeddings, "tie_word_embeddings is false, allowed is true");
}

Gpt2Config gpt2_config_from_json(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  check(json.is_object(), "the configuration is not a JSON object: ",
        text.size() <= 60 ? text : std::string(text.substr(0, 60)) + "…");
  for (const auto& [name, implemented] : kOtherMathematics) {
    check(!json.contains(name) || json[name] == implemented, name, " is ",
          json.value(name, Json()).dump(), ", allowed is ", implemented.dump());
  }
  Gpt2Config config;
  for_each_field(config, [&](const char* name, auto& field) {
    if (json.contains(name) && !json[name].is_null()) read(name, json[name], field);
  });
  validate(config);
  return config;
}

std::string to_json(const Gpt2Config& config) {
  Json json = {{"model_type", "gpt2"}};
  for_each_field(config, [&](const char* name, const auto& field) {
    if constexpr (requires { field.value(); }) {
      json[name] = field ? Json(*field) : Json();
    } else {
      json[name] = field;
    }
  });
  return json.dump(2) + "\n";
}

}  // namespace strobe
