#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cosine as a predictor of a stitch's classes, by scikit-learn: ROC, AUC and Youden's threshold of made-up latents.

    stitch_roc.py > tests/unit/stitch_golden.h

Cosines are 64ths, so that they are exact and have ties. Classes: 0 undecided, 1 novel, 2 reconstruction.
"""
import sys

try:
    import numpy as np
    from sklearn.metrics import roc_auc_score, roc_curve
except ImportError as missing:
    sys.exit(f"the Python package {missing.name} is not installed")

rng = np.random.default_rng(3)
N = 160
classes = rng.choice([0, 1, 2], size=N, p=[0.15, 0.35, 0.5])
cosines = np.clip(np.round(np.where(classes == 1, rng.normal(26, 9, N), rng.normal(38, 10, N))), 0, 64).astype(int)
decided = classes > 0
novel = classes[decided] == 1
score = -cosines[decided] / 64
false_positive, true_positive, thresholds = roc_curve(novel, score, drop_intermediate=False)
best = -thresholds[np.argmax(true_positive - false_positive)]
above = cosines / 64 > 0.5


def array(kind, name, values):
    lines = [", ".join(str(v) for v in values[i:i + 24]) for i in range(0, len(values), 24)]
    print(f"static const {kind} {name}[GOLDEN_N] = {{\n    " + ",\n    ".join(lines) + "};")


print("/* SPDX-License-Identifier: GPL-3.0-or-later */")
print("/* Written by tests/reference/stitch_roc.py. */")
print("#include <stdint.h>\n")
print(f"#define GOLDEN_N {N}")
array("uint8_t", "golden_cosines", cosines)
array("uint8_t", "golden_classes", classes)
print(f"#define GOLDEN_AUC {roc_auc_score(novel, score):.17g}")
print(f"#define GOLDEN_BEST_THRESHOLD {best:.17g}")
for name, number in (("NOVEL", 1), ("RECONSTRUCTION", 2)):
    print(f"#define GOLDEN_{name}_BELOW {np.sum((classes == number) & ~above)}")
    print(f"#define GOLDEN_{name}_ABOVE {np.sum((classes == number) & above)}")
