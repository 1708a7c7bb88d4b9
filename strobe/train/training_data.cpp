#include "strobe/train/training_data.h"

#include <algorithm>
#include <filesystem>
#include <span>
#include <string>

#include "strobe/core/check.h"
#include "strobe/core/jsonl.h"
#include "strobe/data/encode_text.h"
#include "strobe/data/token_file.h"
#include "strobe/train/checksum.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Tokenizer> tokenizer_of(const TrainOptions& options) {
  if (options.tokenizer.empty()) return std::make_unique<ByteTokenizer>(options.vocab_size);
  return load_tokenizer(options.tokenizer);
}

// A token file that somebody made before.
std::unique_ptr<TokenFile> open_tokens(const TrainOptions& options, const Tokenizer& tokenizer) {
  check(!options.tokenizer.empty(), "'", options.data,
        "' is a file of tokens: name the tokenizer that made it with --tokenizer");
  check(options.batching == Batching::packed, "'", options.data, "' is a file of tokens, batching ",
        to_text(options.batching), " needs a text");
  auto tokens = std::make_unique<TokenFile>(options.data);
  check(tokens->header().vocabulary == fingerprint(tokenizer), "'", options.data,
        "' was made by another tokenizer than '", options.tokenizer, "'");
  return tokens;
}

std::string encoded_path(const TrainOptions& options) {
  return (fs::path(options.out) / "data.tokens").string();
}

// Differs between texts: by where a text is, how long, and when it was written.
uint64_t number_of_text(const TrainOptions& options, const Corpus& corpus) {
  const bool is_file = options.data != kLabData;
  const std::string text = fmt::format(
      "{} {} {}", is_file ? fs::absolute(options.data).lexically_normal().string() : options.data,
      corpus.bytes(), is_file ? fs::last_write_time(options.data).time_since_epoch().count() : 0);
  return checksum(std::as_bytes(std::span(text)));
}

// Whether OUT/data.tokens is of this text and tokenizer.
bool is_encoded(const TrainOptions& options, const Corpus& corpus, const Tokenizer& tokenizer) {
  if (!is_token_file(encoded_path(options))) return false;
  try {
    const TokenFileHeader header = TokenFile(encoded_path(options)).header();
    return header.vocabulary == fingerprint(tokenizer) &&
           header.source == number_of_text(options, corpus);
  } catch (const Error&) {
    return false;  // broken: it is made anew
  }
}

// Makes OUT/data.tokens. False when it was stopped.
bool encode(const TrainOptions& options, const Corpus& corpus, const Tokenizer& tokenizer,
            const EncodingProgress& progress) {
  if (progress && !progress(0, corpus.bytes())) return false;
  create_folder(options.out);
  TokenFileWriter writer(encoded_path(options), tokenizer, number_of_text(options, corpus));
  const auto encode_long = [&](const LongText& text) {
    return encode_text(
        tokenizer, text, SpecialNames::tokens,
        [&](std::span<const int32_t> tokens) { writer.write(tokens); },
        [&](int64_t done) { return !progress || progress(done, corpus.bytes()); });
  };
  bool is_done = false;
  if (options.data == kLabData) {
    std::string text(static_cast<size_t>(corpus.bytes()), '\0');
    corpus.read(0, text);
    is_done = encode_long(std::string_view(text));
  } else {
    is_done = encode_long(MappedFile(options.data));
  }
  if (is_done) writer.commit();
  return is_done;
}

}  // namespace

TrainingData::TrainingData(const TrainOptions& options) : tokenizer_(tokenizer_of(options)) {
  if (is_token_file(options.data)) {
    samples_ = packed_windows(open_tokens(options, *tokenizer_), options.seq);
  } else {
    corpus_ = open_corpus(options.data);
    if (options.batching == Batching::padded) {
      samples_ = padded_lines(*corpus_, *tokenizer_, options.seq);
    } else if (options.tokenizer.empty()) {
      samples_ = packed_windows(byte_sequence(*corpus_), options.seq);
    } else {
      if (!is_encoded(options, *corpus_, *tokenizer_)) encode(options, *corpus_, *tokenizer_, {});
      samples_ = packed_windows(std::make_unique<TokenFile>(encoded_path(options)), options.seq);
    }
  }
  split_ = split_samples(samples_->size(), options.validation_fraction);
  training_.emplace(*samples_, split_.train, options.batch, options.seq, options.seed);
  if (split_.validation.size() > 0) {
    validation_.emplace(*samples_, split_.validation, options.batch, options.seq);
  }
}

bool prepare_training_data(TrainOptions& options, const EncodingProgress& progress) {
  if (options.tokenizer.empty()) return true;
  const std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(options);
  options.vocab_size = std::max<int64_t>(options.vocab_size, tokenizer->vocab_size());
  if (options.batching == Batching::padded || is_token_file(options.data)) return true;
  model_config(options);  // throws if the options do not fit together: before the long work
  const std::unique_ptr<Corpus> corpus = open_corpus(options.data);
  return is_encoded(options, *corpus, *tokenizer) || encode(options, *corpus, *tokenizer, progress);
}

}  // namespace strobe
