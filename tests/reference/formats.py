# SPDX-License-Identifier: GPL-3.0-or-later
"""Small SAEs in every producer's format, and what the producer's library computes with them, for test_formats.c.

    python3 tests/reference/formats.py

Writes tests/data/formats/CASE/... as the producer lays files out, and expected.safetensors: inputs x [n, d_in] and, for each
case, CASE.acts [n, d_sae] and CASE.out [n, d_in] (float32). Files of sae-lens, dictionary-learning and eai-sparsify are
written and evaluated by these libraries; those of Qwen Scope, qresearch and the attention SAEs, and Llama Scope R1's with its scale,
are read by sae-lens' loaders and evaluated by it; those whose library is on no package index (Gemma Scope 1 and 2, Llama Scope,
OpenAI's sparse_autoencoder, Goodfire, BatchTopK) by the definitions in their code, in PyTorch. The square cases'
matrices are views of a few numbers, W[i, j] = s[i + 2j], so that they stay small: only their strides tell their axes.
"""
import json
import math
import os
import shutil
import sys
import warnings

try:
    import numpy as np
    import torch
    from dictionary_learning import dictionary as dl
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK
    from sae_lens import SAE, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, GatedSAE, GatedSAEConfig
    from sae_lens import MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig
    from safetensors.torch import save_file
    import sparsify.sparse_coder
    from sparsify import SparseCoder
    from sparsify.config import SparseCoderConfig
    from sparsify.utils import eager_decode
except ImportError as e:
    sys.exit(f"skipped: the Python packages torch, sae-lens, dictionary-learning and eai-sparsify are needed ({e})")

warnings.filterwarnings("ignore")
torch.set_grad_enabled(False)
sparsify.sparse_coder.decoder_impl = eager_decode  # its own, for machines without a GPU
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "formats")
D, F, N = 16, 48, 12
g = torch.Generator().manual_seed(23)
x = torch.randn(N, D, generator=g) * (0.5 + 2 * torch.rand(N, 1, generator=g)) + 0.3
expected = {"x": x}


def randn(*shape, scale=1.0):
    return scale * torch.randn(*shape, generator=g)


def weights(unit=True):
    """W_enc [D, F], b_enc, W_dec [F, D], b_dec."""
    W_dec = randn(F, D)
    if unit:
        W_dec /= W_dec.norm(dim=1, keepdim=True)
    return (W_dec.T + randn(D, F, scale=0.1)).contiguous(), randn(F, scale=0.2), W_dec, randn(D, scale=0.3)


def folder(name, *parts):
    path = os.path.join(OUT, name, *parts)
    os.makedirs(path, exist_ok=True)
    return path


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f)


def golden(name, acts, out):
    assert (acts > 0).any() and acts.shape == (N, F) and out.shape == (N, D), name
    expected[f"{name}.acts"] = acts.float().contiguous()
    expected[f"{name}.out"] = out.float().contiguous()


def top(p, k):
    values, indices = p.topk(k, dim=-1)
    return torch.zeros_like(p).scatter(-1, indices, values)


def layer_norm(x):
    mean = x.mean(dim=-1, keepdim=True)
    std = (x - mean).std(dim=-1, keepdim=True)
    return (x - mean) / (std + 1e-5), mean, std


# ---- SAELens. ----

