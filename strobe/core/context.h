#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "strobe/core/arena.h"
#include "strobe/core/device.h"
#include "strobe/core/select.h"

namespace strobe {

// What every op is called with: where to run, where to take memory, and what the user prefers.
// Not thread-safe: one Context, one caller at a time (ops use many threads inside).
class Context {
 public:
  explicit Context(Device device = {}, ArenaOptions options = Arena::options_from_environment())
      : device_(device), arena_(options) {}

  const Device& device() const { return device_; }
  Arena& arena() { return arena_; }

  // ctx.prefer("attention", {.algorithm = Algorithm::flash})
  // ctx.prefer("attention", {.implementation = "cpu_flash_avx2"})
  void prefer(std::string_view op, Wish wish) {
    wishes_.insert_or_assign(std::string(op), std::move(wish));
  }
  const Wish& wish(std::string_view op) const {
    static const Wish none;
    const auto found = wishes_.find(op);
    return found == wishes_.end() ? none : found->second;
  }

 private:
  Device device_;
  Arena arena_;
  std::map<std::string, Wish, std::less<>> wishes_;
};

}  // namespace strobe
