// Where the figures come from, and the commands that repeat them.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "strobe/report/html_bench_groups.h"
#include "strobe/report/html_sections.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

// A word as a shell takes it.
std::string shell_word(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:=+-@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string result = "'";
  for (char c : word) {
    if (c == '\'') {
      result += "'\\''";
    } else {
      result += c;
    }
  }
  return result + "'";
}

std::string flag_of(std::string name) {
  std::ranges::replace(name, '_', '-');
  return "--" + name;
}

// The options of a row as the command line takes them; where results went does not matter.
std::string options_words(const Json& options) {
  std::string words;
  for (const auto& [name, value] : options.items()) {
    if (name == "out" || name == "json" || value.is_null()) continue;
    if (value.is_boolean()) {
      words += " " + (value.get<bool>() ? flag_of(name) : "--no-" + flag_of(name).substr(2));
      continue;
    }
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    if (text.empty()) continue;
    words += " " + flag_of(name) + " " + shell_word(text);
  }
  return words;
}

// Every option as it was resolved.
std::string provenance_command(const Json& row) {
  const auto options = row.find("options");
  if (options == row.end() || !options->is_object()) return "";
  const std::string command = text_or_empty(row, "command");
  return "./run " + (command.empty() ? "train" : command) + options_words(*options);
}

// A row of a benchmark has no options: they are in its fields.
std::string bench_command(const Json& row) {
  const std::string op = text_or_empty(row, "op"), preset = text_or_empty(row, "preset");
  if (row.contains("peer")) {
    const std::string impl = text_or_empty(row, "impl");
    const bool is_of_torch = impl.starts_with("torch_") || impl.starts_with("hf_");
    if (is_gpu_row(row)) return is_of_torch ? "bench/peers/gpu_peers.py FILE --json FILE" : "";
    const bool is_cpu_peer = op == "attention" || op == "train";
    return is_cpu_peer ? "bench/peers/cpu_peers.py FILE --json FILE" : "";
  }
  const std::string command = "./run bench " + shell_word(op);
  if (op == "attention" && !preset.empty() && preset != "none") {
    return command + " --preset " + shell_word(preset);
  }
  constexpr std::pair<const char*, const char*> kAttention[] = {{"batch", "batch"},
                                                                {"heads_q", "heads"},
                                                                {"heads_kv", "kv_heads"},
                                                                {"seq_q", "seq"},
                                                                {"seq_k", "seq_k"},
                                                                {"head_dim", "head_dim"},
                                                                {"dtype", "dtype"},
                                                                {"mask", "mask"},
                                                                {"window_left", "window_left"},
                                                                {"dropout", "dropout"},
                                                                {"padded_keys", "padded_keys"},
                                                                {"window_right", "window_right"}};
  constexpr std::pair<const char*, const char*> kTrain[] = {
      {"n_layer", "n_layer"},       {"n_head", "n_head"},
      {"n_embd", "n_embd"},         {"n_positions", "n_positions"},
      {"vocab_size", "vocab_size"}, {"dropout", "dropout"},
      {"dtype", "dtypes"}};
  constexpr std::pair<const char*, const char*> kGenerate[] = {{"n_layer", "n_layer"},
                                                               {"n_head", "n_head"},
                                                               {"n_embd", "n_embd"},
                                                               {"n_positions", "n_positions"},
                                                               {"vocab_size", "vocab_size"},
                                                               {"model", "model"},
                                                               {"attention", "attention"},
                                                               {"batch", "batches"},
                                                               {"dtype", "dtypes"},
                                                               {"cache", "cache"},
                                                               {"prompt_tokens", "prompt_tokens"},
                                                               {"new_tokens", "new_tokens"},
                                                               {"runs", "runs"}};
  Json options = Json::object();
  const auto take = [&](const auto& names) {
    for (const auto& [field, option] : names) {
      if (row.contains(field)) options[option] = row[field];
    }
  };
  if (op == "attention") take(kAttention);
  if (op == "train") {
    take(kTrain);
    options["shapes"] = text_or_empty(row, "batch") + "x" + text_or_empty(row, "seq_q");
  }
  if (op == "generate") take(kGenerate);
  return options.empty() ? "" : command + options_words(options);
}

// Each command once, in the order in which they come.
std::vector<std::string> commands_of(const ResultsFile& file) {
  constexpr size_t kMost = 24;
  std::vector<std::string> commands;
  const auto add = [&](const std::string& command) {
    const bool is_known = std::ranges::find(commands, command) != commands.end();
    if (!command.empty() && !is_known && commands.size() < kMost) commands.push_back(command);
  };
  if (!file.provenance.is_null()) add(provenance_command(file.provenance));
  for (const Json& row : file.benches) add(bench_command(row));
  return commands;
}

