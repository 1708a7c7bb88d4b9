#!/usr/bin/env python3
"""Writes strobe/data/unicode_classes.inc: which characters are letters, numbers and white space.

Asks Hugging Face's `tokenizers` itself, one character at a time, so that texts are cut where that
library cuts them, whatever version of Unicode other libraries of the machine follow.

    python3 tools/make_unicode_classes.py      (needs tokenizers; the result is committed)
"""

import itertools
import pathlib

import tokenizers
from tokenizers import pre_tokenizers

FILE = pathlib.Path(__file__).parent.parent / "strobe/data/unicode_classes.inc"
PATTERN = pre_tokenizers.ByteLevel(add_prefix_space=False)
SURROGATES = range(0xD800, 0xE000)


def class_of(code):
    """A character joins the run of its own class: "a" and a letter are one piece."""
    if code in SURROGATES:
        return "other"
    for name, neighbour in (("letter", "a"), ("number", "1"), ("other", "!")):
        if len(PATTERN.pre_tokenize_str(neighbour + chr(code))) == 1:
            return name
    return "space"


def ranges():
    classes = enumerate(map(class_of, range(0x110000)))
    for name, run in itertools.groupby(classes, key=lambda pair: pair[1]):
        codes = [code for code, _ in run]
        if name != "other":
            yield name, codes[0], codes[-1]


def main():
    entries = [f"{{0x{first:x}, 0x{last:x}, CharacterClass::{name}}}," for name, first, last in ranges()]
    lines = [f"// By tools/make_unicode_classes.py from tokenizers {tokenizers.__version__}; not listed: other."]
    lines += entries
    FILE.write_text("\n".join(lines) + "\n")
    print(f"{FILE}: {len(entries)} ranges")


if __name__ == "__main__":
    main()
