# SPDX-License-Identifier: GPL-3.0-or-later
"""A small SAE on the demo model, and its evaluation in PyTorch float64, for test_evaluate.c.

    python3 tests/reference/evaluate.py

Writes tests/data/evaluate/: text.txt (lines of data/wordnet.txt), sae/ and centred/ (SAELens folders: principal components
of the model's activations as latents, in both directions), expected.json. The formulas are CONTRACT's and, under
"saebench", those of sae_bench/evals/core/main.py with its batches of 16 contexts.
"""
import json
import os
import shutil
import sys

try:
    import torch
    import torch.nn.functional as nn
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from transformers import GPT2LMHeadModel
except ImportError:
    sys.exit("skipped: the Python packages torch, safetensors, tokenizers and transformers are not installed")

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "..", "data")
OUT = os.path.join(HERE, "..", "data", "evaluate")
LAYER, CONTEXT, DIRECTIONS = 2, 32, 24
HOOK = f"blocks.{LAYER}.hook_resid_pre"
SENTENCE = "A whale is a large aquatic mammal: born in Ärmland"

model = GPT2LMHeadModel.from_pretrained(os.path.join(DATA, "wordnet-lm")).double().eval()
tokenizer = Tokenizer.from_file(os.path.join(DATA, "wordnet-lm", "tokenizer.json"))
BOS = model.config.bos_token_id
SPECIAL = {BOS, model.config.eos_token_id}


def cut(documents):
    """Contexts as CONTRACT.md says."""
    contexts, current = [], []
    for document in documents:
        if current:
            current.append(BOS)
            if len(current) == CONTEXT:
                contexts.append(current)
                current = []
        for token in document:
            if not current:
                current = [BOS]
            current.append(token)
            if len(current) == CONTEXT:
                contexts.append(current)
                current = []
    return contexts


