#!/usr/bin/env python3
"""Times PyTorch and Hugging Face on an NVIDIA GPU for the cases of a Strobe results file, and writes
rows of the same form.

    strobe bench attention --preset papers --json rows.jsonl
    strobe bench train --preset lab --json rows.jsonl
    strobe bench generate --json rows.jsonl
    bench/peers/gpu_peers.py rows.jsonl --json rows.jsonl

Needs PyTorch with CUDA, and transformers for training and generation. Strobe itself never needs this
file.

impl                      what
torch_sdpa_flash          scaled_dot_product_attention by FlashAttention-2; takes no mask
torch_sdpa_cudnn          the same by cuDNN
torch_sdpa_efficient      the same by the memory-efficient kernels
torch_eager               two matrix products, mask, softmax and dropout
hf_gpt2_eager, hf_gpt2_sdpa, hf_gpt2_sdpa_compiled
                          transformers' GPT2LMHeadModel: forward, backward, AdamW, and in f16 a
                          GradScaler; f16 and bf16 are autocast over f32 weights
torch_gpt2_compiled       a plain GPT-2 with SDPA, compiled, and the fused AdamW
hf_sdpa, hf_static_compiled
                          transformers' generate(), greedy; the second one with a static cache, which
                          it compiles

Kernels are timed as Strobe's: by events, with an L2 cache that was cleared, after a tenth of a
second of calls. A training step's time is the host's, from one finished step to the next.
"""

import argparse
import datetime
import gc
import json
import math
import statistics
import sys
import time
import warnings

import torch
import torch.nn.functional as functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from rows import distinct_cases, summary

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
ATTENTION_CASE = ("batch", "seq_q", "seq_k", "heads_q", "heads_kv", "head_dim", "dtype", "mask",
                  "padded_keys", "dropout")
TRAIN_CASE = ("batch", "seq_q", "n_layer", "n_head", "n_embd", "vocab_size", "n_positions",
              "dropout", "dtype", "parameters", "flop")
GENERATE_CASE = ("batch", "prompt_tokens", "new_tokens", "cache", "dtype", "n_layer", "n_head",
                 "n_embd", "n_positions", "vocab_size", "parameters")
BACKENDS = {"torch_sdpa_flash": SDPBackend.FLASH_ATTENTION,
            "torch_sdpa_cudnn": SDPBackend.CUDNN_ATTENTION,
            "torch_sdpa_efficient": SDPBackend.EFFICIENT_ATTENTION}
FLUSH_BYTES = 256 << 20
CALLS_IN_FLIGHT = 8


def free_memory():
    gc.collect()
    torch.compiler.reset()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def time_kernels_ms(call, seconds, warm_up=0.1):
    """Milliseconds of each call on the GPU."""
    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")

    def calls():
        events = []
        for _ in range(CALLS_IN_FLIGHT):
            flush.zero_()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            call()
            end.record()
            events.append((begin, end))
        torch.cuda.synchronize()
        return [begin.elapsed_time(end) for begin, end in events]

    times = []
    for limit in (warm_up, seconds):
        times.clear()
        start = time.perf_counter()
        while not times or time.perf_counter() - start < limit:
            times += calls()
    return times


def time_steps_ms(step, seconds, warm_up=5, at_least=10):
    for _ in range(warm_up):
        step()
    torch.cuda.synchronize()
    times, begin = [], time.perf_counter()
    while len(times) < at_least or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return times


MATMUL_GFLOPS = {}


def matmul_gflops(dtype):
    """PyTorch's own rate at M×N×K = 8192×8192×8192, measured once for each type."""
    if dtype not in MATMUL_GFLOPS:
        a, b = (torch.randn(8192, 8192, device="cuda").to(DTYPES[dtype]) for _ in range(2))
        times = time_kernels_ms(lambda: a @ b, 0.1)
        MATMUL_GFLOPS[dtype] = 2 * 8192 ** 3 / statistics.median(times) / 1e6
    return MATMUL_GFLOPS[dtype]


# ---- attention ----

def visible_keys(case):
    """True where a key counts, to be broadcast to [B, H, Tq, Tk]; None: everywhere."""
    if not case.get("padded_keys"):
        return None
    keys = torch.arange(case["seq_k"], device="cuda") < case["seq_k"] - case["padded_keys"]
    return keys.expand(case["batch"], 1, case["seq_q"], -1)


