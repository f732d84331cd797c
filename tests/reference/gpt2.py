#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reference values of the demo model's forward pass, in float64 NumPy.

Prints tests/unit/gpt2_golden.h. With torch and transformers installed, the same numbers are compared with theirs
first and the largest differences go to stderr.

    tests/reference/gpt2.py data/wordnet-lm > tests/unit/gpt2_golden.h
"""
import json
import pathlib
import sys

try:
    import numpy as np
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
except ImportError as missing:
    sys.exit(f"skipped: {missing.name} is not installed")

TEXTS = [
    "Albert Einstein is the physicist: physicist born in Germany who formulated the special theory of relativity",
    "A whale (also cetacean) is a large aquatic mammal with a streamlined body breathing through a blowhole",
    "To run is to move fast by using one's feet, with one foot off the ground at any given time; 1234 %&/ ÄÖÜ",
]
LENGTH = 24
SAMPLES = 24  # coordinates kept of each hook
MODEL_POINTS = ["hook_embed", "hook_pos_embed"]
POINTS = ["hook_resid_pre", "ln1.hook_normalized", "attn.hook_z", "hook_attn_out", "hook_resid_mid",
          "ln2.hook_normalized", "mlp.hook_post", "hook_mlp_out", "hook_resid_post"]


def normalized(x, eps):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def forward(w, config, tokens, change=None):
    """Activations by hook name, and logits. change: {hook: function of its activations}."""
    n, t = tokens.shape
    d, heads, eps = config["n_embd"], config["n_head"], config["layer_norm_epsilon"]
    hooks = {}

    def at(layer, point, x):
        name = point if layer is None else f"blocks.{layer}.{point}"
        hooks[name] = x = (change or {}).get(name, lambda v: v)(x)
        return x

    x = at(None, "hook_embed", w["wte.weight"][tokens])
    x = x + at(None, "hook_pos_embed", np.broadcast_to(w["wpe.weight"][:t], x.shape))
    for i in range(config["n_layer"]):
        p = f"h.{i}."
        x = at(i, "hook_resid_pre", x)
        y = at(i, "ln1.hook_normalized", normalized(x, eps)) * w[p + "ln_1.weight"] + w[p + "ln_1.bias"]
        qkv = y @ w[p + "attn.c_attn.weight"] + w[p + "attn.c_attn.bias"]
        q, k, v = (s.reshape(n, t, heads, d // heads).transpose(0, 2, 1, 3) for s in np.split(qkv, 3, -1))
        s = q @ k.transpose(0, 1, 3, 2) / np.sqrt(d // heads)
        s = np.where(np.tril(np.ones((t, t), bool)), s, -np.inf)
        s = np.exp(s - s.max(-1, keepdims=True))
        z = (s / s.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(n, t, d)
        z = at(i, "attn.hook_z", z)
        x = x + at(i, "hook_attn_out", z @ w[p + "attn.c_proj.weight"] + w[p + "attn.c_proj.bias"])
        x = at(i, "hook_resid_mid", x)
        y = at(i, "ln2.hook_normalized", normalized(x, eps)) * w[p + "ln_2.weight"] + w[p + "ln_2.bias"]
        y = at(i, "mlp.hook_post", gelu(y @ w[p + "mlp.c_fc.weight"] + w[p + "mlp.c_fc.bias"]))
        x = x + at(i, "hook_mlp_out", y @ w[p + "mlp.c_proj.weight"] + w[p + "mlp.c_proj.bias"])
        x = at(i, "hook_resid_post", x)
    return hooks, (normalized(x, eps) * w["ln_f.weight"] + w["ln_f.bias"]) @ w["wte.weight"].T


def direction_logits(w, directions, fold_ln):
    unembed = w["wte.weight"].T
    if fold_ln:
        unembed = w["ln_f.weight"][:, None] * unembed
        unembed = unembed - unembed.mean(0, keepdims=True)
        unembed = unembed - unembed.mean(1, keepdims=True)
    return directions @ unembed


def compare_with_torch(folder, tokens, hooks, logits):
    try:
        import torch
        from transformers import GPT2LMHeadModel
    except ImportError as missing:
        print(f"not compared with PyTorch: {missing.name} is not installed", file=sys.stderr)
        return
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    with torch.no_grad():
        out = model(torch.tensor(tokens.astype(np.int64)), output_hidden_states=True)
    worst = max(np.abs(out.hidden_states[i].numpy() - hooks[f"blocks.{i}.hook_resid_pre"]).max()
                for i in range(model.config.n_layer))
    difference = np.abs(out.logits.numpy() - logits).max()
    print(f"largest difference from PyTorch: residual stream {worst:.2g}, logits {difference:.2g}", file=sys.stderr)
    assert worst < 1e-9 and difference < 1e-9


def samples(x, n):
    """n coordinates spread over x, as index, value pairs; the C test walks the same indexes."""
    flat = x.reshape(-1)
    return [flat[(i * 1000003 + 13) % flat.size] for i in range(n)]


def numbers(values):
    return ", ".join(f"{v:.9g}" for v in values)


def main(folder):
    config = json.loads((folder / "config.json").read_text())
    w = {k: v.astype(np.float64) for k, v in load_file(folder / "model.safetensors").items()}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    bos = config["bos_token_id"]
    tokens = np.array([([bos] + tokenizer.encode(t).ids)[:LENGTH] for t in TEXTS])
    assert tokens.shape == (len(TEXTS), LENGTH)
    hooks, logits = forward(w, config, tokens)
    compare_with_torch(folder, tokens, hooks, logits)
    _, embedded = forward(w, config, tokens, {"hook_embed": lambda v: v / 2})
    _, placed = forward(w, config, tokens, {"hook_pos_embed": lambda v: 2 * v})
    _, changed = forward(w, config, tokens, {"blocks.1.hook_attn_out": lambda v: 2 * v})
    _, halved = forward(w, config, tokens, {"blocks.1.ln2.hook_normalized": lambda v: v / 2})
    _, spliced = forward(w, config, tokens, {"blocks.2.hook_resid_pre": lambda v: v - 0.5 * v[..., ::-1]})
    directions = w["h.1.mlp.c_proj.weight"][[3, 500]]
    rms = lambda x: np.sqrt((x**2).mean())

    print("/* SPDX-License-Identifier: GPL-3.0-or-later */")
    print("/* Made by tests/reference/gpt2.py: the demo model in float64. Samples are elements (1000003 i + 13) mod size. */")
    print(f"#define GOLDEN_CONTEXTS {len(TEXTS)}\n#define GOLDEN_LENGTH {LENGTH}\n#define GOLDEN_SAMPLES {SAMPLES}")
    print("static const uint32_t golden_tokens[GOLDEN_CONTEXTS * GOLDEN_LENGTH] = {")
    for row in tokens:
        print(f"    {', '.join(map(str, row))},")
    print("};\nstruct golden {\n    const char *hook;\n    double rms;\n    double samples[GOLDEN_SAMPLES];\n};")
    print("static const struct golden golden_hooks[] = {")
    for name in MODEL_POINTS + [f"blocks.{layer}.{p}" for layer in range(config["n_layer"]) for p in POINTS]:
        print(f'    {{"{name}", {rms(hooks[name]):.9g}, {{{numbers(samples(hooks[name], SAMPLES))}}}}},')
    print("};")
    for name, comment, x in [
        ("logits", "of the contexts", logits),
        ("embedded", "with hook_embed halved", embedded),
        ("placed", "with hook_pos_embed doubled", placed),
        ("doubled", "with blocks.1.hook_attn_out doubled", changed),
        ("halved", "with blocks.1.ln2.hook_normalized halved", halved),
        ("spliced", "with blocks.2.hook_resid_pre less half of its mirror image over d_model", spliced),
        ("stored", "of directions 3 and 500 of blocks.1.mlp.W_out, W_U as stored", direction_logits(w, directions, 0)),
        ("folded", "the same with the final norm folded and centred", direction_logits(w, directions, 1)),
    ]:
        print(f"/* Logits {comment}. */")
        print(f'static const struct golden golden_{name} = {{"{name}", {rms(x):.9g}, {{{numbers(samples(x, SAMPLES))}}}}};')


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
