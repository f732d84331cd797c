#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads folders that saescope exported in SAELens and compares them with where they came from.

    saelens_interop.py EXPORTED ORIGINAL [EXPORTED ORIGINAL ...]

Activations and reconstructions of random inputs must agree to 1e-5 (1e-2 when the export is in 16 bits). Prints TAP.
"""
import json
import os
import sys
import warnings

try:
    import torch
    from sae_lens import SAE
except ImportError:
    print("1..0 # SKIP the Python packages torch and sae-lens are not installed")
    sys.exit(0)

warnings.filterwarnings("ignore")


def compare(exported, original):
    with open(os.path.join(exported, "cfg.json")) as f:
        config = json.load(f)
    a = SAE.load_from_disk(exported, device="cpu", dtype="float32")
    b = SAE.load_from_disk(original, device="cpu", dtype="float32")
    x = torch.randn(50, a.cfg.d_in, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        fa, fb = a.encode(x), b.encode(x)
        ya, yb = a.decode(fa), b.decode(fb)
    tolerance = 1e-5 if config["dtype"] == "float32" else 1e-2
    # A latent within rounding of its threshold may fire in one only.
    close = ((fa - fb).abs() <= tolerance * (1 + fb.abs())).double().mean().item()
    error = ((ya - yb).norm() / yb.norm()).item()
    names = all(getattr(a.cfg.metadata, k) == getattr(b.cfg.metadata, k) for k in ("model_name", "hook_name", "context_size"))
    return close >= (1 if tolerance < 1e-4 else 0.995) and error <= 3 * tolerance and names, close, error


pairs = list(zip(sys.argv[1::2], sys.argv[2::2]))
print(f"1..{len(pairs)}")
failed = 0
for number, (exported, original) in enumerate(pairs, 1):
    good, close, error = compare(exported, original)
    failed += not good
    print(f"{'ok' if good else 'not ok'} {number} - {os.path.basename(exported)}: SAELens loads it "
          f"(activations that agree {close:.4f}, relative error {error:.1e})")
sys.exit(1 if failed else 0)
