# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden values for test_tokenizer_kinds.c, from the `tokenizers` library: small tokenizers of the kinds that models have.

    python3 tests/reference/tokenizer_kinds.py [--check]

Vocabularies of a few hundred tokens are trained on the start of data/wordnet.txt and on the sentences below; normalizer,
pre-tokenizer, added tokens and the model's switches are written as the models' own tokenizer.json have them. Writes into
tests/data/tokenizer-kinds, for each kind, KIND.json (a tokenizer.json) and KIND.ids (per line of texts.jsonl its ids; then
hashes of the ids of generated text with every assigned character but those of left-out.txt, which are newer than the library's
normalizer); patterns.jsonl: the pieces that Split makes of one text
with various patterns. --check compares with what is committed instead of writing.
"""
import json
import os
import sys
import unicodedata

from tokenizer import OUT as UNICODE, Random, SECOND_PASS, fnv
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "data", "tokenizer-kinds")
MARK = "\u2581"

SENTENCES = [
    "Les élèves français étudient à l'école près de la forêt; c'est déjà l'été.",
    "Der größte Bär läuft über die Straße, weil es regnet: 1989, 2024 und 3,14159.",
    "Привет, мир! Это простое предложение о погоде и людях в большом городе.",
    "Η γρήγορη αλεπού πηδάει πάνω από το τεμπέλικο σκυλί.",
    "השועל החום המהיר קופץ מעל הכלב העצלן. שָׁלוֹם עוֹלָם",
    "الثعلب البني السريع يقفز فوق الكلب الكسول ١٢٣٤",
    "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है। १२३",
    "敏捷的棕色狐狸跳过了懒狗。你好，世界！中文没有空格。",
    "素早い茶色の狐はのろまな犬を飛び越える。ひらがなとカタカナ",
    "빠른 갈색 여우가 게으른 개를 뛰어넘습니다. 안녕하세요",
    "int main(void)\n{\n    for (int i = 0; i < 10; i++) {\n\t\tprintf(\"%d\\n\", i);\n    }\n    return 0;\n}",
    "THE QUICK BROWN FOX'S DOG ISN'T LAZY; I'LL, WE'VE, THEY'RE, HE'D, I'M. 100 1000 12345 2023-11-25 3.14159",
    "def f(x):\r\n    return x ** 2  # squares\r\n\r\n\r\nprint(f(3))\r\n",
    "👩‍👩‍👧 🇫🇷 👍🏽 😀😀 ❤️",
]

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")

# ---- Texts. ----

TEXTS = [
    "", " ", "  ", "a", " a", "  a", "a ", "a  b", "\n", "\n\n", "\n\n\n", "a\nb", "a \n b", "a\r\nb", "a\r\n\r\nb", "a\rb",
    "\t", "\t\t x", "a\tb", " \t\n ", "x\n ", "x\n  y", "   x   ", "\u00a0\u00a0a", "a\u3000b", "a\u2028b\u2029", "\x85a",
    "\u180ea", "\u200bx", "\ufeffstart", "\x0b\x0c\x1c\x1f", "\x01\x7f",
    "don't", "DON'T", "Don'T'S", "we're they've I'll he'd I'm it's can't", "WE'RE THEY'VE I'LL HE'D I'M IT'S CAN'T",
    "'re 've 'll 'd 'm 's 't 'x 'RE 'S", "'\u017f x'\u017ft", "'s's", "' s", "x'sx", "\u2019s don\u2019t",
    "1", "12", "123", "1234", "1234567890", "1 23 4.5", "a1b2", "3.14159 1,000,000", "\u0661\u0662\u0663\u0664", "\u00bd\u2160",
    "x\u00b2y\u2074", "\u0968\u0969\u096a\u096b", "hello, world!", " ...!?", "!!\n\n", "!!\r\n x", "(a) [b] {c}", "#!/bin/sh -e",
    "C++ is C#", "a_b__c", "a-b--c", "https://example.org/a?b=c&d=%20#e", "e\u0301", "\u00e9", "e\u0301e\u0301 \u00e9\u00e9",
    "A\u030a \u00c5 \u212b", "\u1100\u1161\u11a8 \uac01", "q\u0307\u0323 q\u0323\u0307", "\u0344 \u0958 \ufb1d \u2126",
    "s\u0323\u0307 \u1e69", "\u0301x \u0301", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u05e9\u05c1\u05b8 \ufb2a\u05b8", "\u0627\u0644\u0633\u0644\u0627\u0645", "\u0939\u093f\u0928\u094d\u0926\u0940",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u4f60\u597d world \u4e16\u754c", "\u3072\u3089\u304c\u306a\u30ab\u30bf\u30ab\u30ca",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7", "\U0001f600", "\U0001f44d\U0001f3fd!",
    "\u2764\ufe0f", "\U00010348\U0001d400", "\ue000\uf8ff\U0010fffd", "\ufffd\ufffe", MARK, MARK + MARK, "a" + MARK + "b",
    MARK + "a " + MARK, " " + MARK + " ", "_a", "<s>", "</s>", "<s>a</s>", " <s> a </s> ", "a<s>b", "<s><s>", "<unk>", "<0x41>",
    "<0x0A>x", "<0xZZ>", "<s", "<|endoftext|>", "a <|endoftext|> b", "<|endoftext|><|endoftext|", "<|begin_of_text|>Hi<|eot_id|>",
    "<|im_start|>user\nhi<|im_end|>\n", "<bos>a<eos>", "<start_of_turn>user\n", "<table><tr>", "a  <mask>  b", "x<word>y <word> z<word>",
    "\u00e9<word>\u0301 <word>, _<word>", "e<cut>\u0301", "caf\u00e9 cafe\u0301 <norm>\u00e9</norm> <norm>e\u0301</norm>", "a    b", "a     b      c",
    "\n\n\n\n\n\n\n\n", "a\n\n  \n\nb", "    if x:\n        return y\n\n\n    else:\n", "the the the", "a" * 50, "x" * 300, " " * 70 + "x",
    "ab" * 100, "\u00e9" * 40, "\u4f60" * 40, "1" * 40, "!" * 40, "\n" * 40, "internationalization physicist physicists Physicist",
    " physicist\nphysicist", "unforgettable entity", "of the of the of the", "Albert Einstein (also Einstein) is the physicist: born in Germany who ...",
    "\u00df\u1e9e \u0130\u0131 \u03c3\u03c2", "\uff21\uff22\uff23 \uff11\uff12", "\u2460\u2461 \u24b6\u24b7", "a\u200db a\u200cb", "\u0e33 \u0eb3", "1\u20443 \u00bc",
    "<td>a</td> </tr> </table>", "> </", ">  </", "> <", ">" + MARK + "</x>", "x y z", "x y", "y z", " x y z ", "ax y za", "x y z x y z", "x y  z",
    "x" + MARK + "y z", "x y z" + MARK, "x> </y z",
] + SENTENCES

# Before each character of the generated text; one is drawn.
BEFORE = ["", "", " ", "  ", "a", "e", "A", "1", "12", "123 ", "!", " !", "\n", "\r\n", "!\n", " \n ", "\t", "'s", "'S", "'ll ", "x'", " the ",
          MARK, "\u4f60", "\u0301", "\u00e9", "<0x41>", "</s>", "<norm>", "<word>", "\u00a0", "_"]
CHUNK = 512
CHUNKS_A_HASH = 24


def points():
    with open(os.path.join(UNICODE, "unicode.txt")) as f:
        n = int(f.readline().split()[1])
        for _ in range(n):
            first, last = (int(x, 16) for x in f.readline().split())
            yield from range(first, last + 1)


def is_composed_alike(c):
    """Not so: the library's Unicode is older, and takes some marks for other characters."""
    return all(normalizers.NFC().normalize_str(s) == unicodedata.normalize("NFC", s)
               for s in ("a\u0301" + c, "a" + c + "\u0334", "a\u0334" + c, "a" + c + "\u0301"))


