#pragma once

#include "strobe/cli/options.h"

namespace strobe {

// The commands of the program, each in a file of its name. They return the exit code: 0, or 128 +
// the signal's number when one (Ctrl-C: 130) stopped the work early; what went wrong they throw.
int info_command(const Arguments& arguments);
int train_command(const Arguments& arguments);
int generate_command(const Arguments& arguments);
int compare_command(const Arguments& arguments);
int masks_command(const Arguments& arguments);
int fetch_command(const Arguments& arguments);
int convert_command(const Arguments& arguments);
int tokenizer_command(const Arguments& arguments);  // of train, encode, decode and show
int report_command(const Arguments& arguments);
int bench_command(const Arguments& arguments);  // of one of these:
int bench_attention_command(const Arguments& arguments);
int bench_train_command(const Arguments& arguments);
int bench_generate_command(const Arguments& arguments);
int bench_tokenizer_command(const Arguments& arguments);

}  // namespace strobe
