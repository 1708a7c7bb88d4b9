#include "strobe/cli/commands.h"

namespace strobe {

int bench_command(const Arguments& arguments) {
  const std::string what = arguments.empty() ? "" : arguments.front();
  if (what == "--help" || what == "-h") {
    fmt::print(
        "Times Strobe against oneDNN's matrix product on this machine.\n\n"
        "Usage: strobe bench attention|train [OPTIONS]\n\n"
        "  attention  the forward and backward pass of attention, by shape\n"
        "  train      whole training steps of a GPT-2\n\n"
        "`strobe bench attention --help` and `strobe bench train --help` explain the options.\n");
    return 0;
  }
  const Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (what == "attention") return bench_attention_command(rest);
  if (what == "train") return bench_train_command(rest);
  throw UsageError(fmt::format("bench of '{}', allowed are attention and train", what));
}

}  // namespace strobe
