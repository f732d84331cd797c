#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small models of every family with random weights, and what transformers and TransformerLens make of them.

Writes tests/data/families/NAME: config.json, tokenizer.json, model.safetensors (or shards) and expected.safetensors:
"tokens", every hook that saescope knows by its name, as [tokens, width], the "logits" of each context's last token, and
those of two directions of hook_z and of mlp.hook_post of the last layer, through W_O or W_out and W_U. Activations and logits are
TransformerLens', loaded without processing; they are compared with transformers' first (its logits, and its hidden states
for the residual stream). Where TransformerLens differs from transformers (said at the family), transformers' modules are
hooked instead. TORCH names families that get PyTorch's files of the same weights too, as versions of transformers before 5 wrote
them: pytorch_model.bin with all of state_dict(), or shards with pytorch_model.bin.index.json.

    tests/reference/families.py [NAME...]
"""
import json
import pathlib
import shutil
import sys

try:
    import torch
    import transformers
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import load_file, save_file
    import transformer_lens
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained import weight_conversions as conversions
except ImportError as missing:
    sys.exit(f"skipped: {missing.name} is not installed")

OUT = pathlib.Path("tests/data/families")
VOCABULARY = 264
CONTEXTS, LENGTH = 2, 7
BOS, EOS = 256, 257
COMMON = dict(vocab_size=VOCABULARY, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=None)
LLAMA = dict(COMMON, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             intermediate_size=24, max_position_embeddings=64, hidden_act="silu", rms_norm_eps=1e-5)
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)


def rope(theta, **more):
    return dict(rope_theta=theta, rope_type="default") | more


# name: (transformers' class, its configuration, dtype of the file)
FAMILIES = {
    "gpt2": ("GPT2", dict(COMMON, n_embd=16, n_layer=2, n_head=4, n_positions=64), "float16"),
    "gpt2-untied": ("GPT2", dict(COMMON, n_embd=12, n_layer=2, n_head=3, n_positions=32, n_inner=20,
                                 activation_function="gelu", tie_word_embeddings=False), "float32"),
    "gpt_neo": ("GPTNeo", dict(COMMON, hidden_size=16, num_layers=3, num_heads=4, max_position_embeddings=64,
                               attention_types=[[["global", "local"], 1], [["local"], 1]], window_size=3,
                               intermediate_size=None), "float16"),
    "gpt_neox": ("GPTNeoX", dict(COMMON, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=24,
                                 max_position_embeddings=64, hidden_act="gelu", use_parallel_residual=True,
                                 tie_word_embeddings=False,
                                 rope_parameters=rope(10000.0, partial_rotary_factor=0.5)), "bfloat16"),
    "gpt_neox-sequential": ("GPTNeoX", dict(COMMON, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                            intermediate_size=24, max_position_embeddings=64, hidden_act="gelu_fast",
                                            use_parallel_residual=False, tie_word_embeddings=False,
                                            rope_parameters=rope(500.0, partial_rotary_factor=0.25)), "float16"),
    "llama2": ("Llama", dict(LLAMA, num_key_value_heads=4, tie_word_embeddings=False,
                             rope_parameters=rope(10000.0, rope_type="linear", factor=2.0)), "float16"),
    "llama3": ("Llama", dict(LLAMA, tie_word_embeddings=True, rope_parameters=rope(500000.0) | LLAMA3), "bfloat16"),
    "llama-biases": ("Llama", dict(LLAMA, head_dim=6, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                                   rope_parameters=rope(10000.0)), "float32"),
    "mistral": ("Mistral", dict(LLAMA, head_dim=6, sliding_window=3, tie_word_embeddings=False,
                                rope_parameters=rope(10000.0)), "bfloat16"),
    "gemma": ("Gemma", dict(LLAMA, num_key_value_heads=1, head_dim=6, hidden_act="gelu_pytorch_tanh",
                            tie_word_embeddings=True, rope_parameters=rope(10000.0)), "bfloat16"),
    "gemma2": ("Gemma2", dict(LLAMA, num_hidden_layers=3, head_dim=6, sliding_window=3, query_pre_attn_scalar=9,
                              attn_logit_softcapping=1.5, final_logit_softcapping=2.0,
                              hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True,
                              rope_parameters=rope(10000.0)), "bfloat16"),
    "qwen2": ("Qwen2", dict(LLAMA, tie_word_embeddings=True, use_sliding_window=False,
                            rope_parameters=rope(1000000.0)), "bfloat16"),
    "qwen2-window": ("Qwen2", dict(LLAMA, tie_word_embeddings=False, use_sliding_window=True, sliding_window=3,
                                   max_window_layers=1, rope_parameters=rope(1000000.0)), "bfloat16"),
    "qwen3": ("Qwen3", dict(LLAMA, head_dim=6, tie_word_embeddings=True, rope_parameters=rope(1000000.0)), "float16"),
}
# How large PyTorch's shards may be; None: one file. The head of a tied model is the embedding's own storage in it.
TORCH = {"gpt_neo": None, "gpt_neox": "20KB"}
CONVERT = {"GPT2": "gpt2", "GPTNeo": "neo", "GPTNeoX": "neox", "Llama": "llama", "Mistral": "mistral", "Gemma": "gemma",
           "Gemma2": "gemma", "Qwen2": "qwen2", "Qwen3": "qwen3"}
ACTIVATIONS = {"gelu_new": "gelu_new", "gelu_fast": "gelu_fast", "gelu_pytorch_tanh": "gelu_pytorch_tanh",
               "gelu": "gelu", "silu": "silu"}
MODEL_POINTS = ["hook_embed", "hook_pos_embed"]
POINTS = ["hook_resid_pre", "ln1.hook_normalized", "attn.hook_z", "hook_attn_out", "hook_resid_mid",
          "ln2.hook_normalized", "mlp.hook_post", "hook_mlp_out", "hook_resid_post"]


def make_model(kind, config, dtype, seed):
    """Random weights large enough for attention, norms and soft caps to matter, rounded to dtype."""
    torch.manual_seed(seed)
    cls = transformers.GPT2LMHeadModel if kind == "GPT2" else getattr(transformers, f"{kind}ForCausalLM")
    model = cls(getattr(transformers, f"{kind}Config")(**config)).eval()
    for name, p in model.named_parameters():
        norm = "norm" in name or "ln_" in name
        center = 1.0 if norm and name.endswith("weight") and not kind.startswith("Gemma") else 0.0
        p.data = center + torch.randn_like(p) * (0.3 if norm or p.ndim == 1 else 0.35)
        p.data = p.data.to(getattr(torch, dtype)).float()
    model.tie_weights()
    return model


def lens_config(model, kind):
    c = model.config
    get = lambda *names: next(getattr(c, n) for n in names if getattr(c, n, None) is not None)
    d_model, heads = get("hidden_size", "n_embd"), get("num_attention_heads", "num_heads", "n_head")
    rms = kind not in ("GPT2", "GPTNeo", "GPTNeoX")
    inner = getattr(c, "intermediate_size", None) or getattr(c, "n_inner", None) or 4 * d_model
    activation = getattr(c, "hidden_activation", None) or getattr(c, "activation_function", None) or c.hidden_act
    out = dict(d_model=d_model, n_heads=heads, n_layers=get("num_hidden_layers", "num_layers", "n_layer"),
               d_head=getattr(c, "head_dim", None) or d_model // heads, d_mlp=inner, d_vocab=c.vocab_size,
               n_ctx=get("max_position_embeddings", "n_positions"), act_fn=ACTIVATIONS[activation],
               eps=get("rms_norm_eps") if rms else get("layer_norm_eps", "layer_norm_epsilon"), gated_mlp=rms,
               normalization_type="RMS" if rms else "LN", final_rms=rms, device="cpu", dtype=torch.float32,
               model_name=kind, original_architecture=f"{kind}ForCausalLM", init_weights=False)
    if kind == "GPTNeo":
        out |= dict(use_attn_scale=False, use_local_attn=True, window_size=c.window_size,
                    attn_types=list(c.attention_layers))
    if kind not in ("GPT2", "GPTNeo"):
        r = c.rope_parameters
        share = r.get("partial_rotary_factor") or 1
        out |= dict(positional_embedding_type="rotary", rotary_base=r["rope_theta"], rotary_adjacent_pairs=False,
                    rotary_dim=int(out["d_head"] * share))
        if r["rope_type"] == "llama3":
            out |= dict(use_NTK_by_parts_rope=True, NTK_by_parts_low_freq_factor=r["low_freq_factor"],
                        NTK_by_parts_high_freq_factor=r["high_freq_factor"], NTK_by_parts_factor=r["factor"],
                        NTK_original_ctx_len=r["original_max_position_embeddings"])
        if r["rope_type"] == "linear":
            out |= dict(rotary_scaling_factor=r["factor"])
    if kind == "GPTNeoX":
        out |= dict(parallel_attn_mlp=c.use_parallel_residual)
    if rms and c.num_key_value_heads != heads or kind.startswith("Gemma"):
        out |= dict(n_key_value_heads=c.num_key_value_heads)
    types = getattr(c, "layer_types", None) or []
    if kind == "Mistral":
        types = ["sliding_attention"] * out["n_layers"]
    if "sliding_attention" in types:
        out |= dict(use_local_attn=True, window_size=c.sliding_window,
                    attn_types=["local" if t == "sliding_attention" else "global" for t in types])
    if kind == "Gemma2":
        out |= dict(attn_scale=c.query_pre_attn_scalar ** 0.5, attn_scores_soft_cap=c.attn_logit_softcapping,
                    output_logits_soft_cap=c.final_logit_softcapping, use_normalization_before_and_after=True)
    if kind == "Qwen3":
        out |= dict(use_qk_norm=True)
    return HookedTransformerConfig(**out)


def lens_activations(model, kind, name, tokens):
    cfg = lens_config(model, kind)
    lens = HookedTransformer(cfg)
    state = getattr(conversions, f"convert_{CONVERT[kind]}_weights")(model, cfg)
    if name == "llama-biases":  # TransformerLens' conversion leaves them out
        kv = model.config.num_key_value_heads
        for i, layer in enumerate(model.model.layers):
            a, m, p = layer.self_attn, layer.mlp, f"blocks.{i}."
            state |= {p + "attn.b_Q": a.q_proj.bias.view(cfg.n_heads, -1), p + "attn._b_K": a.k_proj.bias.view(kv, -1),
                      p + "attn._b_V": a.v_proj.bias.view(kv, -1), p + "attn.b_O": a.o_proj.bias}
    lens.load_and_process_state_dict(state, fold_ln=False, center_writing_weights=False, center_unembed=False,
                                     fold_value_biases=False, refactor_factored_attn_matrices=False)
    logits, cache = lens.run_with_cache(tokens, prepend_bos=False)
    names = MODEL_POINTS + [f"blocks.{i}.{p}" for i in range(cfg.n_layers) for p in POINTS]
    assert torch.equal(cache["blocks.0.hook_resid_pre"], sum(cache[n] for n in MODEL_POINTS if n in cache.cache_dict))
    return {n: cache[n] for n in names if n in cache.cache_dict}, logits


def module_activations(model, tokens):
    """What transformers' own modules of Llama's family read and give; norms without their scale."""
    found, handles = {}, []  # Llama's embeddings are not scaled

    def keep(name):
        return lambda module, args, out: found.__setitem__(name, out[0] if isinstance(out, tuple) else out)

    def keep_input(name):
        return lambda module, args: found.__setitem__(name, args[0])

    handles.append(model.model.embed_tokens.register_forward_hook(keep("hook_embed")))
    for i, layer in enumerate(model.model.layers):
        p = f"blocks.{i}."
        norm = lambda x, m: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + m.variance_epsilon)
        handles += [
            layer.register_forward_pre_hook(keep_input(p + "hook_resid_pre")),
            layer.self_attn.o_proj.register_forward_pre_hook(keep_input(p + "attn.hook_z")),
            layer.self_attn.register_forward_hook(keep(p + "hook_attn_out")),
            layer.post_attention_layernorm.register_forward_pre_hook(keep_input(p + "hook_resid_mid")),
            layer.mlp.down_proj.register_forward_pre_hook(keep_input(p + "mlp.hook_post")),
            layer.mlp.register_forward_hook(keep(p + "hook_mlp_out")),
            layer.register_forward_hook(keep(p + "hook_resid_post")),
        ]
        for n, m in (("ln1", layer.input_layernorm), ("ln2", layer.post_attention_layernorm)):
            handles.append(m.register_forward_pre_hook(
                lambda module, args, key=p + n + ".hook_normalized": found.__setitem__(key, norm(args[0], module))))
    logits = model(tokens).logits
    for h in handles:
        h.remove()
    return found, logits


def difference(a, b):
    return float((a - b).norm() / b.norm())


def directions(model, kind, rows):
    """Logits of rows of hook_z (d_head · heads) and mlp.hook_post of the last layer."""
    base = model.base_model
    last = (base.h if hasattr(base, "h") else base.layers)[-1]
    conv1d = kind == "GPT2"
    w_o = {"GPT2": lambda: last.attn.c_proj, "GPTNeo": lambda: last.attn.attention.out_proj,
           "GPTNeoX": lambda: last.attention.dense}.get(kind, lambda: last.self_attn.o_proj)().weight
    w_out = {"GPT2": lambda: last.mlp.c_proj, "GPTNeo": lambda: last.mlp.c_proj,
             "GPTNeoX": lambda: last.mlp.dense_4h_to_h}.get(kind, lambda: last.mlp.down_proj)().weight
    unembed = model.get_output_embeddings().weight
    out = {}
    for name, w in (("z", w_o), ("mlp_post", w_out)):
        w = w if conv1d else w.T
        r = torch.sin(torch.arange(rows * w.shape[0]).float()).view(rows, -1)
        out[f"logits_of_{name}"] = r @ w @ unembed.T
    return out


def write_tokenizer(folder):
    """Byte-level, without merges: 256 bytes in GPT-2's order of printable stand-ins, then added tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    stand_in = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}
    vocabulary = {stand_in[b]: i for i, b in enumerate(printable + rest)}
    added = [dict(id=BOS + i, content=c, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
             for i, c in enumerate(["<bos>", "<eos>"])]
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    tokenizer = dict(version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None,
                     pre_tokenizer=byte_level, post_processor=None, decoder=byte_level,
                     model=dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None,
                                end_of_word_suffix=None, fuse_unk=False, byte_fallback=False, vocab=vocabulary, merges=[]))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")) + "\n")


