/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Number types: their names and sizes, and the way to float32 and back. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <immintrin.h>
#define HAVE_X86_INTRINSICS 1
#endif

#include "saescope/base/memory.h"
#include "saescope/base/tensor.h"

static const struct {
    const char *name, *torch_name;
    size_t size;
} dtypes[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", "float32", 4},    [DTYPE_F16] = {"F16", "float16", 2},
    [DTYPE_BF16] = {"BF16", "bfloat16", 2}, [DTYPE_F64] = {"F64", "float64", 8},
    [DTYPE_I64] = {"I64", "int64", 8},      [DTYPE_I32] = {"I32", "int32", 4},
    [DTYPE_I16] = {"I16", "int16", 2},      [DTYPE_I8] = {"I8", "int8", 1},
    [DTYPE_U64] = {"U64", "uint64", 8},     [DTYPE_U32] = {"U32", "uint32", 4},
    [DTYPE_U16] = {"U16", "uint16", 2},     [DTYPE_U8] = {"U8", "uint8", 1},
    [DTYPE_BOOL] = {"BOOL", "bool", 1},
};

size_t dtype_size(enum dtype t)
{
    return (unsigned)t < DTYPE_COUNT ? dtypes[t].size : 0;
}

const char *dtype_name(enum dtype t)
{
    return (unsigned)t < DTYPE_COUNT ? dtypes[t].name : "?";
}

const char *dtype_torch_name(enum dtype t)
{
    return (unsigned)t < DTYPE_COUNT ? dtypes[t].torch_name : "?";
}

int dtype_from_name(const char *name, enum dtype *t)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (!strcmp(name, dtypes[i].name)) {
            *t = (enum dtype)i;
            return 0;
        }
    }
    return -1;
}

/* Products that overflow are SIZE_MAX, which no allocation and no file satisfies. */
size_t tensor_elements(const struct tensor *t)
{
    size_t elements = 1;
    int overflow = 0;
    for (int i = 0; i < t->ndim; i++) {
        if (t->shape[i] == 0)
            return 0;
        overflow |= size_multiply(elements, t->shape[i], &elements);
    }
    return overflow ? SIZE_MAX : elements;
}

size_t tensor_bytes(const struct tensor *t)
{
    size_t elements = tensor_elements(t), bytes;
    return size_multiply(elements, dtype_size(t->dtype), &bytes) ? SIZE_MAX : bytes;
}

const char *tensor_shape_string(const struct tensor *t, char *buf, size_t size)
{
    size_t used = 0;
    if (size == 0)
        return "";
    for (int i = 0; i < t->ndim && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%zu", i ? ", " : "[", t->shape[i]);
    if (used < size)
        snprintf(buf + used, size - used, t->ndim > 0 ? "]" : "[]");
    return buf;
}

/* Unaligned bits <-> numbers; compilers make plain moves of these and vectorise the loops around them. */
static uint16_t load16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t float_bits(float x)
{
    uint32_t v;
    memcpy(&v, &x, sizeof v);
    return v;
}

static float bits_float(uint32_t v)
{
    float x;
    memcpy(&x, &v, sizeof x);
    return x;
}

/*
 * Binary16 has 5 bits of exponent (bias 15) and 10 of fraction. The exponent is moved to binary32's place and
 * rebiased; subnormals are normalised by a subtraction. NaNs become quiet ones, as the processor's
 * instruction makes them.
 */
static float half_to_float(uint16_t h)
{
    uint32_t magnitude = (uint32_t)(h & 0x7FFFu) << 13, sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t normal = magnitude + (112u << 23);
    uint32_t special = (magnitude + (224u << 23)) | (uint32_t)(magnitude > (31u << 23)) << 22;
    uint32_t subnormal = float_bits(bits_float(magnitude + (113u << 23)) - bits_float(113u << 23));
    uint32_t bits = magnitude >= (31u << 23) ? special : magnitude < (1u << 23) ? subnormal : normal;
    return bits_float(bits | sign);
}

static uint16_t float_to_half(float x)
{
    uint32_t bits = float_bits(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    uint32_t half;
    if (magnitude > 0x7F800000u)
        half = 0x7E00u | (magnitude >> 13 & 0x1FFu); /* quiet NaN, upper payload kept */
    else if (magnitude >= 0x477FF000u)
        half = 0x7C00u; /* 65520 and above round to infinity */
    else if (magnitude < (113u << 23))
        /* Adding 0.5 puts the fraction's last bit at 2^-24, binary16's smallest step: the sum rounds as it
         * should. */
        half = float_bits(bits_float(magnitude) + 0.5f) - float_bits(0.5f);
    else
        half = (magnitude - (112u << 23) + 0xFFFu + (magnitude >> 13 & 1u)) >> 13;
    return (uint16_t)(half | sign);
}

static uint16_t float_to_bfloat(float x)
{
    uint32_t bits = float_bits(x);
    uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    uint32_t nan = bits >> 16 | 0x40u;
    return (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

#ifdef HAVE_X86_INTRINSICS
/* Both return how many of the n numbers they converted: all but the last few. */
__attribute__((target("avx,f16c"))) static size_t halves_from_f16c(const char *src, float *dst, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i,
                         _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + 2 * i))));
    return i;
}

__attribute__((target("avx,f16c"))) static size_t halves_to_f16c(const float *src, char *dst, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(dst + 2 * i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
    return i;
}

/* cpuid is slow inside virtual machines, so it is asked once. */
static int have_f16c(void)
{
    static _Atomic int known; /* 0: not asked yet, 1: no, 2: yes */
    int answer = known;
    if (!answer) {
        unsigned a, b, c = 0, d;
        answer = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) && __builtin_cpu_supports("avx") ? 2 : 1;
        known = answer;
    }
    return answer == 2;
}
#endif

/* Eight at a time: compilers do not vectorise unaligned loads of 16 bits at -O2. */
static void bfloats_from(const char *src, float *dst, size_t n)
{
    typedef uint16_t v8h __attribute__((vector_size(16)));
    typedef uint32_t v8w __attribute__((vector_size(32)));
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        v8h half;
        memcpy(&half, src + 2 * i, sizeof half);
        v8w whole = __builtin_convertvector(half, v8w) << 16;
        memcpy(dst + i, &whole, sizeof whole);
    }
    for (; i < n; i++)
        dst[i] = bits_float((uint32_t)load16(src + 2 * i) << 16);
}

