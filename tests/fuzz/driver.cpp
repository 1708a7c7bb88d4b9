// Fuzzes without libFuzzer, compiled by anything:
//
//   fuzz_<target> [--seconds N] [--seed N] FILE-OR-FOLDER…
//
// gives each file to the target, and then for N seconds what becomes of them by random changes.
// Inputs that reach a place in the readers' code, or reach it more often, than those before are
// changed further (-fsanitize-coverage=trace-pc calls the hook below at each branch). An input ends
// right before a page that cannot be read, so that reading past it shows in any build.
//
// A finding (a signal, an exception that is no Error, an input that takes more than ten seconds of
// processor time, memory out of all proportion) ends the program; the input is then in the file
// that the last line names.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

#if defined(__SANITIZE_ADDRESS__)
#define STROBE_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STROBE_HAS_ASAN 1
#endif
#endif

// Sanitizers, where there are any, end the program by SIGABRT, too.
extern "C" const char* __asan_default_options() { return "abort_on_error=1"; }
extern "C" const char* __ubsan_default_options() { return "abort_on_error=1"; }

namespace {

constexpr size_t kMostBytes = 1 << 16;  // of an input
constexpr size_t kPlaces = 1 << 16;

// How often each pair of consecutive branches was taken, by a hash of the two.
std::array<uint8_t, kPlaces> counts;
uintptr_t previous_branch = 0;

}  // namespace

extern "C" void __sanitizer_cov_trace_pc() {
  // Relative, so that it does not depend on where the program was loaded.
  const auto branch = reinterpret_cast<uintptr_t>(__builtin_return_address(0)) -
                      reinterpret_cast<uintptr_t>(&LLVMFuzzerTestOneInput);
  const uintptr_t place = branch * 0x9e3779b97f4a7c15u >> 48;
  uint8_t& count = counts[(place ^ previous_branch) % kPlaces];
  if (count < 255) ++count;
  previous_branch = place >> 1;
}

namespace {

using Input = std::vector<uint8_t>;

// Memory that ends where no memory is.
class GuardedMemory {
 public:
  GuardedMemory() {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* const memory = mmap(nullptr, kMostBytes + page, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strobe::testing::require(memory != MAP_FAILED, "there is memory");
    end_ = static_cast<uint8_t*>(memory) + kMostBytes;
    mprotect(end_, page, PROT_NONE);
  }
  std::span<const uint8_t> set(const Input& input) const {
    uint8_t* const begin = end_ - input.size();
    std::ranges::copy(input, begin);
    return {begin, input.size()};
  }

 private:
  uint8_t* end_;
};

// What the signal handlers need.
std::span<const uint8_t> current;
volatile std::sig_atomic_t runs_modulo = 0;  // another number for each run
char finding_path[256];

void say(const char* text) {
  [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, text, std::strlen(text));
}

void handle_signal(int signal) {
  const int file = open(finding_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  const bool is_saved = file >= 0 && write(file, current.data(), current.size()) ==
                                         static_cast<ssize_t>(current.size());
  say(is_saved ? "\na finding; its input is in " : "\na finding; its input cannot be written to ");
  say(finding_path);
  say("\n");
  std::signal(signal, SIG_DFL);
  raise(signal);
}

// Called each second of processor time.
void handle_timer(int) {
  static std::sig_atomic_t last = -1;
  static int seconds = 0;
  seconds = runs_modulo == last ? seconds + 1 : 0;
  last = runs_modulo;
  if (seconds < 10) return;
  say("an input takes more than ten seconds");
  std::abort();
}

void watch_for_findings() {
  std::signal(SIGABRT, handle_signal);
#ifndef STROBE_HAS_ASAN  // which has handlers that say more
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) {
    std::signal(signal, handle_signal);
  }
#endif
  std::signal(SIGVTALRM, handle_timer);
  const itimerval second = {.it_interval = {.tv_sec = 1, .tv_usec = 0},
                            .it_value = {.tv_sec = 1, .tv_usec = 0}};
  setitimer(ITIMER_VIRTUAL, &second, nullptr);
#ifndef STROBE_HAS_ASAN  // which takes terabytes of addresses
  const rlimit address_space = {.rlim_cur = rlim_t{1} << 30, .rlim_max = RLIM_INFINITY};
  setrlimit(RLIMIT_AS, &address_space);
#endif
}

class Fuzzer {
 public:
  explicit Fuzzer(uint64_t seed) : random_(seed) {}