def chunks(all_points):
    for seed in (1, SECOND_PASS):
        r = Random(seed)
        for start in range(0, len(all_points), CHUNK):
            text = ""
            for i in range(start, min(start + CHUNK, len(all_points))):
                before = BEFORE[r.below(len(BEFORE))]
                text += before + chr(all_points[i if seed == 1 else r.below(len(all_points))])
            yield text


# ---- Vocabularies. ----

def corpus():
    with open(os.path.join(HERE, "..", "..", "data", "wordnet.txt")) as f:
        lines = [line.rstrip("\n") for _, line in zip(range(1500), f)]
    return lines + SENTENCES * 12


def train(size, specials=(), alphabet=(), normalizer=None, pre=None):
    t = Tokenizer(models.BPE())
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=size, special_tokens=list(specials), limit_alphabet=size // 2,
                                                        initial_alphabet=list(alphabet), show_progress=False))
    model = json.loads(t.to_str())["model"]
    return model["vocab"], [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]


def byte_level(pattern=None):
    parts = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not pattern))
    return train(600, alphabet=pre_tokenizers.ByteLevel.alphabet(), pre=pre_tokenizers.Sequence(parts))


BYTES = [f"<0x{b:02X}>" for b in range(256)]


def sentence_piece(specials, across_words=False):
    normalizer = normalizers.Replace(" ", MARK)
    pre = None if across_words else pre_tokenizers.Split(MARK, "merged_with_next")
    return train(680, specials=specials + BYTES, normalizer=normalizer, pre=pre)