static void halves_from(const char *src, float *dst, size_t n)
{
    size_t i = 0;
#ifdef HAVE_X86_INTRINSICS
    if (have_f16c())
        i = halves_from_f16c(src, dst, n);
#endif
    for (; i < n; i++)
        dst[i] = half_to_float(load16(src + 2 * i));
}

static void halves_to(const float *src, char *dst, size_t n)
{
    size_t i = 0;
#ifdef HAVE_X86_INTRINSICS
    if (have_f16c())
        i = halves_to_f16c(src, dst, n);
#endif
    for (; i < n; i++) {
        uint16_t h = float_to_half(src[i]);
        memcpy(dst + 2 * i, &h, sizeof h);
    }
}

#define FROM_LOOP(type)                                                                                      \
    for (size_t i = 0; i < n; i++) {                                                                         \
        type v;                                                                                              \
        memcpy(&v, from + i * sizeof v, sizeof v);                                                           \
        dst[i] = (float)v;                                                                                   \
    }                                                                                                        \
    break

void floats_from(enum dtype t, const void *src, float *dst, size_t n)
{
    const char *from = src;
    if (n == 0)
        return;
    switch (t) {
    case DTYPE_F32:
        memcpy(dst, src, n * sizeof *dst);
        break;
    case DTYPE_F16:
        halves_from(from, dst, n);
        break;
    case DTYPE_BF16:
        bfloats_from(from, dst, n);
        break;
    case DTYPE_BOOL:
        for (size_t i = 0; i < n; i++)
            dst[i] = from[i] != 0;
        break;
    case DTYPE_F64:
        FROM_LOOP(double);
    case DTYPE_I64:
        FROM_LOOP(int64_t);
    case DTYPE_I32:
        FROM_LOOP(int32_t);
    case DTYPE_I16:
        FROM_LOOP(int16_t);
    case DTYPE_I8:
        FROM_LOOP(int8_t);
    case DTYPE_U64:
        FROM_LOOP(uint64_t);
    case DTYPE_U32:
        FROM_LOOP(uint32_t);
    case DTYPE_U16:
        FROM_LOOP(uint16_t);
    case DTYPE_U8:
        FROM_LOOP(uint8_t);
    case DTYPE_COUNT:
        break;
    }
}

/* Numbers outside the type's range take its nearest end; NaN becomes 0. */
#define TO_LOOP(type, min, max)                                                                              \
    for (size_t i = 0; i < n; i++) {                                                                         \
        double x = rint((double)src[i]);                                                                     \
        type v = x != x ? 0 : x <= (double)(min) ? (min) : x >= (double)(max) ? (max) : (type)x;             \
        memcpy(to + i * sizeof v, &v, sizeof v);                                                             \
    }                                                                                                        \
    break

void floats_to(enum dtype t, const float *src, void *dst, size_t n)
{
    char *to = dst;
    if (n == 0)
        return;
    switch (t) {
    case DTYPE_F32:
        memcpy(dst, src, n * sizeof *src);
        break;
    case DTYPE_F16:
        halves_to(src, to, n);
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++) {
            uint16_t v = float_to_bfloat(src[i]);
            memcpy(to + 2 * i, &v, sizeof v);
        }
        break;
    case DTYPE_F64:
        for (size_t i = 0; i < n; i++) {
            double v = (double)src[i];
            memcpy(to + 8 * i, &v, sizeof v);
        }
        break;
    case DTYPE_BOOL:
        for (size_t i = 0; i < n; i++)
            to[i] = src[i] != 0.0f;
        break;
    case DTYPE_I64:
        TO_LOOP(int64_t, INT64_MIN, INT64_MAX);
    case DTYPE_I32:
        TO_LOOP(int32_t, INT32_MIN, INT32_MAX);
    case DTYPE_I16:
        TO_LOOP(int16_t, INT16_MIN, INT16_MAX);
    case DTYPE_I8:
        TO_LOOP(int8_t, INT8_MIN, INT8_MAX);
    case DTYPE_U64:
        TO_LOOP(uint64_t, 0, UINT64_MAX);
    case DTYPE_U32:
        TO_LOOP(uint32_t, 0, UINT32_MAX);
    case DTYPE_U16:
        TO_LOOP(uint16_t, 0, UINT16_MAX);
    case DTYPE_U8:
        TO_LOOP(uint8_t, 0, UINT8_MAX);
    case DTYPE_COUNT:
        break;
    }
}

static int is_finite_bits(float x)
{
    return (float_bits(x) & 0x7F800000u) != 0x7F800000u;
}

size_t first_not_finite(const float *x, size_t n)
{
    enum { BLOCK = 256 }; /* whole blocks are tested without a way out, which vectorises */
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        unsigned bad = 0;
        for (size_t j = 0; j < BLOCK; j++)
            bad |= !is_finite_bits(x[i + j]);
        if (bad)
            break;
    }
    while (i < n && is_finite_bits(x[i]))
        i++;
    return i;
}
