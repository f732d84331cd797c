#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse regression onto a dictionary's unit atoms, for tests/unit/test_omp.c.

Orthogonal matching pursuit is scikit-learn's orthogonal_mp. The non-negative one is written out here over SciPy's nnls.

  omp.py > tests/unit/omp_golden.h
"""
import sys
import warnings

try:
    import numpy as np
    from scipy.optimize import nnls
    from sklearn.linear_model import orthogonal_mp
except ImportError:
    print("omp.py: needs numpy, scipy and scikit-learn, skipped", file=sys.stderr)
    sys.exit(0)

N_ATOMS, D = 60, 12
ATOMS = (1, 2, 4, 8)


def dictionary(rng):
    """Rows of any norm; one of zeros, two alike, some close to others."""
    rows = rng.normal(size=(N_ATOMS, D)) * rng.uniform(0.3, 3, size=(N_ATOMS, 1))
    rows[7] = 0
    rows[31] = rows[30] * 2
    for i in range(40, 50):
        rows[i] = rows[i - 20] + 0.2 * rng.normal(size=D)
    return rows.astype(np.float32)


def targets(rng, rows):
    """Noise; sums of few atoms, with noise and without, with negative parts and without; an atom; zeros."""
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    y = rng.normal(size=(14, D))
    y[4] = 0.7 * unit[3] + 0.4 * unit[11] + 0.2 * unit[25]
    y[5] = 0.7 * unit[3] - 0.4 * unit[11] + 0.05 * rng.normal(size=D)
    y[6] = unit[30] + unit[44] + 0.01 * rng.normal(size=D)
    y[7] = rows[19]
    y[8] = 0
    y[9] = -rows[19] + 0.1 * rng.normal(size=D)
    y[10:] /= np.linalg.norm(y[10:], axis=1, keepdims=True)
    return y.astype(np.float32)


def unit_atoms(rows):
    rows = rows.astype(np.float64)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norm > 0, rows / np.where(norm > 0, norm, 1), 0)


def pursue(unit, y, k):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it ended early
        return orthogonal_mp(unit.T, y.astype(np.float64), n_nonzero_coefs=k)


def pursue_non_negative(unit, y, k):
    y = y.astype(np.float64)
    support, x = [], np.zeros(len(unit))
    for _ in range(k):
        correlation = unit @ (y - unit.T @ x)
        best = int(np.argmax(correlation))
        if correlation[best] ** 2 < np.finfo(float).eps or correlation[best] < 0 or best in support:
            break
        support.append(best)
        x[:] = 0
        x[support] = nnls(unit[support].T, y)[0]
    return x


def print_matrix(name, x):
    print(f"static const float {name}[] = {{")
    for row in x:
        print("    " + ", ".join(f"{v:.8e}F" for v in row) + ",")
    print("};")


def print_fits(name, unit, y, method):
    print(f"static const struct golden_fit {name}[] = {{")
    for k in ATOMS:
        for r, row in enumerate(y):
            x = method(unit, row, k)
            for i in np.nonzero(x)[0]:
                print(f"    {{{k}, {r}, {i}, {x[i]:.12g}}},")
    print("};")


def print_least_squares(rng):
    """Problems A x ≈ y of any sign, one with columns that depend on each other, and their x ≥ 0."""
    print("static const struct golden_nnls golden_nnls[] = {")
    for case in range(12):
        n, m = 2 + case % 7, 9
        a, y = rng.normal(size=(m, n)), rng.normal(size=m)
        if case == 5:
            a = np.abs(a)
        x = nnls(a, y)[0]
        numbers = [", ".join(f"{v:.17g}" for v in part) for part in ((a.T @ a).ravel(), a.T @ y, x)]
        print(f"    {{{n}, {{{numbers[0]}}},\n     {{{numbers[1]}}},\n     {{{numbers[2]}}}}},")
    print("};")


def main():
    rng = np.random.default_rng(7)
    rows = dictionary(rng)
    y = targets(rng, rows)
    unit = unit_atoms(rows)
    print("/* SPDX-License-Identifier: GPL-3.0-or-later */")
    print("/* Written by tests/reference/omp.py. */")
    print(f"enum {{ GOLDEN_ATOMS = {N_ATOMS}, GOLDEN_D = {D}, GOLDEN_ROWS = {len(y)} }};")
    print("struct golden_fit {\n    unsigned k, row, latent;\n    double coefficient;\n};")
    print("struct golden_nnls {\n    unsigned n;\n    double gram[64], b[8], x[8];\n};")
    print_matrix("golden_dictionary", rows)
    print_matrix("golden_targets", y)
    print_fits("golden_omp", unit, y, pursue)
    print_fits("golden_non_negative", unit, y, pursue_non_negative)
    print_least_squares(rng)


main()
