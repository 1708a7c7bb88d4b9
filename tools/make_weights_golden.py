#!/usr/bin/env python3
"""Writes tests/golden/weights_*: folders as Hugging Face's transformers leaves them, for
strobe/models/gpt2_files_test.cpp.

Needs torch, transformers and safetensors; run it only to add or change a case:
    tools/make_weights_golden.py

Each folder holds a tiny GPT2LMHeadModel with random parameters, and expected.safetensors: "tokens"
[B, T] i32 and "logits" [B, T, V] f32, which transformers computes in float64 from the parameters in
the file.
"""

import json
import pathlib
import shutil
import struct

import torch
from safetensors.torch import save, save_file
from transformers import GPT2Config, GPT2LMHeadModel

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
TIME = 13


def random_model(seed, dtype, **fields):
    """Values large enough that every tensor matters to the logits."""
    config = GPT2Config(bos_token_id=0, eos_token_id=0, **fields)
    model = GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        normal = torch.randn(parameter.shape, generator=generator)
        is_scale = "ln_" in name and name.endswith("weight")
        parameter.data = (1.0 if is_scale else 0.0) + 0.2 * normal
    return model.to(dtype), generator


def write_expected(folder, model, generator):
    tokens = torch.randint(0, model.config.vocab_size, (2, TIME), generator=generator)
    with torch.no_grad():
        logits = model.double()(tokens).logits
    save_file({"tokens": tokens.int(), "logits": logits.float()}, folder / "expected.safetensors")


def state_of(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def write_config(folder, model):
    (folder / "config.json").write_text(model.config.to_json_string() + "\n")


def save_pretrained(folder, model, **options):
    model.save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink()


def first_gpt2(folder, model):
    """As the file of the first GPT-2: names without prefix, masks among the weights, and a header
    of a length that leaves the data at odd addresses."""
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in state_of(model).items()}
    size = model.config.n_positions
    for layer in range(model.config.n_layer):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(size, size).tril().view(1, 1, size, size)
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    data = save(tensors, metadata={"format": "pt"})
    length = struct.unpack("<Q", data[:8])[0]
    header = data[8:8 + length].rstrip(b" ")
    header += b" " * (1 - len(header) % 2)
    write_config(folder, model)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header
                                               + data[8 + length:])


def linear_layout(folder, model):
    """As models whose matrices are nn.Linear: [outputs, inputs], and a head that is written out."""
    tensors = state_of(model)
    for name, tensor in tensors.items():
        if tensor.dim() == 2 and ".h." in name:
            tensors[name] = tensor.t().contiguous()
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    write_config(folder, model)
    save_file(tensors, folder / "model.safetensors")


CASES = {
    "weights_f32": dict(
        write=save_pretrained, dtype=torch.float32,
        fields=dict(vocab_size=61, n_positions=16, n_embd=16, n_layer=2, n_head=2)),
    "weights_sharded_bf16": dict(
        write=lambda folder, model: save_pretrained(folder, model, max_shard_size="4KB"),
        dtype=torch.bfloat16,
        fields=dict(vocab_size=50, n_positions=13, n_embd=24, n_layer=1, n_head=3,
                    attn_implementation="sdpa")),
    "weights_first_gpt2": dict(
        write=first_gpt2, dtype=torch.float32,
        fields=dict(vocab_size=33, n_positions=20, n_embd=16, n_layer=2, n_head=1, n_inner=40,
                    layer_norm_epsilon=1e-3)),
    "weights_linear_f16": dict(
        write=linear_layout, dtype=torch.float16,
        fields=dict(vocab_size=40, n_positions=16, n_embd=16, n_layer=1, n_head=2)),
}


if __name__ == "__main__":
    for number, (name, case) in enumerate(CASES.items()):
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model, generator = random_model(number, case["dtype"], **case["fields"])
        case["write"](folder, model)
        write_expected(folder, model, generator)
        config = json.loads((folder / "config.json").read_text())
        config.pop("transformers_version", None)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
