#pragma once

#include <nlohmann/json.hpp>

namespace strobe {

// Keeps the order in which keys were added: a results line reads as it was written.
using Json = nlohmann::ordered_json;

}  // namespace strobe
