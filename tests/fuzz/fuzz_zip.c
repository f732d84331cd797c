/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npz files and PyTorch checkpoints, as they are on disk. Checksums keep most changed numbers out: fuzz_npy
 * and fuzz_pickle have none. */
#include "config.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_tensors(fuzz_file(data, n));
    return 0;
}