  // A file, or all files of a folder.
  void add_seeds(const std::filesystem::path& path) {
    std::set<std::filesystem::path> files;
    if (std::filesystem::is_directory(path)) {
      for (const auto& entry : std::filesystem::directory_iterator(path))
        files.insert(entry.path());
    } else {
      files.insert(path);
    }
    for (const std::filesystem::path& file : files) {
      std::ifstream stream(file, std::ios::binary);
      strobe::testing::require(stream.good(), "the files that are named can be read");
      Input input((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
      if (input.size() > kMostBytes) input.resize(kMostBytes);
      add_words(input);
      run(input);
      inputs_.push_back(std::move(input));
    }
  }

  void fuzz(double seconds) {
    if (inputs_.empty()) inputs_.emplace_back();
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (std::chrono::steady_clock::now() < end) {
      Input input = inputs_[below(inputs_.size())];
      for (size_t changes = size_t{1} << below(4); changes > 0; --changes) change(input);
      if (run(input)) inputs_.push_back(std::move(input));
    }
  }

  size_t runs() const { return runs_; }
  size_t inputs() const { return inputs_.size(); }
  size_t places() const {
    return kPlaces - static_cast<size_t>(std::ranges::count(seen_, uint8_t{0}));
  }

 private:
  size_t below(size_t limit) { return random_() % std::max<size_t>(limit, 1); }

  // Whether it is the first to reach a place, or to reach it about twice as often.
  bool run(const Input& input) {
    current = memory_.set(input);
    runs_modulo = static_cast<std::sig_atomic_t>(++runs_ % 1'000'000);
    counts.fill(0);
    previous_branch = 0;
    LLVMFuzzerTestOneInput(current.data(), current.size());
    bool is_new = false;
    for (size_t group = 0; group < kPlaces; group += 8) {
      uint64_t eight;
      std::memcpy(&eight, &counts[group], 8);
      if (eight == 0) continue;  // nearly all
      for (size_t place = group; place < group + 8; ++place) {
        const auto power = static_cast<uint8_t>(std::bit_floor(counts[place]));
        if ((power & ~seen_[place]) != 0) is_new = true;
        seen_[place] |= power;
      }
    }
    return is_new;
  }

  // What stands between quotes is worth a try elsewhere.
  void add_words(const Input& input) {
    for (auto begin = input.begin();;) {
      begin = std::find(begin, input.end(), '"');
      if (begin == input.end()) return;
      const auto end = std::find(begin + 1, input.end(), '"');
      if (end == input.end()) return;
      if (end - begin <= 40 && words_.size() < 500) words_.emplace(begin, end + 1);
      begin = end + 1;
    }
  }

  void change(Input& input) {
    switch (below(8)) {
      case 0:
        if (!input.empty()) input[below(input.size())] ^= static_cast<uint8_t>(1u << below(8));
        break;
      case 1:
        if (!input.empty()) input[below(input.size())] = static_cast<uint8_t>(random_());
        break;
      case 2: erase(input, below(input.size()), 1 + below(16)); break;
      case 3:  // a part again, elsewhere
        insert(input, part_of(input, 64));
        break;
      case 4:  // a part of another
        insert(input, part_of(inputs_[below(inputs_.size())], 256));
        break;
      case 5:
        if (!words_.empty()) insert(input, *std::next(words_.begin(), below(words_.size())));
        break;
      case 6: change_number(input); break;
      case 7: change_binary_number(input); break;
    }
    if (input.size() > kMostBytes) input.resize(kMostBytes);
  }

  static void erase(Input& input, size_t begin, size_t count) {
    const size_t end = std::min(begin + count, input.size());
    input.erase(input.begin() + static_cast<std::ptrdiff_t>(begin),
                input.begin() + static_cast<std::ptrdiff_t>(end));
  }

  Input part_of(const Input& input, size_t most) {
    const size_t begin = below(input.size()), end = std::min(begin + 1 + below(most), input.size());
    return {input.begin() + static_cast<std::ptrdiff_t>(begin),
            input.begin() + static_cast<std::ptrdiff_t>(end)};
  }

  // Before some place, or over what is there.
  void insert(Input& input, const Input& part) {
    const size_t at = below(input.size() + 1);
    if (below(2) == 0) erase(input, at, part.size());
    input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), part.begin(), part.end());
  }

  // Digits become others.
  void change_number(Input& input) {
    constexpr const char* kNumbers[] = {
        "0",     "1",          "-1",         "2",
        "255",   "65536",      "2147483647", "2147483648",
        "1e308", "4294967296", "1.5",        "9223372036854775807",
        "1e999", "true",       "null",       "18446744073709551615"};
    const auto is_digit = [](uint8_t c) { return c >= '0' && c <= '9'; };
    const auto from = input.begin() + static_cast<std::ptrdiff_t>(below(input.size()));
    const auto first = std::find_if(from, input.end(), is_digit);
    if (first == input.end()) return;
    const auto last = std::find_if_not(first, input.end(), is_digit);
    const std::string_view number = kNumbers[below(std::size(kNumbers))];
    const auto at = input.erase(first, last);
    input.insert(at, number.begin(), number.end());
  }

  // Eight bytes become a number at the edge of something.
  void change_binary_number(Input& input) {
    if (input.size() < 8) return;
    uint64_t number = (uint64_t{1} << below(64)) - 1 + below(3);
    if (below(2) == 0) number = input.size() - 8 + below(17);
    std::memcpy(input.data() + below(std::min<size_t>(input.size() - 7, 64)), &number, 8);
  }

  std::mt19937_64 random_;
  GuardedMemory memory_;
  std::vector<Input> inputs_;
  std::set<Input> words_;
  std::array<uint8_t, kPlaces> seen_{};  // the powers of two of the counts so far
  size_t runs_ = 0;
};

int print_usage(const char* program) {
  std::fprintf(stderr, "usage: %s [--seconds N] [--seed N] FILE-OR-FOLDER…\n", program);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t seconds = 0, seed = 1;
  std::vector<std::string> paths;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (!word.starts_with("--")) {
      paths.emplace_back(word);
      continue;
    }
    uint64_t* const value = word == "--seconds" ? &seconds : word == "--seed" ? &seed : nullptr;
    const std::string_view text = i + 1 < argc ? argv[++i] : "";
    if (value == nullptr ||
        std::from_chars(text.data(), text.data() + text.size(), *value).ec != std::errc()) {
      return print_usage(argv[0]);
    }
  }
  if (paths.empty()) return print_usage(argv[0]);
  const std::string name = std::filesystem::path(argv[0]).filename().string();
  std::snprintf(finding_path, sizeof(finding_path), "%s_finding", name.c_str());

  watch_for_findings();
  Fuzzer fuzzer(seed);
  for (const std::string& path : paths) fuzzer.add_seeds(path);
  fuzzer.fuzz(static_cast<double>(seconds));
  std::printf("%s: %zu runs, %zu inputs reach %zu places, no finding\n", name.c_str(),
              fuzzer.runs(), fuzzer.inputs(), fuzzer.places());
  return 0;
}
