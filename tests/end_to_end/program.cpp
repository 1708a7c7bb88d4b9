#include "tests/end_to_end/program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <sstream>

#include "strobe/core/check.h"
#include "strobe/core/process.h"

extern char** environ;

namespace strobe::testing {
namespace {

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

ProgramResult run_strobe(const std::vector<std::string>& arguments, const ProgramSetting& setting) {
  const TemporaryFolder folder;
  const std::string out = folder.path() + "/out", error = folder.path() + "/error";
  std::vector<std::string> words = {STROBE_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.push_back(*variable);
  // getenv() finds the first of several.
  variables.insert(variables.begin(), setting.environment.begin(), setting.environment.end());

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  constexpr int write_flags = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), write_flags, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, error.c_str(), write_flags, 0600);
  pid_t child = 0;
  const int problem = posix_spawn(&child, STROBE_PROGRAM, &actions, nullptr, pointers(words).data(),
                                  pointers(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  check(problem == 0, "cannot start " STROBE_PROGRAM ": ", std::strerror(problem));
  if (setting.while_it_runs) setting.while_it_runs(child);
  int status = 0;
  check(waitpid(child, &status, 0) == child, "waitpid: ", std::strerror(errno));
  return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          .out = content_of(out),
          .error = content_of(error)};
}

bool has_gnuplot() {
  static const bool found =
      run_process({"sh", "-c", "command -v gnuplot > /dev/null"})->exit_code == 0;
  return found;
}

std::vector<Json> read_rows(const std::string& path) {
  std::vector<Json> rows;
  std::istringstream text(content_of(path));
  for (std::string line; std::getline(text, line) && !text.eof();) {
    rows.push_back(Json::parse(line));
  }
  return rows;
}

std::vector<Json> rows_of(const std::string& path, const std::string& kind) {
  std::vector<Json> rows = read_rows(path);
  std::erase_if(rows, [&](const Json& row) { return row.at("kind") != kind; });
  return rows;
}

}  // namespace strobe::testing