def added(i, content, special=True, normalized=None, **flags):
    token = {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": (not special) if normalized is None else normalized, "special": special}
    return token | flags


def model(vocabulary, merges, pairs=False, **switches):
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": False} | switches | {
                "vocab": vocabulary, "merges": merges if pairs else [" ".join(m) for m in merges]}


def whole(model, added_tokens, normalizer=None, pre=None, post=None, decoder=None):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens, "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": post, "decoder": decoder, "model": model}


def template(token, i):
    return {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [i], "tokens": [token]}}}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
NO_REGEX = BYTE_LEVEL | {"use_regex": False}


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def kinds():
    """Name and tokenizer.json."""
    vocabulary, merges = byte_level(LLAMA3)
    n = len(vocabulary)
    # Tokens that no merges lead to: found whole, because of ignore_merges.
    for i, token in enumerate(["\u0120physicist", "physicist", "\u0120unforgettable", "zzz\u00c3", "\u0120" * 5]):
        assert vocabulary.setdefault(token, n + i) == n + i
    n = len(vocabulary)
    yield "llama3", whole(
        model(vocabulary, merges, ignore_merges=True),
        [added(n, "<|begin_of_text|>"), added(n + 1, "<|eot_id|>"), added(n + 2, "<|endoftext|>")],
        pre=sequence(split(LLAMA3), NO_REGEX),
        post={"type": "Sequence", "processors": [BYTE_LEVEL, template("<|begin_of_text|>", n)]}, decoder=BYTE_LEVEL)
    vocabulary, merges = byte_level(QWEN2)
    n = len(vocabulary)
    yield "qwen2", whole(
        model(vocabulary, merges), [added(n, "<|endoftext|>"), added(n + 1, "<|im_start|>"), added(n + 2, "<|im_end|>")],
        normalizer={"type": "NFC"}, pre=sequence(split(QWEN2), NO_REGEX), post=NO_REGEX, decoder=NO_REGEX)
    # GPT-NeoX (Pythia): runs of blanks are added tokens, in the normalized text; merges as pairs.
    vocabulary, merges = byte_level()
    vocabulary["<|endoftext|>"] = n = len(vocabulary)
    runs = [added(n + i, " " * (26 - i), special=False) for i in range(1, 25)]
    words = [added(n + 25, "<word>", special=False, normalized=False, single_word=True),
             added(n + 26, "<mask>", normalized=False, lstrip=True, rstrip=True),
             added(n + 27, "<norm>e\u0301", special=False), added(n + 28, "<cut>", special=False, normalized=False)]
    yield "neox", whole(model(vocabulary, merges, pairs=True, unk_token="<|endoftext|>"), [added(n, "<|endoftext|>")] + runs + words,
                        normalizer={"type": "NFC"}, pre=BYTE_LEVEL, decoder=BYTE_LEVEL)
    vocabulary, merges = byte_level()
    yield "digits", whole(model(vocabulary, merges), [],
                          pre=sequence({"type": "Digits", "individual_digits": True}, BYTE_LEVEL | {"add_prefix_space": True}))
    yield "digit_runs", whole(model(vocabulary, merges), [added(vocabulary["a"], "a", special=False)],
                              pre=sequence({"type": "Digits", "individual_digits": False}, split(" ?[0-9][0-9]|\\s+"), NO_REGEX))
    # Llama 2: the whole text is one piece; words are not apart in the second one.
    legacy = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": MARK},
                                                  {"type": "Replace", "pattern": {"String": " "}, "content": MARK}]}
    decoder = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": MARK}, "content": " "},
                                                {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    specials = ["<unk>", "<s>", "</s>"]
    vocabulary, merges = sentence_piece(specials)
    yield "llama2", whole(model(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True),
                          [added(i, t) for i, t in enumerate(specials)], normalizer=legacy, post=template("<s>", 1), decoder=decoder)
    across, across_merges = sentence_piece(specials, across_words=True)
    yield "llama2_across", whole(model(across, across_merges, pairs=True, unk_token="<unk>", fuse_unk=True, byte_fallback=True),
                                 [added(i, t, normalized=True) for i, t in enumerate(specials)], normalizer=legacy, decoder=decoder)
    # Newer conversions of Llama 2 and Mistral; no bytes and unknown tokens one by one in the others.
    for name, scheme, cut in (("metaspace_first", "first", False), ("metaspace_always", "always", True), ("metaspace_never", "never", True)):
        spells = scheme == "first"
        kept = {t: i for t, i in vocabulary.items() if spells or t not in BYTES}
        yield name, whole(model(kept, merges, unk_token="<unk>", fuse_unk=scheme == "never", byte_fallback=spells),
                          [added(i, t) for i, t in enumerate(specials)],
                          pre={"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": cut})
    # Gemma: nothing is put before the text; newlines, blanks and tags are added tokens; one token or two hold a blank.
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    vocabulary, merges = sentence_piece(specials)
    n = len(vocabulary)
    more = ["\n" * i for i in range(2, 32)] + [MARK * i for i in range(2, 32)] + ["<table>", "<tr>", "<start_of_turn>"]
    extra = []
    for text in more:
        vocabulary.setdefault(text, len(vocabulary))
        extra.append(added(vocabulary[text], text, special=text.startswith("<start"), normalized=False))
    for left, right in (("<", "/"), (MARK, "</"), (">", MARK + "</"), ("x", MARK), ("x" + MARK, "y"), (MARK, "z"), ("x" + MARK + "y", MARK + "z")):
        for text in (left, right, left + right):
            vocabulary.setdefault(text, len(vocabulary))
        merges += [[left, right]] if [left, right] not in merges else []
    steps = {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": MARK},
             "pre": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}}
    yield "gemma", whole(model(vocabulary, merges, pairs=True, unk_token="<unk>", fuse_unk=True, byte_fallback=True),
                         [added(i, t) for i, t in enumerate(specials)] + extra, post=template("<bos>", 2), decoder=decoder, **steps)
    # The same with many tokens that hold blanks.
    yield "gemma_across", whole(model(across, across_merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True),
                                [added(i, t) for i, t in enumerate(["<unk>", "<s>", "</s>"])], decoder=decoder, **steps)


