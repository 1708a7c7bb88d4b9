#include <filesystem>

#include "strobe/cli/commands.h"
#include "strobe/core/atomic_file.h"
#include "strobe/core/check.h"
#include "strobe/core/mapped_file.h"
#include "strobe/data/hub.h"
#include "strobe/models/gpt2_files.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

enum class FileType : unsigned char { same, f32, f16, bf16 };

constexpr std::string_view to_text(FileType type) {
  constexpr std::string_view names[] = {"same", "f32", "f16", "bf16"};
  return names[static_cast<int>(type)];
}

enum class NamePrefix : unsigned char { transformer, none };

constexpr std::string_view to_text(NamePrefix prefix) {
  return prefix == NamePrefix::transformer ? "transformer" : "none";
}

struct ConvertOptions {
  std::string from, to;
  FileType dtype = FileType::same;
  NamePrefix prefix = NamePrefix::transformer;
  int64_t max_shard_mb = 5000;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit(dtype, {.name = "dtype", .help = "of the weights in the new files"},
          {FileType::same, FileType::f32, FileType::f16, FileType::bf16});
    visit(
        prefix,
        {.name = "prefix", .help = "of the tensors' names: transformer.wte.weight, or wte.weight"},
        {NamePrefix::transformer, NamePrefix::none});
    visit(max_shard_mb, {.name = "max_shard",
                         .unit = "MB",
                         .help = "more than this goes into several files, with an index",
                         .min = 1,
                         .max = 1e9});
  }
};

DType file_dtype(FileType type, const std::string& folder) {
  switch (type) {
    case FileType::f32: return DType::f32;
    case FileType::f16: return DType::f16;
    case FileType::bf16: return DType::bf16;
    case FileType::same: break;
  }
  return Gpt2Weights(folder).dtype();
}

// What belongs to a model beside its weights and their configuration: as it is.
void copy_companions(const std::string& from, const std::string& to) {
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
        "special_tokens_map.json", "added_tokens.json", "generation_config.json"}) {
    const std::string path = from + "/" + name;
    if (!std::filesystem::exists(path)) continue;
    AtomicFile copy(to + "/" + name);
    copy.write(MappedFile(path).bytes());
    copy.commit();
  }
}

}  // namespace

int convert_command(const Arguments& arguments) {
  ConvertOptions options;
  OptionParser parser(
      "convert",
      "Writes a GPT-2 into another folder, as Hugging Face's transformers reads it: "
      "config.json,\nmodel.safetensors (or several files and their index), and the "
      "tokenizer that the first folder has.");
  parser.positional(options.from, "FROM",
                    "a folder in the Hugging Face layout, or what `strobe fetch` has loaded");
  parser.positional(options.to, "TO", "the folder to write, made where missing");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  const std::string from = resolve_model(options.from);
  const Gpt2FileFormat format = {
      .dtype = file_dtype(options.dtype, from),
      .prefix = options.prefix == NamePrefix::transformer ? "transformer." : "",
      .max_shard_bytes = options.max_shard_mb * 1'000'000};
  Context ctx;
  convert_gpt2(ctx, from, options.to, format);
  copy_companions(from, options.to);
  const Gpt2Weights written(options.to);
  fmt::print("{}: {} parameters, {}, {}\n", options.to, parameter_count(written.config()),
             written.dtype(), bytes_text(static_cast<double>(written.bytes())));
  return 0;
}

}  // namespace strobe
