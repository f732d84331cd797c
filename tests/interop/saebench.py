#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""SAEBench's own code and `evaluate --saebench`: every metric of its core evaluation, and its form of a meta-SAE's.

    SAESCOPE=build/saescope python3 tests/interop/saebench.py

Each SAE is made by SAELens, imported, and evaluated on the same contexts of data/wordnet-lm by sae_bench.evals.core.main, with
the model in TransformerLens. A meta-SAE is trained by saescope on the rows of such an SAE as they are, exported, and given to
sae_bench.evals.meta_structure.main. All numbers that both print agree to 1e-4. Prints TAP; skips without the packages.
"""
import os
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
try:
    from importlib.metadata import version
    import torch
    import sae_lens
    from sae_bench.evals.core import main as core
    from sae_bench.evals.core.eval_config import CoreEvalConfig
    from sae_bench.evals.meta_structure import main as meta_structure
    from sae_bench.sae_bench_utils import general_utils
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
except ImportError as e:
    print(f"1..0 # SKIP a Python package is not installed: {e.name}")
    sys.exit(0)

from formats import BOS, CONTEXT, D, DATA, F, K, Difference, cut, g, model, randn, saescope, weights

BATCH = 16  # contexts, SAEBench's default


def lens():
    """data/wordnet-lm in TransformerLens, its weights as they are."""
    c = model.config
    cfg = HookedTransformerConfig(
        d_model=c.n_embd, n_heads=c.n_head, n_layers=c.n_layer, d_head=c.n_embd // c.n_head, d_mlp=c.n_inner or 4 * c.n_embd, d_vocab=c.vocab_size,
        n_ctx=c.n_positions, act_fn=c.activation_function, eps=c.layer_norm_epsilon, normalization_type="LN", device="cpu", model_name="lm",
        original_architecture="GPT2LMHeadModel", init_weights=False)
    out = HookedTransformer(cfg)
    out.load_and_process_state_dict(convert_gpt2_weights(model, cfg), fold_ln=False, center_writing_weights=False, center_unembed=False,
                                    fold_value_biases=False, refactor_factored_attn_matrices=False)
    return out


# ---- SAEs. ----

RESIDUAL, MLP, HEADS = "blocks.2.hook_resid_pre", "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z"
CLASSES = {"standard": (sae_lens.StandardSAE, sae_lens.StandardSAEConfig), "gated": (sae_lens.GatedSAE, sae_lens.GatedSAEConfig),
           "jumprelu": (sae_lens.JumpReLUSAE, sae_lens.JumpReLUSAEConfig), "topk": (sae_lens.TopKSAE, sae_lens.TopKSAEConfig)}
CASES = [("standard", RESIDUAL, "none"), ("standard", RESIDUAL, "layer_norm"), ("gated", RESIDUAL, "none"), ("jumprelu", RESIDUAL, "none"),
         ("topk", RESIDUAL, "none"), ("jumprelu", MLP, "none"), ("standard", HEADS, "none")]


def make_sae(kind, hook, norm, folder):
    cls, config = CLASSES[kind]
    more = {"k": K} if kind == "topk" else {}
    sae = cls(config(d_in=D, d_sae=F, dtype="float32", device="cpu", apply_b_dec_to_input=True, normalize_activations=norm,
                     reshape_activations="hook_z" if hook == HEADS else "none", **more))
    W_enc, b_enc, W_dec, b_dec = weights()
    sae.W_enc.data[:], sae.W_dec.data[:], sae.b_dec.data[:] = W_enc, W_dec, b_dec
    sae.W_enc.data[:, 7], sae.W_dec.data[7] = -0.01 * W_enc[:, 7], W_dec[7]  # one that never fires
    if kind == "gated":
        sae.b_gate.data[:], sae.b_mag.data[:], sae.r_mag.data[:] = b_enc, randn(F, scale=0.3), randn(F, scale=0.4)
    else:
        sae.b_enc.data[:] = b_enc / (4 if hook != RESIDUAL else 1)
    if kind == "jumprelu":
        sae.threshold.data[:] = 0.05 + torch.rand(F, generator=g) / 4
    m = sae.cfg.metadata
    m.hook_name, m.model_name, m.context_size, m.prepend_bos = hook, "lm", CONTEXT, True
    sae.save_model(folder)
    return sae_lens.SAE.load_from_disk(folder, device="cpu", dtype="float32")


# ---- SAEBench. ----

class Contexts:
    """What SAEBench asks of SAELens' store of activations, over contexts that are there."""
    context_size, store_batch_size_prompts = CONTEXT, BATCH

    def __init__(self, ids):
        self.ids, self.at = torch.tensor(ids), 0

    def reset_input_dataset(self):
        self.at = 0

    def get_batch_tokens(self, n):
        self.at += n
        return self.ids[self.at - n:self.at]


