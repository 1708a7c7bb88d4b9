#!/usr/bin/env python3
"""Writes strobe/ops/attention/golden/attention.json: attention by PyTorch in float64, a few tiny cases.

They check the double reference (attention_reference.cpp) against another's arithmetic and autograd.
Dropout's mask is computed here from the text of dropout.h, in Python.

    python3 tools/make_attention_golden.py      (needs torch; the result is committed)
"""

import json
import math
import pathlib

import torch

CASES = [
    {"name": "full, grouped queries", "tq": 3, "tk": 4, "hq": 4, "hkv": 2, "d": 3},
    {"name": "causal, more keys than queries", "tq": 3, "tk": 5, "hq": 1, "hkv": 1, "d": 4,
     "causal": True},
    {"name": "causal, more queries than keys", "tq": 5, "tk": 3, "hq": 2, "hkv": 1, "d": 2,
     "causal": True},
    {"name": "window, padding, bias", "tq": 6, "tk": 6, "hq": 2, "hkv": 2, "d": 3, "window": [2, 1],
     "keys": [1, 5], "queries": [0, 5], "bias": True},
    {"name": "dropout", "tq": 4, "tk": 20, "hq": 2, "hkv": 1, "d": 2, "dropout": 128,
     "key": [0x01234567, 0x89ABCDEF], "sequence": 3},
]


def philox_7(counter, key):
    x, k = list(counter), list(key)
    for _ in range(7):
        left, right = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [right >> 32 ^ x[1] ^ k[0], right & 0xFFFFFFFF, left >> 32 ^ x[3] ^ k[1], left & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return x


def keeps(case, head, query, key):
    counter = (query // 16, key // 16, 4 * (query // 2 % 4) + key // 2 % 4,
               case["sequence"] * case["hq"] + head)
    word = 2 * ((query ^ key // 16) % 2) + (key ^ query // 16) % 2
    byte = 2 * (query // 8 % 2) + key // 8 % 2
    return philox_7(counter, case["key"])[word] >> 8 * byte & 255 >= case["dropout"]


def visible(case, i, j):
    at = i + case["tk"] - case["tq"]
    left, right = case.get("window", [10**9, 10**9])
    if case.get("causal"):
        right = 0
    keys, queries = case.get("keys", [0, case["tk"]]), case.get("queries", [0, case["tq"]])
    return (at - left <= j <= at + right and keys[0] <= j < keys[1]
            and queries[0] <= i < queries[1])


def attention(case, q, k, v, bias):
    """out [Tq, Hq, D] and lse [Hq, Tq]; a query that sees nothing gives 0 and -inf."""
    tq, tk, group = case["tq"], case["tk"], case["hq"] // case["hkv"]
    sees = torch.tensor([[visible(case, i, j) for j in range(tk)] for i in range(tq)])
    rows = sees.any(1)  # softmax of no keys is NaN: the other rows stay out of it
    outs, lses = [], []
    for h in range(case["hq"]):
        scores = q[rows, h] @ k[:, h // group].T / math.sqrt(case["d"]) + bias[h, rows]
        scores = scores.masked_fill(~sees[rows], -torch.inf)
        probs = torch.softmax(scores, 1)
        if "dropout" in case:
            mask = torch.tensor([[keeps(case, h, i, j) for j in range(tk)] for i in range(tq)])
            probs = probs * mask[rows] * 256 / (256 - case["dropout"])
        out = torch.zeros(tq, case["d"], dtype=torch.float64)
        outs.append(out.index_put((rows,), probs @ v[:, h // group]))
        lse = torch.full((tq,), -torch.inf, dtype=torch.float64)
        lses.append(lse.index_put((rows,), torch.logsumexp(scores, 1)))
    return torch.stack(outs, 1), torch.stack(lses)


def golden(case):
    def draw(*shape):  # multiples of 1/8, so that the file stays short
        return (torch.randn(*shape, dtype=torch.float64) * 8).round() / 8

    q, dout = draw(case["tq"], case["hq"], case["d"]), draw(case["tq"], case["hq"], case["d"])
    k, v = draw(case["tk"], case["hkv"], case["d"]), draw(case["tk"], case["hkv"], case["d"])
    bias = draw(case["hq"], case["tq"], case["tk"])
    if not case.get("bias"):
        bias.zero_()
    inputs = {"q": q, "k": k, "v": v, "dout": dout}
    if case.get("bias"):
        inputs["bias"] = bias
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    out, lse = attention(case, *leaves, bias)
    grads = torch.autograd.grad(out, leaves, dout)
    outputs = {"out": out.detach(), "lse": lse.detach(), "dq": grads[0], "dk": grads[1], "dv": grads[2]}

    def numbers(x):
        return [float(f"{y:.12g}") if math.isfinite(y) else "-inf" for y in x.flatten().tolist()]

    return case | {name: numbers(x) for name, x in (inputs | outputs).items()}


def main():
    torch.manual_seed(1)
    path = pathlib.Path(__file__).parent.parent / "strobe/ops/attention/golden/attention.json"
    path.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(golden(case)) for case in CASES)
    path.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
