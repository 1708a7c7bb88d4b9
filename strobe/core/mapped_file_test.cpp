#include "strobe/core/mapped_file.h"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <filesystem>

#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"

namespace strobe {
namespace {

using testing::error_of;
using testing::TemporaryFolder;

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFileTest, ShowsTheBytes) {
  const TemporaryFolder folder;
  const std::string text("bytes\0of a file\n", 16);
  EXPECT_EQ(text_of(MappedFile(folder.file("some", text))), text);
  EXPECT_TRUE(MappedFile(folder.file("empty", "")).bytes().empty());
}

TEST(MappedFileTest, OutlivesTheFilesNameAndMoves) {
  const TemporaryFolder folder;
  const std::string path = folder.file("some", "before");
  MappedFile first(path);
  std::filesystem::rename(folder.file("other", "after"), path);
  MappedFile second(path);
  EXPECT_EQ(text_of(first), "before");
  first = std::move(second);
  EXPECT_EQ(text_of(first), "after");
  const MappedFile third(std::move(first));
  EXPECT_EQ(text_of(third), "after");
  EXPECT_EQ(third.path(), path);
}

TEST(MappedFileTest, ReleasedPagesComeBack) {
  const TemporaryFolder folder;
  const std::string text(100'000, 'x');
  const MappedFile file(folder.file("some", text));
  for (const size_t begin : {0, 1, 50'000, 99'999}) {
    prefetch_pages(file.bytes().subspan(begin));
    release_pages(file.bytes().subspan(begin));
  }
  EXPECT_EQ(text_of(file), text);
}

TEST(MappedFileTest, ErrorsNameTheFile) {
  const TemporaryFolder folder;
  const std::string missing = folder.path() + "/missing", pipe = folder.path() + "/pipe";
  EXPECT_EQ(error_of([&] { const MappedFile file(missing); }),
            "cannot open '" + missing + "': No such file or directory");
  EXPECT_EQ(error_of([&] { const MappedFile file(folder.path()); }),
            "'" + folder.path() + "' is a folder");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(error_of([&] { const MappedFile file(pipe); }), "'" + pipe + "' is not a regular file");
}

}  // namespace
}  // namespace strobe