def old_style(config):
    """config.json as transformers before version 5 wrote it."""
    r = config.pop("rope_parameters")
    config["rope_theta"] = r.pop("rope_theta")
    config["rope_scaling"] = r
    config["torch_dtype"] = config.pop("dtype", None)


def write_torch(model, folder, size):
    state = model.state_dict()
    if hasattr(model.config, "attention_layers"):  # buffers that GPT-Neo's files had, and nothing reads
        causal = torch.tril(torch.ones((16, 16), dtype=torch.bool)).view(1, 1, 16, 16)
        for i in range(model.config.num_layers):
            state[f"transformer.h.{i}.attn.attention.bias"] = causal
            state[f"transformer.h.{i}.attn.attention.masked_bias"] = torch.tensor(-1e9)
    if size is None:
        torch.save(state, folder / "pytorch_model.bin")
        return
    plan = split_torch_state_dict_into_shards(state, max_shard_size=size, filename_pattern="pytorch_model{suffix}.bin")
    for file, names in plan.filename_to_tensors.items():
        torch.save({n: state[n] for n in names}, folder / file)
    index = dict(metadata=plan.metadata, weight_map=plan.tensor_to_filename)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def write_family(name, seed):
    kind, options, dtype = FAMILIES[name]
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = make_model(kind, options, dtype, seed)
    tokens = torch.randint(0, 256, (CONTEXTS, LENGTH), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = BOS
    with torch.no_grad():
        reference = model(tokens, output_hidden_states=True)
        if name == "llama-biases":  # TransformerLens' gated MLP adds b_in after the gate, which Llama does not
            hooks, logits = module_activations(model, tokens)
        else:
            hooks, logits = lens_activations(model, kind, name, tokens)
        worst = max(difference(hooks[f"blocks.{i}.hook_resid_pre"], h) for i, h in enumerate(reference.hidden_states[:-1]))
        assert worst < 2e-6 and difference(logits, reference.logits) < 2e-6, (name, worst, difference(logits, reference.logits))
        expected = {n: x.reshape(CONTEXTS * LENGTH, -1).clone() for n, x in hooks.items()}
        expected |= {"logits": reference.logits[:, -1].clone()}
        expected |= directions(model, kind, 2)
    save_file(expected | {"tokens": tokens.to(torch.int32)}, folder / "expected.safetensors")
    shards = {"max_shard_size": "6KB"} if name == "qwen2" else {}
    model.to(getattr(torch, dtype)).save_pretrained(folder, **shards)
    if name in TORCH:
        write_torch(model, folder, TORCH[name])
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    if name in ("llama3", "mistral"):
        old_style(config)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_tokenizer(folder)
    for f in folder.iterdir():
        f.chmod(0o644)
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {size} bytes, {len(hooks)} hooks, largest difference {worst:.1e}")


if __name__ == "__main__":
    print(f"transformers {transformers.__version__}, transformer-lens "
          f"{getattr(transformer_lens, '__version__', None) or __import__('importlib.metadata').metadata.version('transformer-lens')}")
    for seed, each in enumerate(FAMILIES):
        if not sys.argv[1:] or each in sys.argv[1:]:
            write_family(each, seed)
