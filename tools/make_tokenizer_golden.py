#!/usr/bin/env python3
"""Writes tests/golden/tokenizer: what Hugging Face's `tokenizers` makes of some thousand texts.

    text.txt          what the vocabulary was trained on: a licence in English, and one passage in
                      many scripts
    vocab.json, merges.txt, tokenizer.json   the vocabulary, as that library writes it
    cases.json        texts with their tokens
    invalid.json      bytes that are not UTF-8, in hexadecimal, with the tokens that they should be:
                      words are found as if every stray byte were U+FFFD, special names being text,
                      then the bytes are merged
    decode.json       tokens with their text
    batches.json      texts cut and filled up
    added.json        texts with added tokens of every kind, and added_tokenizer.json that has them

    python3 tools/make_tokenizer_golden.py      (needs tokenizers; the result is committed)
"""

import json
import pathlib
import random

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

FOLDER = pathlib.Path(__file__).parent.parent / "tests/golden/tokenizer"
LICENCE = pathlib.Path("/usr/share/common-licenses/GPL-3")
END_OF_TEXT = "<|endoftext|>"
VOCAB_SIZE = 1500

# The first article of the Universal Declaration of Human Rights, or as much of it.
PASSAGE = [
    "All human beings are born free and equal in dignity and rights. They're endowed with reason and"
    " conscience, and should act towards one another in a spirit of brotherhood; it's what we'll do.",
    "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神互相對待。",
    "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلًا وضميرًا.",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. L'été, ça va ?",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Straße, Größe, Übung.",
    "👩‍👩‍👧‍👦 families 👍🏽 and flags 🇹🇼🇺🇳 in 1948, or ١٩٤٨, or 一九四八; ½ + ¼ = ¾, x² ≠ √2.",
    "for (int i = 0; i < 10; ++i) {\n        printf(\"%d\\t%s\\n\", i, name[i]);\n    }\n\n",
]

SPECIAL = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'RE", "''", "' s", "I'm", "don't",
           "they've", "O'Brien", " 's", "'x", "’s", "\u00a0", "\u3000", "\u2028", "\u2029", "\u0085",
           "\u180e", "\u200b", "\u200d", "\ufeff", "\u00ad", "\u0301", "\u0323", "\ufe0f", "\u20e3",
           "\ufffd", "\U0010ffff", "\ue000", "e\u0301", "q\u0323\u0307", "👩‍🚀", "👨‍👩‍👧", "🏳️‍🌈", "👋🏿", "🇯🇵", "1️⃣",
           "\u0e33", "\u0915\u094d\u0937", "ﷺ", "ﬁ", "Ⅻ", "②", "٣", "௧", "㊿", "\r\n", "\n\n", "\t", "\0",
           "\x7f", "\x1b[0m", END_OF_TEXT, "<|endoftext|", "endoftext|>", "<|", "|>", "<<|endoftext|>>",
           "Ġ", "Ċ", "ĠĠ", "ÿ", "\u0143", "3.14", "1,000,000", "2026-11-22", "a_b", "C++20", "x=y+1", "http://a.b/c?d=e"]

CLASSES = [(0x20, 0x7e), (0x20, 0x7e), (0x00, 0x1f), (0x80, 0xff), (0x100, 0x24f), (0x300, 0x36f),
           (0x370, 0x3ff), (0x400, 0x4ff), (0x590, 0x6ff), (0x900, 0x97f), (0xe00, 0xe7f),
           (0x1e00, 0x1eff), (0x2000, 0x206f), (0x20a0, 0x20bf), (0x2100, 0x218f), (0x2190, 0x22ff),
           (0x3000, 0x30ff), (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0xe000, 0xe0ff), (0xff00, 0xffef),
           (0x10000, 0x1ffff), (0x1d400, 0x1d7ff), (0x1f300, 0x1faff), (0xe0000, 0xe01ef)]


def training_text():
    licence = LICENCE.read_text()[:20000]
    return licence + "\n" + "\n".join(PASSAGE * 12) + "\n"


def train(text):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, min_frequency=2, show_progress=False,
                                  special_tokens=[END_OF_TEXT],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def random_text(rng, text):
    """A few pieces of all kinds, next to one another in ways that no writer thinks of."""
    parts = []
    for _ in range(rng.randint(1, 7)):
        kind = rng.random()
        if kind < 0.35:
            first, last = rng.choice(CLASSES)
            parts.append("".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 6))))
        elif kind < 0.60:
            parts.append(rng.choice(SPECIAL))
        elif kind < 0.75:
            parts.append(rng.choice(" \n\t\r\u00a0") * rng.choice([1, 1, 2, 3, 7]))
        else:
            begin = rng.randrange(len(text) - 20)
            parts.append(text[begin:begin + rng.randint(1, 20)])
    return "".join(parts)


def texts(rng, text):
    yield ""
    for code in range(0x180):
        yield chr(code)
        yield "a" + chr(code) + chr(code) + " " + chr(code) + "b"
    yield from SPECIAL
    yield from (a + b for a in SPECIAL[:12] for b in ("", " ", "s", "'", "9"))
    for n in (2, 3, 16, 17, 63, 64, 65, 300):
        for unit in (" ", "\n", "a", "=", "é", "字", "ab ", "\t "):
            yield unit * n
            yield "x" + unit * n + "y"
    yield from PASSAGE
    for _ in range(2000):
        yield random_text(rng, text)


