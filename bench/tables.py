#!/usr/bin/env python3
"""Prints results files of a GPU as the tables of README.md, or writes them there.

    bench/tables.py FILE...             the tables of their rows together
    bench/tables.py --update PAGE...    in each page, every table between two lines such as
                                        <!-- bench/tables.py FILE... --> and <!-- end -->

FILE is what strobe bench --json and bench/peers/gpu_peers.py wrote, seen from the root of the
repository. Each table holds rows of one op; an implementation has a column where the file has it.
Where a case was timed twice, the first row counts.
"""

import argparse
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = {"cuda_standard": "standard", "cuda_flash_portable": "flash, portable",
         "cuda_flash_sm90": "flash, Hopper",
         "torch_sdpa_flash": "FlashAttention-2", "flash_attention_3": "FlashAttention-3",
         "torch_sdpa_cudnn": "cuDNN", "torch_sdpa_efficient": "memory-efficient",
         "torch_eager": "PyTorch, eager", "hf_gpt2_eager": "Hugging Face: eager",
         "hf_gpt2_sdpa": "SDPA", "hf_gpt2_sdpa_compiled": "SDPA, compiled",
         "torch_gpt2_compiled": "plain PyTorch, compiled", "any": "Strobe",
         "hf_sdpa": "Hugging Face", "hf_static_compiled": "static cache, compiled"}
LENGTHS = (512, 1024, 4096)  # of attention


def line(cells):
    return "| " + " | ".join(cells) + " |"


def table(first, rows, columns):
    """`rows`: name to {column: text}."""
    names = [NAMES.get(column, column) for column in columns]
    lines = [line([first, *names]), "|" + "---|" * (1 + len(columns))]
    return lines + [line([name, *(cells.get(column, "–") for column in columns)])
                    for name, cells in rows.items()]


def attention(rows):
    speeds = {}  # name of a line to implementation to length to TFLOP/s
    for row in rows:
        if row["seq_q"] not in LENGTHS:
            continue
        name = f"D={row['head_dim']}, {row['mask']}"
        if row["dropout"]:
            name += f", dropout {row['dropout']:g}"
        if row.get("padded_keys"):
            name += f", {row['padded_keys'] / row['seq_k']:.0%} padding"
        speed = speeds.setdefault(f"{name}: {row['pass']}", {}).setdefault(row["impl"], {})
        speed.setdefault(row["seq_q"], row["gflops"] / 1e3)
    text = lambda speed: " · ".join(f"{speed[t]:.0f}" if t in speed else "–" for t in LENGTHS)
    lines = {name: {impl: text(speed) for impl, speed in by_impl.items()}
             for name, by_impl in speeds.items()}
    return table("TFLOP/s at T = " + " · ".join(map(str, LENGTHS)), lines,
                 list(dict.fromkeys(row["impl"] for row in rows)))


def model(row):
    return f"{row['n_layer']} layers, {row['dtype']}, B={row['batch']}"


def train(rows):
    lines = {}
    for row in rows:
        text = f"{row['ms_median']:.1f} ms, {row['peak_total_bytes'] / 1e9:.2f} GB"
        cells = lines.setdefault(f"{model(row)} T={row['seq_q']}", {})
        cells.setdefault(row["impl"], text)
    impls = dict.fromkeys(row["impl"] for row in rows)
    columns = sorted(impls, key=lambda impl: (not impl.startswith("cuda"), "flash" in impl))
    return table("a training step, peak memory", lines, columns)


def generate(rows):
    lines = {}
    for row in rows:
        name = f"{model(row)}, {row['prompt_tokens']} + {row['new_tokens']} tokens"
        lines.setdefault(name, {}).setdefault(row["attention"],
                                              f"{row['tokens_per_s_with_prompt']:,.0f}")
    return table("tokens/s, the prompt's time included", lines,
                 list(dict.fromkeys(row["attention"] for row in rows)))


def tables(paths):
    rows = [json.loads(text) for path in paths for text in (ROOT / path).read_text().splitlines()]
    makers = {"attention": attention, "train": train, "generate": generate}
    parts = []
    for op, make in makers.items():
        chosen = [row for row in rows if row["op"] == op and row["device"].startswith("cuda")]
        if chosen:
            parts.append("\n".join(make(chosen)))
    return "\n\n".join(parts)


def update(page):
    """Whatever stands between the two lines is made again."""
    mark = r"(<!-- bench/tables\.py (\S+(?: \S+)*) -->\n).*?(<!-- end -->)"
    text = pathlib.Path(page).read_text()
    made = re.sub(mark, lambda m: f"{m[1]}\n{tables(m[2].split())}\n\n{m[3]}", text, flags=re.S)
    pathlib.Path(page).write_text(made)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="FILE")
    parser.add_argument("--update", action="store_true", help="the paths are pages")
    options = parser.parse_args()
    if not options.update:
        print(tables(options.paths))
        return
    for page in options.paths:
        update(page)


if __name__ == "__main__":
    main()
