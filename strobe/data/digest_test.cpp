#include "strobe/data/digest.h"

#include <gtest/gtest.h>

#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"

namespace strobe {
namespace {

using testing::error_of;
using testing::TemporaryFolder;

TEST(DigestTest, KnownAnswers) {
  const TemporaryFolder folder;
  const auto digest = [&](const std::string& content, Digest kind) {
    return file_digest(folder.file("file", content), kind);
  };
  EXPECT_EQ(digest("", Digest::sha256),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest("abc", Digest::sha256),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest(std::string(1'000'000, 'a'), Digest::sha256),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(digest("", Digest::git_blob_sha1), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  EXPECT_EQ(digest("what is up, doc?", Digest::git_blob_sha1),
            "bd9dbf5aae1a3862dd1526723246b20206e5fc37");
  EXPECT_EQ(error_of([&] { file_digest(folder.path() + "/none", Digest::sha256); }),
            fmt::format("cannot read '{}/none': No such file or directory", folder.path()));
  EXPECT_EQ(file_digest(folder.file("file", std::string(3 << 20, 'a')), Digest::sha256,
                        [] { return true; }),
            "");
}

}  // namespace
}  // namespace strobe
