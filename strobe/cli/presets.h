#pragma once

#include <string_view>

#include "strobe/cli/options.h"
#include "strobe/train/train_options.h"

namespace strobe {

// The defaults that --preset asks for, or those of `fallback`, and then those of --model if that is
// given. Throws UsageError, listing the presets, for an unknown one, and Error when the model
// cannot be read.
TrainOptions preset_of(const Arguments& arguments, std::string_view fallback);

}  // namespace strobe
