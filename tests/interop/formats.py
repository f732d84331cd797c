#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every format, made by its producer's library, read by saescope and given back to SAELens.

    SAESCOPE=build/saescope python3 tests/interop/formats.py

Each SAE reads blocks.2.hook_resid_pre of data/wordnet-lm, whose activations transformers computes. Compared are: `encode` of a
sentence with the library's activations; `evaluate --saebench` of a text with SAEBench's formulas over the library's
activations and reconstructions; and what SAELens computes from `export sae` with the library's own. All agree to 1e-4,
but for latents whose pre-activation lies within that of their threshold (fewer than 0.1% of active pairs). Formats whose
library is on no package index are made by the definitions in their code, in PyTorch. Prints TAP; skips without the packages.
"""
import json
import math
import os
import subprocess
import sys
import tempfile
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
try:
    import numpy as np
    import torch
    from importlib.metadata import PackageNotFoundError, version
    from safetensors.torch import save_file
    from transformers import GPT2LMHeadModel
    from sae_lens import SAE
except ImportError as e:
    print(f"1..0 # SKIP a Python package is not installed: {e.name}")
    sys.exit(0)

warnings.filterwarnings("ignore")
torch.set_grad_enabled(False)
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DATA = os.path.join(ROOT, "data")
PROGRAM = os.environ.get("SAESCOPE", os.path.join(ROOT, "build", "saescope"))
HOOK, LAYER, D, F, K, CONTEXT = "blocks.2.hook_resid_pre", 2, 256, 512, 12, 128
SENTENCE = "A whale is a large aquatic mammal of the sea"
g = torch.Generator().manual_seed(5)

model = GPT2LMHeadModel.from_pretrained(os.path.join(DATA, "wordnet-lm")).float().eval()
BOS = model.config.bos_token_id


def hidden(ids):
    return model(torch.tensor(ids), output_hidden_states=True).hidden_states[LAYER]


def top(p, k):
    values, indices = p.topk(k, dim=-1)
    return torch.zeros_like(p).scatter(-1, indices, values)


def layer_norm(x):
    mean = x.mean(dim=-1, keepdim=True)
    std = (x - mean).std(dim=-1, keepdim=True)
    return (x - mean) / (std + 1e-5), mean, std


def randn(*shape, scale=1.0):
    return scale * torch.randn(*shape, generator=g)


def weights(unit=True):
    """W_enc [D, F], b_enc, W_dec [F, D], b_dec: about a tenth of the latents fire."""
    W_dec = randn(F, D) / math.sqrt(D)
    if unit:
        W_dec /= W_dec.norm(dim=1, keepdim=True)
    return W_dec.T + randn(D, F, scale=0.005), -1.2 + randn(F, scale=0.3), W_dec, randn(D, scale=0.2)


def write_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump(value, f)


def plain(W_enc, b_enc, W_dec, b_dec, subtract, activate, norm=False):
    """encode and decode of an SAE in PyTorch."""
    def inputs(x):
        return layer_norm(x) if norm else (x, 0, 1)

    def encode(x):
        x = inputs(x)[0]
        return activate((x - (b_dec if subtract else 0)) @ W_enc + b_enc)

    def decode(f, x):
        _, mean, std = inputs(x)
        return (f @ W_dec + b_dec) * std + mean
    return encode, decode


def library(sae):
    return sae.encode, lambda f, x: sae.decode(f)


def published(root, loader, repository, name, scale=None, **overrides):
    """SAELens' SAE by its loader of published files, given those of `root` instead of downloads; its encode and decode."""
    from safetensors import safe_open
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def shapes(repo_id, filename):
        with safe_open(os.path.join(root, filename), "pt") as f:
            return {key: list(f.get_slice(key).get_shape()) for key in f.keys()}
    keep = loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes
    loaders.hf_hub_download = lambda repo_id, filename, subfolder="", **_: os.path.join(root, subfolder, filename)
    loaders.get_safetensors_tensor_shapes = shapes
    cfg, state, _ = loaders.NAMED_PRETRAINED_SAE_LOADERS[loader](repository, name, device="cpu", cfg_overrides={"dtype": "float32", **overrides})
    loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = keep
    cfg = loaders.handle_config_defaulting(cfg)
    config = SAE.get_sae_config_class_for_architecture(cfg["architecture"]).from_dict(cfg)
    sae = SAE.get_sae_class_for_architecture(cfg["architecture"])(config)
    state = {key: value.float() for key, value in state.items()}
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict(state)
    if scale: # as from_pretrained does with the release's
        sae.fold_activation_norm_scaling_factor(scale)
    if cfg.get("reshape_activations") != "hook_z":
        return library(sae)
    return (lambda x: sae.encode(x.reshape(*x.shape[:-1], 4, -1))), (lambda f, x: sae.decode(f).reshape(*f.shape[:-1], D))


