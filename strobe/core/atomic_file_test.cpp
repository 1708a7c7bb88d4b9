#include "strobe/core/atomic_file.h"

#include <gtest/gtest.h>

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::error_of;
using testing::TemporaryFolder;

int files_in(const std::string& folder) {
  return static_cast<int>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(AtomicFileTest, AppearsWholeWhenCommitted) {
  const TemporaryFolder folder;
  const std::string path = folder.file("some", "old");
  AtomicFile file(path);
  file.write("new ");
  file.write(std::as_bytes(std::span("content", 7)));
  EXPECT_EQ(file.bytes(), 11);
  EXPECT_EQ(content_of(path), "old");
  file.commit();
  EXPECT_EQ(content_of(path), "new content");
  EXPECT_EQ(files_in(folder.path()), 1);
  EXPECT_EQ(error_of([&] { file.write("more"); }),
            "'" + path + "' is committed already, nothing can be added");
  EXPECT_EQ(error_of([&] { file.commit(); }), "'" + path + "' is committed already");
}

TEST(AtomicFileTest, WhatIsWrittenCanBeReplaced) {
  const TemporaryFolder folder;
  AtomicFile file(folder.path() + "/some");
  file.write("length? ");
  file.write("content");
  file.overwrite(0, std::as_bytes(std::span("length 7", 8)));
  file.write("s");
  EXPECT_EQ(error_of([&] { file.overwrite(15, std::as_bytes(std::span("ab", 2))); }),
            "bytes 15 to 17 of '" + folder.path() + "/some', which has 16");
  file.commit();
  EXPECT_EQ(content_of(folder.path() + "/some"), "length 7contents");
}

TEST(AtomicFileTest, LeavesNothingWhenNotCommitted) {
  const TemporaryFolder folder;
  const std::string path = folder.file("some", "old");
  { AtomicFile(path).write("new"); }
  EXPECT_EQ(content_of(path), "old");
  EXPECT_EQ(files_in(folder.path()), 1);
}

// A process killed while it writes leaves the old file; its half of a new one is overwritten by the
// next process of that number, and takes part in nothing.
TEST(AtomicFileTest, AKilledProcessLeavesTheOldFile) {
  const TemporaryFolder folder;
  const std::string path = folder.file("some", "old");
  const pid_t child = fork();
  if (child == 0) {
    AtomicFile file(path);
    file.write("new");
    std::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(content_of(path), "old");
}

TEST(AtomicFileTest, ErrorsNameTheFile) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of([&] { const AtomicFile file(folder.path() + "/nowhere/some"); }),
            "cannot write '" + folder.path() + "/nowhere/some': No such file or directory");
  const std::string occupied = folder.path() + "/folder";
  fs::create_directories(occupied);
  AtomicFile file(occupied);
  EXPECT_EQ(error_of([&] { file.commit(); }), "cannot replace '" + occupied + "': Is a directory");
}

// The disk fills up in the middle of a write. A limit on a file's size acts as a full disk does,
// and needs no rights.
TEST(AtomicFileTest, WhatDoesNotFitLeavesTheOldFile) {
  const TemporaryFolder folder;
  const std::string path = folder.file("some", "old");
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit tight = {.rlim_cur = 100, .rlim_max = before.rlim_max};
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &tight);
  const std::string message = error_of([&] {
    AtomicFile file(path);
    file.write(std::string(1000, 'x'));
    file.commit();
  });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, previous);
  EXPECT_EQ(message, "cannot write '" + path + "': File too large");
  EXPECT_EQ(content_of(path), "old");
  EXPECT_EQ(files_in(folder.path()), 1);
}

// On a file system of 64 KiB that is full, in a process of its own that may mount one.
// 0: as it should be, 1: not so, 2: this machine does not allow it.
int write_to_a_full_disk(const std::string& folder) {
  const std::string user = fmt::format("0 {} 1", getuid()), group = fmt::format("0 {} 1", getgid());
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return 2;
  std::ofstream("/proc/self/uid_map") << user;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/gid_map") << group;
  if (mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=64k") != 0) return 2;
  const std::string path = folder + "/some";
  AtomicFile whole(path);
  whole.write("old");
  whole.commit();
  const std::string message = error_of([&] {
    AtomicFile file(path);
    for (int i = 0; i < 100; ++i) file.write(std::string(1000, 'x'));
    file.commit();
  });
  const bool is_right = message == "cannot write '" + path + "': No space left on device" &&
                        content_of(path) == "old" && files_in(folder) == 1;
  if (!is_right) std::fprintf(stderr, "%s\n", message.c_str());
  return is_right ? 0 : 1;
}

TEST(AtomicFileTest, AFullDiskLeavesTheOldFile) {
  const TemporaryFolder folder;
  const pid_t child = fork();
  if (child == 0) _exit(write_to_a_full_disk(folder.path()));
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "no file system can be mounted here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace strobe