def saelens_training(name, cls, config, **more):
    """A training run's checkpoint, whose scale is not folded, and what its finished files compute."""
    cfg = config(d_in=D, d_sae=F, dtype="float32", device="cpu", apply_b_dec_to_input=True,
                 normalize_activations="expected_average_only_in", k=6, rescale_acts_by_decoder_norm=True, **more)
    cfg.metadata.model_name, cfg.metadata.hook_name = "lm", "blocks.1.hook_resid_pre"
    sae = cls(cfg)
    W_enc, b_enc, W_dec, b_dec = weights(unit=False)
    sae.W_enc.data[:], sae.b_enc.data[:], sae.W_dec.data[:], sae.b_dec.data[:] = W_enc, b_enc, W_dec, b_dec
    sae.topk_threshold = torch.tensor(1.7, dtype=torch.double)
    sae.save_model(folder(name))
    write_json(os.path.join(OUT, name, "activation_scaler.json"), {"scaling_factor": 0.75})
    sae.fold_activation_norm_scaling_factor(0.75)
    finished = folder(name) + ".finished"
    sae.save_inference_model(finished)
    loaded = SAE.load_from_disk(finished, device="cpu", dtype="float32")
    shutil.rmtree(finished)
    acts = loaded.encode(x)
    golden(name, acts, loaded.decode(acts))


def saelens():
    cfg = GatedSAEConfig(d_in=D, d_sae=F, dtype="float32", device="cpu", apply_b_dec_to_input=True)
    cfg.metadata.model_name, cfg.metadata.hook_name = "lm", "blocks.1.hook_resid_pre"
    sae = GatedSAE(cfg)
    W_enc, _, W_dec, b_dec = weights()
    sae.W_enc.data[:], sae.W_dec.data[:], sae.b_dec.data[:] = W_enc, W_dec, b_dec
    sae.b_gate.data[:], sae.b_mag.data[:], sae.r_mag.data[:] = randn(F, scale=0.3), randn(F, scale=0.3), randn(F, scale=0.4)
    sae.save_model(folder("saelens-gated"))
    acts = sae.encode(x)
    golden("saelens-gated", acts, sae.decode(acts))
    save_file({"sparsity": torch.linspace(-10, -0.5, F)}, os.path.join(OUT, "saelens-gated", "sparsity.safetensors"))

    saelens_training("saelens-batchtopk", BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig)
    saelens_training("saelens-matryoshka", MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig,
                     matryoshka_widths=[8, 24, F])

    W_enc, b_enc, W_dec, b_dec = weights()
    log_threshold = randn(F, scale=0.3)
    name = "saelens-log-threshold"
    write_json(os.path.join(folder(name), "cfg.json"),
               {"d_in": D, "d_sae": F, "architecture": "jumprelu", "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": False,
                "normalize_activations": "none", "reshape_activations": "hook_z",
                "metadata": {"sae_lens_version": "6.2.0", "model_name": "lm", "hook_name": "blocks.1.attn.hook_z"}})
    save_file({"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec, "log_threshold": log_threshold},
              os.path.join(OUT, name, "sae_weights.safetensors"))
    p = x @ W_enc + b_enc
    acts = torch.relu(p) * (p > log_threshold.exp())
    golden(name, acts, acts @ W_dec + b_dec)


# ---- Gemma Scope, Llama Scope. ----

def jumprelu(W_enc, b_enc, W_dec, b_dec, threshold, scale=1.0):
    p = (x * scale) @ W_enc + b_enc
    acts = torch.relu(p) * (p > threshold)
    return acts, (acts @ W_dec + b_dec) / scale


def gemma_scope():
    for name, parts, compressed in (
            ("gemma-scope", ("gemma-scope-2b-pt-res", "layer_20", "width_16k", "average_l0_71"), True),
            ("gemma-scope-att", ("gemma-scope-9b-it-att", "layer_3", "width_16k", "average_l0_20"), False),
            ("gemma-scope-embedding", ("gemma-scope-2b-pt-res", "embedding", "width_4k", "average_l0_6"), False)):
        W_enc, b_enc, W_dec, b_dec = weights()
        threshold = 0.2 + torch.rand(F, generator=g)
        arrays = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec, "threshold": threshold}
        arrays = {k: v.numpy() for k, v in arrays.items()}
        if name == "gemma-scope-att":
            arrays = {k.replace("W_", "w_"): np.asfortranarray(v) for k, v in arrays.items()}
        (np.savez_compressed if compressed else np.savez)(os.path.join(folder(name, *parts), "params.npz"), **arrays)
        if name == "gemma-scope-embedding":
            W_enc, W_dec = W_enc / math.sqrt(D), W_dec * math.sqrt(D)
        golden(name, *jumprelu(W_enc, b_enc, W_dec, b_dec, threshold))


