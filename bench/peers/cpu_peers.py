#!/usr/bin/env python3
"""Times PyTorch on the CPU for the cases of a Strobe results file, and writes rows of the same form.

    strobe bench attention --preset cpu --json rows.jsonl
    strobe bench train --preset gpt2 --json rows.jsonl
    bench/peers/cpu_peers.py rows.jsonl --json peers.jsonl

Needs PyTorch, and transformers for the training steps. Strobe itself never needs this file.

impl                what
torch_sdpa_flash    scaled_dot_product_attention, fused; not offered with dropout
torch_sdpa_math     the path that PyTorch takes with dropout
torch_eager         two matrix products, softmax and dropout, as Hugging Face's eager attention
hf_gpt2_<attention> transformers' GPT2LMHeadModel: forward, backward, clipping, AdamW;
                    bf16 is autocast over f32 weights
"""

import argparse
import datetime
import json
import math
import statistics
import sys
import time

import torch

from rows import distinct_cases, summary

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
ATTENTION_CASE = ("batch", "seq_q", "seq_k", "heads_q", "heads_kv", "head_dim", "dtype", "mask",
                  "dropout")
TRAIN_CASE = ("batch", "seq_q", "n_layer", "n_head", "n_embd", "vocab_size", "n_positions",
              "dropout", "dtype", "parameters", "flop")


def time_ms(function, seconds, at_least=5):
    """Milliseconds of each call: first a warm-up call, then calls until `seconds` have passed."""
    function()
    times, begin = [], time.perf_counter()
    while len(times) < at_least or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def matmul_gflops(dtype, seconds=0.3):
    """PyTorch's own rate at M×N×K = 2048×3072×768."""
    a, b = torch.randn(2048, 768).to(dtype), torch.randn(768, 3072).to(dtype)
    return 2 * 2048 * 3072 * 768 / statistics.median(time_ms(lambda: a @ b, seconds)) / 1e6


def eager(q, k, v, is_causal, dropout):
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if is_causal:
        tq, tk = scores.shape[-2:]
        visible = torch.ones(tq, tk, dtype=torch.bool).tril(tk - tq)
        scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    probs = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
    return torch.nn.functional.dropout(probs, dropout) @ v


def sdpa(backend):
    def run(q, k, v, is_causal, dropout):
        with torch.nn.attention.sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=is_causal, dropout_p=dropout)
    return run


def attention_peers(dropout):
    backend = torch.nn.attention.SDPBackend
    if dropout == 0:
        yield "torch_sdpa_flash", sdpa(backend.FLASH_ATTENTION)
    else:
        yield "torch_sdpa_math", sdpa(backend.MATH)
    yield "torch_eager", eager


def run_attention(case, seconds, max_score_bytes):
    dtype, is_causal = DTYPES[case["dtype"]], case["mask"] == "causal"
    if case["mask"] not in ("full", "causal") or case["heads_q"] != case["heads_kv"]:
        return
    make = lambda t: torch.randn(case["batch"], t, case["heads_q"], case["head_dim"]).to(dtype)
    q, k, v, dout = (make(case[t]).transpose(1, 2) for t in ("seq_q", "seq_k", "seq_k", "seq_q"))
    for x in (q, k, v):
        x.requires_grad_()
    pairs = case["batch"] * case["heads_q"] * case["seq_q"] * case["seq_k"]
    flop = 4 * pairs * case["head_dim"] * (0.5 if is_causal else 1)
    for name, attention in attention_peers(case["dropout"]):
        if not name.endswith("flash") and 4 * pairs > max_score_bytes:
            continue
        def forward():
            with torch.no_grad():
                return attention(q, k, v, is_causal, case["dropout"])
        row = {"op": "attention", "impl": name, **case}
        yield {**row, "pass": "forward", **summary(time_ms(forward, seconds), flop)}
        out = attention(q, k, v, is_causal, case["dropout"])
        backward = lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)
        yield {**row, "pass": "backward", **summary(time_ms(backward, seconds), 2.5 * flop)}


def run_train(case, seconds):
    import transformers
    for attention in ("eager", "sdpa"):
        torch.manual_seed(1)
        config = transformers.GPT2Config(
            n_layer=case["n_layer"], n_head=case["n_head"], n_embd=case["n_embd"],
            vocab_size=case["vocab_size"], n_positions=case["n_positions"],
            resid_pdrop=case["dropout"], embd_pdrop=case["dropout"], attn_pdrop=case["dropout"],
            attn_implementation=attention, use_cache=False)
        model = transformers.GPT2LMHeadModel(config).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        tokens = torch.randint(0, case["vocab_size"], (case["batch"], case["seq_q"]))

        def step():
            with torch.autocast("cpu", torch.bfloat16, enabled=case["dtype"] == "bf16"):
                loss = model(input_ids=tokens, labels=tokens).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        row = summary(time_ms(step, seconds, at_least=4), case["flop"])
        row["tokens_per_s"] = 1e3 * case["batch"] * case["seq_q"] / row["ms_median"]
        yield {"op": "train", "pass": "step", "impl": f"hf_gpt2_{attention}", **case, **row}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="rows of strobe bench, JSONL")
    parser.add_argument("--json", help="append the rows to this file")
    parser.add_argument("--threads", type=int, default=0, help="0: as PyTorch chooses")
    parser.add_argument("--seconds", type=float, default=0.5, help="of timing for each row")
    parser.add_argument("--max-score-bytes", type=float, default=4e9,
                        help="leave out unfused attention whose scores take more")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    with open("/proc/cpuinfo") as file:
        cpu = next((l.split(": ")[1].strip() for l in file if l.startswith("model name")), "CPU")
    provenance = {"kind": "bench", "date": datetime.date.today().isoformat(), "device": "cpu",
                  "cpu": cpu, "threads": torch.get_num_threads(), "peer": f"PyTorch {torch.__version__}"}
    out = open(options.json, "a") if options.json else None

    def report(row):
        row = {**provenance, **row, "matmul_gflops": matmul_gflops(DTYPES[row["dtype"]])}
        row["ratio"] = row["gflops"] / row["matmul_gflops"]
        if out:
            out.write(json.dumps(row) + "\n")
            out.flush()
        print(f"{row['impl']:18} {row['pass']:8} {row['dtype']:4} B={row['batch']} "
              f"T={row['seq_q']} dropout={row['dropout']:g} {row.get('mask', ''):6} "
              f"D={row.get('head_dim', '')}  {row['ms_median']:.2f} ms  {row['gflops']:.0f} GFLOP/s")

    attention = distinct_cases(options.results, "attention", ATTENTION_CASE, "cpu")
    train = distinct_cases(options.results, "train", TRAIN_CASE, "cpu")
    if not attention and not train:
        sys.exit(f"{options.results} has no rows of strobe bench")
    for case in attention:
        for row in run_attention(case, options.seconds, options.max_score_bytes):
            report(row)
    for case in train:
        for row in run_train(case, options.seconds):
            report(row)


if __name__ == "__main__":
    main()
