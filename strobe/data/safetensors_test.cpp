#include "strobe/data/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "strobe/core/check.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"

namespace strobe {
namespace {

using testing::content_of;
using testing::error_of;
using testing::TemporaryFolder;

// A whole file: the header's length, the header, `data_bytes` of data.
std::string file_of(std::string_view header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file.append(header).append(data_bytes, '\1');
}

SafetensorsHeader parse(std::string_view file) {
  return parse_safetensors(std::as_bytes(std::span(file)));
}

// The error of a file with this header and 16 bytes of data.
std::string refusal(std::string_view header) {
  return error_of([&] { parse(file_of(header, 16)); });
}

constexpr std::string_view kTwo =
    R"({"b":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]},)"
    R"("__metadata__":{"format":"pt"},"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}  )";

TEST(SafetensorsHeaderTest, Parses) {
  const SafetensorsHeader header = parse(file_of(kTwo, 16));
  EXPECT_EQ(header.names, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(header.metadata.at("format"), "pt");
  EXPECT_EQ(header.data_begin, 8 + kTwo.size());
  const SafetensorsEntry& b = header.entries.find("b")->second;
  EXPECT_EQ(b.dtype, "F32");
  EXPECT_EQ(b.shape, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(b.begin, 8u);
  EXPECT_EQ(b.end, 16u);
}

TEST(SafetensorsHeaderTest, ParsesWhatIsUnusual) {
  EXPECT_TRUE(parse(file_of("{}", 0)).names.empty());
  const auto empty = R"({"a":{"data_offsets":[0,0],"shape":[3,0],"dtype":"BF16"},
                         "b":{"dtype":"F4","shape":[2,16],"data_offsets":[0,16]}})";
  EXPECT_EQ(parse(file_of(empty, 16)).names, (std::vector<std::string>{"a", "b"}));
}

TEST(SafetensorsHeaderTest, ALyingLengthIsRefused) {
  const auto with_length = [](uint64_t length) {
    std::string file = file_of("{}", 0);
    std::memcpy(file.data(), &length, 8);
    return error_of([&] { parse(file); });
  };
  EXPECT_EQ(error_of([] { parse("seven"); }), "it has 5 bytes, a safetensors file at least 8");
  for (const uint64_t length : {uint64_t{3}, uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 7}) {
    EXPECT_EQ(with_length(length),
              fmt::format("the header's length is {}, the file has 2 bytes after it, and allowed "
                          "are 100000000",
                          length));
  }
  EXPECT_EQ(with_length(0), "the header does not begin with '{'");
  EXPECT_EQ(with_length(1), "the header is not JSON at its byte 2");
}

TEST(SafetensorsHeaderTest, BrokenJsonIsRefused) {
  EXPECT_EQ(refusal("{oops}"), "the header is not JSON at its byte 2");
  EXPECT_NE(refusal("{} {}").find("the header is not JSON"), std::string::npos);
  EXPECT_NE(refusal("{\"\xff\":1}").find("the header is not JSON"), std::string::npos);
  EXPECT_EQ(refusal("[]"), "the header does not begin with '{'");
  EXPECT_EQ(refusal(R"({"a":)" + std::string(1'000'000, '[')),
            "the tensor \"a\" has an array where none is allowed");
  EXPECT_EQ(refusal(R"({"a":{"shape":[[)"), "the tensor \"a\" has an array where none is allowed");
  EXPECT_EQ(refusal(R"({"a":{"dtype":{)"), "the tensor \"a\" has an object where none is allowed");
  EXPECT_EQ(refusal(R"({"a":1})"), "the tensor \"a\" has a number where none is allowed");
  EXPECT_EQ(refusal(R"({"a":{"shape":[-1]}})"),
            "the tensor \"a\" has a number below 0 where none is allowed");
  EXPECT_EQ(refusal(R"({"a":{"shape":[1.5]}})"),
            "the tensor \"a\" has a broken number where none is allowed");
  EXPECT_EQ(refusal(R"({"a":{"shape":null}})"), "the tensor \"a\" has null where none is allowed");
  EXPECT_EQ(refusal(R"({"__metadata__":{"a":1}})"),
            "__metadata__ has a number, allowed are strings alone");
  EXPECT_EQ(refusal(R"({"__metadata__":["a"]})"),
            "__metadata__ has an array, allowed are strings alone");
}

