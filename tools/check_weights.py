#!/usr/bin/env python3
"""Checks that transformers reads what Strobe writes, with equal logits.

Needs torch, transformers and safetensors:  tools/check_weights.py [build/cpu/bin/strobe]

Every folder tests/golden/weights_* is converted by `strobe convert` into every type, with either
prefix, and a larger model into shards. What transformers computes from the result must equal, to
the bit, what it computes from the same values that never went through Strobe.
"""

import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import safetensors.torch
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, logging

ROOT = pathlib.Path(__file__).resolve().parent.parent
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def read_tensors(folder):
    tensors = {}
    for path in folder.glob("model*.safetensors"):
        tensors |= safetensors.torch.load_file(path)
    return tensors


def reference(folder):
    """The model of a golden folder, put together without transformers' reader: Linear matrices
    turned, prefixes added."""
    config = GPT2Config.from_json_file(folder / "config.json")
    model = GPT2LMHeadModel._from_config(config, attn_implementation="eager").eval()
    tensors = {name.removeprefix("transformer."): tensor
               for name, tensor in read_tensors(folder).items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = tensors[name.removeprefix("transformer.")].float()
            is_linear = "linear" in folder.name and values.dim() == 2 and ".h." in name
            parameter.copy_(values.t() if is_linear else values)
    return model


def logits_of(model, tokens):
    with torch.no_grad():
        return model.float()(tokens).logits


def convert(strobe, source, target, *options):
    subprocess.run([strobe, "convert", source, target, *options], check=True,
                   stdout=subprocess.DEVNULL)


def check(strobe, folder, work):
    tokens = safetensors.torch.load_file(folder / "expected.safetensors")["tokens"].long()
    checked = 0
    for word, prefix in itertools.product(TYPES, ["transformer", "none"]):
        target = work / f"{folder.name}_{word}_{prefix}"
        convert(strobe, folder, target, "--dtype", word, "--prefix", prefix)
        expected = logits_of(reference(folder).to(TYPES[word]), tokens)
        model = AutoModelForCausalLM.from_pretrained(target, attn_implementation="eager").eval()
        assert model.dtype == TYPES[word], (target, model.dtype)
        actual = logits_of(model, tokens)
        assert torch.equal(actual, expected), (target, (actual - expected).abs().max())
        checked += 1
    return checked


def check_shards(strobe, work):
    """A model of 3 MB, saved by transformers, cut by Strobe into shards of 1 MB; its configuration asks
    for attention in Strobe's words."""
    config = GPT2Config(vocab_size=5000, n_positions=64, n_embd=64, n_layer=8, n_head=4,
                        bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config).eval()
    model.save_pretrained(work / "whole")
    path = work / "whole" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"attn_implementation": "flash"}))
    convert(strobe, work / "whole", work / "sharded", "--max-shard", "1")
    files = sorted((work / "sharded").glob("model-*.safetensors"))
    assert len(files) == 3 and not (work / "sharded" / "model.safetensors").exists(), files
    tokens = torch.randint(0, 5000, (2, 64))
    sharded = AutoModelForCausalLM.from_pretrained(work / "sharded").eval()
    assert torch.equal(logits_of(sharded, tokens), logits_of(model, tokens))
    return len(files)


if __name__ == "__main__":
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    program = sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "cpu" / "bin" / "strobe"
    with tempfile.TemporaryDirectory() as work:
        for golden in sorted((ROOT / "tests" / "golden").glob("weights_*")):
            count = check(program, golden, pathlib.Path(work))
            print(f"{golden.name}: {count} conversions, logits equal")
        print(f"{check_shards(program, pathlib.Path(work))} shards: logits equal")