# ---- Cases: (path, encode, decode). ----

def saelens(kind):
    def make(folder):
        import sae_lens
        from sae_lens import saes
        config = {"standard": sae_lens.StandardSAEConfig, "gated": sae_lens.GatedSAEConfig, "jumprelu": sae_lens.JumpReLUSAEConfig,
                  "topk": sae_lens.TopKSAEConfig}[kind]
        cls = {"standard": sae_lens.StandardSAE, "gated": sae_lens.GatedSAE, "jumprelu": sae_lens.JumpReLUSAE, "topk": sae_lens.TopKSAE}[kind]
        more = {"k": K, "rescale_acts_by_decoder_norm": True} if kind == "topk" else {}
        norm = "layer_norm" if kind == "standard" else "none"
        sae = cls(config(d_in=D, d_sae=F, dtype="float32", device="cpu", apply_b_dec_to_input=True, normalize_activations=norm, **more))
        sae.cfg.metadata.hook_name = HOOK
        W_enc, b_enc, W_dec, b_dec = weights(unit=kind != "topk")
        sae.W_enc.data[:], sae.W_dec.data[:], sae.b_dec.data[:] = W_enc, W_dec, b_dec
        if kind == "gated":
            sae.b_gate.data[:], sae.b_mag.data[:], sae.r_mag.data[:] = b_enc, randn(F, scale=0.3), randn(F, scale=0.4)
        else:
            sae.b_enc.data[:] = b_enc
        if kind == "jumprelu":
            sae.threshold.data[:] = 0.2 + torch.rand(F, generator=g)
        sae.save_model(folder)
        if norm == "none":
            return folder, *library(sae)
        return folder, *plain(W_enc, b_enc, W_dec, b_dec, True, torch.relu, norm=True)
    return make


def saelens_training(kind):
    def make(folder):
        import sae_lens
        config, cls = {"batchtopk": (sae_lens.BatchTopKTrainingSAEConfig, sae_lens.BatchTopKTrainingSAE),
                       "matryoshka": (sae_lens.MatryoshkaBatchTopKTrainingSAEConfig, sae_lens.MatryoshkaBatchTopKTrainingSAE)}[kind]
        more = {"matryoshka_widths": [64, F]} if kind == "matryoshka" else {}
        sae = cls(config(d_in=D, d_sae=F, dtype="float32", device="cpu", apply_b_dec_to_input=True, k=K, rescale_acts_by_decoder_norm=True,
                         normalize_activations="expected_average_only_in", **more))
        sae.cfg.metadata.hook_name = HOOK
        W_enc, b_enc, W_dec, b_dec = weights(unit=False)
        sae.W_enc.data[:], sae.b_enc.data[:], sae.W_dec.data[:], sae.b_dec.data[:] = W_enc, b_enc, W_dec, b_dec
        sae.topk_threshold = torch.tensor(0.9, dtype=torch.double)
        sae.save_model(folder)
        write_json(os.path.join(folder, "activation_scaler.json"), {"scaling_factor": 0.8})
        sae.fold_activation_norm_scaling_factor(0.8)
        sae.save_inference_model(folder + ".finished")
        return folder, *library(SAE.load_from_disk(folder + ".finished", device="cpu", dtype="float32"))
    return make


def fill(module, **tensors):
    for name, value in tensors.items():
        *parents, last = name.split("__")
        target = module
        for parent in parents:
            target = getattr(target, parent)
        getattr(target, last).data = value.clone().contiguous()


