#pragma once

#include <string>

#include "strobe/core/json.h"

namespace strobe {

// What `strobe info --model NAME` prints: the folder, the number of parameters, the type and bytes
// of the weights, the tokenizer (null where there is none), and the configuration. Throws Error
// when the folder's files are not those of a GPT-2.
Json model_info(const std::string& name);

}  // namespace strobe
