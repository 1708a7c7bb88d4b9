#include "tests/testkit/files.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "strobe/core/check.h"

namespace strobe::testing {

TemporaryFolder::TemporaryFolder() {
  path_ = (std::filesystem::temp_directory_path() / "strobe_test_XXXXXX").string();
  check(mkdtemp(path_.data()) != nullptr, "cannot make the folder ", path_);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryFolder::file(const std::string& name, std::string_view content) const {
  const std::string path = path_ + "/" + name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

}  // namespace strobe::testing
