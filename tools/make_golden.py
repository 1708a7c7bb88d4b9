#!/usr/bin/env python3
"""Writes tests/golden/gpt2_*: what Hugging Face's GPT-2 computes, for strobe/models/gpt2_golden_test.cpp.

Needs torch and transformers; run it only to add or change a case:  tools/make_golden.py

Each case is a tiny GPT2LMHeadModel with random parameters, evaluated in float64 on float32 values:
    <case>.json   config.json of transformers, tokens, labels, begin and end of each sequence, loss,
                  and the tensors' index
    <case>.bin    the tensors, little-endian float32 one after another: every parameter as
                  "<name>", its gradient as "grad <name>", and "logits" [B, T, V]
"""

import json
import pathlib

import torch
from transformers import GPT2Config, GPT2LMHeadModel

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
IGNORED = -100


def config(**fields):
    return GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **fields)


# Positions of a row outside its span [begin, end) are padding: end-of-text tokens, masked, and not
# trained on; nor is a first token after padding, which the padding would have to predict.
CASES = {
    "gpt2_two_heads": dict(
        config=config(vocab_size=61, n_positions=16, n_embd=16, n_layer=2, n_head=2,
                      bos_token_id=60, eos_token_id=60),
        time=13, spans=[(0, 13), (0, 13), (0, 13)]),
    "gpt2_padded": dict(
        config=config(vocab_size=50, n_positions=12, n_embd=24, n_layer=1, n_head=3,
                      bos_token_id=49, eos_token_id=49),
        time=12, spans=[(0, 12), (0, 7), (4, 12)]),
    "gpt2_one_wide_head": dict(
        config=config(vocab_size=33, n_positions=20, n_embd=16, n_layer=2, n_head=1, n_inner=40,
                      layer_norm_epsilon=1e-3, bos_token_id=32, eos_token_id=32),
        time=17, spans=[(0, 17)]),
}


def randomize(model, generator):
    """Values large enough that every gradient matters, exact in float32."""
    for name, parameter in model.named_parameters():
        normal = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        is_scale = "ln_" in name and name.endswith("weight")
        parameter.data = ((1.0 if is_scale else 0.0) + 0.2 * normal).double()


def make(name, case, seed):
    generator = torch.Generator().manual_seed(seed)
    model = GPT2LMHeadModel._from_config(case["config"], attn_implementation="eager").double().eval()
    randomize(model, generator)

    time, (begin, end) = case["time"], torch.tensor(case["spans"]).T
    tokens = torch.randint(0, case["config"].vocab_size - 1, (len(begin), time),
                           generator=generator)
    position = torch.arange(time)[None, :]
    mask = (begin[:, None] <= position) & (position < end[:, None])
    tokens[~mask] = case["config"].eos_token_id
    labels = torch.where(mask & (position > begin[:, None]), tokens, IGNORED)
    labels[0, time // 2] = IGNORED

    out = model(input_ids=tokens, attention_mask=mask.long(), labels=labels)
    # The model's own loss rounds the logits to float32, so the golden one is made here.
    loss = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1),
                                             labels[:, 1:].flatten(), ignore_index=IGNORED)
    assert abs(loss.item() - out.loss.item()) < 1e-6 * loss.item()
    loss.backward()

    tensors = {}
    for parameter_name, parameter in model.named_parameters():
        tensors[parameter_name] = parameter.data
        tensors["grad " + parameter_name] = parameter.grad
    tensors["logits"] = out.logits.detach()

    index, offset = [], 0
    with open(FOLDER / f"{name}.bin", "wb") as file:
        for tensor_name, tensor in tensors.items():
            values = tensor.numpy().astype("<f4")
            file.write(values.tobytes())
            index.append({"name": tensor_name, "shape": list(values.shape), "offset": offset})
            offset += values.size
    description = {
        "config": json.loads(case["config"].to_json_string(use_diff=False)),
        "tokens": tokens.tolist(),
        "labels": labels.tolist(),
        "begin": begin.tolist(),
        "end": end.tolist(),
        "loss": loss.item(),
        "tensors": index,
    }
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}"
                       for key, value in description.items())
    (FOLDER / f"{name}.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for number, (name, case) in enumerate(CASES.items()):
        make(name, case, seed=number)