def lossless(data):
    """The characters of the bytes, in which every stray byte is one U+FFFD, and their own bytes."""
    at = 0
    while at < len(data):
        for size in (1, 2, 3, 4):
            try:
                character = data[at:at + size].decode("utf-8")
            except UnicodeDecodeError:
                continue
            if character:
                yield character, data[at:at + size]
                at += size
                break
        else:
            yield "\ufffd", data[at:at + 1]
            at += 1


def byte_names():
    """The character that stands for each byte."""
    seen = [b for b in range(256) if 0x21 <= b <= 0x7e or 0xa1 <= b <= 0xac or 0xae <= b]
    hidden = [b for b in range(256) if b not in seen]
    return {b: chr(b) for b in seen} | {b: chr(0x100 + i) for i, b in enumerate(hidden)}


def encode_bytes(tokenizer, data):
    names = byte_names()
    characters = list(lossless(data))
    text = "".join(character for character, _ in characters)
    ids = []
    for _, (begin, end) in tokenizer.pre_tokenizer.pre_tokenize_str(text):
        word = b"".join(own for _, own in characters[begin:end])
        ids += [token.id for token in tokenizer.model.tokenize("".join(names[b] for b in word))]
    return ids


def invalid_texts(rng, text):
    yield bytes(range(256))
    for byte in range(0x80, 0x100):
        yield bytes([byte])
        yield b"a" + bytes([byte]) + b" b"
    yield from (b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4\xb8", b"\xf0\x9f\x91", b"'\xff's")
    for _ in range(250):
        data = bytearray(random_text(rng, text).encode())
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            if rng.random() < 0.5:
                data[at:at] = bytes([rng.randrange(0x80, 0x100)])
            else:
                del data[at:at + 1]
        yield bytes(data)


def decode_cases(tokenizer, rng):
    """Only tokens whose bytes are whole characters: for others the library writes U+FFFD."""
    while True:
        ids = [rng.randrange(VOCAB_SIZE) for _ in range(rng.randint(1, 6))]
        text = tokenizer.decode(ids, skip_special_tokens=False)
        if "\ufffd" not in text:
            yield {"ids": ids, "text": text,
                   "without_special": tokenizer.decode(ids, skip_special_tokens=True)}


def batch_cases(tokenizer, rng, text):
    for _ in range(40):
        tokenizer.no_truncation()
        tokenizer.no_padding()
        case = {"texts": [random_text(rng, text) for _ in range(rng.randint(1, 5))],
                "longest": rng.choice([0, 1, 4, 10]), "cut": rng.choice(["left", "right"]),
                "length": rng.choice([0, 0, 12]), "multiple": rng.choice([1, 8]),
                "padding": rng.choice(["left", "right"]), "padding_token": rng.randrange(VOCAB_SIZE)}
        if case["longest"]:
            tokenizer.enable_truncation(case["longest"], direction=case["cut"])
        tokenizer.enable_padding(direction=case["padding"], pad_id=case["padding_token"],
                                 pad_token="", length=case["length"] or None,
                                 pad_to_multiple_of=case["multiple"])
        rows = tokenizer.encode_batch(case["texts"])
        # With a fixed length the library leaves longer rows longer, each its own length.
        if len({len(row.ids) for row in rows}) == 1:
            yield case | {"tokens": [row.ids for row in rows],
                          "real": [row.attention_mask for row in rows]}
    tokenizer.no_truncation()
    tokenizer.no_padding()


def added_cases(rng):
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.add_tokens([
        AddedToken("<mask>", lstrip=True, special=True, normalized=False),
        AddedToken("<right>", rstrip=True, special=False, normalized=False),
        AddedToken("<|end|>", special=True, normalized=False),
        AddedToken("<|end|>of", special=False, normalized=False),
        AddedToken("new york", special=False, normalized=True),
        AddedToken("york", special=False, normalized=False),
        AddedToken("字字", special=False, normalized=True),
    ])
    pieces = ["<mask>", "<right>", "<|end|>", "<|end|>of", "<|end", "new york", "york", "new ", "字", "字字",
              " ", "  ", "\n", "a", "'s", "\u3000", END_OF_TEXT, " free and equal"]
    cases = []
    for _ in range(300):
        case = "".join(rng.choice(pieces) for _ in range(rng.randint(1, 8)))
        tokenizer.encode_special_tokens = False
        ids = tokenizer.encode(case).ids
        tokenizer.encode_special_tokens = True
        cases.append({"text": case, "ids": ids, "special_as_text": tokenizer.encode(case).ids})
    tokenizer.encode_special_tokens = False
    return tokenizer, cases


def write(name, rows):
    lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    (FOLDER / name).write_text("[\n" + ",\n".join(lines) + "\n]\n")


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1948)
    text = training_text()
    (FOLDER / "text.txt").write_text(text)
    tokenizer = train(text)
    tokenizer.save(str(FOLDER / "tokenizer.json"), pretty=False)
    tokenizer.model.save(str(FOLDER))

    cases = [[case, tokenizer.encode(case).ids] for case in texts(rng, text)]
    write("cases.json", cases)
    invalid = [[data.hex(), encode_bytes(tokenizer, data)]
               for data in invalid_texts(rng, text)]
    write("invalid.json", invalid)
    decode = decode_cases(tokenizer, rng)
    write("decode.json", [next(decode) for _ in range(300)])
    write("batches.json", list(batch_cases(tokenizer, rng, text)))
    with_added, added = added_cases(rng)
    with_added.save(str(FOLDER / "added_tokenizer.json"), pretty=False)
    write("added.json", added)
    print(f"{FOLDER}: {len(cases)} texts, {len(invalid)} that are not UTF-8")


if __name__ == "__main__":
    main()
