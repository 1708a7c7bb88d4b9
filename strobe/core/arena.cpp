#include "strobe/core/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "strobe/core/cuda/runtime.h"

namespace strobe {
namespace {

constexpr int64_t kCpuAlignment = 64, kGpuAlignment = 256;
constexpr int64_t kChunkBytes = int64_t{64} << 20;
constexpr int64_t kGuardBytes = 512 * 4;  // on each side of an allocation, when poison is on
constexpr unsigned char kGuardByte = 0xa5;

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// NaN in every floating type; a large number in integers.
int poison_of(DType dtype) { return dtype == DType::i32 ? 0x7f : 0xff; }

// Where the addresses of a plan begin: nothing is there.
char* const kNowhere = reinterpret_cast<char*>(uintptr_t{1} << 46);
constexpr int64_t kEndless = int64_t{1} << 45;

template <class... Parts>
void check_memory(bool is_enough, const Parts&... parts) {
  try {
    check(is_enough, "out of memory: ", parts...);
  } catch (const Error& error) {
    throw OutOfMemory(error.what(), error.where());
  }
}

// In bytes; 0 when the environment sets none.
int64_t limit_from_environment() {
  constexpr int64_t kMiB = 1 << 20, kMost = int64_t{1} << 40;
  const char* text = std::getenv("STROBE_MEMORY_LIMIT");
  if (text == nullptr) return 0;
  const std::string_view word = text;
  int64_t limit = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), limit);
  check(error == std::errc() && end == word.data() + word.size() && limit >= 1 && limit <= kMost,
        "STROBE_MEMORY_LIMIT is '", word, "', allowed is a whole number of MiB of at least 1");
  return limit * kMiB;
}

}  // namespace

ArenaOptions Arena::options_from_environment() {
  const char* poison = std::getenv("STROBE_POISON");
  return {.poison = poison != nullptr && std::string_view(poison) == "1",
          .limit_bytes = limit_from_environment()};
}

Arena::Arena(ArenaOptions options, const Device& device, void* stream)
    : options_(options), device_(device), stream_(stream) {
  if (options_.is_planning) {
    options_.poison = false;
    options_.limit_bytes = kEndless;
    chunks_.push_back({kNowhere, kEndless, 0});
  }
  if (options_.limit_bytes == 0) {
    options_.limit_bytes = device.kind == DeviceKind::cuda ? cuda_info(device.index).memory_bytes
                                                           : cpu_info().memory_bytes;
  }
}

Arena::~Arena() {
  release_to(0);
  if (options_.is_planning) return;
  for (const Chunk& chunk : chunks_) {
    if (device_.kind == DeviceKind::cuda) {
      cuda::release(device_.index, chunk.data);
    } else {
      munmap(chunk.data, chunk.size);
    }
  }
}

int64_t Arena::alignment() const {
  return device_.kind == DeviceKind::cuda ? kGpuAlignment : kCpuAlignment;
}

void Arena::fill(void* memory, int byte, int64_t bytes) const {
  if (device_.kind == DeviceKind::cuda) {
    cuda::fill(memory, byte, bytes, stream_);
  } else {
    std::memset(memory, byte, bytes);
  }
}

void Arena::add_chunk(int64_t size) {
  void* data = nullptr;
  if (device_.kind == DeviceKind::cuda) {
    data = cuda::allocate(device_.index, size);
    check_memory(data != nullptr, "the GPU refused ", size >> 20, " MiB, ",
                 cuda::free_bytes(device_.index) >> 20, " MiB are free");
  } else {
    data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check_memory(data != MAP_FAILED, "the system refused ", size >> 20, " MiB");
    madvise(data, size, MADV_HUGEPAGE);  // fewer TLB misses; harmless where refused
  }
  chunks_.push_back({static_cast<char*>(data), size, 0});
}

void Arena::reserve(int64_t bytes) {
  check(chunks_.empty(), "an arena reserves its memory before the first allocation");
  if (bytes > 0) add_chunk(round_up(bytes, alignment()));
}

const void* Arena::top() const {
  if (live_.empty()) return nullptr;
  const Chunk& chunk = chunks_[live_.back().chunk];
  return chunk.data + chunk.used;
}

