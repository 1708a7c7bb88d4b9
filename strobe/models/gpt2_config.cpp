#include "strobe/models/gpt2_config.h"

#include <algorithm>
#include "strobe/core/check.h"
#include "strobe/core/json.h"
#include "strobe/core/random.h"
#include "strobe/ops/attention/attention.h"

namespace strobe {
namespace {

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
  f("attn_implementation", config.attn_implementation);
}

// Fields of transformers' GPT2Config that choose another computation, and the value implemented.
const std::pair<const char*, SortedJson> kOtherMathematics[] = {
    {"model_type", "gpt2"},
    {"scale_attn_weights", true},
    {"scale_attn_by_inverse_layer_idx", false},
    {"add_cross_attention", false},
};

// The names of transformers' attention, and what does the same here. Of two, the first is written.
constexpr std::pair<std::string_view, Algorithm> kTheirAttention[] = {
    {"eager", Algorithm::standard},
    {"sdpa", Algorithm::flash},
    {"flash_attention_2", Algorithm::flash},
    {"flash_attention_3", Algorithm::flash},
};

std::string our_attention(const std::string& name) {
  for (const auto& [theirs, algorithm] : kTheirAttention) {
    if (name == theirs) return std::string(to_text(algorithm));
  }
  return name;
}

// Empty where the choice is open.
std::string their_attention(const std::string& name) {
  const Wish wish = attention_wish(name);
  Algorithm algorithm = wish.algorithm;
  for (const AttentionImpl& impl : attention_impls()) {
    if (impl.name == wish.implementation) algorithm = impl.algorithm;
  }
  for (const auto& [theirs, ours] : kTheirAttention) {
    if (ours == algorithm) return std::string(theirs);
  }
  return {};
}

void check_type(bool is_right, const char* name, const SortedJson& value, const char* allowed) {
  check(is_right, name, " is ", is_right ? "" : short_text(value), ", allowed is ", allowed);
}

void read(const char* name, const SortedJson& value, int64_t& field) {
  // A number beyond int64_t is unsigned in the parser, or a floating one.
  check_type(value.is_number_integer() &&
                 (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX),
             name, value, "a whole number");
  field = value.get<int64_t>();
}
void read(const char* name, const SortedJson& value, std::optional<int64_t>& field) {
  read(name, value, field.emplace());
}
void read(const char* name, const SortedJson& value, double& field) {
  check_type(value.is_number(), name, value, "a number");
  field = value.get<double>();
}
void read(const char* name, const SortedJson& value, bool& field) {
  check_type(value.is_boolean(), name, value, "true or false");
  field = value.get<bool>();
}
void read(const char* name, const SortedJson& value, std::string& field) {
  check_type(value.is_string(), name, value, "a string");
  field = value.get<std::string>();
  // Messages show it as it is.
  const bool is_plain = field.size() <= 100 && std::ranges::all_of(field, [](unsigned char c) {
                          return c >= ' ' && c < 0x7f;
                        });
  check_type(is_plain, name, value, "a name of at most 100 ASCII characters");
}

void check_size(const char* name, int64_t value, int64_t largest) {
  check(value >= 1, name, " is ", value, ", allowed is 1 or more");
  check(value <= largest, name, " is ", value, ", allowed is up to ", largest);
}

void check_dropout(const char* name, double p) {
  check(p >= 0 && p < 1, name, " is ", p, ", allowed is [0, 1)");
  Dropout::with(p, {});  // refuses what it would round to 0 or to 1
}

}  // namespace

void validate(const Gpt2Config& config) {
  // The bounds keep counts of parameters and bytes far inside int64_t, whatever a file says.
  check_size("vocab_size", config.vocab_size, INT32_MAX);
  check_size("n_positions", config.n_positions, INT32_MAX);
  check_size("n_embd", config.n_embd, int64_t{1} << 18);
  check_size("n_layer", config.n_layer, 10'000);
  check_size("n_head", config.n_head, config.n_embd);
  check_size("n_inner", config.inner_dim(), int64_t{1} << 20);
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
  attention_wish(config.attn_implementation);
}

Gpt2Config gpt2_config_from_json(std::string_view text) {
  const SortedJson json = parse_json(text, "the configuration");
  check(json.is_object(),
        "the configuration is not a JSON object: ", json.is_object() ? "" : short_text(json));
  for (const auto& [name, implemented] : kOtherMathematics) {
    const auto found = json.find(name);
    if (found == json.end()) continue;
    check_type(*found == implemented, name, *found, implemented.dump().c_str());
  }
  Gpt2Config config;
  for_each_field(config, [&](const char* name, auto& field) {
    const auto found = json.find(name);
    if (found != json.end() && !found->is_null()) read(name, *found, field);
  });
  config.attn_implementation = our_attention(config.attn_implementation);
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
  const std::string attention = their_attention(config.attn_implementation);
  if (attention.empty()) {
    json.erase("attn_implementation");
  } else {
    json["attn_implementation"] = attention;
  }
  return json.dump(2) + "\n";
}

}  // namespace strobe
