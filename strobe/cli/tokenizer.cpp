#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <vector>

#include "strobe/cli/commands.h"
#include "strobe/cli/work_progress.h"
#include "strobe/core/check.h"
#include "strobe/core/clock.h"
#include "strobe/core/interrupt.h"
#include "strobe/core/json.h"
#include "strobe/core/jsonl.h"
#include "strobe/core/parallel.h"
#include "strobe/data/bpe_tokenizer.h"
#include "strobe/data/bpe_trainer.h"
#include "strobe/data/encode_text.h"
#include "strobe/data/token_file.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

constexpr double kEnoughToTime = 1e6;  // bytes of text

struct TrainingOptions {
  std::vector<std::string> texts;
  int64_t vocab_size = 8192;
  int64_t min_count = 2;
  int64_t threads = 0;
  std::string out = "out/tokenizer";

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit(vocab_size, {.name = "vocab_size",
                       .unit = "N",
                       .help = "tokens, with the 256 bytes and the end of text",
                       .min = 257,
                       .max = 1 << 24});
    visit(min_count, {.name = "min_count",
                      .help = "a pair that comes less often in the texts does not become a token",
                      .min = 1});
    visit(threads, {.name = "threads", .help = "0: one for each core", .min = 0, .max = 1024});
    visit(out, {.name = "out", .unit = "DIR", .help = "where the files go, made where missing"});
  }
};

struct EncodingOptions {
  std::vector<std::string> texts;
  std::string tokenizer;
  SpecialNames special = SpecialNames::tokens;
  int64_t threads = 0;
  std::string out = "out/data.tokens";

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit(tokenizer, {.name = "tokenizer",
                      .unit = "DIR",
                      .help = "its folder: tokenizer.json, or vocab.json and merges.txt"});
    visit(special, {.name = "special", .help = "what the names of special tokens in the texts are"},
          {SpecialNames::tokens, SpecialNames::text});
    visit(threads, {.name = "threads", .help = "0: one for each core", .min = 0, .max = 1024});
    visit(out, {.name = "out", .unit = "FILE", .help = "the token file"});
  }
};

struct DecodingOptions {
  std::string tokens;
  std::string tokenizer;
  std::string out;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit(tokenizer, {.name = "tokenizer", .unit = "DIR", .help = "the one that made the file"});
    visit(out, {.name = "out", .unit = "FILE", .help = "the text; without it, standard output"});
  }
};

struct ShowOptions {
  std::string text;
  std::string tokenizer;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit(tokenizer, {.name = "tokenizer", .unit = "DIR", .help = "its folder"});
  }
};

std::unique_ptr<Tokenizer> tokenizer_of(const std::string& folder) {
  if (folder.empty()) throw UsageError("--tokenizer DIR is missing");
  return load_tokenizer(folder);
}

void use_threads(int64_t threads) {
  if (threads > 0) set_thread_count(static_cast<int>(threads));
}

// All files, before the long work begins.
std::vector<MappedFile> open_texts(const std::vector<std::string>& paths) {
  std::vector<MappedFile> files;
  for (const std::string& path : paths) files.emplace_back(path);
  return files;
}

int64_t bytes_of(const std::vector<MappedFile>& files) {
  int64_t bytes = 0;
  for (const MappedFile& file : files) bytes += static_cast<int64_t>(file.bytes().size());
  return bytes;
}

// A row of progress over several files, and whether to go on.
class FilesProgress {
 public:
  FilesProgress(const char* label, const std::vector<MappedFile>& files,
                const InterruptGuard& interrupt)
      : line_(label, bytes_of(files)), interrupt_(interrupt) {}

  LongText::Progress of_next(const MappedFile& file) {
    const int64_t before = before_;
    before_ += static_cast<int64_t>(file.bytes().size());
    return [this, before](int64_t done) {
      line_.update(before + done);
      return !interrupt_.requested();
    };
  }

 private:
  WorkProgress line_;
  const InterruptGuard& interrupt_;
  int64_t before_ = 0;
};

int stopped(const InterruptGuard& interrupt) {
  fmt::print(stderr, "strobe: stopped, nothing was written\n");
  return 128 + interrupt.signal();
}

int train(const Arguments& arguments) {
  TrainingOptions options;
  OptionParser parser("tokenizer train",
                      "Learns a byte-level BPE of GPT-2's kind from texts, and writes "
                      "tokenizer.json, vocab.json, merges.txt\nand tokenizer_config.json, which "
                      "Hugging Face's transformers loads too.");
  parser.positional(options.texts, "TEXT", "files, any bytes");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  use_threads(options.threads);
  const std::vector<MappedFile> files = open_texts(options.texts);
  create_folder(options.out);

  const InterruptGuard interrupt;
  WordCounts words;
  {
    FilesProgress progress("reading", files, interrupt);
    for (const MappedFile& file : files) {
      if (!words.add(file, progress.of_next(file))) return stopped(interrupt);
    }
  }
  WorkProgress learning("learning", options.vocab_size, " tokens");
  const BpeVocabulary vocabulary = train_bpe(words, {.vocab_size = options.vocab_size,
                                                     .min_count = options.min_count,
                                                     .progress = [&](int64_t tokens) {
                                                       learning.update(tokens);
                                                       return !interrupt.requested();
                                                     }});
  if (vocabulary.tokens.empty()) return stopped(interrupt);
  const BpeTokenizer tokenizer(vocabulary);
  save_tokenizer(tokenizer, options.out);
  fmt::print("text        {} in {} different words\n",
             bytes_text(static_cast<double>(bytes_of(files))), words.counts().size());
  fmt::print("vocabulary  {} tokens, {} merges{}\n", tokenizer.vocab_size(),
             vocabulary.merges.size(),
             tokenizer.vocab_size() < options.vocab_size
                 ? fmt::format("; no pair comes {} times any more", options.min_count)
                 : "");
  fmt::print("files       {}\n", options.out);
  return 0;
}

