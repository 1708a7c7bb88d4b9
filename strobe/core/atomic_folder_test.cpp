#include "strobe/core/atomic_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "strobe/core/check.h"
#include "tests/testkit/errors.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

class AtomicFolderTest : public ::testing::Test {
 protected:
  AtomicFolderTest() { fs::create_directories(root_); }
  ~AtomicFolderTest() override { fs::remove_all(root_); }

  std::string root_ = ::testing::TempDir() + "strobe_atomic_folder_" + std::to_string(getpid());
  std::string path_ = root_ + "/result";
};

TEST_F(AtomicFolderTest, AppearsWhenCommitted) {
  AtomicFolder folder(path_);
  std::ofstream(folder.partial_path() + "/file") << "text";
  EXPECT_FALSE(fs::exists(path_));
  folder.commit();
  EXPECT_TRUE(fs::exists(path_ + "/file"));
  EXPECT_FALSE(fs::exists(folder.partial_path()));
}

TEST_F(AtomicFolderTest, LeavesNothingWithoutCommit) {
  { const AtomicFolder folder(path_); }
  EXPECT_TRUE(fs::is_empty(root_));
}

TEST_F(AtomicFolderTest, ReplacesWhatAKilledProcessLeft) {
  fs::create_directories(path_ + ".partial");
  std::ofstream(path_ + ".partial/old") << "half a fi";
  AtomicFolder folder(path_);
  EXPECT_TRUE(fs::is_empty(folder.partial_path()));
}

TEST_F(AtomicFolderTest, NeverReplacesAFolder) {
  fs::create_directories(path_);
  EXPECT_EQ(error_of([&] { AtomicFolder folder(path_); }),
            fmt::format("'{}' is there already", path_));
}

TEST_F(AtomicFolderTest, RemovesWithAllThatIsInIt) {
  fs::create_directories(path_ + "/in/it");
  fs::create_directories(path_ + ".partial");
  remove_folder(path_);
  EXPECT_TRUE(fs::is_empty(root_));
  EXPECT_NE(error_of([&] { remove_folder(path_); }).find("cannot rename"), std::string::npos);
}

}  // namespace
}  // namespace strobe::testing
