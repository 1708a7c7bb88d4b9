#include <algorithm>
#include <cmath>
#include <filesystem>

#include "strobe/cli/attention_names.h"
#include "strobe/cli/commands.h"
#include "strobe/cli/loaded_model.h"
#include "strobe/cli/mask_rows.h"
#include "strobe/cli/passed_over.h"
#include "strobe/cli/whole_numbers.h"
#include "strobe/core/copy.h"
#include "strobe/core/jsonl.h"
#include "strobe/core/parallel.h"
#include "strobe/generate/utf8_stream.h"
#include "strobe/report/attention_map.h"
#include "strobe/report/jsonl_reader.h"
#include "strobe/report/mask_plot.h"
#include "strobe/report/mask_table.h"
#include "strobe/train/provenance.h"

namespace strobe {
namespace {

constexpr int64_t kLongest = 16384;

struct MasksOptions {
  int64_t batch = 2;
  int64_t seq = 128;
  int64_t seq_k = 0;
  int64_t heads = 12;
  int64_t kv_heads = 0;
  int64_t head_dim = 64;
  DType dtype = DType::f32;
  uint64_t seed = 1;
  std::string window;
  std::string key_length;
  bool left_padding = false;
  std::string model;
  std::string prompt;
  int64_t layer = 0;
  int64_t head = 0;
  std::string device = "auto";
  std::string attention = "any";
  int64_t threads = 0;
  std::string out = "out/masks";

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit.group("Queries, keys and values");
    visit(batch, {.name = "batch", .unit = "sequences", .help = "in the batch", .min = 1});
    visit(seq, {.name = "seq",
                .unit = "tokens",
                .help = "queries of a sequence",
                .min = 1,
                .max = kLongest});
    visit(seq_k, {.name = "seq_k",
                  .unit = "tokens",
                  .help = "keys of a sequence; 0: as many as queries",
                  .min = 0,
                  .max = kLongest});
    visit(heads, {.name = "heads", .help = "of queries", .min = 1});
    visit(kv_heads, {.name = "kv_heads", .help = "of keys and values; 0: as of queries", .min = 0});
    visit(head_dim, {.name = "head_dim", .help = "a multiple of 8 up to 256", .min = 1});
    visit(dtype, {.name = "dtype", .help = "element type"}, {DType::f32, DType::f16, DType::bf16});
    visit(seed, {.name = "seed", .help = "of the random values"});
    visit.group("More masks, beside full and causal");
    visit(window, {.name = "window",
                   .unit = "LEFT,RIGHT",
                   .help = "a window of so many keys before and after a query's own position"});
    visit(key_length,
          {.name = "key_length",
           .unit = "N[,N…]",
           .help = "causal with padding: keys that are real, of all sequences or of each"});
    visit(left_padding,
          {.name = "left_padding", .help = "the padding lies before the keys, not after them"});
    visit.group("Instead: what a model attends to");
    visit(model,
          {.name = "model",
           .unit = "NAME",
           .help = "a folder in the Hugging Face layout, or what `strobe fetch` has loaded"});
    visit(prompt, {.name = "prompt", .unit = "TEXT", .help = "that it reads"});
    visit(layer, {.name = "layer", .help = "counted from 0", .min = 0});
    visit(head, {.name = "head", .help = "counted from 0", .min = 0});
    visit.group("Run");
    visit(device, kDeviceOption);
    visit(attention, {.name = "attention",
                      .unit = "NAME",
                      .help = "standard, flash, any (whichever is faster here), or an "
                              "implementation that `strobe info` lists"});
    visit(threads, {.name = "threads", .help = "0: one for each core", .min = 0, .max = 1024});
    visit(out, {.name = "out",
                .unit = "DIR",
                .help = "folder of masks.jsonl, masks.png and masks.svg (of a model: "
                        "attention.jsonl and so on), made where missing"});
  }
};

std::pair<int64_t, int64_t> parse_window(const std::string& text) {
  const std::vector<int64_t> reach = whole_numbers("--window", text, 0, kLongest);
  if (reach.size() != 2) {
    throw UsageError(fmt::format("--window is '{}', allowed is LEFT,RIGHT such as 32,0", text));
  }
  return {reach[0], reach[1]};
}

std::vector<int64_t> parse_key_lengths(const std::string& text, int64_t batch, int64_t keys) {
  std::vector<int64_t> lengths = whole_numbers("--key-length", text, 0, keys);
  if (lengths.size() == 1) lengths.resize(static_cast<size_t>(batch), lengths[0]);
  if (lengths.size() != static_cast<size_t>(batch)) {
    throw UsageError(
        fmt::format("--key-length has {} lengths, allowed are 1 and one for each of "
                    "{} sequences",
                    lengths.size(), batch));
  }
  return lengths;
}

MaskExperiment experiment_of(const MasksOptions& options) {
  MaskExperiment e = {.batch = options.batch,
                      .seq_q = options.seq,
                      .seq_k = options.seq_k > 0 ? options.seq_k : options.seq,
                      .heads = options.heads,
                      .kv_heads = options.kv_heads > 0 ? options.kv_heads : options.heads,
                      .head_dim = options.head_dim,
                      .dtype = options.dtype,
                      .seed = options.seed,
                      .is_left_padded = options.left_padding};
  if (!options.window.empty()) e.window = parse_window(options.window);
  if (!options.key_length.empty()) {
    e.key_lengths = parse_key_lengths(options.key_length, e.batch, e.seq_k);
  } else if (options.left_padding) {
    throw UsageError("--left-padding needs --key-length");
  }
  return e;
}

Json provenance_row(const Context& ctx, const MasksOptions& options, const std::string& title,
                    const std::string& subtitle) {
  Json row = {{"kind", "provenance"}, {"command", "masks"}};
  row.update(provenance(ctx.device()));
  row["title"] = title;
  row["subtitle"] = subtitle;
  row["options"] = options_json(options);
  return row;
}

Json provenance_row(const Context& ctx, const MasksOptions& options, const MaskExperiment& e) {
  Json row = provenance_row(
      ctx, options, "Attention masks on the same Q, K and V",
      fmt::format("B={}, {}, {} heads, D={}, {}, seed {}", e.batch,
                  e.seq_q == e.seq_k ? fmt::format("T={}", e.seq_q)
                                     : fmt::format("{} queries, {} keys", e.seq_q, e.seq_k),
                  e.heads, e.head_dim, e.dtype, e.seed));
  row["shapes"] = {{"q", {e.batch, e.seq_q, e.heads, e.head_dim}},
                   {"k", {e.batch, e.seq_k, e.kv_heads, e.head_dim}},
                   {"v", {e.batch, e.seq_k, e.kv_heads, e.head_dim}},
                   {"out", {e.batch, e.seq_q, e.heads, e.head_dim}},
                   {"lse", {e.batch, e.heads, e.seq_q}}};
  return row;
}

// Either the model's options are given or those of random tensors: none is passed over in silence.
void check_model_options(const MasksOptions& options, const Arguments& arguments) {
  const auto is_given = [&](const std::string& flag) {
    return std::ranges::any_of(arguments, [&](const std::string& word) {
      return word == flag || word.starts_with(flag + "=");
    });
  };
  if (options.model.empty()) {
    for (const char* flag : {"--prompt", "--layer", "--head"}) {
      if (is_given(flag)) throw UsageError(fmt::format("{} needs --model", flag));
    }
    return;
  }
  if (options.prompt.empty()) throw UsageError("--model needs --prompt");
  for (const char* flag : {"--batch", "--seq", "--seq-k", "--heads", "--kv-heads", "--head-dim",
                           "--seed", "--window", "--key-length", "--left-padding"}) {
    if (is_given(flag)) throw UsageError(fmt::format("{} does not go with --model", flag));
  }
}

// Writes the rows, and shows what they say: nothing that is not in the file.
void finish(const MasksOptions& options, const std::string& name, const std::vector<Json>& rows,
            std::string (*table)(const JsonRows&),
            std::string (*draw)(const JsonRows&, const std::string& path)) {
  create_folder(options.out);
  const std::string base = (std::filesystem::path(options.out) / name).string();
  {
    JsonlWriter results(base + ".jsonl");
    for (const Json& row : rows) results.write(row);
  }
  const JsonRows written = read_jsonl(base + ".jsonl");
  fmt::print("{}\n", table(written));
  const std::string problem = draw(written, base);
  fmt::print("results   {}.jsonl\n", base);
  if (problem.empty()) {
    fmt::print("pictures  {0}.png  {0}.svg\n", base);
  } else {
    fmt::print(stderr, "strobe: warning: {}\n", problem);
  }
}

void show_masks(Context& ctx, const MasksOptions& options) {
  const MaskExperiment experiment = experiment_of(options);
  ctx.prefer("attention", attention_wish(options.attention));
  std::vector<Json> rows = mask_rows(ctx, experiment);
  rows.insert(rows.begin(), provenance_row(ctx, options, experiment));
  finish(options, "masks", rows, mask_table, draw_masks);
}

// To six digits: a file of a thousand tokens stays small.
double rounded(float p) { return std::round(1e6 * double{p}) / 1e6; }

// The text of a token; one that ends inside a character has its bytes as numbers: "<e6><97>".
std::string text_of(std::string_view bytes) {
  Utf8Stream stream;
  if (stream.add(bytes) + stream.finish() == bytes) return std::string(bytes);
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += byte < 0x80 ? std::string(1, c) : fmt::format("<{:02x}>", byte);
  }
  return text;
}

