#include "strobe/cli/presets.h"

#include "strobe/core/check.h"

namespace strobe {

TrainOptions preset_of(const Arguments& arguments, std::string_view fallback) {
  TrainOptions options;
  try {
    options = train_preset(find_option(arguments, "preset", fallback));
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
  const std::string model = find_option(arguments, "model", "");
  if (!model.empty()) start_from_model(options, model);
  return options;
}

}  // namespace strobe