// Leaves used chunks' tails empty: the stack order makes every release a reset of `used`.
size_t Arena::chunk_with_room(int64_t bytes) {
  const size_t top = live_.empty() ? 0 : live_.back().chunk;
  for (size_t i = top; i < chunks_.size(); ++i) {
    if (chunks_[i].size - chunks_[i].used >= bytes) return i;
  }
  add_chunk(round_up(std::max(bytes, kChunkBytes), kChunkBytes));
  return chunks_.size() - 1;
}

Tensor Arena::allocate(MemoryUse use, DType dtype, const Shape& shape) {
  const int64_t bytes = shape.numel() * static_cast<int64_t>(size_of(dtype));
  check(bytes >= 0, "allocation of shape ", shape);
  check_memory(report_.current_total_bytes + bytes <= options_.limit_bytes, use, " need ",
               bytes >> 20, " MiB more for a tensor of shape ", shape, ", in use are ",
               report_.current_total_bytes >> 20, " MiB of ", options_.limit_bytes >> 20, " MiB");
  const int64_t guard = options_.poison ? kGuardBytes : 0;
  const int64_t needed = round_up(bytes, alignment()) + 2 * guard;
  const size_t index = chunk_with_room(needed);
  Chunk& chunk = chunks_[index];
  char* begin = chunk.data + chunk.used;
  char* data = begin + guard;
  live_.push_back({index, chunk.used, data, bytes, use});
  chunk.used += needed;
  used_bytes_ += needed;
  high_water_bytes_ = std::max(high_water_bytes_, used_bytes_);
  if (options_.poison) {
    fill(begin, kGuardByte, needed);
    fill(data, poison_of(dtype), bytes);
  }
  const auto category = static_cast<size_t>(use);
  report_.current_bytes[category] += bytes;
  report_.current_total_bytes += bytes;
  report_.peak_bytes[category] =
      std::max(report_.peak_bytes[category], report_.current_bytes[category]);
  if (report_.current_total_bytes > report_.peak_total_bytes) {
    report_.peak_total_bytes = report_.current_total_bytes;
    report_.at_peak_bytes = report_.current_bytes;
  }
  return Tensor::contiguous(data, dtype, shape, device_.kind);
}

bool Arena::guards_intact(const Allocation& a) const {
  const auto is_intact = [&](const char* begin, int64_t size) {
    std::vector<unsigned char> staged;
    const auto* bytes = reinterpret_cast<const unsigned char*>(begin);
    if (device_.kind == DeviceKind::cuda) {
      staged.resize(size);
      cuda::copy_now(staged.data(), begin, size);
      bytes = staged.data();
    }
    return std::all_of(bytes, bytes + size, [](unsigned char b) { return b == kGuardByte; });
  };
  return is_intact(a.data - kGuardBytes, kGuardBytes) &&
         is_intact(a.data + a.bytes, round_up(a.bytes, alignment()) - a.bytes + kGuardBytes);
}

void Arena::check_guards() const {
  if (!options_.poison) return;
  for (const Allocation& a : live_) {
    check(guards_intact(a), "memory was written outside an allocation of ", a.bytes, " bytes (",
          a.use, ")");
  }
}

// Not where that cannot be known: recorded work has not been done yet (its guards are looked at
// where it is run unrecorded), and a GPU that has failed says so elsewhere.
bool Arena::was_written_outside(const Allocation& a) const noexcept {
  try {
    const bool is_recording = stream_ != nullptr && cuda::is_capturing(stream_);
    return !is_recording && !guards_intact(a);
  } catch (const Error&) {
    return false;
  }
}

void Arena::release_to(size_t mark) {
  while (live_.size() > mark) {
    const Allocation& a = live_.back();
    if (options_.poison && was_written_outside(a)) {
      // A destructor must not throw, and going on would hide the overrun.
      std::fputs("strobe: memory was written outside an allocation\n", stderr);
      std::abort();
    }
    report_.current_bytes[static_cast<size_t>(a.use)] -= a.bytes;
    report_.current_total_bytes -= a.bytes;
    used_bytes_ -= chunks_[a.chunk].used - a.chunk_used_before;
    chunks_[a.chunk].used = a.chunk_used_before;
    live_.pop_back();
  }
}

void Arena::reset_peaks() {
  report_.peak_bytes = report_.at_peak_bytes = report_.current_bytes;
  report_.peak_total_bytes = report_.current_total_bytes;
}

}  // namespace strobe
