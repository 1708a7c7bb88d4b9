#pragma once

#include <chrono>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/core/arena.h"
#include "strobe/core/device.h"
#include "strobe/core/parallel.h"
#include "strobe/core/select.h"

namespace strobe {

// What every op is called with: where to run, where to take memory, and what the user prefers.
// Not thread-safe: one Context, one caller at a time (ops use many threads inside).
//
// On a GPU, ops are asynchronous: they are put in order on the context's stream. The thread that
// makes a context has its GPU as the current one from then on.
class Context {
 public:
  // Throws Error when the device cannot be used.
  explicit Context(Device device = {}, ArenaOptions options = Arena::options_from_environment());
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Device& device() const { return device_; }
  Arena& arena() { return arena_; }

  // Of a GPU, a cudaStream_t; it is the context's own unless set_stream() gives another, which must
  // live as long as it is used here.
  void* stream() const { return stream_; }
  void set_stream(void* stream);
  // Waits until the device has done everything; a CPU has.
  void synchronize() const;

  // Ops check their arguments and take their memory, but do nothing: what a pass needs is known
  // before it is run.
  bool is_planning() const { return arena_.is_planning(); }

  // Same results to the bit each time, where an op could otherwise be faster on this device.
  bool is_deterministic() const { return is_deterministic_; }
  void set_deterministic(bool is_deterministic) { is_deterministic_ = is_deterministic; }

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

  // Calls body(), on a CPU with the other threads standing by (with_team_at_hand()).
  template <class Body>
  void with_threads_at_hand(const Body& body) {
    if (device_.kind == DeviceKind::cpu) {
      with_team_at_hand(body);
    } else {
      body();
    }
  }

  // Time spent in an op that times itself (attention does), since the context was made. On a GPU
  // only while set_timing(true): then between what the op put on the stream.
  double seconds_in(std::string_view op);
  void set_timing(bool is_timing) { is_timing_ = is_timing; }

  // Adds its own lifetime to seconds_in(op).
  class Timer {
   public:
    Timer(Context& ctx, std::string_view op);
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

   private:
    Context& ctx_;
    std::string_view op_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    void* begin_ = nullptr;  // an event on the stream
  };

 private:
  struct DeviceSpan {
    std::string op;
    void *begin, *end;  // events
  };
  bool times_device() const;

  Device device_;
  void* own_stream_ = nullptr;
  void* stream_ = nullptr;
  Arena arena_;
  bool is_deterministic_ = false;
  bool is_timing_ = false;
  std::vector<DeviceSpan> spans_;  // not yet in seconds_
  std::map<std::string, Wish, std::less<>> wishes_;
  std::map<std::string, double, std::less<>> seconds_;
};

// Throws Error unless each tensor that is there lies in the memory of the context's device.
struct NamedArgument {
  const char* name;
  const Tensor& tensor;
};
void check_on_device(const Context& ctx, std::initializer_list<NamedArgument> tensors,
                     Where where = Where::here());

}  // namespace strobe