def gemma_scope_2():
    W_enc, b_enc, W_dec, b_dec = (t.to(torch.bfloat16) for t in weights())
    threshold = (0.2 + torch.rand(F, generator=g)).to(torch.bfloat16)
    path = folder("gemma-scope-2", "resid_post", "layer_12_width_16k_l0_medium")
    write_json(os.path.join(path, "config.json"),
               {"width": F, "model_name": "gemma-3-1b-pt", "architecture": "jump_relu", "l0": 50, "affine_connection": False,
                "hf_hook_point_in": "model.layers.12.output", "hf_hook_point_out": "model.layers.12.output", "type": "sae"})
    save_file({"w_enc": W_enc.contiguous(), "w_dec": W_dec, "b_enc": b_enc, "b_dec": b_dec, "threshold": threshold},
              os.path.join(path, "params.safetensors"))
    golden("gemma-scope-2", *jumprelu(W_enc.float(), b_enc.float(), W_dec.float(), b_dec.float(), threshold.float()))


def llama_scope():
    W_enc, b_enc, W_dec, b_dec = weights(unit=False)
    path = folder("llama-scope", "checkpoints")
    hyperparameters = {"d_model": D, "d_sae": F, "hook_point_in": "blocks.8.hook_resid_post", "hook_point_out": "blocks.8.hook_resid_post",
                       "act_fn": "jumprelu", "jump_relu_threshold": 0.9, "top_k": 50, "norm_activation": "dataset-wise",
                       "dataset_average_activation_norm": {"in": 5.5, "out": 5.5}, "sparsity_include_decoder_norm": True,
                       "apply_decoder_bias_to_pre_encoder": False, "use_glu_encoder": False, "dtype": "torch.bfloat16"}
    write_json(os.path.join(OUT, "llama-scope", "hyperparams.json"), hyperparameters)
    save_file({"encoder.weight": W_enc.T.contiguous(), "encoder.bias": b_enc, "decoder.weight": W_dec.T.contiguous(),
               "decoder.bias": b_dec}, os.path.join(path, "final.safetensors"))
    # Inputs of norm sqrt(d); what is compared is in the model's units, latents times their decoder's norm.
    s, norms = math.sqrt(D) / 5.5, W_dec.norm(dim=1)
    p = ((x * s) @ W_enc + b_enc) * norms
    acts = torch.relu(p) * (p / s > 0.9)
    golden("llama-scope", acts, (acts @ (W_dec / norms[:, None]) + b_dec) / s)

    W_enc, b_enc, W_dec, b_dec = weights()
    log_threshold = randn(F, scale=0.3)
    path = folder("llama-scope-r1")
    write_json(os.path.join(path, "config.json"), {"d_model": D, "expansion_factor": F / D, "hook_point_in": "blocks.8.hook_resid_post",
                                                   "norm_activation": "inference"})
    save_file({"encoder.weight": W_enc.T.contiguous(), "encoder.bias": b_enc, "decoder.weight": W_dec.T.contiguous(),
               "decoder.bias": b_dec, "log_jumprelu_threshold": log_threshold}, os.path.join(path, "sae_weights.safetensors"))
    golden("llama-scope-r1", *jumprelu(W_enc, b_enc, W_dec, b_dec, log_threshold.exp()))


# ---- dictionary_learning. ----

def fill(module, **tensors):
    for name, value in tensors.items():
        target = module
        *parents, last = name.split("__")
        for parent in parents:
            target = getattr(target, parent)
        getattr(target, last).data = value.clone()


