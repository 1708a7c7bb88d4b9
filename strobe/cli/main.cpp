#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>
#include <string>
#include <string_view>
#include <system_error>

#include "strobe/cli/commands.h"
#include "strobe/core/check.h"
#include "strobe/train/build_info.h"

namespace {

using strobe::Arguments;
using strobe::UsageError;

struct Command {
  std::string_view name;
  std::string_view summary;
  int (*run)(const Arguments&);
};

constexpr Command kCommands[] = {
    {"info", "what this program and this machine can do", strobe::info_command},
    {"train", "trains a GPT-2 on a text", strobe::train_command},
    {"generate", "continues texts with a GPT-2", strobe::generate_command},
    {"compare", "trains the same model with each attention and shows the difference",
     strobe::compare_command},
    {"masks", "shows what attention sees under each mask, and what that changes",
     strobe::masks_command},
    {"fetch", "loads a model from a hub", strobe::fetch_command},
    {"convert", "writes a model in another type or into other files", strobe::convert_command},
    {"tokenizer", "learns a vocabulary, and turns texts into tokens and back",
     strobe::tokenizer_command},
    {"report", "writes an HTML page about results files", strobe::report_command},
    {"bench", "times attention and training steps", strobe::bench_command},
};

constexpr int kFailure = 1, kUsage = 2;

void print_help() {
  fmt::print(
      "FlashAttention in real transformer models, in C++.\n\nUsage: strobe COMMAND [OPTIONS]\n\n");
  for (const Command& command : kCommands) {
    fmt::print("  {:<10}{}\n", command.name, command.summary);
  }
  fmt::print(
      "\n`strobe COMMAND --help` explains a command's options.\n"
      "Exit codes: 0 success, 1 failure, 2 usage error, 130 stopped by Ctrl-C.\n");
}

int run(Arguments arguments) {
  if (arguments.empty()) {
    print_help();
    return kUsage;
  }
  const std::string name = arguments.front();
  if (name == "--help" || name == "-h" || name == "help") {
    print_help();
    return 0;
  }
  if (name == "--version") {
    fmt::print("strobe {} ({})\n", strobe::kVersion, strobe::kGitHash);
    return 0;
  }
  const auto* command = std::ranges::find(kCommands, name, &Command::name);
  if (command == std::end(kCommands)) {
    std::string names;
    for (const Command& known : kCommands) {
      names += fmt::format("{}{}", names.empty() ? "" : ", ", known.name);
    }
    throw UsageError(fmt::format("unknown command '{}', allowed are {}", name, names));
  }
  arguments.erase(arguments.begin());
  return command->run(arguments);
}

// GNU's OpenMP lets threads that wait spin for milliseconds. Where other programs want the cores
// too, a thread that is waited for then waits for those that spin: a step of the quick preset took
// 5 s instead of 0.2 s beside a busy compiler. A short spin bridges the gap between two ops all the
// same. The library reads its settings when it is loaded, so the program starts itself again.
void spin_briefly(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "500", 1);
  std::error_code error;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", error).string();
  execv(program.c_str(), argv);  // returns only if it fails; then waiting threads spin
}

int fail(int code, std::string_view message, std::string_view where = "") {
  fmt::print(stderr, "strobe: {}\n", message);
  if (!where.empty()) fmt::print(stderr, "  raised at {}\n", where);
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  spin_briefly(argv);
  Arguments arguments(argv + 1, argv + argc);
  const bool is_verbose = std::erase(arguments, "--verbose") > 0;
  try {
    return run(std::move(arguments));
  } catch (const UsageError& error) {
    return fail(kUsage, error.what());
  } catch (const strobe::Error& error) {
    return fail(kFailure, error.what(), is_verbose ? error.where() : "");
  } catch (const std::bad_alloc&) {
    return fail(kFailure, "out of memory");
  } catch (const std::exception& error) {
    return fail(kFailure, error.what());
  }
}