def dictionary(cls):
    def make(folder):
        from dictionary_learning import dictionary as dl
        from dictionary_learning import utils
        W_enc, b_enc, W_dec, b_dec = weights(unit=False)
        linear = {"encoder__weight": W_enc.T, "decoder__weight": W_dec.T}
        own = {"W_enc": W_enc, "W_dec": W_dec, "b_enc": b_enc, "b_dec": b_dec}
        threshold = {"threshold": torch.tensor(0.7)}
        if cls == "MatryoshkaBatchTopKSAE":
            ae, tensors = utils.MatryoshkaBatchTopKSAE(D, F, K, [64, F - 64]), {**own, **threshold}
        elif cls == "JumpReluAutoEncoder":
            ae, tensors = dl.JumpReluAutoEncoder(D, F), {**own, "threshold": 0.2 + torch.rand(F, generator=g)}
        elif cls in ("AutoEncoderTopK", "BatchTopKSAE"):
            ae, tensors = getattr(utils, cls)(D, F, K), {**linear, "encoder__bias": b_enc, "b_dec": b_dec, **threshold}
        elif cls == "GatedAutoEncoder":
            ae = dl.GatedAutoEncoder(D, F)
            tensors = {**linear, "decoder_bias": b_dec, "gate_bias": b_enc, "mag_bias": randn(F, scale=0.3), "r_mag": randn(F, scale=0.4)}
        else:
            ae = getattr(dl, cls)(D, F)
            tensors = {**linear, "encoder__bias": b_enc, ("bias" if cls == "AutoEncoder" else "decoder__bias"): b_dec}
        fill(ae, **tensors)
        os.makedirs(folder)
        torch.save(ae.state_dict(), os.path.join(folder, "ae.pt"))
        write_json(os.path.join(folder, "config.json"), {"trainer": {"dict_class": cls, "layer": 1, "k": K, "lm_name": "lm", "submodule_name": "resid_post_layer_1"},
                                                         "buffer": {"ctx_len": CONTEXT}})
        return folder, *library(utils.load_dictionary(folder, "cpu")[0])
    return make


def sparsify(folder):
    import sparsify.sparse_coder
    from sparsify.config import SparseCoderConfig
    sparsify.sparse_coder.decoder_impl = sparsify.utils.eager_decode
    W_enc, b_enc, W_dec, b_dec = weights()
    sae = sparsify.SparseCoder(D, SparseCoderConfig(k=K, num_latents=F))
    fill(sae, encoder__weight=W_enc.T, encoder__bias=b_enc, W_dec=W_dec, b_dec=b_dec)
    path = os.path.join(folder, "layers.1")
    sae.save_to_disk(path)
    sae = sparsify.SparseCoder.load_from_disk(path)

    def encode(x):
        acts, indices, _ = sae.encode(x)
        return torch.zeros(*x.shape[:-1], F).scatter(-1, indices, acts)

    def decode(f, x):
        acts, indices = f.topk(K, dim=-1)
        return sae.decode(acts, indices)
    return path, encode, decode


def gemma_scope(folder):
    repository, place = "gemma-scope-2b-pt-res", os.path.join("layer_1", "width_16k", "average_l0_50")
    path = os.path.join(folder, repository, place)
    os.makedirs(path)
    W_enc, b_enc, W_dec, b_dec = weights()
    threshold = 0.2 + torch.rand(F, generator=g)
    np.savez(os.path.join(path, "params.npz"), W_enc=W_enc.numpy(), b_enc=b_enc.numpy(), W_dec=W_dec.numpy(), b_dec=b_dec.numpy(), threshold=threshold.numpy())
    return path, *published(os.path.join(folder, repository), "gemma_2", f"google/{repository}", place, d_in=D, d_sae=F)


def gemma_scope_2(configured):
    def make(folder):
        W_enc, b_enc, W_dec, b_dec = weights()
        threshold = 0.2 + torch.rand(F, generator=g)
        repository, place = "gemma-scope-2-1b-pt", os.path.join("resid_post", "layer_1_width_16k_l0_big")
        path = os.path.join(folder, repository, place)
        os.makedirs(path)
        if configured:
            write_json(os.path.join(path, "config.json"), {"architecture": "jump_relu", "type": "sae", "model_name": "gemma-3-1b-pt", "hf_hook_point_in": "model.layers.1.output"})
        save_file({"w_enc": W_enc.contiguous(), "w_dec": W_dec, "b_enc": b_enc, "b_dec": b_dec, "threshold": threshold}, os.path.join(path, "params.safetensors"))
        root = os.path.join(folder, repository)
        if not configured: # what the loader makes of a missing file
            from sae_lens.loading.pretrained_sae_loaders import _infer_gemma_3_raw_cfg_dict
            write_json(os.path.join(path, "config.json"), _infer_gemma_3_raw_cfg_dict(f"google/{repository}", place))
        made = published(root, "gemma_3", f"google/{repository}", place)
        if not configured:
            os.remove(os.path.join(path, "config.json"))
        return path, *made
    return make


