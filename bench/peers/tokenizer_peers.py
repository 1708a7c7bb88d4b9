#!/usr/bin/env python3
"""Times Hugging Face's `tokenizers` on the case of a Strobe results file, in rows of the same form.

    strobe bench tokenizer --tokenizer DIR --data FILE --json rows.jsonl
    bench/peers/tokenizer_peers.py --tokenizer DIR --data FILE --json rows.jsonl

Needs `tokenizers` and numpy. Checks that Strobe's tokens are the same, if --strobe names the program.

impl               what
hf_tokenizers      encode(the whole text); decode(all tokens); train_from_iterator([the text])
hf_tokenizers_fast encode_batch_fast(the lines of the text), which computes no offsets: the
                   quickest way that the library has; its tokens are those of each line by itself
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers


def time_ms(prepare, call, seconds, at_least=3):
    times, begin = [], time.perf_counter()
    while len(times) < at_least or time.perf_counter() - begin < seconds:
        argument = prepare()
        start = time.perf_counter()
        call(argument)
        times.append(1e3 * (time.perf_counter() - start))
    return sorted(times)


def train(text, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, show_progress=False,
        special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))


def check_same(strobe, folder, data, ids):
    with tempfile.TemporaryDirectory() as temporary:
        path = pathlib.Path(temporary) / "tokens"
        subprocess.run([strobe, "tokenizer", "encode", "--tokenizer", folder, "--out", path, data],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        width = int.from_bytes(path.read_bytes()[24:28], "little")
        ours = numpy.fromfile(path, dtype=f"<u{width}", offset=64)
    if len(ours) != len(ids) or (ours != numpy.array(ids)).any():
        sys.exit("Strobe's tokens are others")
    print(f"the same {len(ids)} tokens as Strobe's")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--strobe")
    parser.add_argument("--json")
    options = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(options.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if options.threads > 1 else "false"

    data = pathlib.Path(options.data)
    text = data.read_bytes().decode("utf-8", "replace")
    lines = text.splitlines(keepends=True)
    load = lambda: Tokenizer.from_file(str(pathlib.Path(options.tokenizer) / "tokenizer.json"))
    tokenizer = load()
    ids = tokenizer.encode(text).ids
    vocab_size = tokenizer.get_vocab_size()
    if options.strobe:
        check_same(options.strobe, options.tokenizer, options.data, ids)

    cases = [
        ("encode", "hf_tokenizers", load, lambda fresh: fresh.encode(text)),
        ("encode", "hf_tokenizers_fast", load, lambda fresh: fresh.encode_batch_fast(lines)),
        ("decode", "hf_tokenizers", load, lambda fresh: fresh.decode(ids, skip_special_tokens=False)),
        ("train", "hf_tokenizers", load, lambda _: train(text, vocab_size)),
    ]
    for name, impl, prepare, call in cases:
        times = time_ms(prepare, call, options.seconds)
        at = lambda share: times[round(share * (len(times) - 1))]
        median = statistics.median(times)
        row = {"kind": "bench", "op": "tokenizer", "pass": name, "impl": impl, "text": data.name,
               "text_bytes": data.stat().st_size, "text_tokens": len(ids), "vocab_size": vocab_size,
               "repeats": len(times), "ms_median": median, "ms_p10": at(0.1), "ms_p90": at(0.9),
               "threads": options.threads, "mb_per_s": data.stat().st_size / 1e3 / median,
               "peer": f"tokenizers {tokenizers.__version__}",
               "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
        print(f"{name:<7} {impl:<19} {options.threads:>2} threads {median:>10.1f} ms"
              f" {row['mb_per_s']:>8.2f} MB/s")
        if options.json:
            with open(options.json, "a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
