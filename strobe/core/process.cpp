#include "strobe/core/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "strobe/core/check.h"

extern char** environ;

namespace strobe {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// An unnamed file: no pipe that could fill up while the other side waits for us.
File temporary_file(const std::string& content = "") {
  File file(std::tmpfile());
  check(file != nullptr, "cannot make a temporary file: ", std::strerror(errno));
  const bool is_written = std::fwrite(content.data(), 1, content.size(), file.get()) ==
                              content.size() &&
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

int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    check(errno == EINTR, "cannot wait for a child process: ", std::strerror(errno));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

std::optional<ProcessResult> run_process(const std::vector<std::string>& argv,
                                         const std::string* input, bool capture_stderr) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  File in = input != nullptr ? temporary_file(*input) : nullptr;
  File errors = capture_stderr ? temporary_file() : nullptr;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (in) posix_spawn_file_actions_adddup2(&actions, fileno(in.get()), STDIN_FILENO);
  if (errors) posix_spawn_file_actions_adddup2(&actions, fileno(errors.get()), STDERR_FILENO);

  std::fflush(nullptr);  // so that our text precedes the program's
  pid_t child = 0;
  const int error = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) return std::nullopt;
  check(error == 0, "cannot start ", argv[0], ": ", std::strerror(error));

  ProcessResult result{.exit_code = wait_for(child), .error_text = ""};
  if (errors) result.error_text = read_all(errors.get());
  return result;
}

}  // namespace strobe
