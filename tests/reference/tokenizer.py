# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden values for test_tokenizer.c, from the `tokenizers` library and data/wordnet-lm.

    python3 tests/reference/tokenizer.py [--check]

Writes tests/data/tokenizer/unicode.txt: ranges of the code points assigned in Unicode 14, and, per chunk of the text
that test_tokenizer.c makes of them in the same way, the hash of GPT-2's pieces and of the demo model's tokens. Code
points whose class changed in the library's later Unicode are left out and listed. Also phrases.jsonl: pieces and token ids
of single phrases. --check compares with what is committed instead of writing.
"""
import json
import os
import sys
import unicodedata

try:
    import tokenizers
except ImportError:
    sys.exit("skipped: the Python package tokenizers is not installed")
if not unicodedata.unidata_version.startswith("14."):
    sys.exit(f"skipped: this Python knows Unicode {unicodedata.unidata_version}, not 14")

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "data", "tokenizer")
TOKENIZER = tokenizers.Tokenizer.from_file(os.path.join(HERE, "..", "..", "data", "wordnet-lm", "tokenizer.json"))
PIECES = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)

# What may stand before a character in the text; the generator below picks one by one.
BEFORE = ["", "", " ", "a", "1", "!", "  ", "\n", "'", "'s", " a", "\t ", "the ", "\u3000", "\u00e9", "x1"]
CHUNK = 512  # characters drawn a chunk
SECOND_PASS = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
SPACES = set([*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F,
              0x3000])


def assigned():
    skipped = []
    for c in range(0x110000):
        category = unicodedata.category(chr(c))
        if category in ("Cn", "Cs", "Co"):
            continue
        kind = ("space" if c in SPACES else "letter" if category[0] == "L" else
                "number" if category[0] == "N" else "other")
        if kind != library_kind(chr(c)):
            skipped.append(c)
            continue
        yield c
    print("left out, their class is another in the library:", " ".join(f"U+{c:04X}" for c in skipped) or "none")


def library_kind(c):
    def n(text):
        return len(PIECES.pre_tokenize_str(text))
    if n("a" + c + "a") == 1:
        return "letter"
    if n("1" + c + "1") == 1:
        return "number"
    if n("!" + c + "!") == 1:
        return "other"
    return "space"


def ranges(points):
    out = []
    for c in points:
        if out and out[-1][1] + 1 == c:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


class Random:
    """A 64-bit linear congruential generator; its high bits are used."""

    def __init__(self, seed):
        self.x = seed & MASK

    def below(self, n):
        self.x = (self.x * 6364136223846793005 + 1442695040888963407) & MASK
        return (self.x >> 33) % n


def chunks(points):
    """Every code point once in order, then as many drawn at random, each after something of BEFORE."""
    r = Random(1)
    for start in range(0, len(points), CHUNK):
        yield "".join(BEFORE[r.below(len(BEFORE))] + chr(c) for c in points[start:start + CHUNK])
    r = Random(SECOND_PASS)
    for start in range(0, len(points), CHUNK):
        n = min(CHUNK, len(points) - start)
        text = ""
        for _ in range(n):
            before = BEFORE[r.below(len(BEFORE))]
            text += before + chr(points[r.below(len(points))])
        yield text


def fnv(numbers):
    h = 0xCBF29CE484222325
    for n in numbers:
        for byte in int(n).to_bytes(4, "little"):
            h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def piece_lengths(text):
    return [len(text[a:b].encode()) for _, (a, b) in PIECES.pre_tokenize_str(text)]


def unicode_file():
    points = list(assigned())
    lines = [f"ranges {len(ranges(points))}"]
    lines += [f"{a:X} {b:X}" for a, b in ranges(points)]
    hashes = []
    size = 0
    for text in chunks(points):
        size += len(text.encode())
        lengths = piece_lengths(text)
        ids = TOKENIZER.encode(text).ids
        assert sum(lengths) == len(text.encode())
        hashes.append(f"{len(lengths)} {fnv(lengths):016x} {len(ids)} {fnv(ids):016x}")
    print(f"{len(points)} code points, {size} bytes of text")
    return "\n".join(lines + [f"chunks {len(hashes)}"] + hashes) + "\n"


PHRASES = [
    "", " ", "  ", "a", " a", "  a", "a ", "a  ", "a  b", "\n", "a\nb", "a\n\nb", "a\r\nb", "\t\t x", "don't", "DON'T",
    "we're they've I'll he'd I'm it's can't", "'re 've 'll 'd 'm 's 't 'x 'RE", "'s's", "' s", "x'sx", "123", "1 23 4.5", "a1b2", "hello, world!",
    " ...!?", "\u00a0\u00a0a", "a\u3000b", "\u2028\u2029", "\u200b", "\ufeffstart", "e\u0301", "\u00e9",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u4f60\u597d\uff0c\u4e16\u754c\u3002",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7", "\u0661\u0662\u0663", "\u00bd\u2160",
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext|", "<<|endoftext|>>",
    "Albert Einstein (also Einstein) is the physicist: physicist born in Germany who ...",
    "the the the", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\x00\x01\x7f", "internationalization", "x" * 300,
    " " * 70 + "x", "ab" * 100,
]


def phrases_file():
    return "".join(json.dumps({"text": p, "pieces": piece_lengths(p), "ids": TOKENIZER.encode(p).ids}) + "\n"
                   for p in PHRASES)


def main():
    os.makedirs(OUT, exist_ok=True)
    bad = False
    for name, text in (("unicode.txt", unicode_file()), ("phrases.jsonl", phrases_file())):
        path = os.path.join(OUT, name)
        if "--check" in sys.argv[1:]:
            with open(path) as f:
                same = f.read() == text
            print(name, "agrees" if same else "DIFFERS")
            bad |= not same
        else:
            with open(path, "w") as f:
                f.write(text)
    sys.exit(bad)


if __name__ == "__main__":
    main()