# ---- Patterns. ----

O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s")

PATTERNS = [
    ("o200k", O200K, "isolated", False), ("cl100k", CL100K, "isolated", False), ("cl100k removed", CL100K, "removed", True),
    ("gpt2", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", "isolated", False),
    ("bloom", r" ?[^(\s|[.,!?…。，、।۔،])]+", "isolated", False), ("falcon", "[0-9][0-9][0-9]", "isolated", False),
    ("deepseek", "[一-龥\u3040-ゟ゠-ヿ]+", "isolated", False), ("lookahead", r"\d{1,3}(?=(?:\d{3})*(?!\d))", "isolated", False),
    ("interval", r"a{2}+", "isolated", False), ("from none", r"ba{,2}|x{2,}", "isolated", False), ("no interval", r"a{x}|{", "isolated", False),
    ("lines", r"^\p{L}+|\p{L}$", "isolated", False), ("line ends", r"$", "isolated", False), ("line starts", r"^", "isolated", False),
    ("ends", r"\A\p{L}|\p{L}\z", "isolated", False),
    ("hexadecimal", r"\h+", "isolated", False), ("digit", r"\d", "isolated", False), ("no digit", r"[^\D]+", "isolated", False),
    ("blank", r"\s", "isolated", False), ("no blank", r"\S+", "isolated", False), ("vertical", r"[\v\t]|\v", "isolated", False),
    ("any", r".+", "isolated", False), ("caseless", r"(?i)THE|quick", "isolated", False), ("code", r"\x{e9}|\u00df|\x41", "isolated", False),
    ("script", r"\p{Han}+|\p{^Latin}\p{Greek}", "isolated", False), ("not", r"\P{L}+", "isolated", False), ("alpha", r"\p{Alphabetic}+", "isolated", False),
    ("atomic", r"(?>a+)b|(?<=\s)t|(?<!\s)h", "isolated", False), ("lazy", r"\(.*?\)|x{1,4}?", "isolated", False), ("sets", r"[a-c[x-z]-]+|[-[!?]]", "isolated", False),
    ("hyphen", r"[+\-*/^]|[\]\[]", "isolated", False), ("groups", r"(a(b|c))+|(?-i:The)", "isolated", False), ("empty", r"(?=the)", "isolated", False),
    ("empty or not", r"x*", "isolated", False),
] + [(behaviour + (" inverted" if invert else ""), r"\s|1", behaviour, invert) for behaviour in
     ("removed", "merged_with_previous", "merged_with_next", "contiguous", "isolated") for invert in (False, True)]

PATTERN_TEXT = "The cat's tail, THE STRA\u00dfE isn't 1234567 12 x\u00b2! (a) (b) aaaaa baaa b xxxxx a{x} {\n" + "".join(
    s + "\r\n" * (i % 3) + "\n" for i, s in enumerate(SENTENCES)) + (
        "abcabac ab--xyz-[^]*/+ \t\x0b\u2028 \u180e\u00a0  \u3000end 11 1  1\n\n \u0661\u0662 \u2460 _x\u203fy \u24b6 na\u0303o caf\u00e9 A1F 0x3fG\nlast h")


def pattern_lines():
    yield json.dumps({"text": PATTERN_TEXT})
    starts = [0]
    for c in PATTERN_TEXT:
        starts.append(starts[-1] + len(c.encode()))
    for name, pattern, behaviour, invert in PATTERNS:
        pieces = pre_tokenizers.Split(Regex(pattern), behaviour, invert).pre_tokenize_str(PATTERN_TEXT)
        json_name = {"isolated": "Isolated", "removed": "Removed", "merged_with_previous": "MergedWithPrevious",
                     "merged_with_next": "MergedWithNext", "contiguous": "Contiguous"}[behaviour]
        yield json.dumps({"name": name, "pattern": pattern, "behavior": json_name, "invert": invert,
                          "pieces": [n for _, (a, b) in pieces for n in (starts[a], starts[b] - starts[a])]})


# ---- Files. ----

def files():
    yield "texts.jsonl", "".join(json.dumps(t) + "\n" for t in TEXTS)
    yield "patterns.jsonl", "".join(line + "\n" for line in pattern_lines())
    left_out = [c for c in points() if not is_composed_alike(chr(c))]
    all_points = [c for c in points() if c not in left_out]
    yield "left-out.txt", "".join(f"{c:X}\n" for c in left_out)
    generated = list(chunks(all_points))
    for name, description in kinds():
        text = json.dumps(description, ensure_ascii=False, separators=(",", ":")) + "\n"
        t = Tokenizer.from_str(text)
        lines = [" ".join(map(str, t.encode(s, add_special_tokens=False).ids)) for s in TEXTS]
        for start in range(0, len(generated), CHUNKS_A_HASH):
            ids = [i for s in generated[start:start + CHUNKS_A_HASH] for i in t.encode(s, add_special_tokens=False).ids]
            lines.append(f"{len(ids)} {fnv(ids):016x}")
        yield name + ".json", text
        yield name + ".ids", "\n".join(lines) + "\n"


def main():
    os.makedirs(OUT, exist_ok=True)
    bad = False
    for name, text in files():
        path = os.path.join(OUT, name)
        if "--check" in sys.argv[1:]:
            with open(path, newline="") as f:
                same = f.read() == text
            print(name, "agrees" if same else "DIFFERS")
            bad |= not same
        else:
            with open(path, "w", newline="") as f:
                f.write(text)
    sys.exit(bad)


main()
