#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares a store's index with a brute-force computation in NumPy.

    python3 tests/reference/index.py STORE [SAE ...] [--saescope PROGRAM] [--model DIR] [--text FILE]

Tokens (by the tokenizers library), contexts, the forward pass, the encoder, statistics, top and sampled contexts, logits and
nearest decoder rows are computed here, from the model's folder, the text's file and the weights that `saescope export
sae` writes; then `saescope --json show` of random latents must say the same. Tokens whose
pre-activation lies within 1e-4 (1 + |threshold|) of the threshold may fire or not. Exits with 1 when something differs. Without SAE names: all SAEs of the store that are
indexed; meta-SAEs are compared by their members.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(0)

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "..", "data")
WINDOW = 16
MASK = (1 << 64) - 1


# ---- Text and contexts.
def read_contexts(tokenizer, path, size, prepend_bos, bos, counted_wanted):
    """The first contexts that have counted_wanted counted tokens, [n, size]."""
    contexts, current, counted = [], [], 0
    with open(path, "rb") as f:
        lines = f.read().split(b"\n")
    for at in range(0, len(lines), 2000):
        chunk = [line[:-1] if line.endswith(b"\r") else line for line in lines[at:at + 2000]]
        for encoding in tokenizer.encode_batch([c.decode() for c in chunk if c]):
            document, i = encoding.ids, 0
            while i < len(document):
                if prepend_bos and (i == 0 or not current) and document[i] != bos:
                    current.append(bos)
                take = min(size - len(current), len(document) - i)
                current += document[i:i + take]
                i += take
                if len(current) >= size:
                    contexts.append(current)
                    counted += sum(t != bos for t in current)
                    current = []
                    if counted >= counted_wanted:
                        return np.array(contexts, dtype=np.int64), counted
    return np.array(contexts, dtype=np.int64), counted


# ---- GPT-2 up to a residual stream.
def layer_norm(x, w, b, eps):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w + b


