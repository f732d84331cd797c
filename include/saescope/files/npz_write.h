/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Writing NumPy's npz: a zip file of npy files, stored, as numpy.savez writes it. */
#ifndef SAESCOPE_FILES_NPZ_WRITE_H
#define SAESCOPE_FILES_NPZ_WRITE_H

#include "saescope/files/safetensors.h"

/*
 * Writes the tensors, converted to F32 or F16, to PATH (beside, then renamed), a piece of a tensor at a time. STATUS_REFUSED
 * for other types, which NumPy has not; STATUS_FAILED when it cannot be written or there is no libzip.
 */
int npz_write(const char *path, const struct safetensors_source *sources, size_t n_sources, enum dtype dtype, struct error *err);

#endif
