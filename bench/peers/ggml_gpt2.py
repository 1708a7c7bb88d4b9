#!/usr/bin/env python3
"""Times ggml's GPT-2 example for the rows of `strobe bench generate` that it can run (one sequence,
f16 weights), and writes rows of the same form.

    strobe bench generate --json rows.jsonl
    bench/peers/ggml_gpt2.py rows.jsonl --ggml ggml --json peers.jsonl

Needs numpy, and ggml built in the folder that --ggml names (cmake -B build, with its examples). The
model has the row's shape and random weights, as Strobe's. ggml's own figure is the mean over all
positions, those of the prompt included, which it reads as one batch: a short prompt is fairest.
Strobe itself never needs this file.
"""

import argparse
import datetime
import json
import pathlib
import re
import statistics
import struct
import subprocess
import tempfile

import numpy


def write_model(path, row):
    """ggml's file for GPT-2: sizes, a vocabulary, and tensors by name, rows of f16 or f32."""
    width, layers, heads = row["n_embd"], row["n_layer"], row["n_head"]
    vocab, positions = row["vocab_size"], row["n_positions"]
    random = numpy.random.default_rng(1)
    with open(path, "wb") as file:
        file.write(struct.pack("8i", 0x67676D6C, vocab, positions, width, heads, layers, 1, vocab))
        for token in range(vocab):
            word = f" {token}".encode()
            file.write(struct.pack("i", len(word)) + word)

        def put(name, shape, is_f16, constant=None):
            values = 0.02 * random.standard_normal(shape) if constant is None else numpy.full(
                shape, constant)
            file.write(struct.pack("3i", len(shape), len(name), is_f16))
            file.write(struct.pack(f"{len(shape)}i", *reversed(shape)) + name.encode())
            values.astype(numpy.float16 if is_f16 else numpy.float32).tofile(file)

        def put_norm(name):
            put(name + "/g", (width,), 0, 1)
            put(name + "/b", (width,), 0, 0)

        put("model/wte", (vocab, width), 1)
        put("model/wpe", (positions, width), 0)
        put_norm("model/ln_f")
        for layer in range(layers):
            block = f"model/h{layer}/"
            put_norm(block + "ln_1")
            put_norm(block + "ln_2")
            for name, outputs, inputs in (("attn/c_attn", 3 * width, width),
                                          ("attn/c_proj", width, width),
                                          ("mlp/c_fc", 4 * width, width),
                                          ("mlp/c_proj", width, 4 * width)):
                put(block + name + "/w", (outputs, inputs), 1)
                put(block + name + "/b", (outputs,), 0, 0)


def token_ms(program, model, row):
    words = "".join(f" {token}" for token in range(row["prompt_tokens"]))
    output = subprocess.run(
        [program, "-m", model, "-s", "1", "-n", str(row["new_tokens"]), "-t", str(row["threads"]),
         "-p", words], check=True, capture_output=True, text=True, errors="replace")
    return float(re.search(r"predict time = .*/ *([\d.]+) ms per token",
                           output.stdout + output.stderr)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", help="what strobe bench generate wrote")
    parser.add_argument("--ggml", required=True, type=pathlib.Path, help="ggml's folder, built")
    parser.add_argument("--json", required=True, help="the rows are added to this file")
    options = parser.parse_args()
    program = options.ggml / "build" / "bin" / "gpt-2-backend"
    commit = subprocess.run(["git", "-C", options.ggml, "rev-parse", "--short", "HEAD"],
                            capture_output=True, text=True).stdout.strip()
    rows = [json.loads(line) for line in open(options.rows)]
    with open(options.json, "a") as file, tempfile.TemporaryDirectory() as folder:
        for row in rows:
            if row.get("op") != "generate" or row["dtype"] != "f16" or row["batch"] != 1:
                continue
            model = pathlib.Path(folder) / "model.bin"
            write_model(model, row)
            token_ms(program, model, row)
            times = [token_ms(program, model, row) for _ in range(row["runs"])]
            kept = ("kind", "op", "device", "cpu", "threads", "batch", "prompt_tokens", "new_tokens",
                    "dtype", "n_layer", "n_head", "n_embd", "n_positions", "vocab_size",
                    "parameters", "runs", "weight_bytes", "read_gb_per_s")
            mean = statistics.mean(times)
            result = {key: row[key] for key in kept}
            result |= {"date": datetime.date.today().isoformat(),
                       "peer": f"ggml {commit}".strip(), "attention": "ggml_gpt2",
                       "token_ms": mean, "token_ms_std": statistics.stdev(times) if len(times) > 1
                       else 0, "tokens_per_s": 1e3 / mean,
                       "weight_gb_per_s": 1e-6 * row["weight_bytes"] / mean}
            file.write(json.dumps(result) + "\n")
            print(f"ggml {mean:.2f} ms a token, Strobe {row['token_ms']:.2f}")


if __name__ == "__main__":
    main()