def residual_stream(p, config, ids, layer):
    """blocks.LAYER.hook_resid_pre of contexts ids [n, length], float32."""
    n, length = ids.shape
    d, heads = config["n_embd"], config["n_head"]
    eps = config["layer_norm_epsilon"]
    x = p["wte.weight"][ids] + p["wpe.weight"][:length]
    mask = np.triu(np.full((length, length), -np.inf, dtype=np.float32), 1)
    for i in range(layer):
        w = {k[len(f"h.{i}."):]: v for k, v in p.items() if k.startswith(f"h.{i}.")}
        h = layer_norm(x, w["ln_1.weight"], w["ln_1.bias"], eps)
        qkv = h @ w["attn.c_attn.weight"] + w["attn.c_attn.bias"]
        q, k, v = (t.reshape(n, length, heads, d // heads).transpose(0, 2, 1, 3) for t in np.split(qkv, 3, -1))
        scores = q @ k.transpose(0, 1, 3, 2) / np.float32(math.sqrt(d // heads)) + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        z = (scores / scores.sum(-1, keepdims=True)) @ v
        x = x + z.transpose(0, 2, 1, 3).reshape(n, length, d) @ w["attn.c_proj.weight"] + w["attn.c_proj.bias"]
        h = layer_norm(x, w["ln_2.weight"], w["ln_2.bias"], eps)
        h = h @ w["mlp.c_fc.weight"] + w["mlp.c_fc.bias"]
        h = 0.5 * h * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (h + np.float32(0.044715) * h**3)))
        x = x + h @ w["mlp.c_proj.weight"] + w["mlp.c_proj.bias"]
    return x


# ---- The hash that samples.
def splitmix(state):
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
    return z ^ z >> 31


def hash_mix(*parts):
    state = 0
    for p in parts:
        state = splitmix(state ^ p)
    return state


# ---- The program.
class Program:
    def __init__(self, path, store):
        self.start = [path, "--json", "-S", store]

    def __call__(self, *words):
        out = subprocess.run(self.start + list(words), stdout=subprocess.PIPE, check=True).stdout
        return json.loads(out)


class Checks:
    def __init__(self):
        self.done = self.failed = 0

    def __call__(self, good, message):
        self.done += 1
        if not good:
            self.failed += 1
            if self.failed <= 40:
                print("DIFFERS:", message)


def close(a, b, relative=2e-4):
    return a is not None and b is not None and abs(a - b) <= relative * (1 + abs(b))


def load_sae(program, name, directory):
    target = os.path.join(directory, name)
    program("export", "sae", name, target)
    weights = load_file(os.path.join(target, "sae_weights.safetensors"))
    with open(os.path.join(target, "cfg.json")) as f:
        config = json.load(f)
    return {k: v.astype(np.float64) for k, v in weights.items()}, config


def pre_activations(weights, config, x, latents):
    """[rows, latents] in float64, and the thresholds."""
    if config["apply_b_dec_to_input"]:
        x = x - weights["b_dec"]
    p = x @ weights["W_enc"][:, latents]
    if "b_enc" in weights:
        p = p + weights["b_enc"][latents]
    threshold = weights["threshold"][latents] if "threshold" in weights else np.zeros(len(latents))
    return p, np.maximum(threshold, 0)


# ---- What one latent must look like.
def check_statistics(check, where, shown, sure, maybe):
    """sure: activations that must be there, maybe: those near the threshold."""
    n = len(sure)
    check(n <= shown["fired"] <= n + len(maybe), f"{where}: fired {shown['fired']}, not {n} (+{len(maybe)})")
    check(close(shown["density"], shown["fired"] / shown["tokens"], 1e-8), f"{where}: density {shown['density']}")
    if n == 0:
        return
    check(close(shown["max"], sure.max()), f"{where}: max {shown['max']}, not {sure.max()}")
    every = np.concatenate([sure, maybe])
    low, high = (every.sum() / len(every), sure.mean()) if len(maybe) else (sure.mean(), sure.mean())
    check(min(low, high) - 2e-4 * (1 + high) <= shown["mean"] <= max(low, high) + 2e-4 * (1 + high),
          f"{where}: mean {shown['mean']}, not {sure.mean()}")
    edges, counts = np.array(shown["histogram"]["edges"]), np.array(shown["histogram"]["counts"])
    check(len(edges) == 51 and len(counts) == 50, f"{where}: {len(edges)} edges")
    check(counts.sum() == shown["fired"], f"{where}: the histogram has {counts.sum()} of {shown['fired']}")
    check(np.allclose(edges, np.linspace(edges[0], edges[-1], 51), rtol=1e-6), f"{where}: edges are not equal")
    check(every.min() - 2e-4 * (1 + every.min()) <= edges[0] <= sure.min() + 2e-4 * (1 + sure.min()),
          f"{where}: first edge {edges[0]}, not {sure.min()}")
    below = np.concatenate([[0], np.cumsum(counts)])
    for edge, count in zip(edges[:-1], below[:-1]):
        tolerance = 2e-4 * (1 + edge)
        check((sure < edge - tolerance).sum() <= count <= (every < edge + tolerance).sum(),
              f"{where}: {count} activations below {edge}")


def window_key(ids, context, position):
    start = max(0, position - WINDOW)
    return position - start, tuple(ids[context, start:position + WINDOW + 1])


def check_window(check, where, c, ids, activations):
    """activations: negative where the latent may as well not fire."""
    context, position, offset = c["context"], c["position"], c["offset"]
    length = len(c["ids"])
    check(c["ids"] == ids[context, offset:offset + length].tolist(), f"{where}: tokens of context {context}")
    expected = activations[context, offset:offset + length]
    check(all(close(a, abs(b)) or (b < 0 and a == 0) for a, b in zip(c["activations"], expected)),
          f"{where}: activations of context {context}")
    check(close(c["activation"], abs(activations[context, position])),
          f"{where}: {c['activation']} at {context}/{position}, not {abs(activations[context, position])}")


def check_contexts(check, where, shown, ids, activations, latent, seed):
    """activations [contexts, length] of the latent: certain ones and, negative where they may be 0, doubtful ones."""
    certain = np.where(activations > 0, activations, 0)
    top = [c for c in shown["contexts"] if c["interval"] is None]
    values = [c["activation"] for c in top]
    check(values == sorted(values, reverse=True), f"{where}: top contexts are not in order")
    check(len({c["context"] for c in top}) == len(top), f"{where}: a context is twice in the top ones")
    windows = {window_key(ids, c["context"], c["position"]) for c in top}
    check(len(windows) == len(top), f"{where}: a window is twice in the top ones")
    for c in shown["contexts"]:
        check_window(check, where, c, ids, activations)
    if certain.max() <= 0:
        return
    peaks = certain.max(1)
    positions = certain.argmax(1)
    floor = values[-1] if len(top) == 20 else 0
    for context in np.flatnonzero(peaks > floor * (1 + 5e-4)):
        if context not in {c["context"] for c in top}:
            check(window_key(ids, context, positions[context]) in windows,
                  f"{where}: context {context} with {peaks[context]} is not among the top ones (from {floor})")
    check_intervals(check, where, shown, ids, activations, latent, seed)


def check_intervals(check, where, shown, ids, activations, latent, seed):
    high = shown["max"]
    for interval in range(5):
        low_edge, high_edge = interval * high / 5, (interval + 1) * high / 5
        got = [(c["context"], c["position"]) for c in shown["contexts"] if c["interval"] == interval]
        for context, position in got:
            a = abs(activations[context, position])
            check(low_edge - 1e-3 <= a <= high_edge + 1e-3, f"{where}: {a} is not in interval {interval}")
        margin = 2e-4 * (1 + high)
        places = np.argwhere((np.abs(activations) > low_edge - margin) & (np.abs(activations) <= high_edge + margin) &
                             (activations != 0))
        doubtful = {(c, p) for c, p in places.tolist() if activations[c, p] < 0 or
                    min(abs(activations[c, p] - low_edge), abs(activations[c, p] - high_edge)) <= margin}
        if interval == 4:
            doubtful -= {(c, p) for c, p in doubtful if activations[c, p] > high_edge - margin}
        hashed = sorted((hash_mix(seed, latent, c, p), (c, p)) for c, p in places.tolist())
        expected, seen, unsure = [], set(), False
        for _, place in hashed:
            key = window_key(ids, *place)
            if key in seen:
                continue
            if place in doubtful:
                unsure = True
            seen.add(key)
            expected.append(place)
            if len(expected) == 5:
                break
        if not unsure:
            check(sorted(expected) == sorted(got), f"{where}: interval {interval} has {got}, not {expected}")


def check_logits(check, where, shown, direction, unembedding):
    logits = direction @ unembedding
    for part, sign in (("positive", 1), ("negative", -1)):
        rows = shown["logits"][part]
        check(len(rows) > 0, f"{where}: no {part} logits")
        for r in rows:
            check(close(r["value"], logits[r["id"]]), f"{where}: logit of {r['id']}: {r['value']}, not {logits[r['id']]}")
        best = np.sort(sign * logits)[::-1][:len(rows)]
        check(np.allclose([sign * r["value"] for r in rows], best, atol=2e-4, rtol=2e-4), f"{where}: {part} logits")


def unit_rows(w):
    norms = np.linalg.norm(w, axis=1, keepdims=True)
    return w / np.where(norms > 0, norms, 1)


def check_neighbors(check, where, program, name, latent, rows, others):
    """rows, and others by name, are unit decoder rows."""
    for other, other_rows in others.items():
        if other_rows.shape[1] != rows.shape[1]:
            continue
        cosines = other_rows @ rows[latent]
        if other == name:
            cosines[latent] = -2
        shown = program("neighbors", f"{name}/{latent}", "--in", other)["neighbors"]
        for n in shown:
            check(close(n["cosine"], cosines[n["latent"]]), f"{where}: cosine {n['cosine']} to {other}/{n['latent']}")
        best = np.sort(cosines)[::-1][:len(shown)]
        check(np.allclose([n["cosine"] for n in shown], best, atol=2e-4), f"{where}: nearest latents of {other}")


# ---- SAEs and meta-SAEs.
def check_sae(check, program, args, name, info, weights, config, others, rng):
    with open(os.path.join(args.model, "config.json")) as f:
        model_config = json.load(f)
    p = {k.removeprefix("transformer."): v.astype(np.float32)
         for k, v in load_file(os.path.join(args.model, "model.safetensors")).items()}
    tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    bos = model_config["bos_token_id"]
    ids, counted = read_contexts(tokenizer, args.text, info["context_size"], info["prepend_bos"], bos,
                                 info["indexed_tokens"])
    check(counted == info["indexed_tokens"], f"{name}: {info['indexed_tokens']} tokens, not {counted}")
    hook = info["hook"].split(".")
    if hook[0] != "blocks" or hook[2] != "hook_resid_pre":
        print(f"{name}: hook {info['hook']} is not computed here; left out")
        return
    listed = program("latents", name, "--sort", "latent", "--limit", str(info["d_sae"]))["latents"]
    fired = {r["latent"]: r["fired"] for r in listed}
    check(sorted(fired) == list(range(info["d_sae"])), f"{name}: {len(fired)} of {info['d_sae']} latents are listed")
    latents = np.sort(rng.choice(info["d_sae"], min(args.latents, info["d_sae"]), replace=False))
    activations = np.zeros((len(latents),) + ids.shape, dtype=np.float64)
    for at in range(0, len(ids), 32):
        x = residual_stream(p, model_config, ids[at:at + 32], int(hook[1])).astype(np.float64)
        if info["center_activations"]:
            x = x - x.mean(-1, keepdims=True)
        pre, threshold = pre_activations(weights, config, x, latents)
        margin = 1e-4 * (1 + threshold)
        value = np.where(pre > threshold + margin, pre, np.where(pre > threshold - margin, -np.abs(pre), 0))
        value[ids[at:at + 32] == bos] = 0
        activations[:, at:at + 32] = value.transpose(2, 0, 1)
    rows = unit_rows(weights["W_dec"])
    doubtful = 0
    for i, latent in enumerate(latents.tolist()):
        shown = program("show", f"{name}/{latent}")
        where = f"{name}/{latent}"
        a = activations[i]
        doubtful += (a < 0).sum()
        check(shown["tokens"] == counted, f"{where}: tokens {shown['tokens']}")
        check(shown["fired"] == fired.get(latent), f"{where}: `latents` says another count")
        check_statistics(check, where, shown, a[a > 0], -a[a < 0])
        check_contexts(check, where, shown, ids, a, latent, args.seed)
        check_logits(check, where, shown, weights["W_dec"][latent], p["wte.weight"].T.astype(np.float64))
        check_neighbors(check, where, program, name, latent, rows, others)
    print(f"{name}: {len(latents)} latents, {(activations > 0).sum()} firings, {doubtful} near the threshold")


def check_meta(check, program, args, name, weights, config, base, rng):
    """The members of meta-latents: the base's unit rows, encoded."""
    norms = np.linalg.norm(base["W_dec"], axis=1)
    kept = np.flatnonzero(norms > 0)
    rows = base["W_dec"][kept] / norms[kept, None]
    d_sae = weights["W_enc"].shape[1]
    latents = np.sort(rng.choice(d_sae, min(args.latents, d_sae), replace=False))
    pre, threshold = pre_activations(weights, config, rows, latents)
    margin = 1e-4 * (1 + threshold)
    for i, latent in enumerate(latents.tolist()):
        where = f"{name}/{latent}"
        shown = program("show", f"{name}/{latent}")
        if shown["fired"] is None:
            print(f"{name}: not indexed; left out")
            return
        sure = pre[pre[:, i] > threshold[i] + margin[i], i]
        near = pre[np.abs(pre[:, i] - threshold[i]) <= margin[i], i]
        check(shown["tokens"] == len(kept), f"{where}: tokens {shown['tokens']}, not {len(kept)} rows")
        check(shown["contexts"] == [], f"{where}: a meta-latent has contexts")
        check_statistics(check, where, shown, sure, near)
        members = {m["latent"]: m["activation"] for m in program("members", f"{name}/{latent}")["members"]}
        for latent_of_base, activation in members.items():
            row = np.flatnonzero(kept == latent_of_base)[0]
            check(close(activation, pre[row, i]), f"{where}: member {latent_of_base} with {activation}, not {pre[row, i]}")
    print(f"{name}: {len(latents)} meta-latents over {len(kept)} rows")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("store")
    parser.add_argument("saes", nargs="*")
    parser.add_argument("--saescope", default=os.environ.get("SAESCOPE", "saescope"))
    parser.add_argument("--model", default=os.path.join(DATA, "wordnet-lm"))
    parser.add_argument("--text", default=os.path.join(DATA, "wordnet.txt"))
    parser.add_argument("--latents", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the index's samples")
    parser.add_argument("--choice", type=int, default=0, help="seed of the choice of latents")
    args = parser.parse_args()
    program, check = Program(args.saescope, args.store), Checks()
    listed = [s for s in program("list")["saes"] if s["indexed_tokens"] or s["kind"] == "meta"]
    chosen = [s for s in listed if not args.saes or s["name"] in args.saes]
    with tempfile.TemporaryDirectory() as directory:
        loaded = {s["name"]: load_sae(program, s["name"], directory) for s in listed}
        others = {s["name"]: unit_rows(loaded[s["name"]][0]["W_dec"]) for s in listed if s["kind"] == "sae"}
        for s in chosen:
            weights, config = loaded[s["name"]]
            rng = np.random.default_rng(args.choice)
            if s["kind"] == "meta":
                check_meta(check, program, args, s["name"], weights, config, loaded[s["base"]][0], rng)
            else:
                info = program("info", s["name"])
                check_sae(check, program, args, s["name"], info, weights, config, others, rng)
    print(f"{check.done} comparisons, {check.failed} differ")
    return 1 if check.failed or not check.done else 0


if __name__ == "__main__":
    sys.exit(main())
