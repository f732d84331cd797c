#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short names: data/releases against SAELens' list of pretrained SAEs and TransformerLens' names of models.

    make tests/interop/release_facts
    RELEASE_FACTS=build/tests/interop/release_facts python3 tests/interop/releases.py

Every release and id that SAELens knows has to lead to the same repository, folder, Neuronpedia source, scale, centring and
normalisation, or be refused as what is no SAE; every name that data/releases lists has to be one that SAELens knows, or
Neuronpedia's for it. Prints TAP; skips without the package.
"""
import os
import re
import subprocess
import sys

try:
    import yaml
    from importlib.metadata import version
    from importlib.util import find_spec
    import sae_lens.loading.pretrained_saes_directory as directory
except ImportError as e:
    print(f"1..0 # SKIP a Python package is not installed: {e.name}")
    sys.exit(0)

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PROGRAM = os.environ.get("RELEASE_FACTS", os.path.join(ROOT, "build", "tests", "interop", "release_facts"))
OTHERS = ("gemma_2_transcoder", "mwhanna_transcoder", "mntss_clt_layer_transcoder", "temporal")
# Where SAELens' list is mistaken: a release's model, and Neuronpedia's ids.
MODELS = {"gemma-scope-9b-it-res": "gemma-2-9b-it"}
NEURONPEDIA = {
    "pythia-70m-deduped-res-sm/blocks.0.hook_resid_pre": "",  # another SAE's, of attention
    "gemma-scope-9b-pt-res/layer_2/width_16k/average_l0_8": "",  # another layer's
    "gemma-scope-9b-pt-res/layer_20/width_131k/average_l0_114": "",  # another L0's
}
# SAELens' hook where files do not say it, by its function that makes the configuration.
POINTS = {"gemma_2": {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}}
MODEL_WORDS = {"llama-3-8b-instruct": "meta-llama-3-8b-instruct"}


def saelens():
    with open(os.path.join(os.path.dirname(directory.__file__), "..", "pretrained_saes.yaml"), encoding="utf-8") as f:
        return yaml.safe_load(f)


def facts(names):
    run = subprocess.run([PROGRAM], input="\n".join(names) + "\n", capture_output=True, text=True, check=True, env={**os.environ, "SAESCOPE_DATADIR": os.path.join(ROOT, "data")})
    return [line.split("\t") for line in run.stdout.splitlines()]


def listed():
    run = subprocess.run([PROGRAM, "names"], capture_output=True, text=True, check=True, env={**os.environ, "SAESCOPE_DATADIR": os.path.join(ROOT, "data")})
    return run.stdout.splitlines()


def gemma_scope_hook(release, path):
    kind = release.removesuffix("-canonical").rsplit("-", 1)[1]
    layer = re.match(r"layer_(\d+)/", path)
    return f"blocks.{layer[1]}.{POINTS['gemma_2'][kind]}" if layer else "hook_embed"


def is_other(release, sae):
    return release.get("conversion_func") in OTHERS or "transcoder" in str(sae["path"])


def check_sae(release, of_release, sae, got):
    """What is wrong, or None."""
    name = f"{release}/{sae['id']}"
    loader = of_release.get("conversion_func")
    if is_other(of_release, sae):
        return None if len(got) == 2 and "is of a release of" in got[1] else f"is not refused: {got[1:]}"
    if len(got) < 10:
        return got[1]
    _, kind, repository, folder, models, hook, neuronpedia, center, scale, normalize = got
    overrides = {**(of_release.get("config_overrides") or {}), **(sae.get("config_overrides") or {})}
    wanted = {
        "kind": "sae", "repository": of_release["repo_id"], "folder": str(sae["path"]),
        "hook": gemma_scope_hook(release, sae["path"]) if loader == "gemma_2" else "",
        "neuronpedia": NEURONPEDIA.get(name, sae.get("neuronpedia") or ""),
        "center": "1" if (overrides.get("model_from_pretrained_kwargs") or {}).get("center_writing_weights") else "0",
        # Llama Scope's own files have it.
        "scale": 0.0 if loader == "llama_scope" else float(sae.get("norm_scaling_factor") or 0),
        "normalize": overrides.get("normalize_activations", ""),
    }
    values = {"kind": kind, "repository": repository, "folder": folder, "hook": hook, "neuronpedia": neuronpedia, "center": center,
              "scale": float(scale), "normalize": normalize}
    for key, value in wanted.items():
        if values[key] != value:
            return f"{key} is {values[key]}, not {value}"
    model = MODELS.get(release.removesuffix("-canonical"), of_release["model"]).split("/")[-1].lower()
    if model not in [MODEL_WORDS.get(m, m).lower() for m in models.split(",")]:
        return f"its model is {models}, not {model}"
    return None


def check_releases(pretrained):
    wrong, names = [], []
    for release, r in pretrained.items():
        names += [(release, r, s) for s in r["saes"]]
    for (release, r, s), got in zip(names, facts([f"{release}/{s['id']}" for release, _, s in names])):
        problem = check_sae(release, r, s, got)
        if problem:
            wrong.append(f"{release}/{s['id']}: {problem}")
    return wrong, len(names)


def check_listed(pretrained):
    known = set()
    for release, r in pretrained.items():
        for s in r["saes"]:
            known.add(f"{release}/{s['id']}")
            if s.get("neuronpedia"):
                known.add(f"{release}/{s['neuronpedia'].split('/')[1]}")
    names = [n for n in listed() if "/" in n and not n.endswith("{*}")]
    return [f"{n}: SAELens has no such SAE" for n in names if n not in known], len(names)


def check_aliases(pretrained):
    """By Neuronpedia's name one gets the same SAE."""
    wrong, pairs = [], []
    for release, r in pretrained.items():
        seen = set()
        for s in r["saes"]:
            alias = (s.get("neuronpedia") or "/").split("/")[1]
            if not is_other(r, s) and alias and f"{release}/{s['id']}" not in NEURONPEDIA and alias not in seen:
                pairs.append((release, s["id"], alias))
                seen.add(alias)
    by_id = facts([f"{r}/{i}" for r, i, _ in pairs])
    by_alias = facts([f"{r}/{a}" for r, _, a in pairs])
    for (release, _, alias), a, b in zip(pairs, by_id, by_alias):
        if a[1:] != b[1:]:
            wrong.append(f"{release}/{alias}: {b[1:]}")
    return wrong, len(pairs)


def check_models():
    if not find_spec("transformer_lens"):
        return None, 0
    from transformer_lens.supported_models import MODEL_ALIASES
    wrong, n = [], 0
    official = {alias: name for name, aliases in MODEL_ALIASES.items() for alias in aliases}
    for got in facts([name for name in listed() if "/" not in name]):
        if got[0] not in official:
            continue
        n += 1
        if official[got[0]].split("/")[-1] != got[2].split("/")[-1]:
            wrong.append(f"{got[0]}: {got[2]}, not {official[got[0]]}")
    return wrong, n


def main():
    pretrained = saelens()
    failed = 0
    print("1..4")
    for number, (what, (wrong, n)) in enumerate((("SAELens' releases", check_releases(pretrained)), ("the listed names", check_listed(pretrained)),
                                                 ("Neuronpedia's names", check_aliases(pretrained)), ("TransformerLens' models", check_models())), 1):
        if wrong is None:
            print(f"ok {number} - {what} # SKIP transformer-lens is not installed")
            continue
        for line in wrong[:20]:
            print(f"# {line}")
        failed += bool(wrong)
        print(f"{'not ok' if wrong or not n else 'ok'} {number} - {what}: {n - len(wrong)} of {n} (sae-lens {version('sae-lens')})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