TEST(SafetensorsHeaderTest, FieldsMustBeThereOnce) {
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","shape":[4]}})"),
            "the tensor \"a\" lacks one of dtype, shape and data_offsets");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","dtype":"F32"}})"),
            "the tensor \"a\" has its dtype twice");
  EXPECT_EQ(refusal(R"({"a":{"data_offsets":[0,16],"data_offsets":[0,16]}})"),
            "the tensor \"a\" has its data_offsets twice");
  EXPECT_EQ(refusal(R"({"a":{"data_offsets":[0]}})"),
            "data_offsets of the tensor \"a\" has 1 numbers, allowed are 2");
  EXPECT_EQ(refusal(R"({"a":{"data_offsets":[0,1,2]}})"),
            "the tensor \"a\" has a number where none is allowed");
  EXPECT_EQ(refusal(R"({"a":{"stride":1}})"),
            "the tensor \"a\" has a field \"stride\", allowed are dtype, shape and data_offsets");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F33"}})"),
            "the tensor \"a\" has the type \"F33\", which the format does not know");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                    R"("a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})"),
            "the tensor \"a\" comes twice");
  EXPECT_EQ(refusal(R"({"__metadata__":{},"__metadata__":{}})"), "__metadata__ comes twice");
  EXPECT_EQ(refusal(R"({"__metadata__":{"k":"1","k":"2"}})"), "__metadata__ has \"k\" twice");
}

TEST(SafetensorsHeaderTest, RangesMustTileTheData) {
  const auto one = [](std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return refusal(fmt::format(R"({{"a\n":{{"dtype":"{}","shape":{},"data_offsets":{}}}}})", dtype,
                               shape, offsets));
  };
  EXPECT_EQ(one("F32", "[4]", "[0,16]"), "no error");
  EXPECT_EQ(one("F32", "[5]", "[0,20]"),
            R"(the tensor "a\n" lies at bytes 0 to 20, the file has 16 bytes of data)");
  EXPECT_EQ(one("F32", "[4]", "[16,0]"),
            R"(the tensor "a\n" lies at bytes 16 to 0, the file has 16 bytes of data)");
  EXPECT_EQ(
      one("F32", "[4]", "[18446744073709551600,0]"),
      R"(the tensor "a\n" lies at bytes 18446744073709551600 to 0, the file has 16 bytes of data)");
  EXPECT_EQ(one("F16", "[4]", "[0,16]"),
            R"(the tensor "a\n" lies at bytes 0 to 16, but F16 of shape [4] has 8 bytes)");
  EXPECT_EQ(one("F32", "[3]", "[4,16]"),
            R"(the tensor "a\n" begins at byte 4, the one before it ends at 0)");
  EXPECT_EQ(one("F32", "[3]", "[0,12]"),
            "the tensors end at byte 12, the file has 16 bytes of data");
  EXPECT_EQ(one("F32", "[4611686018427387904,4]", "[0,16]"),
            R"(the tensor "a\n" has the shape [4611686018427387904, 4], more than any memory has)");
  EXPECT_EQ(
      one("F32", "[4294967296,4294967296,0]", "[0,0]"),
      R"(the tensor "a\n" has the shape [4294967296, 4294967296, 0], more than any memory has)");
  EXPECT_EQ(one("F32", "[9223372036854775808]", "[0,16]"),
            R"(the tensor "a\n" has a dimension of 9223372036854775808)");
  EXPECT_EQ(one("F4", "[3]", "[0,16]"),
            R"(the tensor "a\n" of type F4 has the shape [3], which is no whole number of bytes)");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"U8","shape":[10],"data_offsets":[0,10]},)"
                    R"("b":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}})"),
            "the tensor \"b\" begins at byte 8, the one before it ends at 10");
}

