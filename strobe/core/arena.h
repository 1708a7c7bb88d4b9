#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "strobe/core/tensor.h"

namespace strobe {

// What a piece of memory is for: the categories of every memory report.
enum class MemoryUse : unsigned char {
  weights,      // parameters, and their 16-bit working copies
  gradients,    // of parameters
  optimizer,    // AdamW's moments
  activations,  // kept from forward to backward, and the gradients that flow back
  attention,    // kept by attention for its backward, and attention's workspace
  cache,        // keys and values of the positions that generation has read
  workspace,    // scratch of all other ops
};
constexpr int kMemoryUses = 7;
constexpr std::string_view to_text(MemoryUse use) {
  constexpr std::string_view names[] = {"weights",   "gradients", "optimizer", "activations",
                                        "attention", "cache",     "workspace"};
  return names[static_cast<int>(use)];
}

// Bytes by category, as asked for (alignment and guard bands not counted).
struct MemoryReport {
  std::array<int64_t, kMemoryUses> current_bytes{};
  std::array<int64_t, kMemoryUses> peak_bytes{};  // of each category by itself
  int64_t current_total_bytes = 0;
  int64_t peak_total_bytes = 0;                      // of the sum: at most the sum of the peaks
  std::array<int64_t, kMemoryUses> at_peak_bytes{};  // when the sum peaked: they add up to it
};

// Memory is short: the arena's limit, or the system's.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

struct ArenaOptions {
  // Fill every allocation with NaN (integers with 0x7f7f7f7f) and check guard bands around it when
  // it is released. Tests switch it on; STROBE_POISON=1 does so in any program.
  bool poison = false;
  int64_t limit_bytes = 0;  // refuse to grow beyond this; 0: the device's physical memory
  // Count without memory: addresses are made up, nothing may be read or written there.
  bool is_planning = false;
};

// Owner of all tensors' memory on one device: a stack. An allocation lives until the Scope in which
// it was made ends, or as long as the arena. Addresses are aligned to 64 bytes on a CPU, to 256 on
// a GPU, and do not move. For one thread.
class Arena {
 public:
  // On a GPU, `stream` orders the filling with poison among the kernels.
  explicit Arena(ArenaOptions options = options_from_environment(), const Device& device = {},
                 void* stream = nullptr);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // A contiguous tensor of unspecified content. Throws OutOfMemory when the limit would be passed.
  Tensor allocate(MemoryUse use, DType dtype, const Shape& shape);

  const MemoryReport& report() const { return report_; }
  void reset_peaks();

  bool is_planning() const { return options_.is_planning; }
  // The most bytes that were ever taken from the device at a time, alignment included.
  int64_t high_water_bytes() const { return high_water_bytes_; }
  // Takes this much from the device at once, before the first allocation: as much as a plan came
  // to. Throws OutOfMemory when the device has less.
  void reserve(int64_t bytes);
  // Equal where the next allocation gets the same address.
  const void* top() const;

  void set_stream(void* stream) { stream_ = stream; }

  // Throws if a guard band of a live allocation was written (only with poison).
  void check_guards() const;

  // STROBE_POISON=1, and STROBE_MEMORY_LIMIT, in MiB. Throws Error unless that is a whole number.
  static ArenaOptions options_from_environment();

  // Everything allocated after a Scope began is released when it ends.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.live_.size()) {}
    ~Scope() { arena_.release_to(mark_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    size_t mark_;
  };

 private:
  struct Chunk {
    char* data;
    int64_t size;
    int64_t used;
  };
  struct Allocation {
    size_t chunk;
    int64_t chunk_used_before;
    char* data;
    int64_t bytes;
    MemoryUse use;
  };

  void release_to(size_t mark);
  size_t chunk_with_room(int64_t bytes);
  void add_chunk(int64_t bytes);
  int64_t alignment() const;
  void fill(void* memory, int byte, int64_t bytes) const;
  bool guards_intact(const Allocation& allocation) const;
  bool was_written_outside(const Allocation& allocation) const noexcept;

  ArenaOptions options_;
  Device device_;
  void* stream_;
  int64_t used_bytes_ = 0, high_water_bytes_ = 0;  // of all chunks
  std::vector<Chunk> chunks_;
  std::vector<Allocation> live_;
  MemoryReport report_;
};

}  // namespace strobe
