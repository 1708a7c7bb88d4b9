#include "strobe/cli/commands.h"

namespace strobe {

int bench_command(const Arguments& arguments) {
  const std::string what = arguments.empty() ? "" : arguments.front();
  if (what == "--help" || what == "-h") {
    fmt::print(
        "Times Strobe against what this machine can do at most.\n\n"
        "Usage: strobe bench attention|train|generate|tokenizer [OPTIONS]\n\n"
        "  attention  the forward and backward pass of attention, by shape\n"
        "  train      whole training steps of a GPT-2\n"
        "  generate   reading prompts and continuing them, token by token\n"
        "  tokenizer  a text to tokens and back, and learning a vocabulary\n\n"
        "`strobe bench WHAT --help` explains the options.\n");
    return 0;
  }
  const Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (what == "attention") return bench_attention_command(rest);
  if (what == "train") return bench_train_command(rest);
  if (what == "generate") return bench_generate_command(rest);
  if (what == "tokenizer") return bench_tokenizer_command(rest);
  throw UsageError(
      fmt::format("bench of '{}', allowed are attention, train, generate and tokenizer", what));
}

}  // namespace strobe
