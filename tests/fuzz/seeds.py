#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the first inputs of the fuzz targets into tests/fuzz/corpus: from tests/data and data, and some made here.

What fuzzing found lies beside them (names starting with "found") and is left alone.

    tests/fuzz/seeds.py
"""
import collections
import gzip
import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
CORPUS = os.path.join(HERE, "corpus")
CONTAINERS = os.path.join(TOP, "tests", "data", "containers")
LARGEST = 16384


def write(target, name, data):
    folder = os.path.join(CORPUS, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def read(*parts):
    with open(os.path.join(TOP, *parts), "rb") as f:
        return f.read()


def containers():
    for name in sorted(os.listdir(CONTAINERS)):
        path = os.path.join(CONTAINERS, name)
        if not os.path.isfile(path) or os.path.getsize(path) > LARGEST:
            continue
        data = read("tests", "data", "containers", name)
        suffix = name.rsplit(".", 1)[1]
        if suffix == "npy":
            write("npy", name, data)
        elif suffix in ("npz", "pt", "zip") and name != "bare.pt":
            write("zip", name, data)
        if suffix == "pt" and name != "bare.pt":
            with zipfile.ZipFile(path) as z:
                for entry in z.namelist():
                    if entry.endswith("/data.pkl"):
                        write("pickle", name.removesuffix(".pt"), z.read(entry))
    folder = os.path.join(CONTAINERS, "sharded")
    for name in sorted(os.listdir(folder)):
        write("safetensors", name, read("tests", "data", "containers", "sharded", name))


def safetensors(header, data=b""):
    header = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(header)) + header + data


def headers():
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    write("safetensors", "one", safetensors({"W": entry}, bytes(range(16))))
    write("safetensors", "scalar", safetensors({"k": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}}, bytes(8)))
    write("safetensors", "empty", safetensors({}))
    write("safetensors", "float8", safetensors({"W": {**entry, "dtype": "F8_E4M3"}}, bytes(16)))
    write("safetensors", "overlap", safetensors({"a": entry, "b": entry}, bytes(16)))
    write("safetensors", "metadata", safetensors({"__metadata__": {"a": "b"}, "W": entry}, bytes(16)))
    write("safetensors", "long", struct.pack("<Q", 1 << 63) + b"{}")


# ---- Pickles without PyTorch: functions of its names. ----

def pretend(module, **names):
    """Makes functions that pickle finds under their names, and that pickle calls nothing of."""
    parts = module.split(".")
    for i in range(len(parts)):
        sys.modules.setdefault(".".join(parts[:i + 1]), types.ModuleType(".".join(parts[:i + 1])))
    made = {}
    for name in names:
        def function(*args):
            raise AssertionError
        function.__module__, function.__qualname__, function.__name__ = module, name, name
        setattr(sys.modules[module], name, function)
        made[name] = function
    return types.SimpleNamespace(**made)


class Calls:
    def __init__(self, function, *args):
        self.what = function, args

    def __reduce__(self):
        return self.what


class Storage:
    def __init__(self, kind, key, elements):
        self.id = ("storage", kind, key, "cpu", elements)


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.id if isinstance(obj, Storage) else None


def dump(value, protocol=2):
    out = io.BytesIO()
    Pickler(out, protocol).dump(value)
    return out.getvalue()


def pickles():
    utils = pretend("torch._utils", _rebuild_tensor_v2=1, _rebuild_tensor_v3=1, _rebuild_parameter=1)
    torch = pretend("torch", FloatStorage=1, HalfStorage=1, BFloat16Storage=1, LongStorage=1, BoolStorage=1,
                    UntypedStorage=1, Size=1, device=1, float32=1, bfloat16=1, uint16=1)
    numpy = pretend("numpy", dtype=1)
    array = pretend("numpy.core.multiarray", scalar=1)

    def tensor(storage, offset, size, stride):
        return Calls(utils._rebuild_tensor_v2, storage, offset, size, stride, False, collections.OrderedDict())
    small = Storage(torch.FloatStorage, "0", 4)
    middle = Storage(torch.HalfStorage, "1", 32)
    large = Storage(torch.FloatStorage, "2", 256)
    write("pickle", "seed-matrix", dump({"w": tensor(small, 0, (2, 2), (2, 1))}))
    write("pickle", "seed-transposed", dump({"w": tensor(large, 3, (7, 11), (1, 7)), "b": tensor(large, 0, (5,), (2,))}))
    write("pickle", "seed-half", dump([tensor(middle, 2, (3, 4, 2), (8, 2, 1)), tensor(middle, 0, (), ())]))
    write("pickle", "seed-expanded", dump({"w": tensor(small, 1, (40, 3), (0, 1))}))
    write("pickle", "seed-parameter", dump({"w": Calls(utils._rebuild_parameter, tensor(small, 0, (4,), (1,)), True,
                                                       collections.OrderedDict())}))
    write("pickle", "seed-version3", dump({"w": Calls(utils._rebuild_tensor_v3, Storage(torch.UntypedStorage, "1", 64), 0,
                                                      (4, 8), (8, 1), False, {}, torch.uint16)}))
    write("pickle", "seed-types", dump({"l": tensor(Storage(torch.LongStorage, "1", 8), 0, (8,), (1,)),
                                        "b": tensor(Storage(torch.BoolStorage, "0", 16), 0, (4, 4), (4, 1)),
                                        "h": tensor(Storage(torch.BFloat16Storage, "1", 32), 0, (4, 8), (1, 4))}))
    plain = {"a": [1, -2, 1 << 40, 1 << 90, 2.5, "x", b"y", None, True, (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {5}],
             "size": Calls(torch.Size, (1, 2)), "device": Calls(torch.device, "cuda", 0), "dtype": torch.float32, 3: 4,
             "scalar": Calls(array.scalar, Calls(numpy.dtype, "f8", False, True), b"12345678"),
             "ordered": collections.OrderedDict([("b", 1), ("a", 2)])}
    for protocol in range(2, 6):
        write("pickle", f"seed-plain{protocol}", dump(plain, protocol))
    state = b"\x80\x02ccollections\nOrderedDict\n)R(X\1\0\0\0aK\1u}X\x09\0\0\0_metadataK\1sb."
    write("pickle", "seed-state", state)


# ---- Text. ----

def texts():
    write("json", "deep", "[" * 10000 + "]" * 10000)
    write("json", "deep-open", "{\"a\":" * 10000)
    write("json", "values", '{"a": [1, -2.5e-3, 1e300, true, false, null, "\\u00e9\\ud83d\\ude00\\n"], "b": {"c": {}}}')
    write("json", "twice", '{"a": 1, "a": 2}')
    write("json", "big", '{"n": 1' + "0" * 30 + ', "m": 3}')
    write("json", "surrogate", '["\\ud800"]')
    write("json", "zero", '["a\\u0000b"]')
    write("config", "wordnet-lm", read("data", "wordnet-lm", "config.json"))
    for family in sorted(os.listdir(os.path.join(TOP, "tests", "data", "families"))):
        write("config", family, read("tests", "data", "families", family, "config.json"))
    config = json.loads(read("data", "wordnet-lm", "config.json"))
    write("config", "several-eos", json.dumps({**config, "eos_token_id": [8191, 5, 5, 7], "pad_token_id": 9}))
    write("config", "large", json.dumps({**config, "n_layer": 1 << 40, "n_embd": 1 << 62}))
    write("config", "llama", json.dumps({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0, "hidden_act": "silu", "tie_word_embeddings": False,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64}}))
    write("config", "deep", "[" * 10000)
    write("config", "special-tokens", json.dumps({
        "eos_token_id": [3, 7, 300], "bos_token_id": 0, "eos_token": {"content": "<|endoftext|>"}, "pad_token": "<|end_of_text|>",
        "vocab_size": 400}))
    saelens = os.path.join(TOP, "tests", "data", "saelens")
    for name in sorted(os.listdir(saelens)):
        if os.path.isdir(os.path.join(saelens, name)):
            write("saelens", name, read("tests", "data", "saelens", name, "cfg.json"))
    for name in ["saelens-gated", "saelens-batchtopk"]:
        write("saelens", name, read("tests", "data", "formats", name, "cfg.json"))
    scaled = json.loads(read("tests", "data", "formats", "saelens-batchtopk", "cfg.json"))
    write("saelens", "scaled", json.dumps({**scaled, "scaling_factor": 1.5}))
    for name in ["wn-256", "wn-4096-meta"]:
        write("saelens", name, read("data", name, "cfg.json"))
    write("saelens", "deep", "{\"metadata\":" * 10000)


def formats():
    """In the order of fuzz_formats.c; then files of tensors."""
    here = os.path.join("tests", "data", "formats")
    for i, (name, *path) in enumerate([
            ("sparsify", "sparsify", "layers.5", "cfg.json"), ("gated", "dictionary-gated", "config.json"),
            ("batch_topk", "dictionary-batch_topk", "config.json"),
            ("jumprelu", "batchtopk-jumprelu", "gpt2-small_blocks.8.hook_resid_pre_48_jumprelu_6_0.0003_99", "config.json"),
            ("llama-scope", "llama-scope", "hyperparams.json"), ("llama-scope-r1", "llama-scope-r1", "config.json"),
            ("gemma-scope-2", "gemma-scope-2", "resid_post", "layer_12_width_16k_l0_medium", "config.json"),
            ("qwen-scope", "qwen-scope", "SAE-Res-Qwen3-1.7B-Base-W32K-L0_6", "config.json"),
            ("attention-saes", "attention-saes", "all", "gpt2-small_L5_Hcat_z_lr1.20e-03_ds48_v9_cfg.json")]):
        write("formats", name, bytes([i]) + read(here, *path))
        write("formats", name + "-empty", bytes([i]) + b"{}")
        write("formats", name + "-deep", bytes([i]) + b"[" * 10000)
    for name, *path in [("goodfire", "goodfire", "Llama-3.1-8B-Instruct-SAE-l19.pth"), ("plain-pt", "plain-pt", "checkpoint.pt"),
                        ("plain", "plain-safetensors", "mine.safetensors"), ("npz", "plain-npz", "mine.npz"),
                        ("openai", "square-openai", "0.pt"), ("qresearch", "qresearch", "one", "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"),
                        ("qwen", "qwen-scope-bare", "SAE-Res-Qwen3-1.7B-Base-W32K-L0_6", "layer3.sae.pt"),
                        ("goodfire-topk", "goodfire-topk", "topk.pt"), ("temporal", "others", "temporal", "latest_ckpt.safetensors"),
                        ("cross-layer", "others", "cross-layer", "W_dec_0.safetensors")]:
        write("formats", name, bytes([9]) + read(here, *path))


def byte_characters():
    """GPT-2's characters for bytes, in the order of the bytes."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(b if b in own else next(spare)) for b in range(256)]