TEST(SafetensorsIndexTest, FilesLieBesideTheIndex) {
  const auto files = parse_safetensors_index(
      R"({"metadata":{"total_size":8},"weight_map":{"a":"x.safetensors","b":"y.safetensors"}})");
  EXPECT_EQ(files.at("a"), "x.safetensors");
  EXPECT_EQ(files.size(), 2u);
  for (const std::string path : {"../x", "/etc/passwd", "a/b", "..", ".", "", R"(a\\b)"}) {
    const std::string text = fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", path);
    EXPECT_NE(error_of([&] {
                parse_safetensors_index(text);
              }).find("allowed is the name of a file beside the index"),
              std::string::npos)
        << path;
  }
  EXPECT_EQ(error_of([] { parse_safetensors_index(R"({"weight_map":{"a":1}})"); }),
            "the index gives \"a\" the file 1, allowed is a name");
  EXPECT_EQ(error_of([] { parse_safetensors_index(R"({"weight_map":{}})"); }),
            "the index names no tensors");
  EXPECT_EQ(error_of([] { parse_safetensors_index("[]"); }),
            "the index has no object \"weight_map\"");
  EXPECT_EQ(error_of([] { parse_safetensors_index(std::string(100'000'001, ' ')); }),
            "the index has 100000001 bytes, allowed are 100000000");
  EXPECT_EQ(error_of([] { parse_safetensors_index("{"); }).find("the index is not JSON: "), 0u);
}

TEST(SafetensorsFileTest, WhatIsWrittenIsRead) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/some.safetensors";
  std::vector<bf16> halves = {{1}, {2}, {3}};
  std::vector<float> floats = {1.5f, -2.5f};
  std::vector<int32_t> numbers = {7};
  write_safetensors(path,
                    std::vector<NamedTensor>{{"h\"\n", Tensor::of(halves.data(), {3, 1})},
                                             {"f", Tensor::of(floats.data(), {2})},
                                             {"nothing", Tensor::of(floats.data(), {0, 4})},
                                             {"i", Tensor::of(numbers.data(), {})}},
                    {{"format", "pt"}, {"step", "3"}});
  const SafetensorsFile file(path);
  EXPECT_EQ(file.names(), (std::vector<std::string>{"f", "i", "nothing", "h\"\n"}));
  EXPECT_EQ(file.metadata().at("step"), "3");
  EXPECT_EQ(file.tensor("f").as<float>()[1], -2.5f);
  EXPECT_EQ(file.tensor("h\"\n").as<bf16>()[2].bits, 3);
  EXPECT_EQ(file.tensor("h\"\n").shape, (Shape{3, 1}));
  EXPECT_EQ(file.tensor("i").as<int32_t>()[0], 7);
  EXPECT_EQ(file.tensor("nothing").numel(), 0);
  EXPECT_EQ(file.bytes("f").size(), 8u);
  EXPECT_FALSE(file.contains("g"));
  EXPECT_EQ(error_of([&] { file.tensor("g"); }), "'" + path + "' has no tensor \"g\"");
}

TEST(SafetensorsFileTest, TensorsOfOtherTypesAreSeenButNotRead) {
  const TemporaryFolder folder;
  const std::string path = folder.file("some.safetensors", file_of(kTwo, 16));
  const SafetensorsFile file(path);
  EXPECT_EQ(file.entry("a").dtype, "I64");
  EXPECT_EQ(error_of([&] { file.tensor("a"); }),
            "the tensor \"a\" in '" + path + "' is I64, allowed are F32, F16, BF16 and I32");
  std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  header.resize(header.size() / 4 * 4 + 5, ' ');
  const std::string odd = folder.file("odd.safetensors", file_of(header, 4));
  EXPECT_EQ(error_of([&] { SafetensorsFile(odd).tensor("a"); }),
            "the tensor \"a\" in '" + odd +
                "' is F32 at an address that this type cannot have: the file is not aligned");
  EXPECT_EQ(SafetensorsFile(odd).bytes("a").size(), 4u);
  const std::string deep = folder.file(
      "deep.safetensors",
      file_of(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,4],"data_offsets":[0,16]}})", 16));
  EXPECT_EQ(error_of([&] { SafetensorsFile(deep).tensor("a"); }),
            "the tensor \"a\" in '" + deep +
                "' has the shape [1, 1, 1, 1, 1, 4], allowed are up to 5 dimensions");
}