def dictionary(name, ae, k=None, config=True, io="out"):
    path = folder(name)
    cls = type(ae).__name__
    torch.save(ae.state_dict(), os.path.join(path, "ae.pt"))
    if config:
        write_json(os.path.join(path, "config.json"),
                   {"trainer": {"trainer_class": cls, "dict_class": cls, "activation_dim": D, "dict_size": F, "layer": 3, "k": k,
                                "lm_name": "EleutherAI/pythia-70m-deduped", "submodule_name": "resid_post_layer_3"},
                    "buffer": {"ctx_len": 128, "d_submodule": D, "io": io, "n_ctxs": 244}})
    if cls in ("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        ae = type(ae).from_pretrained(os.path.join(path, "ae.pt"), k=k)
    else:
        ae = type(ae).from_pretrained(os.path.join(path, "ae.pt"))
    acts = ae.encode(x)
    golden(name, acts, ae.decode(acts))


def dictionary_learning():
    for config, suffix in ((True, ""), (False, "-bare")):
        W_enc, b_enc, W_dec, b_dec = weights(unit=False)
        linear = {"encoder__weight": W_enc.T, "decoder__weight": W_dec.T}
        ae = dl.AutoEncoder(D, F)
        fill(ae, **linear, encoder__bias=b_enc, bias=b_dec)
        dictionary("dictionary-relu" + suffix, ae, config=config)
        ae = dl.AutoEncoderNew(D, F)
        fill(ae, **linear, encoder__bias=b_enc, decoder__bias=b_dec)
        dictionary("dictionary-new" + suffix, ae, config=config)
        ae = dl.GatedAutoEncoder(D, F)
        fill(ae, **linear, decoder_bias=b_dec, r_mag=randn(F, scale=0.4), gate_bias=b_enc, mag_bias=randn(F, scale=0.3))
        dictionary("dictionary-gated" + suffix, ae, config=config)
        ae = AutoEncoderTopK(D, F, 5)
        fill(ae, **linear, encoder__bias=b_enc, b_dec=b_dec, threshold=torch.tensor(0.8))
        dictionary("dictionary-topk" + suffix, ae, k=5, config=config)
        ae = BatchTopKSAE(D, F, 5)
        fill(ae, **linear, encoder__bias=b_enc, b_dec=b_dec, threshold=torch.tensor(1.1))
        dictionary("dictionary-batch_topk" + suffix, ae, k=5, config=config)
        ae = MatryoshkaBatchTopKSAE(D, F, 5, [8, 16, 24])
        fill(ae, W_enc=W_enc, W_dec=W_dec, b_enc=b_enc, b_dec=b_dec, threshold=torch.tensor(1.1))
        dictionary("dictionary-matryoshka" + suffix, ae, k=5, config=config)
        ae = dl.JumpReluAutoEncoder(D, F)
        fill(ae, W_enc=W_enc, W_dec=W_dec, b_enc=b_enc, b_dec=b_dec, threshold=0.2 + torch.rand(F, generator=g))
        dictionary("dictionary-jumprelu" + suffix, ae, config=config)
    ae = BatchTopKSAE(D, F, 5)
    fill(ae, **linear, encoder__bias=b_enc, b_dec=b_dec)
    dictionary("dictionary-unset", ae, k=5, io="in")


# ---- sparsify. ----

def sparsify_folders():
    write_json(os.path.join(folder("sparsify"), "config.json"), {"model": "EleutherAI/pythia-160m", "dataset": "some/texts", "ctx_len": 256})
    for name, place, more in (("sparsify", "layers.5", {"num_latents": F}), ("sparsify-mlp", "layers.2.mlp", {"expansion_factor": F // D})):
        W_enc, b_enc, W_dec, b_dec = weights()
        sae = SparseCoder(D, SparseCoderConfig(k=5, **more))
        fill(sae, encoder__weight=W_enc.T.contiguous(), encoder__bias=b_enc, W_dec=W_dec, b_dec=b_dec)
        path = os.path.join(OUT, name, place)
        sae.save_to_disk(path)
        sae = SparseCoder.load_from_disk(path)
        acts, indices, _ = sae.encode(x)
        golden(name, torch.zeros(N, F).scatter(-1, indices, acts), sae.decode(acts, indices))


# ---- OpenAI's sparse_autoencoder (sparse_autoencoder/model.py). ----

def openai():
    for name, place, layer in (("openai-topk", "resid_post_mlp_v5_32k", 8), ("openai-relu", "mlp_post_act", 1), ("openai-tied", "resid_delta_attn", 2)):
        W_enc, latent_bias, W_dec, pre_bias = weights()
        state = {"pre_bias": pre_bias, "latent_bias": latent_bias, "stats_last_nonzero": torch.zeros(F, dtype=torch.long),
                 "latents_activation_frequency": torch.ones(F), "latents_mean_square": torch.zeros(F), "encoder.weight": W_enc.T}
        if name == "openai-tied":
            state["decoder.linear.weight"] = state["encoder.weight"]
            W_dec = W_enc.T
        else:
            state["decoder.weight"] = W_dec.T.contiguous()
        h, mean, std = layer_norm(x) if name == "openai-topk" else (x, 0, 1)
        p = (h - pre_bias) @ W_enc + latent_bias
        if name == "openai-topk":
            state.update(activation="TopK", activation_state_dict={"k": 6, "postact_fn": "ReLU"})
            acts = top(p, 6).relu()
        else:
            state.update(activation="ReLU", activation_state_dict={})
            acts = p.relu()
        torch.save(state, os.path.join(folder(name, place, "autoencoders"), f"{layer}.pt"))
        golden(name, acts, (acts @ W_dec + pre_bias) * std + mean)


# ---- Goodfire. ----

def goodfire():
    W_enc, b_enc, W_dec, b_dec = (t.to(torch.bfloat16) for t in weights())
    torch.save({"encoder_linear.weight": W_enc.T, "encoder_linear.bias": b_enc, "decoder_linear.weight": W_dec.T,
                "decoder_linear.bias": b_dec}, os.path.join(folder("goodfire"), "Llama-3.1-8B-Instruct-SAE-l19.pth"))
    acts = torch.relu(x @ W_enc.float() + b_enc.float())
    golden("goodfire", acts, acts @ W_dec.float() + b_dec.float())


# ---- The BatchTopK repository (sae.py). ----

def batchtopk():
    for name, kind, unit_norm, more in (("batchtopk-topk", "topk", True, {}), ("batchtopk-batchtopk", "batchtopk", False, {}),
                                        ("batchtopk-vanilla", "vanilla", True, {}), ("batchtopk-jumprelu", "jumprelu", False, {}),
                                        ("batchtopk-old", "topk", False, {"use_encoder_bias": True}),
                                        ("batchtopk-meta", "batchtopk", False, {})):
        W_enc, b_enc, W_dec, b_dec = weights()
        state = {"b_dec": b_dec, "b_enc": b_enc, "W_enc": W_enc, "W_dec": W_dec}
        k = 4 if name == "batchtopk-meta" else 6
        path = folder(name, f"gpt2-small_blocks.8.hook_resid_pre_{F}_{kind}_{k}_0.0003_99")
        h, mean, std = layer_norm(x) if unit_norm else (x, 0, 1)
        if kind == "jumprelu":
            state["jumprelu.log_threshold"] = randn(F, scale=0.3)
            p = torch.relu(h @ W_enc + b_enc)
            acts = p * (p > state["jumprelu.log_threshold"].exp())
        elif kind == "vanilla":
            acts = torch.relu((h - b_dec) @ W_enc + b_enc)
        else: # one token a batch: what BatchTopK keeps of k
            acts = top(torch.relu((h - b_dec) @ W_enc + (b_enc if more else 0)), k)
        torch.save(state, os.path.join(path, "sae.pt"))
        write_json(os.path.join(path, "config.json"),
                   {"seed": 49, "act_size": D, "dict_size": F, "top_k": k, "sae_type": kind, "input_unit_norm": unit_norm,
                    "model_name": "gpt2-small", "layer": 8, "hook_point": "blocks.8.hook_resid_pre", "seq_len": 128,
                    "dataset_path": "Skylion007/openwebtext", "dtype": "torch.float32", "bandwidth": 0.001, **more})
        golden(name, acts, (acts @ W_dec + b_dec) * std + mean)


# ---- Plain files. ----

def plain():
    W_enc, b_enc, W_dec, b_dec = weights()
    save_file({"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}, os.path.join(folder("plain-safetensors"), "mine.safetensors"))
    acts = torch.relu((x - b_dec) @ W_enc + b_enc)
    golden("plain-safetensors", acts, acts @ W_dec + b_dec)
    W_enc, _, W_dec, b_dec = weights()
    torch.save({"step": 12, "state_dict": {"sae.W_enc": W_enc.half(), "sae.W_dec": W_dec.half(), "sae.b_dec": b_dec.half()}},
               os.path.join(folder("plain-pt"), "checkpoint.pt"))
    p = (x - b_dec.half().float()) @ W_enc.half().float()
    acts = top(p, 7).relu()
    golden("plain-pt", acts, acts @ W_dec.half().float() + b_dec.half().float())
    W_enc, b_enc, W_dec, b_dec = (t.numpy() for t in weights())
    np.savez(os.path.join(folder("plain-npz"), "mine.npz"), W_enc=W_enc, b_enc=b_enc, W_dec=W_dec, b_dec=b_dec)
    acts = torch.relu(x @ torch.tensor(W_enc) + torch.tensor(b_enc))
    golden("plain-npz", acts, acts @ torch.tensor(W_dec) + torch.tensor(b_dec))


# ---- d_in = d_sae. ----

def square():
    n = 256

    def view(shift):
        s = torch.tensor([((i + shift) * 37 % 101 - 50) / 64 for i in range(3 * n - 2)])
        return s.as_strided((n, n), (1, 2))

    zeros, encoder, decoder = torch.zeros(n), view(0), view(5)
    torch.save({"encoder.weight": encoder, "encoder.bias": zeros, "decoder.weight": decoder, "decoder.bias": zeros},
               os.path.join(folder("square-dictionary-linear"), "ae.pt"))
    torch.save({"W_enc": encoder, "b_enc": zeros, "W_dec": decoder, "b_dec": zeros, "threshold": zeros},
               os.path.join(folder("square-dictionary-own"), "ae.pt"))
    torch.save({"encoder_linear.weight": encoder, "encoder_linear.bias": zeros, "decoder_linear.weight": decoder,
                "decoder_linear.bias": zeros}, os.path.join(folder("square-goodfire"), "sae.pt"))
    torch.save({"pre_bias": zeros, "encoder.weight": encoder, "latent_bias": zeros, "decoder.weight": decoder, "activation": "ReLU"},
               os.path.join(folder("square-openai"), "0.pt"))
    path = folder("square-batchtopk")
    torch.save({"W_enc": encoder, "b_enc": zeros, "W_dec": decoder, "b_dec": zeros}, os.path.join(path, "sae.pt"))
    write_json(os.path.join(path, "config.json"), {"act_size": n, "dict_size": n, "top_k": 4, "sae_type": "topk"})
    torch.save({"W_enc": encoder, "b_enc": zeros, "W_dec": decoder, "b_dec": zeros}, os.path.join(folder("square-qwen-L0_4"), "layer1.sae.pt"))
    torch.save({"encoder.weight": encoder, "encoder.bias": zeros, "decoder.weight": decoder, "decoder.bias": zeros},
               os.path.join(folder("square-qresearch"), "m-SAE-l1.pt"))


# ---- Through sae-lens' loaders of published files. ----

def loaded(name, loader, repository, folder_name, scale=None, **overrides):
    """What sae-lens computes with the files of CASE/REPOSITORY's last part, given to its loader in place of downloads."""
    from sae_lens.loading import pretrained_sae_loaders as loaders
    root = os.path.join(OUT, name, repository.split("/")[-1])
    keep, loaders.hf_hub_download = loaders.hf_hub_download, lambda repo_id, filename, subfolder="", **_: os.path.join(root, subfolder, filename)
    cfg, state, _ = loaders.NAMED_PRETRAINED_SAE_LOADERS[loader](repository, folder_name, device="cpu", cfg_overrides={"dtype": "float32", **overrides})
    loaders.hf_hub_download = keep
    cfg = loaders.handle_config_defaulting(cfg)
    config_class = SAE.get_sae_config_class_for_architecture(cfg["architecture"])
    sae = SAE.get_sae_class_for_architecture(cfg["architecture"])(config_class.from_dict(cfg))
    state = {key: value.float() for key, value in state.items()}
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict(state)
    if scale: # as from_pretrained does with the release's
        sae.fold_activation_norm_scaling_factor(scale)
    acts = sae.encode(x.reshape(N, 2, -1) if cfg.get("reshape_activations") == "hook_z" else x) # two heads
    golden(name, acts, sae.decode(acts).reshape(N, D))


def qwen_scope():
    for name, config in (("qwen-scope", True), ("qwen-scope-bare", False)):
        W_enc, b_enc, W_dec, b_dec = weights()
        repository = "SAE-Res-Qwen3-1.7B-Base-W32K-L0_6"
        path = folder(name, repository)
        torch.save({"W_enc": W_enc.T.contiguous(), "W_dec": W_dec.T.contiguous(), "b_enc": b_enc, "b_dec": b_dec}, os.path.join(path, "layer3.sae.pt"))
        if config:
            write_json(os.path.join(path, "config.json"), {"model_type": "topk_sae", "base_model": "Qwen/Qwen3-1.7B-Base", "d_model": D, "d_sae": F,
                                                           "k": 6, "hook_point": "resid_post", "num_layers": 28})
        loaded(name, "qwen_scope", f"Qwen/{repository}", "layer3.sae.pt", d_in=D, d_sae=F)


def qresearch():
    W_enc, b_enc, W_dec, b_dec = (t.to(torch.bfloat16) for t in weights())
    file = "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"
    torch.save({"encoder.weight": W_enc.T.contiguous(), "encoder.bias": b_enc, "decoder.weight": W_dec.T.contiguous(), "decoder.bias": b_dec},
               os.path.join(folder("qresearch", "one"), file))
    loaded("qresearch", "deepseek_r1", "qresearch/one", file, d_in=D, d_sae=F)


def attention_saes():
    W_enc, b_enc, W_dec, b_dec = weights()
    path, stem = folder("attention-saes", "all"), "gpt2-small_L5_Hcat_z_lr1.20e-03_ds48_v9"
    torch.save({"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}, os.path.join(path, stem + ".pt"))
    write_json(os.path.join(path, stem + "_cfg.json"), {"act_size": D, "dict_size": F, "act_name": "blocks.5.attn.hook_z", "l1_coeff": 1.0})
    loaded("attention-saes", "connor_rob_hook_z", "ckkissane/all", stem + ".pt")


def llama_scope_r1_scaled():
    """The same files as llama-scope-r1, with a scale that only the release's list knows."""
    name = "llama-scope-r1-scaled"
    path = folder(name, "repository", "L8R")
    W_enc, b_enc, W_dec, b_dec = weights()
    write_json(os.path.join(path, "config.json"), {"d_model": D, "expansion_factor": F / D, "hook_point_in": "blocks.8.hook_resid_post"})
    save_file({"encoder.weight": W_enc.T.contiguous(), "encoder.bias": b_enc, "decoder.weight": W_dec.T.contiguous(),
               "decoder.bias": b_dec, "log_jumprelu_threshold": randn(F, scale=0.3)}, os.path.join(path, "sae_weights.safetensors"))
    loaded(name, "llama_scope_r1_distill", "fnlp/repository", "L8R", scale=0.625, d_sae=F)


def goodfire_topk():
    """No bias in the decoder, and k told by nobody."""
    W_enc, b_enc, W_dec, _ = weights()
    torch.save({"encoder_linear.weight": W_enc.T.contiguous(), "encoder_linear.bias": b_enc, "decoder.weight": W_dec.T.contiguous()},
               os.path.join(folder("goodfire-topk"), "topk.pt"))
    acts = top(x @ W_enc + b_enc, 7).relu()
    golden("goodfire-topk", acts, acts @ W_dec)


def gemma_scope_2_bare():
    """Without its configuration: the folders say what it is."""
    W_enc, b_enc, W_dec, b_dec = weights()
    threshold = 0.2 + torch.rand(F, generator=g)
    path = folder("gemma-scope-2-bare", "gemma-scope-2-270m-pt", "attn_out", "layer_9_width_16k_l0_small")
    save_file({"w_enc": W_enc.contiguous(), "w_dec": W_dec, "b_enc": b_enc, "b_dec": b_dec, "threshold": threshold},
              os.path.join(path, "params.safetensors"))
    golden("gemma-scope-2-bare", *jumprelu(W_enc, b_enc, W_dec, b_dec, threshold))


# ---- What is no SAE. ----

def others():
    """Small files of the dictionaries that sae-lens can load and that are refused."""
    W_enc, b_enc, W_dec, b_dec = weights()
    four = {"W_enc": W_enc.T[:4, :3].contiguous(), "b_enc": b_enc[:4].contiguous(), "W_dec": W_dec[:4, :3].contiguous(), "b_dec": b_dec[:3].contiguous()}
    path = folder("others", "transcoder")
    save_file(four, os.path.join(path, "layer_7.safetensors"))
    with open(os.path.join(path, "config.yaml"), "w") as f:
        f.write("model_name: Qwen/Qwen3-4B\nfeature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\n")
    save_file(four, os.path.join(folder("others", "qwen3-4b-transcoders"), "layer_7.safetensors"))
    path = folder("others", "cross-layer")
    save_file({f"{key}_0": four[key] for key in ("W_enc", "b_enc", "b_dec")}, os.path.join(path, "W_enc_0.safetensors"))
    save_file({"W_dec_0": torch.zeros(4, 2, 3)}, os.path.join(path, "W_dec_0.safetensors"))
    save_file({"w_enc": four["W_enc"].T.contiguous(), "w_dec": torch.zeros(4, 2, 3), "b_enc": four["b_enc"], "b_dec": four["b_dec"],
               "threshold": torch.zeros(4)}, os.path.join(folder("others", "gemma-cross-layer"), "params_layer_0.safetensors"))
    save_file({"D": four["W_dec"], "E": four["W_enc"].T.contiguous(), "b": four["b_dec"], "attn_layers.0.k_ctx.weight": torch.zeros(4, 4)},
              os.path.join(folder("others", "temporal"), "latest_ckpt.safetensors"))


shutil.rmtree(OUT, ignore_errors=True)
for write in (saelens, gemma_scope, gemma_scope_2, llama_scope, dictionary_learning, sparsify_folders, openai, goodfire, batchtopk, plain, square, qwen_scope, qresearch,
              attention_saes, llama_scope_r1_scaled, goodfire_topk, gemma_scope_2_bare, others):
    write()
save_file(expected, os.path.join(OUT, "expected.safetensors"))
