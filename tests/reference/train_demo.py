#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A training run of the demo's wn-512 in PyTorch, for tests/unit/test_demo_training.c.

    tests/reference/train_demo.py [SEED...]

The demo model's activations at blocks.2.hook_resid_pre, the corpus, the hyperparameters and the order of each step are
demo.saescope's; model, contexts, shuffling and training are written here on their own, with autograd, so that only the
random numbers differ. Explained variance, L0 and dead latents are those of all held-out rows with the inference
threshold. Writes tests/reference/train_demo.txt, one run a seed (1, 2 and 3 when none is given); takes a few minutes.
"""
import json
import math
import pathlib
import sys

try:
    import torch
    import torch.nn.functional as nn
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
except ImportError as missing:
    sys.exit(f"skipped: the Python package {missing.name} is not installed")

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent.parent / "data"

LAYER = 2  # activations are the input of this block
TOKENS, CONTEXT, BUFFER = 800_000, 128, 262_144
WIDTH, K, BATCH, LR, WARMUP, DECAY = 512, 16, 1024, 1e-3, 50, 0.2
BETAS, EPSILON = (0.9, 0.99), 1e-8
AUX_K, AUX_COEFFICIENT, DEAD_AFTER = 512, 1 / 32, 5
SCALE_BATCHES = 16
STEPS = math.ceil(TOKENS / BATCH)


def cut(documents, bos):
    """Contexts that start with BOS; a document that starts inside one is preceded by BOS; the last, short one is
    dropped."""
    contexts, current = [], [bos]
    for document in documents:
        if len(current) > 1:
            current.append(bos)
        while True:
            room = CONTEXT - len(current)
            current += document[:room]
            document = document[room:]
            if len(current) == CONTEXT:
                contexts.append(current)
                current = [bos]
            if not document:
                break
    return torch.tensor(contexts)


def activations(w, config, ids):
    """The residual stream before block LAYER: [contexts, tokens, d_model]."""
    d, heads, eps = config["n_embd"], config["n_head"], config["layer_norm_epsilon"]
    n, t = ids.shape
    x = w["wte.weight"][ids] + w["wpe.weight"][:t]
    mask = torch.ones(t, t, dtype=torch.bool).tril()
    for i in range(LAYER):
        p = f"h.{i}."
        y = nn.layer_norm(x, (d,), w[p + "ln_1.weight"], w[p + "ln_1.bias"], eps)
        qkv = y @ w[p + "attn.c_attn.weight"] + w[p + "attn.c_attn.bias"]
        q, k, v = (part.view(n, t, heads, d // heads).transpose(1, 2) for part in qkv.split(d, -1))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(d // heads)).masked_fill(~mask, -math.inf)
        z = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d)
        x = x + z @ w[p + "attn.c_proj.weight"] + w[p + "attn.c_proj.bias"]
        y = nn.layer_norm(x, (d,), w[p + "ln_2.weight"], w[p + "ln_2.bias"], eps)
        y = nn.gelu(y @ w[p + "mlp.c_fc.weight"] + w[p + "mlp.c_fc.bias"], approximate="tanh")
        x = x + y @ w[p + "mlp.c_proj.weight"] + w[p + "mlp.c_proj.bias"]
    return x


def load():
    """Rows of the counted tokens to train on, how many each context has, and the held-out rows."""
    config = json.loads((DATA / "wordnet-lm/config.json").read_text())
    w = {k: v.float() for k, v in load_file(DATA / "wordnet-lm/model.safetensors").items()}
    tokenizer = Tokenizer.from_file(str(DATA / "wordnet-lm/tokenizer.json"))
    lines = (DATA / "wordnet.txt").read_bytes().decode().split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    documents = [e.ids for e in tokenizer.encode_batch([line for line in lines if line], add_special_tokens=False)]
    special = torch.tensor([config["bos_token_id"], config["eos_token_id"]])
    contexts = cut(documents, config["bos_token_id"])
    counted = ~torch.isin(contexts, special)
    held_out_from = len(contexts) - math.ceil(len(contexts) / 50)
    # The fewest whole contexts from the start with that many counted tokens.
    n = min(int((counted.sum(1).cumsum(0) < TOKENS).sum()) + 1, held_out_from)

    def rows(first, last):
        parts = []
        for i in range(first, last, 32):
            chunk = slice(i, min(i + 32, last))
            parts.append(activations(w, config, contexts[chunk])[counted[chunk]])
        return torch.cat(parts)

    with torch.no_grad():
        return rows(0, n), counted[:n].sum(1), rows(held_out_from, len(contexts))


def batches(counts, generator):
    """Numbers of the rows of one batch after the other: contexts in an order drawn anew each epoch go to a buffer that
    is filled up when it is half empty and served in random order."""
    first = counts.cumsum(0) - counts
    buffer, order = torch.empty(0, dtype=torch.long), []
    while True:
        if len(buffer) <= BUFFER // 2:
            parts, n = [buffer], len(buffer)
            while n + CONTEXT <= BUFFER:
                order = order or torch.randperm(len(counts), generator=generator).tolist()
                c = order.pop()
                parts.append(torch.arange(first[c], first[c] + counts[c]))
                n += len(parts[-1])
            buffer = torch.cat(parts)
            buffer = buffer[torch.randperm(len(buffer), generator=generator)]
        yield buffer[:BATCH]
        buffer = buffer[BATCH:]


def learning_rate(step):
    """Linear from 0 over WARMUP steps, linear to 0 over the last DECAY of all."""
    left = DECAY * STEPS
    return LR * min(1, (step + 1) / WARMUP) * min(1, (STEPS - step) / left)


def loss_of(x, w_enc, w_dec, b_dec, silent):
    """The batch's loss and its kept activations; counts the silent batches of each latent."""
    p = torch.relu((x - b_dec) @ w_enc.T)
    kept = p.flatten().topk(K * BATCH)
    f = torch.zeros_like(p).flatten().scatter(0, kept.indices, kept.values).view_as(p)
    x_hat = f @ w_dec + b_dec
    loss = (x_hat - x).square().mean()
    with torch.no_grad():
        silent += 1
        silent[(f > 0).any(0)] = 0
        dead = torch.nonzero(silent >= DEAD_AFTER).flatten()
    if len(dead):
        h = p[:, dead].topk(min(AUX_K, len(dead)), dim=1)
        h = torch.zeros_like(p[:, dead]).scatter(1, h.indices, h.values)
        left_over = x - x_hat  # not detached
        loss = loss + AUX_COEFFICIENT * (h @ w_dec[dead] - left_over).square().mean()
    return loss, f.detach()