def by_saebench(sae, lm, ids):
    general_utils._standardize_sae_cfg(sae.cfg)
    batches = -(-len(ids) // BATCH)
    config = CoreEvalConfig(model_name="lm", batch_size_prompts=BATCH, n_eval_reconstruction_batches=batches, n_eval_sparsity_variance_batches=batches,
                            dataset="none", context_size=CONTEXT, compute_kl=True, compute_ce_loss=True, compute_l2_norms=True, compute_sparsity_metrics=True,
                            compute_variance_metrics=True, compute_featurewise_density_statistics=True, compute_featurewise_weight_based_metrics=True,
                            exclude_special_tokens_from_reconstruction=False, llm_dtype="float32")
    metrics, latents = core.run_evals(sae, Contexts(ids), lm, config, ignore_tokens={BOS})
    metrics["misc_metrics"] = core.calculate_misc_metrics(latents)
    return metrics


# ---- Comparing. ----

def near(got, wanted):
    return got is not None and abs(got - wanted) <= 1e-4 * abs(wanted) + 1e-6


def check_core(store, work, lm, ids, kind, hook, norm):
    name = f"{kind}-{hook.split('.')[-1]}-{norm}"
    sae = make_sae(kind, hook, norm, os.path.join(work, name))
    whole = kind != "standard"  # batches; SAEBench counts the tokens of others as of whole ones
    ids = ids[:len(ids) // BATCH * BATCH] if whole else ids
    counted = sum(token != BOS for row in ids for token in row)
    wanted = by_saebench(sae, lm, ids)
    if not whole:
        del wanted["token_stats"]
    saescope(store, "import", "sae", os.path.join(work, name), "--name", name, "--model", "lm")
    got = saescope(store, "evaluate", name, "--text", "text", "--tokens", str(counted), "--saebench")["metrics"]
    off = [f"{group}.{key} is {got.get(group, {}).get(key)}, not {value}" for group, metrics in wanted.items() for key, value in metrics.items()
           if not near(got.get(group, {}).get(key), value)]
    if off:
        raise Difference("; ".join(off))
    return f"{sum(len(m) for m in wanted.values())} metrics, l0 {wanted['sparsity']['l0']:.4g}, explained variance {wanted['reconstruction_quality']['explained_variance']:.4g}"


def check_meta(store, work, base):
    """SAEBench's meta-SAE keeps the k largest of a row on average, over batches of 4,096 rows of W_dec as they are."""
    width, k = 64, 4
    saescope(store, "train", "meta", "meta", "--sae", base, "--width", str(width), "--k", str(k), "--steps", "300", "--raw-rows")
    saescope(store, "export", "sae", "meta", os.path.join(work, "meta"))
    exported = sae_lens.SAE.load_from_disk(os.path.join(work, "meta"), device="cpu", dtype="float32")
    rows = sae_lens.SAE.load_from_disk(os.path.join(work, base), device="cpu", dtype="float32").W_dec.detach()
    theirs = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=D, d_sae=width, k=k, device="cpu", dtype="float32", rescale_acts_by_decoder_norm=True,
                                                             apply_b_dec_to_input=exported.cfg.apply_b_dec_to_input))
    for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
        getattr(theirs, name).data = getattr(exported, name).data.clone()
    explained, mse = meta_structure._decoder_variance_metrics(theirs, rows, 4096)
    with_threshold, mse_with_threshold = meta_structure._decoder_variance_metrics(exported, rows, 4096)
    quality, report = saescope(store, "evaluate", "meta")["metrics"]["reconstruction_quality"], saescope(store, "report", "meta", "--quick")
    off = [f"{what} is {got}, not {wanted}" for what, got, wanted in (
        ("decoder_fraction_variance_explained", report["meta_structure"]["decoder_fraction_variance_explained"], explained),
        ("final_reconstruction_mse", report["meta_structure"]["final_reconstruction_mse"], mse),
        ("explained_variance_batchtopk", quality["explained_variance_batchtopk"], explained),
        ("explained_variance", quality["explained_variance"], with_threshold), ("mse", report["mse"], mse_with_threshold)) if not near(got, wanted)]
    if off:
        raise Difference("; ".join(off))
    return f"explained variance {explained:.4g}, with the threshold {with_threshold:.4g}"


def main():
    failed = 0
    print(f"1..{len(CASES) + 1}\n# sae-bench {version('sae-bench')}")
    with tempfile.TemporaryDirectory() as work:
        store, text, lm = os.path.join(work, "store"), os.path.join(work, "text.txt"), lens()
        with open(os.path.join(DATA, "wordnet.txt"), encoding="utf-8") as f:
            lines = [line for line in f.read().split("\n")[30000:30200] if line]
        with open(text, "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
        saescope(store, "import", "model", os.path.join(DATA, "wordnet-lm"), "--name", "lm")
        saescope(store, "import", "text", text, "--name", "text", "--model", "lm")
        ids = cut([[t["id"] for t in saescope(store, "tokenize", "lm", line)["tokens"]] for line in lines], True)
        assert len(ids) > 2 * BATCH and len(ids) % BATCH
        checks = [(" ".join(case), lambda case=case: check_core(store, work, lm, ids, *case)) for case in CASES]
        checks.append(("meta-SAE", lambda: check_meta(store, work, "jumprelu-hook_resid_pre-none")))
        for number, (name, check) in enumerate(checks, 1):
            try:
                print(f"ok {number} - {name}: {check()}", flush=True)
            except Difference as e:
                failed += 1
                print(f"not ok {number} - {name}: {e}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