def sdpa(backend, case):
    mask, is_causal = visible_keys(case), case["mask"] == "causal"

    def run(q, k, v):
        with sdpa_kernel(backend):
            return functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=is_causal, dropout_p=case["dropout"],
                enable_gqa=k.shape[1] != q.shape[1])
    return run


def eager(case):
    mask = visible_keys(case)
    if case["mask"] == "causal":
        shape = (case["seq_q"], case["seq_k"])
        causal = torch.ones(shape, dtype=torch.bool, device="cuda").tril(shape[1] - shape[0])
        mask = causal if mask is None else mask & causal

    def run(q, k, v):
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        probs = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
        return functional.dropout(probs, case["dropout"]) @ v
    return run


def exact_head(q, k, v, dout, case):
    """Out, dq, dk and dv of the first head of the first sequence, in float64."""
    q, k, v = (x[:1, :1].detach().double().requires_grad_() for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    visible = torch.ones_like(scores, dtype=torch.bool)
    if case["mask"] == "causal":
        visible = visible.tril(case["seq_k"] - case["seq_q"])
    keys = visible_keys({**case, "batch": 1})
    if keys is not None:
        visible = visible & keys
    out = torch.softmax(scores.masked_fill(~visible, -math.inf), -1) @ v
    return (out.detach(), *torch.autograd.grad(out, (q, k, v), dout[:1, :1].double()))


def errors(actual, exact):
    """The largest difference as a share of the largest value, and that of root mean squares."""
    pairs = [(a[:1, :1].double() - e, e) for a, e in zip(actual, exact)]
    return {"max_err": max((d.abs().max() / e.abs().max()).item() for d, e in pairs),
            "rms_err": max((d.norm() / e.norm()).item() for d, e in pairs)}


def run_attention(case, options):
    if case["mask"] not in ("full", "causal"):
        return
    torch.manual_seed(1)
    dtype = DTYPES[case["dtype"]]
    make = lambda t, h: torch.randn(case["batch"], t, h, case["head_dim"], device="cuda").to(
        dtype).transpose(1, 2)
    q, k, v = (make(t, h).requires_grad_() for t, h in (
        (case["seq_q"], case["heads_q"]), (case["seq_k"], case["heads_kv"]),
        (case["seq_k"], case["heads_kv"])))
    dout = make(case["seq_q"], case["heads_q"])
    pairs = case["batch"] * case["heads_q"] * case["seq_q"] * case["seq_k"]
    flop = 4 * pairs * case["head_dim"] * (0.5 if case["mask"] == "causal" else 1)
    has_groups = case["heads_q"] != case["heads_kv"]
    is_checked = case["dropout"] == 0 and not has_groups
    exact = exact_head(q, k, v, dout, case) if is_checked else None
    runs = {name: sdpa(backend, case) for name, backend in BACKENDS.items()}
    if pairs * dtype.itemsize <= options.max_score_bytes and not has_groups:
        runs["torch_eager"] = eager(case)
    for name, run in runs.items():
        if options.impl and name not in options.impl:
            continue
        try:
            torch.cuda.reset_peak_memory_stats()
            out = run(q, k, v)
            row = {"op": "attention", "impl": name, **case}

            def forward():
                with torch.no_grad():
                    run(q, k, v)
            backward = lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)
            forward_error = errors([out], exact[:1]) if exact else {}
            backward_error = errors(backward(), exact[1:]) if exact else {}
            yield {**row, "pass": "forward", **summary(time_kernels_ms(forward, options.seconds),
                                                       flop), **forward_error}
            yield {**row, "pass": "backward", **summary(time_kernels_ms(backward, options.seconds),
                                                        2.5 * flop), **backward_error}
        except RuntimeError as error:
            print(f"{name}: {case['mask']} T={case['seq_q']}: {str(error).splitlines()[0]}",
                  file=sys.stderr)
        out = None
        torch.cuda.empty_cache()


# ---- training ----

def hf_config(case, attention):
    import transformers
    return transformers.GPT2Config(
        n_layer=case["n_layer"], n_head=case["n_head"], n_embd=case["n_embd"],
        vocab_size=case["vocab_size"], n_positions=max(case["n_positions"], case.get("seq_q", 1)),
        resid_pdrop=case.get("dropout", 0), embd_pdrop=case.get("dropout", 0),
        attn_pdrop=case.get("dropout", 0), attn_implementation=attention)


class HuggingFace(torch.nn.Module):
    def __init__(self, case, attention):
        import transformers
        super().__init__()
        config = hf_config(case, attention)
        config.use_cache = False
        self.model = transformers.GPT2LMHeadModel(config)

    def forward(self, tokens):
        return self.model(input_ids=tokens, labels=tokens).loss