def llama_scope(folder):
    W_enc, b_enc, W_dec, b_dec = (t.to(torch.bfloat16) for t in weights())
    os.makedirs(os.path.join(folder, "checkpoints"))
    hyperparameters = {"d_model": D, "d_sae": F, "hook_point_in": "blocks.1.hook_resid_post", "jump_relu_threshold": 0.5,
                       "dataset_average_activation_norm": {"in": 20.0, "out": 20.0}, "dtype": "torch.bfloat16"}
    write_json(os.path.join(folder, "hyperparams.json"), hyperparameters)
    save_file({"encoder.weight": W_enc.T.contiguous(), "encoder.bias": b_enc, "decoder.weight": W_dec.T.contiguous(), "decoder.bias": b_dec},
              os.path.join(folder, "checkpoints", "final.safetensors"))
    return folder, *published(os.path.dirname(folder), "llama_scope", "repository", os.path.basename(folder), scale=math.sqrt(D) / 20)


def llama_scope_r1(folder):
    W_enc, b_enc, W_dec, b_dec = weights()
    write_json(os.path.join(folder, "config.json"), {"d_model": D, "expansion_factor": F // D, "hook_point_in": "blocks.1.hook_resid_post"})
    save_file({"encoder.weight": W_enc.T.contiguous(), "encoder.bias": b_enc, "decoder.weight": W_dec.T.contiguous(), "decoder.bias": b_dec,
               "log_jumprelu_threshold": randn(F, scale=0.3) - 1}, os.path.join(folder, "sae_weights.safetensors"))
    return folder, *published(os.path.dirname(folder), "llama_scope_r1_distill", "repository", os.path.basename(folder))


def qwen_scope(folder):
    W_enc, b_enc, W_dec, b_dec = weights()
    repository = f"SAE-Res-Qwen3-1.7B-Base-W1K-L0_{K}"
    path = os.path.join(folder, repository, "layer1.sae.pt")
    write_json(os.path.join(folder, repository, "config.json"), {"model_type": "topk_sae", "d_model": D, "d_sae": F, "k": K, "hook_point": "resid_post"})
    torch.save({"W_enc": W_enc.T.contiguous(), "W_dec": W_dec.T.contiguous(), "b_enc": b_enc, "b_dec": b_dec}, path)
    return path, *published(os.path.join(folder, repository), "qwen_scope", f"Qwen/{repository}", "layer1.sae.pt", d_in=D, d_sae=F)


def qresearch(folder):
    W_enc, b_enc, W_dec, b_dec = weights()
    name = "DeepSeek-R1-Distill-Llama-8B-SAE-l1.pt"
    os.makedirs(folder)
    torch.save({"encoder.weight": W_enc.T.contiguous(), "encoder.bias": b_enc, "decoder.weight": W_dec.T.contiguous(), "decoder.bias": b_dec}, os.path.join(folder, name))
    return os.path.join(folder, name), *published(folder, "deepseek_r1", "repository", name, d_in=D, d_sae=F)


def attention_saes(folder):
    W_enc, b_enc, W_dec, b_dec = weights()
    stem = "gpt2-small_L2_Hcat_z_ds512_v9"
    write_json(os.path.join(folder, stem + "_cfg.json"), {"act_size": D, "dict_size": F, "act_name": "blocks.2.attn.hook_z"})
    torch.save({"W_enc": W_enc.contiguous(), "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}, os.path.join(folder, stem + ".pt"))
    return folder, *published(folder, "connor_rob_hook_z", "repository", stem + ".pt")


def openai(folder):
    W_enc, latent_bias, W_dec, pre_bias = weights()
    path = os.path.join(folder, "resid_post_mlp_v5_32k", "autoencoders", "1.pt")
    os.makedirs(os.path.dirname(path))
    torch.save({"pre_bias": pre_bias, "latent_bias": latent_bias, "encoder.weight": W_enc.T, "decoder.weight": W_dec.T.contiguous(),
                "stats_last_nonzero": torch.zeros(F, dtype=torch.long), "activation": "TopK", "activation_state_dict": {"k": K, "postact_fn": "ReLU"}}, path)
    return path, *plain(W_enc, latent_bias, W_dec, pre_bias, True, lambda p: top(p, K).relu(), norm=True)


def goodfire(folder):
    W_enc, b_enc, W_dec, b_dec = weights()
    name = "Llama-3.1-8B-Instruct-SAE-l19.pth"
    os.makedirs(folder)
    torch.save({"encoder_linear.weight": W_enc.T, "encoder_linear.bias": b_enc, "decoder_linear.weight": W_dec.T, "decoder_linear.bias": b_dec}, os.path.join(folder, name))
    return os.path.join(folder, name), *published(folder, "goodfire", "Goodfire/Llama-3.1-8B-Instruct-SAE-l19", name, d_in=D, d_sae=F)


def batchtopk(kind):
    def make(folder):
        W_enc, b_enc, W_dec, b_dec = weights()
        os.makedirs(folder)
        state = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
        threshold = 0.2 + torch.rand(F, generator=g)
        if kind == "jumprelu":
            state["jumprelu.log_threshold"] = threshold.log()
        torch.save(state, os.path.join(folder, "sae.pt"))
        write_json(os.path.join(folder, "config.json"), {"act_size": D, "dict_size": F, "top_k": K, "sae_type": kind, "input_unit_norm": True, "hook_point": HOOK})
        if kind == "jumprelu":
            return folder, *plain(W_enc, b_enc, W_dec, b_dec, False, lambda p: torch.relu(p) * (p > threshold), norm=True)
        return folder, *plain(W_enc, 0, W_dec, b_dec, True, lambda p: top(p.relu(), K), norm=True)
    return make


CASES = [(f"saelens-{k}", "sae-lens", saelens(k)) for k in ("standard", "gated", "jumprelu", "topk")]
CASES += [(f"saelens-training-{k}", "sae-lens", saelens_training(k)) for k in ("batchtopk", "matryoshka")]
CASES += [(f"dictionary-{c}", "dictionary-learning", dictionary(c))
          for c in ("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder")]
CASES += [("sparsify", "eai-sparsify", sparsify)]
CASES += [(n, "sae-lens", make) for n, make in (("llama-scope", llama_scope), ("llama-scope-r1", llama_scope_r1), ("gemma-scope", gemma_scope),
                                                ("gemma-scope-2", gemma_scope_2(True)), ("gemma-scope-2-bare", gemma_scope_2(False)), ("goodfire", goodfire),
                                                ("qwen-scope", qwen_scope), ("qresearch", qresearch), ("attention-saes", attention_saes))]
CASES += [(n, None, make) for n, make in (("openai", openai),
                                          ("batchtopk-topk", batchtopk("topk")), ("batchtopk-jumprelu", batchtopk("jumprelu")))]


# ---- Comparing. ----

class Difference(Exception):
    pass


def saescope(store, *arguments):
    run = subprocess.run([PROGRAM, "-S", store, "--batch", "--quiet", "--json", *arguments], capture_output=True, text=True,
                         env={**os.environ, "SAESCOPE_DATADIR": DATA})
    if run.returncode:
        raise Difference(f"{' '.join(arguments[:2])}: {run.stderr.strip()}")
    return json.loads(run.stdout)


def agree(got, wanted, what):
    """To 1e-4, but for fewer than 0.1% of active pairs at their thresholds."""
    off = (got - wanted).abs() > 1e-4 * (1 + wanted.abs())
    active = int((wanted > 0).sum())
    if int(off.sum()) > active * 0.001 or active == 0:
        raise Difference(f"{what}: {int(off.sum())} of {active} active latents differ, the largest by {(got - wanted).abs().max():.2g}")


def cut(documents, bos, size=CONTEXT):
    """Contexts as SAELens' concat_and_batch_sequences cuts them, without BOS as they are joined."""
    flat = []
    if not bos:
        for document in documents:
            flat += document
        return [flat[i:i + size] for i in range(0, len(flat) - size + 1, size)]
    contexts, current = [], []
    for document in documents:
        for token in ([BOS] if current else []) + document:
            if not current:
                current = [BOS]
                if token == BOS:
                    continue
            current.append(token)
            if len(current) == size:
                contexts.append(current)
                current = []
    return contexts


def check_encode(store, name, encode):
    answer = saescope(store, "encode", name, SENTENCE, "--bos")
    ids = [t["id"] for t in answer["tokens"]]
    got = torch.zeros(len(ids), F)
    for r, t in enumerate(answer["tokens"]):
        for pair in t["latents"]:
            got[r, pair["latent"]] = pair["activation"]
    agree(got, encode(hidden([ids])[0]), "encode")


def check_evaluate(store, name, documents, encode, decode):
    info = saescope(store, "info", name)
    ids = cut(documents, info["prepend_bos"], info["context_size"] or CONTEXT)
    answer = saescope(store, "evaluate", name, "--text", "text", "--saebench")
    counted = torch.tensor(ids) != BOS
    x = hidden(ids)
    acts = encode(x.reshape(-1, D)).reshape(*x.shape[:2], F)
    x_hat = decode(acts.reshape(-1, F), x.reshape(-1, D)).reshape(x.shape)
    groups = [(x[i:i + 16][counted[i:i + 16]].double(), x_hat[i:i + 16][counted[i:i + 16]].double()) for i in range(0, len(x), 16)]
    e = [(a - b).pow(2).sum(1) for a, b in groups]
    square = torch.stack([a.pow(2).sum(1).mean() for a, _ in groups]).mean()
    mean_square = torch.cat([a.pow(2).mean(0) for a, _ in groups]).mean()
    A, X, H = acts[counted].double(), x[counted].double(), x_hat[counted].double()
    metrics = answer["metrics"]
    for group, key, wanted in (
            ("sparsity", "l0", (A > 0).sum(1).double().mean()), ("sparsity", "l1", A.sum(1).mean()),
            ("reconstruction_quality", "mse", torch.cat([r / len(r) for r in e]).mean()),
            ("reconstruction_quality", "explained_variance", 1 - torch.stack([r.mean() for r in e]).mean() / (square - mean_square ** 2)),
            ("reconstruction_quality", "cossim", torch.nn.functional.cosine_similarity(X, H, dim=1).mean()),
            ("shrinkage", "l2_norm_out", H.norm(dim=1).mean())):
        if answer["tokens"] != len(X) or abs(metrics[group][key] - wanted.item()) > 1e-4 * (1 + abs(wanted.item())):
            raise Difference(f"evaluate: {key} is {metrics[group][key]:.7g}, not {wanted.item():.7g}, over {answer['tokens']} of {len(X)} tokens")


def check_export(store, name, folder, encode, decode):
    saescope(store, "export", "sae", name, folder)
    sae = SAE.load_from_disk(folder, device="cpu", dtype="float32")
    x = hidden(cut([[t for t in range(1, 400)]], True))[0, 1:]
    f = encode(x)
    agree(sae.encode(x), f, "export, activations in SAELens")
    ours, theirs = sae.decode(sae.encode(x)), decode(f, x)
    if (ours - theirs).norm() > 1e-4 * theirs.norm():
        raise Difference(f"export, reconstructions in SAELens: {(ours - theirs).norm() / theirs.norm():.2g}")


def check(store, work, documents, name, make):
    path, encode, decode = make(os.path.join(work, name))
    saescope(store, "import", "sae", path, "--name", name, "--model", "lm", "--hook", HOOK)
    check_encode(store, name, encode)
    check_evaluate(store, name, documents, encode, decode)
    check_export(store, name, os.path.join(work, name + ".exported"), encode, decode)


def main():
    failed = 0
    print(f"1..{len(CASES)}")
    with tempfile.TemporaryDirectory() as work:
        store, text = os.path.join(work, "store"), os.path.join(work, "text.txt")
        with open(os.path.join(DATA, "wordnet.txt"), encoding="utf-8") as f:
            lines = [line for line in f.read().split("\n")[20000:20200] if line]
        with open(text, "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
        saescope(store, "import", "model", os.path.join(DATA, "wordnet-lm"), "--name", "lm")
        saescope(store, "import", "text", text, "--name", "text", "--model", "lm")
        documents = [[t["id"] for t in saescope(store, "tokenize", "lm", line)["tokens"]] for line in lines]
        for number, (name, package, make) in enumerate(CASES, 1):
            by = "its definition"
            try:
                if package:
                    by = f"{package} {version(package)}"
                check(store, work, documents, name, make)
                print(f"ok {number} - {name}: as {by}", flush=True)
            except (PackageNotFoundError, ImportError) as e:
                print(f"ok {number} - {name} # SKIP {package or e} is not installed", flush=True)
            except Difference as e:
                failed += 1
                print(f"not ok {number} - {name}: {e}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
