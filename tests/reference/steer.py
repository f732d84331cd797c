#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reference values of steered passes of the demo model and of edited decoder rows, in float64 NumPy.

Prints tests/unit/steer_golden.h. The SAEs are made of a hash, so that test_steer.c makes the same ones.

    tests/reference/steer.py data/wordnet-lm > tests/unit/steer_golden.h
"""
import json
import pathlib
import sys

try:
    import numpy as np
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
    from gpt2 import forward, numbers
except ImportError as missing:
    sys.exit(f"skipped: {missing.name} is not installed")

HOOK = "blocks.2.hook_resid_pre"
PROMPT = "Smith is the writer: English"
ANSWER = " general who was"
D, WIDTH, META_WIDTH = 256, 96, 24
SAMPLES = 12
GENERATED = 6


def hashed(rows, columns, salt):
    """In [-1, 1): a product hash of row, column and salt."""
    i, j = np.meshgrid(np.arange(rows, dtype=np.uint64), np.arange(columns, dtype=np.uint64), indexing="ij")
    low = np.uint64(0xFFFFFFFF)
    x = (i * np.uint64(73856093)) ^ (j * np.uint64(19349663)) ^ np.uint64(salt * 83492791)
    for _ in range(2):
        x &= low
        x ^= x >> np.uint64(15)
        x = (x * np.uint64(0x2C1B3C6D)) & low
    return (x.astype(np.float64) / 2**31 - 1).astype(np.float32)


class Sae:
    def __init__(self, d_sae, salt, threshold, normalize=False, center=False):
        self.enc, self.dec = hashed(d_sae, D, salt), hashed(d_sae, D, salt + 1)
        # Near a sixteenth of a length of one, without a root that C would have to round alike.
        self.enc, self.dec = self.enc * np.float32(0.125), self.dec * np.float32(0.125)
        self.b_dec = hashed(1, D, salt + 2)[0] * np.float32(0.0625)
        self.enc, self.dec, self.b_dec = (x.astype(np.float64) for x in (self.enc, self.dec, self.b_dec))
        self.threshold, self.normalize, self.center = threshold, normalize, center

    def read(self, h):
        return h - h.mean(-1, keepdims=True) if self.center else h

    def sigma(self, z):
        return z.std(-1, ddof=1, keepdims=True) + 1e-5 if self.normalize else np.ones(z.shape[:-1] + (1,))

    def encode(self, z):
        x = (z - z.mean(-1, keepdims=True)) / self.sigma(z) if self.normalize else z
        p = (x - self.b_dec) @ self.enc.T
        assert np.abs(p - self.threshold).min() > 1e-6
        return np.where(p > self.threshold, p, 0)

    def decode(self, f):
        return f @ self.dec + self.b_dec


def meta_activations(sae, meta):
    norms = np.linalg.norm(sae.dec, axis=1, keepdims=True)
    return meta.encode(sae.dec / norms), norms[:, 0]


def changed(kind, a, x):
    return {"scale": x * a, "clamp": x + 0 * a, "remove": 0 * a}[kind]


def additive(h, edits, meta):
    """What the edits (SAE, latent, kind, value) add to h, all reading the same h."""
    total = np.zeros_like(h)
    for sae, latent, kind, x in edits:
        row = sae.dec[latent]
        if kind == "add":
            total += x * row
        elif isinstance(meta, tuple) and sae is meta[0]:
            base = meta[1]
            z = base.read(h)
            u, norms = meta_activations(base, sae)
            u = u[:, latent]
            change = np.where(u > 0, norms * (changed(kind, u, x) - u), 0)
            total += (base.sigma(z)[..., 0] * (base.encode(z) @ change))[..., None] * row
        else:
            z = sae.read(h)
            a = sae.encode(z)[..., latent]
            new = a[..., None] * (x - row) if kind == "row" else (changed(kind, a, x) - a)[..., None] * row
            total += sae.sigma(z) * new
    return total


def orthogonal(h, edits):
    for sae, latent, kind, x in edits:
        row = sae.dec[latent]
        p = sae.read(h) @ row / (row @ row)
        to = x * p if kind in ("add", "scale") else x + 0 * p if kind == "clamp" else 0 * p
        h = h + (to - p)[..., None] * row
    return h


def change_of(edits, meta=None, method="additive", positions=None):
    def change(h):
        new = h + additive(h, edits, meta) if method == "additive" else orthogonal(h, edits)
        out = h.copy()
        chosen = range(1, h.shape[1]) if positions is None else positions  # BOS is left alone
        for t in chosen:
            out[:, t] = new[:, t]
        return out

    return {HOOK: change}


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def edited_row(sae, meta, latent, removed, added, residual, raw):
    row = sae.dec[latent]
    norm = np.linalg.norm(row)
    r = row / norm
    u = meta.encode(r[None])[0]
    new = u.copy()
    new[removed] = 0
    for j, value in added.items():
        new[j] = value
    if raw:
        out = r + raw * (sum(meta.dec[j] for j in added) - sum(meta.dec[j] for j in removed))
    else:
        out = meta.decode(new) + (r - meta.decode(u) if residual else 0)
    return out * norm / np.linalg.norm(out)


def often_active(sae, h, n):
    """The latents that fire on the most positions, in their order."""
    fired = (sae.encode(sae.read(h))[0, 1:] > 0).sum(0)
    return [int(i) for i in sorted(np.argsort(-fired, kind="stable")[:n])]


def main(folder):
    config = json.loads((folder / "config.json").read_text())
    w = {k: v.astype(np.float64) for k, v in load_file(folder / "model.safetensors").items()}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt = [config["bos_token_id"]] + tokenizer.encode(PROMPT).ids
    answer = tokenizer.encode(ANSWER).ids
    tokens = np.array([prompt])
    hooks, logits = forward(w, config, tokens)
    h = hooks[HOOK]
    plain = Sae(WIDTH, 10, 0.75)
    normed = Sae(WIDTH, 20, 0.5, normalize=True, center=True)
    meta = Sae(META_WIDTH, 30, 0.03)
    a, b = often_active(plain, h, 4), often_active(normed, h, 3)
    u = meta_activations(plain, meta)[0]
    m = [int(i) for i in np.argsort(-(u > 0).sum(0), kind="stable")[:3]]
    parts = np.nonzero(u[a[0]])[0]
    removed, added = [int(parts[0]), int(parts[2])], {int(np.nonzero(u[a[0]] == 0)[0][0]): 0.4}
    rows = {
        "rebuilt": edited_row(plain, meta, a[0], removed, added, False, 0),
        "residual": edited_row(plain, meta, a[0], removed, added, True, 0),
        "raw": edited_row(plain, meta, a[0], removed, added, False, 3.0),
    }
    additive_edits = [(plain, a[0], "add", 6.5), (plain, a[1], "scale", 2.5), (plain, a[2], "clamp", 9.0), (plain, a[3], "remove", 0)]
    cases = {
        "latents": (additive_edits, None, "additive", None),
        "range": (additive_edits, None, "additive", range(0, 4)),
        "normalized": ([(normed, b[0], "scale", -1.0), (normed, b[1], "clamp", 3.0), (normed, b[2], "remove", 0)], None, "additive", None),
        "meta": ([(meta, m[0], "remove", 0), (meta, m[1], "scale", 3.0), (meta, m[2], "clamp", 0.5), (meta, m[0], "add", 4.0)],
                 (meta, plain), "additive", None),
        "orthogonal": ([(plain, a[0], "add", 0.25), (normed, b[0], "clamp", 4.0), (plain, a[2], "remove", 0), (meta, m[1], "scale", -2.0)],
                       None, "orthogonal", None),
        "row": ([(plain, a[0], "row", rows["rebuilt"])], None, "additive", None),
    }
    names = {id(plain): 0, id(normed): 1, id(meta): 2}
    kinds = ["add", "scale", "clamp", "remove", "row"]
    print("/* SPDX-License-Identifier: GPL-3.0-or-later */")
    print("/* Made by tests/reference/steer.py: steered passes of the demo model in float64. */")
    print(f'#define GOLDEN_PROMPT "{PROMPT}"\n#define GOLDEN_ANSWER "{ANSWER}"')
    print(f"#define GOLDEN_SAMPLES {SAMPLES}\n#define GOLDEN_GENERATED {GENERATED}")
    print("/* SAEs: 0 the plain one, 1 the normalised and centred one, 2 the meta-SAE on 0. Samples are the log-probabilities of")
    print(" * tokens (1009 i + 11) mod 8192 after the prompt; answer that of GOLDEN_ANSWER. */")
    print("struct golden_edit {\n    int sae, latent, kind;\n    double value;\n};")
    print("struct golden {\n    const char *name;\n    int orthogonal, first, last, specials, n;\n    struct golden_edit edits[4];")
    print("    double samples[GOLDEN_SAMPLES], answer;\n    uint32_t generated[GOLDEN_GENERATED];\n};")
    print("static const struct golden golden_cases[] = {")
    print(f"    {entry('baseline', [], log_softmax(logits), w, config, prompt, answer, {}, names, kinds, 'additive', None)},")
    for name, (edits, on, method, positions) in cases.items():
        change = change_of(edits, on, method, positions)
        steered = log_softmax(forward(w, config, tokens, change)[1])
        moved = np.abs(steered[0, -1] - log_softmax(logits)[0, -1]).max()
        assert moved > 0.05, (name, moved)
        print(f"    {entry(name, edits, steered, w, config, prompt, answer, change, names, kinds, method, positions)},")
    print("};")
    print(f"/* Rows of latent {a[0]} of SAE 0, without meta-latents {removed} and with {added}: elements (37 i + 5) mod {D}. */")
    print(f"#define GOLDEN_LATENT {a[0]}")
    print(f"static const struct row_change golden_changes[] = {{{', '.join(f'{{{j}, 0, 0}}' for j in removed)}, "
          f"{', '.join(f'{{{j}, 1, {x}}}' for j, x in added.items())}}};")
    for name, row in rows.items():
        print(f"static const double golden_{name}[GOLDEN_SAMPLES] = {{{numbers(row[(37 * i + 5) % D] for i in range(SAMPLES))}}};")


def entry(name, edits, log_probs, w, config, prompt, answer, change, names, kinds, method, positions):
    samples = [log_probs[0, -1, (1009 * i + 11) % log_probs.shape[-1]] for i in range(SAMPLES)]
    whole = log_softmax(forward(w, config, np.array([prompt + answer]), change)[1])[0]
    of_answer = sum(whole[len(prompt) - 1 + i, token] for i, token in enumerate(answer))
    generated = list(prompt)
    for _ in range(GENERATED):
        generated.append(int(forward(w, config, np.array([generated]), change)[1][0, -1].argmax()))
    assert config["eos_token_id"] not in generated[len(prompt):]
    listed = ", ".join(f"{{{names[id(s)]}, {latent}, {kinds.index(kind)}, {0 if kind == 'row' else x}}}" for s, latent, kind, x in edits)
    where = "0, -1, 0" if positions is None else f"{positions[0]}, {positions[-1]}, 1"
    return (f'{{"{name}", {int(method == "orthogonal")}, {where}, {len(edits)}, {{{listed or "{0, 0, 0, 0}"}}}, {{{numbers(samples)}}}, '
            f'{of_answer:.9g}, {{{", ".join(map(str, generated[len(prompt):]))}}}}}')


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