int encode(const Arguments& arguments) {
  EncodingOptions options;
  OptionParser parser("tokenizer encode",
                      "Encodes texts into one file of tokens, which `strobe train --data` takes. "
                      "Between two texts comes\nan end of text.");
  parser.positional(options.texts, "TEXT", "files, any bytes");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  use_threads(options.threads);
  const std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(options.tokenizer);
  const std::vector<MappedFile> files = open_texts(options.texts);
  const std::string folder = fs::path(options.out).parent_path().string();
  if (!folder.empty()) create_folder(folder);

  const InterruptGuard interrupt;
  const Stopwatch watch;
  TokenFileWriter writer(options.out, *tokenizer);
  {
    FilesProgress progress("encoding", files, interrupt);
    for (size_t i = 0; i < files.size(); ++i) {
      if (i > 0) writer.write(std::vector{tokenizer->end_of_text()});
      if (!encode_text(
              *tokenizer, files[i], options.special,
              [&](std::span<const int32_t> tokens) { writer.write(tokens); },
              progress.of_next(files[i]))) {
        return stopped(interrupt);
      }
    }
  }
  const double seconds = watch.seconds();
  writer.commit();
  const auto bytes = static_cast<double>(bytes_of(files));
  const auto tokens = static_cast<double>(writer.tokens());
  fmt::print("text    {}\n", bytes_text(bytes));
  fmt::print("tokens  {}, {:.2f} bytes each\n", writer.tokens(), tokens > 0 ? bytes / tokens : 0);
  if (bytes >= kEnoughToTime) {
    fmt::print("speed   {}/s on {} thread{}\n", bytes_text(bytes / seconds), thread_count(),
               thread_count() == 1 ? "" : "s");
  }
  fmt::print("file    {}\n", options.out);
  return 0;
}

int decode(const Arguments& arguments) {
  DecodingOptions options;
  OptionParser parser("tokenizer decode", "Gives the text of a token file.");
  parser.positional(options.tokens, "FILE", "of `strobe tokenizer encode`");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  const std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(options.tokenizer);
  const TokenFile tokens(options.tokens);
  check(tokens.header().vocabulary == fingerprint(*tokenizer), "'", options.tokens,
        "' was made by another tokenizer than '", options.tokenizer, "'");

  std::optional<AtomicFile> file;
  if (!options.out.empty()) file.emplace(options.out);
  constexpr int64_t piece = 1 << 16;
  std::vector<int32_t> ids;
  for (int64_t begin = 0; begin < tokens.size(); begin += piece) {
    ids.resize(static_cast<size_t>(std::min(piece, tokens.size() - begin)));
    tokens.read(begin, ids);
    const std::string text = tokenizer->decode(ids);
    if (file) {
      file->write(text);
    } else {
      check(std::fwrite(text.data(), 1, text.size(), stdout) == text.size(),
            "cannot write to standard output");
    }
  }
  if (file) file->commit();
  return 0;
}

// In quotes, or byte by byte where it is a part of a character.
std::string visible(std::string_view bytes) {
  std::string text = in_quotes(bytes);
  if (text.find("\ufffd") == text.npos) return text;
  text = "bytes";
  for (const char byte : bytes) text += fmt::format(" {:02x}", static_cast<unsigned char>(byte));
  return text;
}

int show(const Arguments& arguments) {
  ShowOptions options;
  OptionParser parser("tokenizer show", "Prints the tokens of a text, one a line: id and bytes.");
  parser.positional(options.text, "TEXT", "the text itself");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  const std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(options.tokenizer);
  for (const int32_t token : tokenizer->encode(options.text)) {
    fmt::print("{:>8}  {}\n", token, visible(tokenizer->bytes_of(token)));
  }
  return 0;
}

}  // namespace

int tokenizer_command(const Arguments& arguments) {
  const std::string what = arguments.empty() ? "" : arguments.front();
  if (what == "--help" || what == "-h") {
    fmt::print(
        "Text to tokens and back, with GPT-2's kind of tokenizer.\n\n"
        "Usage: strobe tokenizer train|encode|decode|show [OPTIONS]\n\n"
        "  train   learns a vocabulary from texts\n"
        "  encode  makes a file of tokens out of texts\n"
        "  decode  gives the text of a file of tokens\n"
        "  show    prints the tokens of a text\n\n"
        "`strobe tokenizer train --help` and so on explain the options.\n");
    return 0;
  }
  const Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (what == "train") return train(rest);
  if (what == "encode") return encode(rest);
  if (what == "decode") return decode(rest);
  if (what == "show") return show(rest);
  throw UsageError(fmt::format("tokenizer '{}', allowed are train, encode, decode and show", what));
}

}  // namespace strobe
