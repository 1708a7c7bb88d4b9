#include "strobe/core/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include "strobe/core/check.h"

extern char** environ;

namespace strobe {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// An unnamed file: no pipe that could fill up while the other side waits for us.
File temporary_file(const std::string& content = {}) {
  File file(std::tmpfile());
  check(file != nullptr, "cannot make a temporary file: ", std::strerror(errno));
  const bool is_written =
      std::fwrite(content.data(), 1, content.size(), file.get()) == content.size() &&
      std::fflush(file.get()) == 0;
  check(is_written, "cannot write a temporary file: ", std::strerror(errno));
  std::rewind(file.get());
  return file;
}

std::string read_all(std::FILE* file) {
  std::rewind(file);
  std::string text;
  char buffer[4096];
  for (size_t n; (n = std::fread(buffer, 1, sizeof(buffer), file)) > 0;) text.append(buffer, n);
  return text;
}

int wait_for(pid_t child, const std::function<int()>& signal) {
  constexpr auto kPause = std::chrono::milliseconds(5);
  int passed_on = 0;
  for (;;) {
    int status = 0;
    const pid_t ended = waitpid(child, &status, signal ? WNOHANG : 0);
    if (ended == child) {
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    check(ended == 0 || errno == EINTR, "cannot wait for a child process: ", std::strerror(errno));
    if (ended != 0) continue;
    if (const int number = signal(); number != passed_on) {
      kill(child, number);
      passed_on = number;
    }
    std::this_thread::sleep_for(kPause);
  }
}

struct SpawnSettings {
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

}  // namespace

std::optional<ProcessResult> run_process(const std::vector<std::string>& argv,
                                         const ProcessSetting& setting) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  SpawnSettings spawn;
  File input, errors;
  if (!setting.input.empty()) {
    input = temporary_file(setting.input);
    posix_spawn_file_actions_adddup2(&spawn.actions, fileno(input.get()), STDIN_FILENO);
  }
  if (setting.capture_stderr) {
    errors = temporary_file();
    posix_spawn_file_actions_adddup2(&spawn.actions, fileno(errors.get()), STDERR_FILENO);
  }
  if (setting.signal) {
    posix_spawnattr_setflags(&spawn.attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&spawn.attributes, 0);
  }

  std::fflush(nullptr);  // so that our text precedes the program's
  pid_t child = 0;
  const int error = posix_spawnp(&child, arguments[0], &spawn.actions, &spawn.attributes,
                                 arguments.data(), environ);
  if (error == ENOENT) return std::nullopt;
  check(error == 0, "cannot start ", argv[0], ": ", std::strerror(error));

  ProcessResult result{.exit_code = wait_for(child, setting.signal), .error_text = ""};
  if (errors) result.error_text = read_all(errors.get());
  return result;
}

}  // namespace strobe
