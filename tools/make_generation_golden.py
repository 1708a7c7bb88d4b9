#!/usr/bin/env python3
"""Writes tests/golden/generation: what Hugging Face's transformers generates, for
strobe/generate/generate_golden_test.cpp and tests/end_to_end/generate_test.cpp.

Needs torch, transformers and tokenizers; run it only to change the case:
    tools/make_generation_golden.py

The folder is a tiny GPT2LMHeadModel with random parameters and a tokenizer, as transformers leaves
them, and expected.json, a list of batches:
    prompts, tokens         texts, and what they encode to
    max_new_tokens
    continuations, texts    of greedy search: new tokens without end-of-text, and their text
"""

import json
import pathlib
import shutil

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "generation"
TEXT = FOLDER.parent / "tokenizer" / "text.txt"
END = "<|endoftext|>"
VOCABULARY = 384
POSITIONS = 64
BATCHES = [
    (["The quick brown fox"], 40),
    (["", "a", "The quick brown fox jumps over the lazy dog", "Grüße aus Köln, 你好",
      "one two three four five six seven"], 24),
    (["x" * 20, "So", "attention is all you need, and a cache of keys and values"], 16),
]


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[END], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train([str(TEXT)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END,
                                   unk_token=END, pad_token=END, padding_side="left")


def make_model(seed, end):
    """Values large enough that texts differ, exact in float32."""
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=32, n_layer=2,
                        n_head=4, bos_token_id=end, eos_token_id=end)
    model = GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        normal = torch.randn(parameter.shape, generator=generator)
        is_scale = "ln_" in name and name.endswith("weight")
        deviation = 0.6 if "wpe" in name else 0.2  # positions that matter keep texts from repeating
        parameter.data = (1.0 if is_scale else 0.0) + deviation * normal
    return model


def generate(model, tokens, max_new_tokens, end):
    """New tokens of a left-padded batch, cut at end-of-text, and the smallest distance between the
    two best logits that was decided by."""
    longest = max(map(len, tokens))
    ids = torch.tensor([[end] * (longest - len(row)) + row for row in tokens])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in tokens])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=mask, max_new_tokens=max_new_tokens,
                             do_sample=False, pad_token_id=end, output_scores=True,
                             return_dict_in_generate=True)
    margin = float("inf")
    rows = []
    for number, row in enumerate(out.sequences[:, longest:].tolist()):
        length = row.index(end) if end in row else len(row)
        for scores in out.scores[:length + 1]:
            best = scores[number].topk(2).values
            margin = min(margin, (best[0] - best[1]).item())
        rows.append(row[:length])
    return rows, margin


def expected(model, tokenizer, end):
    """None unless the model is a good case: decisions are clear, texts vary, and some but not most
    end by themselves."""
    batches, ended = [], 0
    for prompts, max_new_tokens in BATCHES:
        tokens = [tokenizer(prompt)["input_ids"] for prompt in prompts]
        started = [row or [end] for row in tokens]
        rows, margin = generate(model, started, max_new_tokens, end)
        is_whole = [len(row) == max_new_tokens for row in rows]
        if margin < 1e-3 or not is_whole[0] or any(len(set(row)) < 5 for row in rows):
            return None
        ended += is_whole.count(False)
        batches.append({"prompts": prompts, "tokens": tokens, "max_new_tokens": max_new_tokens,
                        "continuations": rows,
                        "texts": [tokenizer.decode(row, clean_up_tokenization_spaces=False)
                                  for row in rows]})
    if not 1 <= ended <= 4:
        return None
    for batch in batches:
        for row, tokens in zip(batch["continuations"], batch["tokens"]):
            assert generate(model, [tokens or [end]], batch["max_new_tokens"], end)[0] == [row]
    return batches


if __name__ == "__main__":
    wrapped = make_tokenizer()
    end_of_text = wrapped.eos_token_id
    for seed in range(1000):
        network = make_model(seed, end_of_text)
        batches = expected(network, wrapped, end_of_text)
        if batches:
            break
    print("seed", seed)
    shutil.rmtree(FOLDER, ignore_errors=True)
    network.save_pretrained(FOLDER)
    wrapped.save_pretrained(FOLDER)
    for path in FOLDER.iterdir():
        if path.name not in ("config.json", "model.safetensors", "tokenizer.json"):
            path.unlink()
    config = json.loads((FOLDER / "config.json").read_text())
    config.pop("transformers_version", None)
    (FOLDER / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    lines = ",\n".join(json.dumps(batch, ensure_ascii=False) for batch in batches)
    (FOLDER / "expected.json").write_text("[\n" + lines + "\n]\n")
