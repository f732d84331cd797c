/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the fuzz targets share. A target is one LLVMFuzzerTestOneInput; with --enable-fuzzing it is linked
 * with libFuzzer, otherwise with replay.c, which runs it on every file of its corpus.
 */
#ifndef SAESCOPE_TESTS_FUZZ_H
#define SAESCOPE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The path of a file that has these bytes, until the next call. */
const char *fuzz_file(const uint8_t *data, size_t n);
/* A directory, removed at exit. */
const char *fuzz_folder(void);
/* The path there of a file that has the bytes that fuzz_file was last given. */
const char *fuzz_link(const char *name);
/* The path there of a file that is `from` of tests/data. */
const char *fuzz_test_data(const char *name, const char *from);

/* A folder of that name with `weights`, which are `from` of tests/data, and the file that fuzz_file was last
 * given as `config`. */
const char *fuzz_sae_folder(const char *name, const char *config, const char *weights, const char *from);
/* Reads an SAE from there; what is taken must be whole. */
struct sae_format;
void fuzz_read_sae(const struct sae_format *format, const char *path);

/* Opens a file of tensors and reads what it lists. */
void fuzz_tensors(const char *path);

/* A bug when it is false: ends the process, also without assertions compiled in. */
#define FUZZ_CHECK(condition) ((condition) ? (void)0 : fuzz_failed(#condition, __FILE__, __LINE__))
void fuzz_failed(const char *condition, const char *file, int line) __attribute__((noreturn));

#endif
