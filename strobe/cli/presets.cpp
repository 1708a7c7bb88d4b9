#include "strobe/cli/presets.h"

#include "strobe/core/check.h"

namespace strobe {

TrainOptions preset_of(const Arguments& arguments, std::string_view fallback) {
  try {
    return train_preset(find_option(arguments, "preset", fallback));
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
}

}  // namespace strobe