def tokenizers():
    characters = byte_characters()
    merges = [("l", "o"), ("lo", "w"), (characters[32], "t"), ("e", "r"), ("h", "e"), (characters[32] + "t", "he")]
    vocabulary = {c: i for i, c in enumerate(characters + [a + b for a, b in merges])}
    end = {"id": len(vocabulary), "content": "<|endoftext|>", "special": True, "lstrip": False, "rstrip": True,
           "single_word": False, "normalized": False}
    def file(**changes):
        model = {"type": "BPE", "vocab": vocabulary, "merges": [f"{a} {b}" for a, b in merges],
                 **changes.pop("model", {})}
        return json.dumps({"version": "1.0", "added_tokens": [end], "normalizer": None,
                           "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                                             "use_regex": True},
                           "decoder": {"type": "ByteLevel"}, "model": model, **changes}, ensure_ascii=False)
    write("tokenizer", "small", file())
    write("tokenizer", "pairs", file(model={"merges": [list(m) for m in merges]}))
    write("tokenizer", "unknown-merge", file(model={"merges": ["q zz"]}))
    write("tokenizer", "fallback", file(model={"byte_fallback": True}))
    llama3 = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
              "|\\s+(?!\\S)|\\s+")
    without = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    for name, pattern in (("llama3", llama3), ("pattern", "^(a[b[c-d]]|\\h{2,}+)$|\\p{Han}++|(?<=x)\\x{e9}")):
        write("tokenizer", name, file(model={"ignore_merges": True}, normalizer={"type": "NFC"}, pre_tokenizer={
            "type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                                                  {"type": "Digits", "individual_digits": True}, without]}))
    # Tokens as SentencePiece has them.
    mark = "\u2581"
    pieces = ["<unk>", "<s>", mark, *"thelowrscat'12", *(f"<0x{b:02X}>" for b in range(256))]
    joins = [("t", "h"), ("th", "e"), (mark, "the"), ("l", "o"), ("lo", "w"), (mark, mark)]
    model = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "merges": joins,
             "vocab": {t: i for i, t in enumerate(pieces + [a + b for a, b in joins])}}
    blank = {"type": "Replace", "pattern": {"String": " "}, "content": mark}
    special = {**end, "id": 1, "content": "<s>", "rstrip": False}
    runs = [{**special, "id": len(pieces) + 5, "content": mark * 2, "special": False},
            {**special, "id": len(pieces) + 6, "content": "cat", "special": False, "single_word": True, "normalized": True}]
    write("tokenizer", "llama2", file(model=model, added_tokens=[special], pre_tokenizer=None, normalizer={
        "type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": mark}, blank]}))
    write("tokenizer", "gemma", file(model=model, added_tokens=[special, *runs], normalizer=blank, pre_tokenizer={
        "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}))
    for scheme, cut in (("first", False), ("always", True)):
        write("tokenizer", "metaspace-" + scheme, file(model=model, added_tokens=[special], pre_tokenizer={
            "type": "Metaspace", "replacement": mark, "prepend_scheme": scheme, "split": cut}))
    merged = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)
    for name, text in (("merges", merged), ("merges-unknown", merged + "q zz\n"), ("merges-open", merged + "l")):
        write("tokenizer", name, json.dumps({**vocabulary, "<|endoftext|>": len(vocabulary)}, ensure_ascii=False) + "\0" + text)
    write("tokenizer", "far", file(added_tokens=[{**end, "id": (1 << 22) - 1}]))
    write("tokenizer", "deep", "[" * 10000)


def commands():
    write("lexer", "demo", read("data", "demo.saescope"))
    write("lexer", "quotes", "echo 'a b' \"c\\\"d\\n\\x41\\u{e9}\" e\\ f; set top 3\nshow $top ${top} '$top' # end\n")
    write("lexer", "pipe", "list saes | grep wn > 'file'")
    write("lexer", "open", "echo \"abc")
    write("lexer", "continued", "echo a \\\n b ;;; ; #\n")
    write("lexer", "unknown", "echo $nothing")
    write("filter", "all", "density > 0.01 and not (max <= 2 or ev != .5) and fired >= 3 and mean < 1e9")
    write("filter", "label", "label ~ \"dogs.*\" or label !~ 'h\u00e9'")
    write("filter", "quoted", "label ~ \"a\\\"b\\\\d\"")
    write("filter", "deep", "(" * 70 + "fired > 1" + ")" * 70)
    write("filter", "not", "not " * 70 + "latent = 3")
    write("filter", "regex", "label ~ '(a+)+$'")
    write("filter", "wrong", "densty > 3")
    write("filter", "half", "meta_latents == ")


def rows():
    context = {"tokens": ["a", " b", "\u00e9"], "values": [0, 2.5, 0.25], "binMin": 2, "binMax": 3, "binContains": 0.5,
               "qualifyingTokenIndex": 1, "dataIndex": "17"}
    feature = {"modelId": "gpt2-small", "layer": "8-res-jb", "index": "3", "maxActApprox": 8.5, "frac_nonzero": 0.0125,
               "freq_hist_data_bar_heights": [40, 6, 3, 1], "freq_hist_data_bar_values": [1.5, 3.5, 5.5, 7.5],
               "pos_str": ["a"], "pos_values": [1.5], "neg_str": ["b", "c"], "neg_values": [-1.5, -1],
               "saescope": {"fired": 50, "tokens": 4000, "min": 0.5, "max": 8.5, "mean": 2}}
    lines = json.dumps(feature) + "\n" + json.dumps({**context, "index": 3}) + "\n"
    inside = {"tokens": ["a", "b"], "values": [0.1, 0.9], "bin_min": -1, "bin_max": 0.9, "bin_contains": -1,
              "qualifying_token_index": 0}
    dashboard = json.dumps({"model_id": "m", "features": [
        {"feature_index": 0, "n_prompts_total": 12, "n_tokens_in_prompt": 100, "activations": [inside]},
        {"feature_index": 1, "pos_str": ["}\"]"], "pos_values": [1]}], "after": {"features": [{}]}})
    write("rows", "lines", lines)
    write("rows", "lines-gzip", gzip.compress(lines.encode(), mtime=0))
    write("rows", "cut-gzip", gzip.compress(lines.encode(), mtime=0)[:-9])
    write("rows", "dashboard", dashboard)
    write("rows", "open", dashboard[:-3])
    explanation = {"modelId": "gpt2-small", "layer": "8-res-jb", "index": "3", "description": "names of \u00e9", "typeName": "x"}
    write("rows", "explanations", "".join(json.dumps({**explanation, **c}) + "\n" for c in (
        {"createdAt": "2024-08-01"}, {"createdAt": "2024-09-01", "description": "later"}, {"index": 5, "description": None},
        {"index": 99}, {"index": "7", "createdAt": None})))
    write("rows", "large", '{"freq_hist_data_bar_heights":[4e9,4e9],"freq_hist_data_bar_values":[1,2]}\n{"frac_nonzero":2}\n')


containers()
headers()
pickles()
texts()
tokenizers()
formats()
commands()
rows()