def run(ids, splice=None):
    """Logits, and what was at the hook (the input of block LAYER)."""
    seen = {}

    def hook(module, args, kwargs):
        x = args[0] if args else kwargs["hidden_states"]
        seen["x"] = x.clone()
        if splice is None:
            return None
        x = splice(x)
        if args:
            return (x, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": x}

    handle = model.transformer.h[LAYER].register_forward_pre_hook(hook, with_kwargs=True)
    with torch.no_grad():
        logits = model(ids).logits
    handle.remove()
    return logits, seen["x"]


def make_sae(x):
    mean = x.mean(0)
    _, _, vh = torch.linalg.svd(x - mean, full_matrices=False)
    v = vh[:DIRECTIONS]
    W_dec = torch.cat([v, -v])
    scale = ((x - mean) @ W_dec.T).clamp(min=0).quantile(0.3, dim=0)
    t = {"W_enc": W_dec.T.contiguous(), "W_dec": W_dec, "b_enc": torch.full((2 * DIRECTIONS,), -0.05).double(),
         "b_dec": mean, "threshold": scale + 0.1}
    t["W_enc"][:, 5] = -W_dec[5]  # a latent that hardly ever fires
    t["threshold"][5] = 1000.0
    return {k: v.to(torch.float16).contiguous() for k, v in t.items()}


def encode(sae, x):
    p = (x - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]
    return p.clamp(min=0) * (p > sae["threshold"])


def write_sae(folder, tensors, centred):
    os.makedirs(folder)
    save_file(tensors, os.path.join(folder, "sae_weights.safetensors"))
    arguments = {"center_writing_weights": True} if centred else {}
    with open(os.path.join(folder, "cfg.json"), "w") as f:
        json.dump({"d_in": 256, "d_sae": 2 * DIRECTIONS, "dtype": "float16", "device": "cpu", "architecture": "jumprelu",
                   "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
                   "metadata": {"sae_lens_version": "6.54.12", "model_name": "lm", "hook_name": HOOK,
                                "context_size": CONTEXT, "prepend_bos": True,
                                "model_from_pretrained_kwargs": arguments}}, f)


def max_cosine(rows):
    u = rows / rows.norm(dim=1, keepdim=True)
    c = u @ u.T
    c.fill_diagonal_(-9)
    return c.max(1).values.mean().item()


def losses(logits, reference, ids):
    ce = nn.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(ids.shape[0], -1)
    p = reference.log_softmax(-1)
    kl = (p.exp() * (p - logits.log_softmax(-1))).sum(-1)
    return ce, kl


def evaluate(sae, ids, centred=False, saebench=False):
    counted = torch.tensor([[t not in SPECIAL for t in row] for row in ids.tolist()])
    logits, x = run(ids)
    own = x.mean(-1, keepdim=True) if centred else torch.zeros_like(x[..., :1])
    x = x - own
    acts = encode(sae, x)
    x_hat = acts @ sae["W_dec"] + sae["b_dec"]
    mean = x[counted].mean(0)
    replace = torch.ones_like(counted) if saebench else counted
    passes = {
        "sae": lambda h: torch.where(replace[..., None], x_hat + own, h),
        "zero": torch.zeros_like,
        "mean": lambda h: torch.where(counted[..., None], mean + own, h),
    }
    m = {}
    ce, _ = losses(logits, logits, ids)
    ce_mask = counted[:, :-1] if saebench else torch.ones_like(ce, dtype=torch.bool)
    m["ce_original"] = ce[ce_mask].mean().item()
    for name, splice in passes.items():
        ce, kl = losses(run(ids, splice)[0], logits, ids)
        m["ce_" + name], m["kl_" + name] = ce[ce_mask].mean().item(), kl[counted].mean().item()
    m["ce_loss_score"] = (m["ce_zero"] - m["ce_sae"]) / (m["ce_zero"] - m["ce_original"])
    m["ce_recovered_from_mean"] = (m["ce_mean"] - m["ce_sae"]) / (m["ce_mean"] - m["ce_original"])
    m["kl_div_score"] = (m["kl_zero"] - m["kl_sae"]) / m["kl_zero"]

    X, H, A = x[counted], x_hat[counted], acts[counted]
    n, d = X.shape
    error, centred_square = (X - H).pow(2).sum(1), (X - mean).pow(2).sum(1)
    m["tokens"] = n
    m["l0"], m["l1"] = (A > 0).sum(1).double().mean().item(), A.sum(1).mean().item()
    m["mse"] = (error.sum() / (n * d)).item()
    m["explained_variance"] = (1 - error.sum() / centred_square.sum()).item()
    m["explained_variance_legacy"] = (1 - error / centred_square).mean().item()
    m["cossim"] = nn.cosine_similarity(X, H, dim=1).mean().item()
    m["l2_norm_in"], m["l2_norm_out"] = X.norm(dim=1).mean().item(), H.norm(dim=1).mean().item()
    m["l2_ratio"] = (H.norm(dim=1) / X.norm(dim=1)).mean().item()
    m["relative_reconstruction_bias"] = (H.pow(2).sum() / (X * H).sum()).item()
    if saebench:
        groups = [(x[i:i + 16][counted[i:i + 16]], x_hat[i:i + 16][counted[i:i + 16]]) for i in range(0, len(x), 16)]
        e = [(a - b).pow(2).sum(1) for a, b in groups]
        square = torch.stack([a.pow(2).sum(1).mean() for a, _ in groups]).mean()
        mean_square = torch.cat([a.pow(2).mean(0) for a, _ in groups]).mean()
        residual = torch.stack([r.mean() for r in e]).mean()
        m["mse"] = torch.cat([r / len(r) for r in e]).mean().item()
        m["explained_variance"] = (1 - residual / (square - mean_square ** 2)).item()
        m["explained_variance_legacy"] = torch.cat(
            [1 - r / (a - a.mean(0)).pow(2).sum(1) for r, (a, _) in zip(e, groups)]).mean().item()
        m["relative_reconstruction_bias"] = torch.stack(
            [b.pow(2).sum(1).mean() / (a * b).sum(1).mean() for a, b in groups]).mean().item()
    density = (A > 0).double().mean(0)
    m["frac_alive"] = (density > 0).double().mean().item()
    m["dead_fraction"] = 1 - m["frac_alive"]
    m["density_mean"] = density.mean().item()
    for percent, limit in (1, 0.01), (10, 0.1):
        m[f"freq_over_{percent}_percent"] = (density > limit).double().mean().item()
        m[f"normalized_freq_over_{percent}_percent"] = (density[density > limit].sum() / density.sum()).item()
    m["average_max_encoder_cosine_sim"] = max_cosine(sae["W_enc"].T)
    m["average_max_decoder_cosine_sim"] = max_cosine(sae["W_dec"])
    return m


shutil.rmtree(OUT, ignore_errors=True)
os.makedirs(OUT)
with open(os.path.join(DATA, "wordnet.txt"), encoding="utf-8") as f:
    lines = f.read().split("\n")[20000:20040]
with open(os.path.join(OUT, "text.txt"), "w", encoding="utf-8") as f:
    f.write("\n".join(lines) + "\n")
ids = torch.tensor(cut([tokenizer.encode(line).ids for line in lines if line]))
counted = torch.tensor([[t not in SPECIAL for t in row] for row in ids.tolist()])
expected = {"contexts": len(ids)}
x = run(ids)[1]
for name, centred in ("sae", False), ("centred", True):
    rows = x - x.mean(-1, keepdim=True) if centred else x
    tensors = make_sae(rows[counted])
    write_sae(os.path.join(OUT, name), tensors, centred)
    sae = {k: v.double() for k, v in tensors.items()}
    expected[name] = evaluate(sae, ids, centred)
    if not centred:
        expected["saebench"] = evaluate(sae, ids, saebench=True)
        expected["first_5"] = evaluate(sae, ids[:5])
        expected["held_out"] = evaluate(sae, ids[int(len(ids) * 0.98):])
        tokens = [BOS] + tokenizer.encode(SENTENCE).ids
        acts = encode(sae, run(torch.tensor([tokens]))[1])[0]
        expected["encode"] = {"text": SENTENCE, "ids": tokens, "activations": [
            [[i, v] for i, v in enumerate(row) if v > 0] for row in acts.tolist()]}
with open(os.path.join(OUT, "expected.json"), "w") as f:
    json.dump(expected, f, indent=1, ensure_ascii=True)
print(json.dumps({k: expected["sae"][k] for k in ("tokens", "l0", "explained_variance", "ce_original", "ce_sae", "ce_zero", "ce_mean")}))