Json attention_map(Context& ctx, const MasksOptions& options, LoadedModel& model) {
  std::vector<int32_t> tokens = model.tokenizer->encode(options.prompt);
  const auto count = static_cast<int64_t>(tokens.size());
  const HostView p(model.model.attention_probabilities(
      ctx, {.tokens = Tensor::of(tokens.data(), {1, count})}, options.layer, options.head));
  Json texts = Json::array(), probabilities = Json::array();
  for (int64_t i = 0; i < count; ++i) {
    texts.push_back(text_of(model.bytes_of(tokens[static_cast<size_t>(i)])));
    Json row = Json::array();
    for (int64_t j = 0; j <= i; ++j) row.push_back(rounded(p.tensor().as<float>()[i * count + j]));
    probabilities.push_back(row);
  }
  return {{"kind", "attention_map"},  {"layer", options.layer}, {"head", options.head},
          {"prompt", options.prompt}, {"tokens", texts},        {"probabilities", probabilities}};
}

void show_model(Context& ctx, const MasksOptions& options) {
  LoadedModel model = load_model(ctx, options.model, options.dtype);
  if (options.attention != "any") model.model.set_attention(options.attention);
  const Json map = attention_map(ctx, options, model);
  const Gpt2Config& config = model.model.config();
  const std::string title =
      fmt::format("Attention of layer {}, head {} (of {} layers and {} heads, counted from 0)",
                  options.layer, options.head, config.n_layer, config.n_head);
  const std::string subtitle =
      fmt::format("{}, {} tokens", std::filesystem::path(options.model).filename().string(),
                  map.at("tokens").size());
  fmt::print("{}\n{}\n\n", title, subtitle);
  finish(options, "attention", {provenance_row(ctx, options, title, subtitle), map},
         attention_map_table, draw_attention_map);
}

}  // namespace

int masks_command(const Arguments& arguments) {
  MasksOptions options;
  OptionParser parser(
      "masks",
      "Runs attention on the same random queries, keys and values with each mask, and shows what "
      "a query sees and\nhow much the results differ. With --model, shows what a head of a model "
      "attends to in a text.");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  check_model_options(options, arguments);
  attention_names(options.attention);
  if (options.threads > 0) set_thread_count(static_cast<int>(options.threads));
  say_if_gpu_is_passed_over(options.device);
  Context ctx(device_named(options.device));
  if (options.model.empty()) {
    show_masks(ctx, options);
  } else {
    show_model(ctx, options);
  }
  return 0;
}

}  // namespace strobe