// The row that says most about program and machine.
Json origin_row(const ResultsFile& file) {
  if (!file.provenance.is_null()) return file.provenance;
  for (const JsonRows* rows : {&file.benches, &file.generations, &file.sweeps, &file.masks}) {
    if (!rows->empty()) return rows->front();
  }
  return Json::object();
}

Markup facts_of(const ResultsFile& file, const Words& say) {
  const Json row = origin_row(file);
  Markup facts;
  const auto add = [&](const std::string& name, const std::string& value) {
    if (!value.empty()) facts += element("dt", name) + element("dd", value);
  };
  const auto joined = [](std::initializer_list<std::string> parts) {
    std::string text;
    for (const std::string& part : parts) {
      if (!part.empty()) text += (text.empty() ? "" : ", ") + part;
    }
    return text;
  };
  const auto said = [&](const char* field) { return text_or_empty(row, field); };
  const std::string threads = said("threads");
  const auto counted = [&](const char* field, Message message) {
    return said(field).empty() ? "" : say(message, said(field));
  };
  add(say("file"), file.path);
  add(say("date"), said("date"));
  const double memory = number_or_nan(row, "memory_bytes");
  add(say("machine"),
      joined({said("cpu"), counted("cores", "{0} cores"),
              threads == "1" ? say("one thread") : counted("threads", "{0} threads"), said("isa"),
              memory > 0 ? bytes_text(memory) : ""}));
  const double gpu_memory = number_or_nan(row, "gpu_memory_bytes");
  const auto named = [&](const char* name, const char* field) {
    return said(field).empty() ? "" : fmt::format("{} {}", name, said(field));
  };
  add("GPU", joined({said("gpu"), gpu_memory > 0 ? bytes_text(gpu_memory) : "",
                     named("CUDA", "cuda"), named("cuBLASLt", "cublaslt")}));
  add(say("driver"), joined({said("driver"), named("CUDA", "driver_cuda")}));
  add(say("program"),
      joined({said("strobe").empty() ? "" : "Strobe " + said("strobe"),
              said("git").empty() ? "" : "git " + said("git"), said("build_type"), said("compiler"),
              said("onednn").empty() ? "" : "oneDNN " + said("onednn"), said("peer")}));
  return element("dl", {{"class", "facts"}}, facts);
}

// One line, broken between options where it has to be.
Markup command_markup(const std::string& command) {
  Markup line;
  for (size_t begin = 0; begin < command.size();) {
    const size_t end = std::min(command.find(" --", begin + 1), command.size());
    line += element("span", command.substr(begin, end - begin));
    line += Markup::text(end < command.size() ? " " : "\n");
    begin = end + 1;
  }
  return line;
}

std::string checkout_of(const ResultsFile& file) {
  std::string git = text_or_empty(origin_row(file), "git");
  git = git.substr(0, git.find('+'));
  return git.empty() || git == "unknown" ? "" : "git checkout " + shell_word(git) + "\n";
}

}  // namespace

std::string setting_of(const ResultsFile& file, const Words& say) {
  const std::string title = file.said("title"), subtitle = file.said("subtitle");
  const std::string own = title + (title.empty() || subtitle.empty() ? "" : " · ") + subtitle;
  if (file.provenance.is_null()) return own;
  const auto options = file.provenance.find("options");
  const auto option = [&](const char* name) {
    const bool is_there = options != file.provenance.end() && options->is_object();
    return is_there ? text_or_empty(*options, name) : "";
  };
  const bool is_own_enough = !own.empty() && say.language() == Language::english;
  if (is_own_enough || option("n_layer").empty() || option("batch").empty()) return own;
  return say("GPT-2: {0} layers, {1} heads, width {2} · B={3}, T={4}, {5}, dropout {6}",
             option("n_layer"), option("n_head"), option("n_embd"), option("batch"), option("seq"),
             option("dtype"), option("dropout"));
}

Section origin_section(const std::vector<ResultsFile>& files, const Words& say) {
  Section section{.title = say("Where this comes from, and how to repeat it")};
  for (const ResultsFile& file : files) {
    if (files.size() > 1) section.body += element("h3", file.path);
    section.body += facts_of(file, say);
    const std::vector<std::string> commands = commands_of(file);
    if (commands.empty()) continue;
    Markup lines = Markup::text(checkout_of(file));
    for (const std::string& command : commands) lines += command_markup(command);
    section.body += element("pre", element("code", lines));
    if (text_or_empty(origin_row(file), "git").find('+') != std::string::npos) {
      section.body += element("p", say("The program had changes that are not in that commit."));
    }
  }
  return section;
}

}  // namespace strobe
