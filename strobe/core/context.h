#pragma once

#include <chrono>
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

  // While it lives, an op follows this wish instead of the context's own. A wish for any
  // implementation leaves the context's.
  class Preference {
   public:
    Preference(Context& ctx, std::string_view op, const Wish& wish)
        : ctx_(ctx), op_(op), before_(ctx.wish(op)) {
      if (!wish.is_any()) ctx_.prefer(op_, wish);
    }
    ~Preference() { ctx_.prefer(op_, std::move(before_)); }
    Preference(const Preference&) = delete;
    Preference& operator=(const Preference&) = delete;

   private:
    Context& ctx_;
    std::string_view op_;
    Wish before_;
  };

  // Wall time spent in an op that times itself (attention does), since the context was made.
  double seconds_in(std::string_view op) const {
    const auto found = seconds_.find(op);
    return found == seconds_.end() ? 0 : found->second;
  }

  // Adds its own lifetime to seconds_in(op).
  class Timer {
   public:
    Timer(Context& ctx, std::string_view op) : ctx_(ctx), op_(op) {}
    ~Timer() {
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
      ctx_.seconds_[std::string(op_)] += elapsed.count();
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

   private:
    Context& ctx_;
    std::string_view op_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  };

 private:
  Device device_;
  Arena arena_;
  std::map<std::string, Wish, std::less<>> wishes_;
  std::map<std::string, double, std::less<>> seconds_;
};

}  // namespace strobe