class Block(torch.nn.Module):
    def __init__(self, case):
        super().__init__()
        width = case["n_embd"]
        self.heads, self.dropout = case["n_head"], case["dropout"]
        self.norm_1, self.norm_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv, self.proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x):
        batch, time_steps, width = x.shape
        q, k, v = (t.view(batch, time_steps, self.heads, -1).transpose(1, 2)
                   for t in self.qkv(self.norm_1(x)).split(width, 2))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True,
                                                    dropout_p=self.dropout)
        y = self.proj(y.transpose(1, 2).reshape(x.shape))
        x = x + functional.dropout(y, self.dropout)
        y = self.down(functional.gelu(self.up(self.norm_2(x)), approximate="tanh"))
        return x + functional.dropout(y, self.dropout)


class PlainGpt2(torch.nn.Module):
    """GPT-2 as one would write it for PyTorch; the vocabulary is filled up to a multiple of 64."""

    def __init__(self, case):
        super().__init__()
        vocab = -(-case["vocab_size"] // 64) * 64
        self.dropout = case["dropout"]
        self.tokens = torch.nn.Embedding(vocab, case["n_embd"])
        self.positions = torch.nn.Embedding(max(case["n_positions"], case["seq_q"]), case["n_embd"])
        self.blocks = torch.nn.ModuleList(Block(case) for _ in range(case["n_layer"]))
        self.norm = torch.nn.LayerNorm(case["n_embd"])
        self.head = torch.nn.Linear(case["n_embd"], vocab, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device="cuda"))
        x = functional.dropout(x, self.dropout)
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))[:, :-1].float()
        return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]),
                                        tokens[:, 1:].reshape(-1))


def train_models(case):
    """Name, and what makes the module and its optimizer."""
    adamw = lambda model, **how: torch.optim.AdamW(model.parameters(), lr=5e-5, **how)
    def hugging_face(attention, is_compiled):
        def make():
            model = HuggingFace(case, attention).cuda().train()
            return (torch.compile(model) if is_compiled else model), adamw(model)
        return make
    def plain():
        model = PlainGpt2(case).cuda().train()
        return torch.compile(model), adamw(model, fused=True)
    return {"hf_gpt2_eager": hugging_face("eager", False),
            "hf_gpt2_sdpa": hugging_face("sdpa", False),
            "hf_gpt2_sdpa_compiled": hugging_face("sdpa", True),
            "torch_gpt2_compiled": plain}


def run_train(case, options):
    torch.set_float32_matmul_precision("high" if case["dtype"] != "f32" else "highest")
    for name, make in train_models(case).items():
        if options.impl and name not in options.impl:
            continue
        free_memory()
        try:
            torch.manual_seed(1)
            model, optimizer = make()
            scaler = torch.amp.GradScaler("cuda", enabled=case["dtype"] == "f16")
            tokens = torch.randint(0, case["vocab_size"], (case["batch"], case["seq_q"]),
                                   device="cuda")

            def step():
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast("cuda", DTYPES[case["dtype"]], enabled=case["dtype"] != "f32"):
                    loss = model(tokens)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
            times = time_steps_ms(step, options.step_seconds)
            row = summary(times, case["flop"])
            row["tokens_per_s"] = 1e3 * case["batch"] * case["seq_q"] / row["ms_median"]
            row["peak_total_bytes"] = torch.cuda.max_memory_allocated()
            yield {"op": "train", "pass": "step", "impl": name, **case, **row}
        except (RuntimeError, ImportError) as error:
            print(f"{name}: B={case['batch']} T={case['seq_q']}: {str(error).splitlines()[0]}",
                  file=sys.stderr)
        model = optimizer = scaler = step = None
    free_memory()


# ---- generation ----

def with_deviation(name, values):
    return {name: statistics.mean(values),
            name + "_std": statistics.stdev(values) if len(values) > 1 else 0}


