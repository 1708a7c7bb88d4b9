#pragma once

#include <string_view>

#include "strobe/cli/options.h"
#include "strobe/train/train_options.h"

namespace strobe {

// The defaults that --preset asks for, or those of `fallback`. Throws UsageError, listing the
// presets, for an unknown one.
TrainOptions preset_of(const Arguments& arguments, std::string_view fallback);

}  // namespace strobe
