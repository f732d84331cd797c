#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares what saescope says about random latents with a brute-force computation in NumPy and PyTorch.

    latents.py PROGRAM STORE SAE MODEL_FOLDER TEXT_FILE SAE_FOLDER [NUMBER OF LATENTS]

STORE holds the model, the text and the SAE (already indexed on the whole text); the folders and the file are what
they were imported from. Statistics, histograms, contexts, logits and neighbours of the latents are compared, and what
`encode` says about the text's first lines. Latents with a pre-activation within 1e-4·(1+|θ|) of their threshold are
counted and left out of the comparison of counts. Prints TAP.
"""
import json
import os
import random
import subprocess
import sys

try:
    import numpy as np
    import torch
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import GPT2LMHeadModel
except ImportError as missing:
    print(f"1..0 # SKIP the Python package {missing.name} is not installed")
    sys.exit(0)

program, store, name, model_folder, text_file, sae_folder = sys.argv[1:7]
number = int(sys.argv[7]) if len(sys.argv) > 7 else 50


def run(*words):
    return json.loads(subprocess.run([program, "-S", store, "--json", *words], check=True, capture_output=True).stdout)


def close(a, b, tolerance=1e-3):
    return abs(a - b) <= tolerance * (1 + abs(b))


# ---- The brute force. ----
tokenizer = Tokenizer.from_file(os.path.join(model_folder, "tokenizer.json"))
model = GPT2LMHeadModel.from_pretrained(model_folder).float().eval()
with open(os.path.join(sae_folder, "cfg.json")) as f:
    config = json.load(f)
weights = {k: v.float() for k, v in load_file(os.path.join(sae_folder, "sae_weights.safetensors")).items()}
metadata = config.get("metadata", config)
size, bos = metadata["context_size"], model.config.bos_token_id
layer = int(metadata["hook_name"].split(".")[1])
assert metadata["hook_name"].endswith("hook_resid_pre") and config["architecture"] == "jumprelu"
shift = weights["b_dec"] if config["apply_b_dec_to_input"] else torch.zeros_like(weights["b_dec"])
threshold = weights["threshold"]


def preactivations(ids):
    with torch.no_grad():
        x = model(ids, output_hidden_states=True).hidden_states[layer]
    return (x - shift) @ weights["W_enc"] + weights["b_enc"]


def cut(documents):
    contexts, current = [], []
    for document in documents:
        if current:
            current.append(bos)
            if len(current) == size:
                contexts.append(current)
                current = []
        for token in document:
            current = current or [bos]
            current.append(token)
            if len(current) == size:
                contexts.append(current)
                current = []
    return np.array(contexts)


with open(text_file, encoding="utf-8") as f:
    lines = [line for line in f.read().split("\n") if line]
contexts = cut([e.ids for e in tokenizer.encode_batch(lines)])
counted = contexts != bos
chosen = sorted(random.Random(1).sample(range(config["d_sae"]), min(number, config["d_sae"])))
acts = np.empty((len(chosen), *contexts.shape), dtype=np.float32)
near = np.zeros(len(chosen), dtype=int)
for first in range(0, len(contexts), 64):
    p = preactivations(torch.tensor(contexts[first:first + 64]))[..., chosen]
    limit = threshold[chosen]
    part = (p.clamp(min=0) * (p > limit)).numpy()
    mask = counted[first:first + 64]
    acts[:, first:first + 64] = np.moveaxis(part * mask[..., None], -1, 0)
    close_by = ((p - limit).abs() <= 1e-4 * (1 + limit.abs())).numpy() & mask[..., None]
    near += close_by.sum((0, 1))

W_dec = weights["W_dec"].numpy().astype(np.float64)
unit = W_dec / np.maximum(np.linalg.norm(W_dec, axis=1, keepdims=True), 1e-30)
W_U = model.lm_head.weight.detach().numpy().astype(np.float64).T


# ---- Comparisons: each gives a list of what is wrong. ----
def statistics(shown, a, is_near):
    fired = int((a > 0).sum())
    wrong = [] if shown["tokens"] == counted.sum() else ["tokens"]
    if shown["fired"] != fired and not is_near:
        wrong.append(f"fired {shown['fired']}, not {fired}")
    if fired and not (close(shown["max"], a.max()) and close(shown["mean"], a[a > 0].mean(), 2e-3)):
        wrong.append("max or mean")
    if not close(shown["density"], fired / counted.sum(), 2e-3):
        wrong.append("density")
    return wrong


def histogram(shown, a):
    values = a[a > 0]
    if not len(values):
        return []
    edges = np.linspace(values.min(), values.max(), 51)
    counts = np.histogram(values, edges)[0]
    wrong = [] if np.allclose(shown["edges"], edges, rtol=1e-3, atol=1e-3) else ["edges"]
    # A value within rounding of an edge may lie on either side.
    if abs(sum(shown["counts"]) - len(values)) > 2 or np.abs(counts - shown["counts"]).sum() > 4 + 0.01 * len(values):
        wrong.append("counts")
    return wrong


def window(context, position):
    return tuple(contexts[context, max(0, position - 16):position + 17]), min(position, 16)


def check_contexts(shown, a):
    wrong = []
    top = [c for c in shown if c["interval"] is None]
    peaks = a.max(1)
    order = sorted((c for c in range(len(a)) if peaks[c] > 0), key=lambda c: (-peaks[c], c))
    seen, wanted = set(), []
    for c in order:
        w = window(c, int(a[c].argmax()))
        if w not in seen and len(wanted) < 20:
            seen.add(w)
            wanted.append(c)
    if len(top) != len(wanted):
        wrong.append(f"{len(top)} top contexts, not {len(wanted)}")
    for c, w in zip(top, wanted):
        if not close(c["activation"], peaks[w]) or not close(a[c["context"], c["position"]], peaks[c["context"]]):
            wrong.append(f"top context {c['context']}")
    for c in shown:
        row, begin, n = c["context"], c["offset"], len(c["ids"])
        if list(contexts[row, begin:begin + n]) != c["ids"]:
            wrong.append(f"ids of context {row}")
        if not np.allclose(a[row, begin:begin + n], c["activations"], rtol=1e-3, atol=2e-3):
            wrong.append(f"activations of context {row}")
    largest = a.max() if a.size else 0
    for j in range(5):
        here = [c for c in shown if c["interval"] == j]
        inside = (a > j * largest / 5) & (a <= (j + 1) * largest / 5)
        if len(here) > 5 or any(not (j - 0.01) * largest / 5 < c["activation"] < (j + 1.01) * largest / 5 for c in here):
            wrong.append(f"interval {j}")
        if len({window(*map(int, place)) for place in np.argwhere(inside)}) >= 10 and len(here) != 5:
            wrong.append(f"{len(here)} contexts of interval {j}")
    return wrong


def logits(shown, latent):
    values = W_dec[latent] @ W_U
    down = np.sort(values)
    wrong = []
    for sign, part, best in (1, shown["positive"], down[::-1]), (-1, shown["negative"], down):
        for entry, value in zip(part, best):
            if not close(entry["value"], value) or not close(values[entry["id"]], value):
                wrong.append(f"logit of {entry['token']}")
        if len(part) < 5:
            wrong.append("too few logits")
    return wrong


def neighbors(shown, latent):
    cosines = unit @ unit[latent]
    cosines[latent] = -9
    best = np.sort(cosines)[::-1]
    return [f"neighbor {n['latent']}" for n, c in zip(shown["neighbors"], best)
            if not close(n["cosine"], c) or not close(cosines[n["latent"]], c)] or (
                [] if shown["neighbors"] else ["no neighbors"])


def encodings():
    wrong = []
    for line in lines[:5]:
        ids = [bos] + tokenizer.encode(line).ids
        ids = ids[:model.config.n_positions]
        p = preactivations(torch.tensor([ids]))[0]
        f = (p.clamp(min=0) * (p > threshold)).numpy()
        shown = run("encode", name, line)["tokens"]
        if [t["id"] for t in shown] != ids:
            wrong.append(f"tokens of {line[:20]}")
        for t in shown:
            row = f[t["position"]] if t["position"] else np.zeros_like(f[0])
            # Each activation as it is here, and as many; near the threshold both may be right.
            certain = (row > 0) & ((p[t["position"]] - threshold).numpy() > 1e-4)
            listed = {x["latent"]: x["activation"] for x in t["latents"]}
            if not set(np.flatnonzero(certain)) <= set(listed) or any(not close(v, row[i], 2e-3) for i, v in listed.items()):
                wrong.append(f"position {t['position']} of {line[:20]}")
    return wrong


checks = {"statistics": [], "histogram": [], "contexts": [], "logits": [], "neighbors": []}
for i, latent in enumerate(chosen):
    address = f"{name}/{latent}"
    shown = run("show", address)
    results = {
        "statistics": statistics(shown, acts[i], near[i] > 0),
        "histogram": histogram(shown["histogram"], acts[i]) if shown["fired"] and not near[i] else [],
        "contexts": check_contexts(shown["contexts"], acts[i]) if not near[i] else [],
        "logits": logits(run("logits", address)["logits"], latent),
        "neighbors": neighbors(run("neighbors", address), latent),
    }
    for check, wrong in results.items():
        checks[check] += [f"{address}: {w}" for w in wrong]
checks["encode"] = encodings()
print(f"# {len(chosen)} latents over {int(counted.sum())} tokens; {(near > 0).sum()} with values near their threshold")
print(f"1..{len(checks)}")
for i, (check, wrong) in enumerate(checks.items(), 1):
    for w in wrong[:10]:
        print("#", w)
    print(f"{'not ok' if wrong else 'ok'} {i} - {check}")
sys.exit(any(checks.values()))