def train(rows, counts, seed):
    """The SAE in the hook's units: W_enc, W_dec, b_dec, the threshold, and the silent batches of each latent."""
    d = rows.shape[1]
    generator = torch.Generator().manual_seed(seed)
    w_dec = nn.normalize(torch.randn(WIDTH, d, generator=generator), dim=1)
    w_enc, b_dec = w_dec.clone(), torch.zeros(d)
    for parameter in (w_enc, w_dec, b_dec):
        parameter.requires_grad_()
    adam = torch.optim.Adam([w_enc, w_dec, b_dec], lr=LR, betas=BETAS, eps=EPSILON)
    silent, theta = torch.zeros(WIDTH, dtype=torch.long), None

    state = generator.get_state()
    source = batches(counts, generator)
    scale = math.sqrt(d) / torch.cat([rows[next(source)] for _ in range(SCALE_BATCHES)]).norm(dim=1).mean().item()
    generator.set_state(state)
    source = batches(counts, generator)

    for step in range(STEPS):
        for group in adam.param_groups:
            group["lr"] = learning_rate(step)
        loss, f = loss_of(rows[next(source)] * scale, w_enc, w_dec, b_dec, silent)
        smallest = f[f > 0].min().double().item()
        theta = smallest if theta is None else theta + 0.01 * (smallest - theta)
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            w_dec.copy_(nn.normalize(w_dec, dim=1))
            w_dec.grad -= (w_dec.grad * w_dec).sum(1, keepdim=True) * w_dec
        adam.step()
    with torch.no_grad():
        return w_enc, nn.normalize(w_dec, dim=1), b_dec / scale, theta / scale, silent, loss.item()


def evaluate(x, w_enc, w_dec, b_dec, theta, silent):
    """Explained variance, L0, and the latents that fired neither on these rows nor in the last batches."""
    with torch.no_grad():
        p = torch.relu((x - b_dec) @ w_enc.T)
        f = p * (p > theta)
        errors = (x - (f @ w_dec + b_dec)).double().square().sum()
        variance = (x.double() - x.double().mean(0)).square().sum()
        dead = (silent >= DEAD_AFTER) & ~(f > 0).any(0)
        return (1 - errors / variance).item(), (f > 0).double().sum(1).mean().item(), int(dead.sum())


def write(lines, runs, n_rows, n_held_out):
    runs = torch.tensor(runs, dtype=torch.float64)
    with open(HERE / "train_demo.txt", "w") as out:
        out.write("# Made by tests/reference/train_demo.py: wn-512 of data/demo.saescope trained in PyTorch.\n"
                  f"# {STEPS} steps on {n_rows} rows, {n_held_out} held-out rows.\n")
        out.write("\n".join(lines) + "\n# mean, and largest less smallest\n")
        for name, column in zip(["explained_variance", "l0", "dead"], runs.T):
            out.write(f"{name} {column.mean():.5f} {column.max() - column.min():.5f}\n")


def main(seeds):
    rows, counts, held_out = load()
    lines, runs = [], []
    for seed in seeds:
        *sae, loss = train(rows, counts, seed)
        explained, l0, dead = evaluate(held_out, *sae)
        runs.append((explained, l0, dead))
        lines.append(f"# seed {seed}: explained_variance {explained:.5f} l0 {l0:.4f} dead {dead} loss {loss:.5f}")
        print(lines[-1], flush=True)
        write(lines, runs, len(rows), len(held_out))


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [1, 2, 3])
