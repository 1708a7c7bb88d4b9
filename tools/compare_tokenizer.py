#!/usr/bin/env python3
"""Compares `strobe tokenizer` with Hugging Face's libraries on random texts and vocabularies.

Each round trains a vocabulary with one of the two, lets both encode the same text of a few MB, and
holds every token against the other's; `strobe tokenizer decode` has to give the text back. Prints
the first difference and its surroundings, and exits 1.

    tools/compare_tokenizer.py build/cpu/bin/strobe [--rounds 20] [--seed 1]   (needs transformers)
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from make_tokenizer_golden import CLASSES, PASSAGE, random_text  # noqa: E402

HEADER_BYTES = 64


def make_text(rng, size):
    """Mixed text of about this many bytes, of scripts that change from paragraph to paragraph."""
    source = "\n".join(PASSAGE)
    parts, length = [], 0
    while length < size:
        kind = rng.random()
        if kind < 0.4:
            part = "".join(random_text(rng, source) for _ in range(20))
        elif kind < 0.7:
            first, last = rng.choice(CLASSES)
            part = "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 400)))
        elif kind < 0.75:
            part = rng.choice(" \n=a字'é") * rng.randint(1, 5000)
        elif kind < 0.8:
            part = "".join(chr(code) for code in (rng.randrange(0x110000) for _ in range(300))
                           if not 0xD800 <= code < 0xE000)
        else:
            part = rng.choice(PASSAGE) + rng.choice(["\n", "\n\n", " ", ""])
        parts.append(part)
        length += len(part.encode())
    return "".join(parts)


def train_theirs(rng, text, folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=rng.random() < 0.2)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=rng.choice([300, 1000, 5000]), show_progress=False,
        special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.save(str(folder / "tokenizer.json"))


def train_ours(rng, strobe, text_file, folder):
    subprocess.run([strobe, "tokenizer", "train", "--vocab-size", str(rng.choice([300, 1000, 5000])),
                    "--out", folder, text_file], check=True, stdout=subprocess.DEVNULL)
    if rng.random() < 0.5:
        (folder / "tokenizer.json").unlink()  # vocab.json and merges.txt say the same


def read_tokens(path):
    width = int.from_bytes(path.read_bytes()[24:28], "little")
    return numpy.memmap(path, dtype=f"<u{width}", mode="r", offset=HEADER_BYTES)


def show_difference(tokenizer, ours, theirs):
    same = min(len(ours), len(theirs))
    at = next((i for i in range(same) if ours[i] != theirs[i]), same)
    print(f"token {at}: {len(ours)} of ours, {len(theirs)} of theirs")
    print("  before", repr(tokenizer.decode(list(theirs[max(0, at - 5):at]))))
    print("  ours  ", [tokenizer.convert_ids_to_tokens(int(i)) for i in ours[at:at + 8]])
    print("  theirs", [tokenizer.convert_ids_to_tokens(int(i)) for i in theirs[at:at + 8]])


def compare(rng, strobe, folder):
    text = make_text(rng, rng.choice([2_000, 300_000, 2_000_000]))
    text_file, tokens_file = folder / "text", folder / "text.tokens"
    text_file.write_bytes(text.encode())
    vocabulary = folder / "tokenizer"
    vocabulary.mkdir()
    is_ours = rng.random() < 0.5
    if is_ours:
        train_ours(rng, strobe, text_file, vocabulary)
        tokenizer = AutoTokenizer.from_pretrained(vocabulary)
    else:
        train_theirs(rng, make_text(rng, 200_000), vocabulary)
        (vocabulary / "tokenizer_config.json").write_text(
            '{"tokenizer_class": "PreTrainedTokenizerFast"}')
        tokenizer = AutoTokenizer.from_pretrained(vocabulary)
    theirs = numpy.array(tokenizer(text)["input_ids"])
    subprocess.run([strobe, "tokenizer", "encode", "--tokenizer", vocabulary, "--out", tokens_file,
                    text_file], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ours = read_tokens(tokens_file)
    if len(ours) != len(theirs) or (ours != theirs).any():
        show_difference(tokenizer, ours, theirs)
        return False
    decoded = subprocess.run([strobe, "tokenizer", "decode", "--tokenizer", vocabulary, tokens_file],
                             check=True, stdout=subprocess.PIPE).stdout
    if decoded != tokenizer.decode(theirs, clean_up_tokenization_spaces=False).encode():
        print("the decoded text is another")
        return False
    print(f"{len(text):>8} characters, {len(ours):>8} tokens of "
          f"{'strobe' if is_ours else 'tokenizers'}: equal")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("strobe")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for number in range(options.rounds):
        rng = random.Random(f"{options.seed} {number}")
        with tempfile.TemporaryDirectory() as folder:
            if not compare(rng, options.strobe, pathlib.Path(folder)):
                print(f"round {number} of seed {options.seed}")
                sys.exit(1)


if __name__ == "__main__":
    main()
