// A GPT-2 continues a text: generate_text FOLDER PROMPT, the folder being one that Hugging Face's
// save_pretrained, `strobe fetch` or `strobe train` has left.
#include <strobe/data/tokenizer.h>
#include <strobe/generate/generate.h>
#include <strobe/models/gpt2_files.h>

#include <iostream>

int main(int argc, char** argv) try {
  const std::string folder = argc > 1 ? argv[1] : ".", prompt = argc > 2 ? argv[2] : "";
  strobe::Context ctx;
  strobe::Gpt2 model = strobe::load_gpt2(ctx, folder, strobe::DType::f32, /*is_trainable=*/false);
  model.set_attention("flash");
  const auto tokenizer = strobe::load_tokenizer(folder);
  const std::vector<std::vector<int32_t>> prompts = {tokenizer->encode(prompt)};
  const auto result = strobe::generate(
      ctx, model, prompts, {.max_new_tokens = 40, .end_of_text = tokenizer->end_of_text()});
  std::cout << prompt << tokenizer->decode(result.sequences[0].tokens) << '\n';
} catch (const strobe::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
