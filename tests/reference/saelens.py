# SPDX-License-Identifier: GPL-3.0-or-later
"""SAELens folders of every kind that is read, and what SAELens computes with them, for test_saelens.c.

    python3 tests/reference/saelens.py

Writes tests/data/saelens/CASE/{cfg.json,sae_weights.safetensors} and expected.safetensors: inputs x [n, d_in] and, for
each case, CASE.acts [n, d_sae] and CASE.out [n, d_in] (float32), from SAELens itself. Old files' scaling_factor, which
newer versions of SAELens no longer load, is applied by its definition: (f·s) @ W_dec + b_dec.
"""
import json
import os
import shutil
import sys
import warnings

try:
    import torch
    from safetensors.torch import load_file, save_file
    from sae_lens import SAE
except ImportError:
    sys.exit("skipped: the Python packages torch, safetensors and sae-lens are not installed")

warnings.filterwarnings("ignore")
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "saelens")
D, F, N = 12, 40, 24
g = torch.Generator().manual_seed(11)


def weights(d=D, f=F, threshold=False, unit=True):
    W_dec = torch.randn(f, d, generator=g)
    if unit:
        W_dec /= W_dec.norm(dim=1, keepdim=True)
    t = {
        "W_enc": (W_dec.T + 0.1 * torch.randn(d, f, generator=g)).contiguous(),
        "W_dec": W_dec,
        "b_enc": 0.2 * torch.randn(f, generator=g),
        "b_dec": 0.3 * torch.randn(d, generator=g),
    }
    if threshold:
        t["threshold"] = 0.1 + torch.rand(f, generator=g)
    return t


def new_config(architecture, d=D, f=F, metadata=None, **more):
    return {
        "d_in": d, "d_sae": f, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True,
        "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "sae_lens_training_version": "6.54.12", "model_name": "lm",
                     "hook_name": "blocks.1.hook_resid_pre", "hook_head_index": None, "context_size": 64,
                     "prepend_bos": True, "dataset_path": "some/texts", "neuronpedia_id": "lm/1-res",
                     "model_from_pretrained_kwargs": {}, **(metadata or {})},
        "architecture": architecture, **more}


def flat_config(**more):
    return {
        "d_in": D, "d_sae": F, "dtype": "torch.float32", "device": "cpu", "model_name": "lm",
        "hook_name": "blocks.1.hook_resid_pre", "hook_layer": 1, "hook_head_index": None, "prepend_bos": True,
        "activation_fn_str": "relu", "activation_fn_kwargs": {}, "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False, "sae_lens_training_version": "3.14.0", "context_size": 64,
        "dataset_path": "some/texts", "architecture": "standard", "neuronpedia_id": None,
        "normalize_activations": "none", "model_from_pretrained_kwargs": {"center_writing_weights": True}, **more}


def cases():
    yield "standard", new_config("standard"), weights()
    yield "square", new_config("standard", d=D, f=D), weights(f=D)
    yield "topk", new_config("topk", k=5, rescale_acts_by_decoder_norm=False, apply_b_dec_to_input=False), weights()
    yield "topk-rescaled", new_config("topk", k=5, rescale_acts_by_decoder_norm=True), weights(unit=False)
    yield "jumprelu", new_config("jumprelu", apply_b_dec_to_input=False), weights(threshold=True)
    f16 = {k: v.to(torch.float16) for k, v in weights(threshold=True).items()}
    yield "jumprelu-f16", {**new_config("jumprelu"), "dtype": "float16"}, f16
    bf16 = {k: v.to(torch.bfloat16) for k, v in weights().items()}
    yield "layer-norm-bf16", {**new_config("standard"), "dtype": "bfloat16", "normalize_activations": "layer_norm"}, bf16
    yield "rescaled-norm", {**new_config("standard"), "normalize_activations": "constant_norm_rescale"}, weights()
    yield "average-norm", {**new_config("standard"), "normalize_activations": "expected_average_only_in"}, weights()
    yield "flat", flat_config(), weights()
    yield "flat-topk", flat_config(activation_fn_str="topk", activation_fn_kwargs={"k": 4},
                                   normalize_activations="layer_norm"), weights()
    ones = {**weights(), "scaling_factor": torch.ones(F)}
    oldest = flat_config(finetuning_scaling_factor=True)
    for key in ("architecture", "hook_name", "hook_layer", "hook_head_index", "activation_fn_str",
                "activation_fn_kwargs", "model_from_pretrained_kwargs", "normalize_activations"):
        del oldest[key]
    oldest.update(hook_point="blocks.1.hook_resid_pre", hook_point_layer=1, hook_point_head_index=None, l1_coefficient=8e-5)
    yield "oldest", oldest, ones
    yield "oldest-scaled", oldest, {**weights(), "scaling_factor": 0.5 + torch.rand(F, generator=g)}


def evaluate(folder, name, config, x):
    path = folder
    scale = None
    if name == "oldest-scaled":
        tensors = load_file(os.path.join(folder, "sae_weights.safetensors"))
        scale = tensors.pop("scaling_factor")
        path = folder + ".unscaled"
        os.makedirs(path)
        save_file(tensors, os.path.join(path, "sae_weights.safetensors"))
        shutil.copy(os.path.join(folder, "cfg.json"), path)
    sae = SAE.load_from_disk(path, device="cpu", dtype="float32")
    if path != folder:
        shutil.rmtree(path)
    with torch.no_grad():
        acts = sae.encode(x)
        out = sae.decode(acts if scale is None else acts * scale)
    return acts, out


shutil.rmtree(OUT, ignore_errors=True)
x = torch.randn(N, D, generator=g) * (0.5 + 2 * torch.rand(N, 1, generator=g)) + 0.3
expected = {"x": x}
for name, config, tensors in cases():
    folder = os.path.join(OUT, name)
    os.makedirs(folder)
    with open(os.path.join(folder, "cfg.json"), "w") as f:
        json.dump(config, f)
    save_file(tensors, os.path.join(folder, "sae_weights.safetensors"))
    acts, out = evaluate(folder, name, config, x)
    assert (acts > 0).any()
    expected[f"{name}.acts"] = acts.float().contiguous()
    expected[f"{name}.out"] = out.float().contiguous()
save_file(expected, os.path.join(OUT, "expected.safetensors"))