TEST(SafetensorsFileTest, ErrorsNameTheFile) {
  const TemporaryFolder folder;
  const std::string broken = folder.file("broken.safetensors", "seven");
  EXPECT_EQ(error_of([&] { const SafetensorsFile file(broken); }),
            "cannot read '" + broken + "': it has 5 bytes, a safetensors file at least 8");
  const std::string missing = folder.path() + "/missing.safetensors";
  EXPECT_EQ(error_of([&] { const SafetensorsFile file(missing); }),
            "cannot open '" + missing + "': No such file or directory");
}

TEST(SafetensorsFileTest, AnIndexJoinsFiles) {
  const TemporaryFolder folder;
  std::vector<float> values = {1, 2, 3, 4};
  const Tensor first = Tensor::of(values.data(), {2}), second = Tensor::of(values.data() + 2, {2});
  const std::string one = folder.path() + "/1.safetensors", two = folder.path() + "/2.safetensors";
  write_safetensors(one, std::vector<NamedTensor>{{"z", first}, {"unlisted", first}},
                    {{"format", "pt"}});
  write_safetensors(two, std::vector<NamedTensor>{{"a", second}, {"z", second}},
                    {{"format", "tf"}, {"by", "us"}});
  const std::string index =
      folder.file("index.json", R"({"weight_map":{"a":"2.safetensors","z":"1.safetensors"}})");
  const SafetensorsFile file(index);
  EXPECT_EQ(file.names(), (std::vector<std::string>{"z", "a"}));
  EXPECT_EQ(file.tensor("z").as<float>()[0], 1);
  EXPECT_EQ(file.tensor("a").as<float>()[1], 4);
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"by", "us"}, {"format", "pt"}}));

  const std::string wrong =
      folder.file("wrong.json", R"({"weight_map":{"a":"1.safetensors","z":"1.safetensors"}})");
  EXPECT_EQ(
      error_of([&] { const SafetensorsFile broken(wrong); }),
      "'" + wrong + "' expects the tensor \"a\" in \"1.safetensors\", which does not have it");
  const std::string lost = folder.file("lost.json", R"({"weight_map":{"a":"3.safetensors"}})");
  EXPECT_EQ(error_of([&] { const SafetensorsFile broken(lost); }),
            "cannot open '" + folder.path() + "/3.safetensors': No such file or directory");
}

TEST(SafetensorsWriteTest, RefusesWhatItCannotWrite) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/some.safetensors";
  std::vector<float> values = {1, 2, 3, 4};
  const Tensor square = Tensor::of(values.data(), {2, 2});
  const auto message = [&](const std::vector<NamedTensor>& tensors) {
    return error_of([&] { write_safetensors(path, tensors, {}); });
  };
  EXPECT_EQ(message({{"a", square}, {"a", square}}),
            "cannot write '" + path + "': the name \"a\" is taken");
  EXPECT_EQ(message({{"__metadata__", square}}),
            "cannot write '" + path + "': the name \"__metadata__\" is taken");
  EXPECT_EQ(message({{"a", square.transpose(0, 1)}}),
            "cannot write '" + path + "': the tensor \"a\" is not contiguous on the CPU");
  const std::vector<StreamedTensor> too_short = {
      {.name = "a", .dtype = DType::f32, .shape = {4}, .write = [](AtomicFile& file) {
         file.write("seven");
       }}};
  EXPECT_NE(error_of([&] { write_safetensors(path, too_short, {}); }).find("ended at byte"),
            std::string::npos);
  EXPECT_EQ(content_of(path), "") << "nothing is left of a file that was not finished";
}

}  // namespace
}  // namespace strobe