def run_generate(case, options):
    import transformers
    for name, extra in (("hf_sdpa", {}), ("hf_static_compiled", {"cache_implementation": "static"})):
        if options.impl and name not in options.impl or not case["cache"]:
            continue
        free_memory()
        torch.manual_seed(1)
        model = transformers.GPT2LMHeadModel(hf_config(case, "sdpa")).eval().cuda().to(
            DTYPES[case["dtype"]])
        prompts = torch.randint(0, case["vocab_size"] - 1, (case["batch"], case["prompt_tokens"]),
                                device="cuda")

        def seconds(new_tokens):
            torch.cuda.synchronize()
            start = time.perf_counter()
            with torch.no_grad():
                model.generate(prompts, attention_mask=torch.ones_like(prompts), do_sample=False,
                               max_new_tokens=new_tokens, min_new_tokens=new_tokens,
                               pad_token_id=case["vocab_size"] - 1, **extra)
            torch.cuda.synchronize()
            return time.perf_counter() - start
        for _ in range(2):
            seconds(case["new_tokens"])
            seconds(1)
        prefill = [seconds(1) for _ in range(options.runs)]
        whole = [seconds(case["new_tokens"]) for _ in range(options.runs)]
        later = case["new_tokens"] - 1
        rest = [max(w - statistics.median(prefill), 1e-9) for w in whole]
        yield {"op": "generate", "attention": name, **case, "runs": options.runs,
               **with_deviation("prefill_ms", [1e3 * s for s in prefill]),
               **with_deviation("token_ms", [1e3 * s / later for s in rest]),
               **with_deviation("tokens_per_s", [case["batch"] * later / s for s in rest]),
               **with_deviation("tokens_per_s_with_prompt",
                                [case["batch"] * case["new_tokens"] / s for s in whole]),
               "peak_total_bytes": torch.cuda.max_memory_allocated()}
        model = None
    free_memory()


def provenance():
    gpu = torch.cuda.get_device_properties(0)
    row = {"kind": "bench", "date": datetime.date.today().isoformat(), "device": "cuda",
           "gpu": gpu.name, "capability": f"{gpu.major}.{gpu.minor}",
           "multiprocessors": gpu.multi_processor_count, "gpu_memory_bytes": gpu.total_memory,
           "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    peer = f"PyTorch {torch.__version__}"
    try:
        import transformers
        peer += f", transformers {transformers.__version__}"
        transformers.logging.set_verbosity_error()
    except ImportError:
        pass
    return {**row, "peer": peer}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="rows of strobe bench, JSONL")
    parser.add_argument("--json", help="append the rows to this file")
    parser.add_argument("--op", nargs="+", default=["attention", "train", "generate"],
                        help="which rows to take")
    parser.add_argument("--impl", nargs="+", help="which peers to time; all without it")
    parser.add_argument("--seconds", type=float, default=0.2, help="of timing for each pass")
    parser.add_argument("--step-seconds", type=float, default=1, help="for each training")
    parser.add_argument("--runs", type=int, default=5, help="timed generations, after two")
    parser.add_argument("--max-score-bytes", type=float, default=4e9,
                        help="leave out eager attention whose scores take more")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # why a backend takes no mask, in six parts
    if not torch.cuda.is_available():
        sys.exit("PyTorch finds no GPU")
    first = provenance()
    print(first["peer"], first["gpu"])
    runs = {"attention": (run_attention, ATTENTION_CASE), "train": (run_train, TRAIN_CASE),
            "generate": (run_generate, GENERATE_CASE)}
    cases = [(op, case) for op in options.op
             for case in distinct_cases(options.results, op, runs[op][1], "cuda")]
    if not cases:
        sys.exit(f"{options.results} has no rows of strobe bench on a GPU")
    out = open(options.json, "a") if options.json else None
    for op, case in cases:
        for row in runs[op][0](case, options):
            if "gflops" in row:
                row["matmul_gflops"] = matmul_gflops(row["dtype"])
                row["ratio"] = row["gflops"] / row["matmul_gflops"]
            if out:
                out.write(json.dumps({**first, **row}) + "\n")
                out.flush()
            print(f"{row.get('impl', row.get('attention')):22} {row.get('pass', op):8} "
                  f"{row['dtype']:4} B={row['batch']} T={row.get('seq_q', row.get('prompt_tokens'))} "
                  f"D={row.get('head_dim', '')} {row.get('mask', '')} "
                  f"dropout={row.get('dropout', 0):g} "
                  + (f"{row['ms_median']:.3f} ms {row['gflops'] / 1e3:.1f} TFLOP/s"
                     if "gflops" in row else f"{row['tokens_per_s_with_prompt']:.0f} tokens/s")
                  + (f" {row['peak_total_bytes'] / 1e9:.2f} GB" if "peak_total_bytes" in row
                     else "")
                  + (f" rms {row['rms_err']:.1e}" if "rms_err" in row else ""), flush=True)


if __name__ == "__main__":
    main()
