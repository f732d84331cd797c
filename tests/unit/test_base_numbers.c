/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Number types and their conversions. */
#include "config.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "saescope/base/memory.h"
#include "saescope/base/tensor.h"

static void test_dtypes(void **state)
{
    (void)state;
    static const size_t sizes[DTYPE_COUNT] = {4, 2, 2, 8, 8, 4, 2, 1, 8, 4, 2, 1, 1};
    for (int i = 0; i < DTYPE_COUNT; i++) {
        enum dtype t = DTYPE_COUNT;
        assert_int_equal(dtype_size((enum dtype)i), sizes[i]);
        assert_int_equal(dtype_from_name(dtype_name((enum dtype)i), &t), 0);
        assert_int_equal(t, i);
    }
    enum dtype t = DTYPE_F32;
    assert_int_equal(dtype_from_name("F8_E4M3", &t), -1);
    assert_int_equal(dtype_from_name("f32", &t), -1);
    assert_string_equal(dtype_name(DTYPE_BF16), "BF16");
    assert_string_equal(dtype_torch_name(DTYPE_BF16), "bfloat16");
    assert_int_equal(dtype_size(DTYPE_COUNT), 0);
}

static void test_tensor_shapes(void **state)
{
    (void)state;
    char buf[64];
    struct tensor t = {.dtype = DTYPE_F16, .ndim = 2, .shape = {768, 24576}};
    assert_int_equal(tensor_elements(&t), 768 * 24576);
    assert_int_equal(tensor_bytes(&t), 2 * 768 * 24576);
    assert_string_equal(tensor_shape_string(&t, buf, sizeof buf), "[768, 24576]");
    assert_string_equal(tensor_shape_string(&t, buf, 6), "[768,");
    t.ndim = 0;
    assert_int_equal(tensor_elements(&t), 1);
    assert_string_equal(tensor_shape_string(&t, buf, sizeof buf), "[]");
    struct tensor huge = {.dtype = DTYPE_F32, .ndim = 3, .shape = {SIZE_MAX / 2, 3, 5}};
    assert_true(tensor_elements(&huge) == SIZE_MAX && tensor_bytes(&huge) == SIZE_MAX);
    huge.shape[2] = 0;
    assert_int_equal(tensor_elements(&huge), 0);
    struct tensor wide = {.dtype = DTYPE_F32, .ndim = 1, .shape = {SIZE_MAX / 2}};
    assert_true(tensor_bytes(&wide) == SIZE_MAX);
}

/* What the bits of a binary floating-point number mean, by IEEE 754's definition. */
static double meaning(unsigned bits, int exponent_bits, int fraction_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1, top = (1 << exponent_bits) - 1;
    int exponent = (int)(bits >> fraction_bits) & top;
    double fraction = bits & ((1u << fraction_bits) - 1);
    double sign = bits >> (exponent_bits + fraction_bits) & 1 ? -1.0 : 1.0;
    if (exponent == top)
        return fraction != 0.0 ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + ldexp(1.0, fraction_bits), exponent - bias - fraction_bits);
}

static void check_all_patterns(enum dtype type, int exponent_bits, int fraction_bits)
{
    enum { ALL = 65536, EXTRA = 3 }; /* not a multiple of a vector's length, and not aligned */
    char *packed = xmalloc(2 * (ALL + EXTRA) + 1), *again = xmalloc(2 * (ALL + EXTRA) + 1);
    float *x = xreallocarray(NULL, ALL + EXTRA, sizeof *x);
    for (unsigned i = 0; i < ALL + EXTRA; i++) {
        uint16_t bits = (uint16_t)i;
        memcpy(packed + 1 + 2 * i, &bits, 2);
    }
    floats_from(type, packed + 1, x, ALL + EXTRA);
    for (unsigned i = 0; i < ALL + EXTRA; i++) {
        double wanted = meaning(i & 0xFFFF, exponent_bits, fraction_bits);
        if (isnan(wanted)) {
            assert_true(isnan(x[i]));
        } else {
            assert_true((double)x[i] == wanted);
            assert_int_equal(signbit(x[i]) != 0, signbit(wanted) != 0);
        }
    }
    /* The vector code and the code for the last few agree, in NaNs' bits too. */
    for (unsigned i = 0; i < ALL; i++) {
        float one;
        floats_from(type, packed + 1 + 2 * i, &one, 1);
        assert_memory_equal(&one, &x[i], sizeof one);
    }
    floats_to(type, x, again + 1, ALL + EXTRA);
    for (unsigned i = 0; i < ALL + EXTRA; i++) {
        uint16_t bits;
        memcpy(&bits, again + 1 + 2 * i, 2);
        if (isnan(x[i]))
            assert_true(isnan(meaning(bits, exponent_bits, fraction_bits)));
        else
            assert_int_equal(bits, (uint16_t)i);
    }
    free(packed);
    free(again);
    free(x);
}

static void test_sixteen_bits(void **state)
{
    (void)state;
    check_all_patterns(DTYPE_F16, 5, 10);
    check_all_patterns(DTYPE_BF16, 8, 7);
}

/* Between neighbours lo < hi (bits b and b + 1): below the middle lo, above it hi, at the middle the even
 * one. */
static void check_rounding(enum dtype type, int exponent_bits, int fraction_bits)
{
    unsigned infinity = ((1u << exponent_bits) - 1) << fraction_bits;
    for (unsigned b = 0; b + 1 <= infinity; b++) {
        double lo = meaning(b, exponent_bits, fraction_bits),
               hi = meaning(b + 1, exponent_bits, fraction_bits);
        if (b + 1 == infinity) /* where the next number would be */
            hi = lo + (lo - meaning(b - 1, exponent_bits, fraction_bits));
        float middle = (float)(lo + (hi - lo) / 2.0);
        assert_true((double)middle == lo + (hi - lo) / 2.0);
        float x[16];
        for (int i = 0; i < 15; i += 3) {
            x[i] = nextafterf(middle, 0.0f);
            x[i + 1] = middle;
            x[i + 2] = nextafterf(middle, INFINITY);
        }
        x[15] = -middle;
        uint16_t out[16];
        floats_to(type, x, out, 16); /* two vectors */
        uint16_t tail[3];
        floats_to(type, x, tail, 3); /* none */
        unsigned even = b % 2 ? b + 1 : b;
        assert_int_equal(out[0], b);
        assert_int_equal(out[1], even);
        assert_int_equal(out[2], b + 1);
        assert_memory_equal(out + 6, out, 6);
        assert_memory_equal(tail, out, 6);
        assert_int_equal(out[15], even | 0x8000u);
    }
    static const float far[9] = {FLT_MAX, -FLT_MAX, INFINITY, -INFINITY, NAN, 0.0f, -0.0f, 1.0f, -NAN};
    uint16_t out[9], sign = 0x8000;
    floats_to(type, far, out, 9);
    assert_int_equal(out[0], infinity);
    assert_int_equal(out[1], infinity | sign);
    assert_int_equal(out[2], infinity);
    assert_int_equal(out[3], infinity | sign);
    assert_true(isnan(meaning(out[4], exponent_bits, fraction_bits)));
    assert_int_equal(out[5], 0);
    assert_int_equal(out[6], sign);
    assert_true(meaning(out[7], exponent_bits, fraction_bits) == 1.0);
    assert_true(isnan(meaning(out[8], exponent_bits, fraction_bits)));
    /* NaNs whose payload is all in the bits that are cut off must not become infinities. */
    for (uint32_t payload = 1; payload < 0x800000; payload <<= 1) {
        uint32_t bits = 0x7F800000u | payload;
        float nan[9];
        for (int i = 0; i < 9; i++)
            memcpy(&nan[i], &bits, sizeof bits);
        floats_to(type, nan, out, 9);
        assert_true(isnan(meaning(out[0], exponent_bits, fraction_bits)));
        assert_true(isnan(meaning(out[8], exponent_bits, fraction_bits)));
    }
}

static void test_rounding(void **state)
{
    (void)state;
    check_rounding(DTYPE_F16, 5, 10);
    check_rounding(DTYPE_BF16, 8, 7);
}

static void test_integers(void **state)
{
    (void)state;
    static const float x[] = {0.0f,   1.0f,    -1.0f, 2.5f,   3.5f, -2.5f,
                              200.0f, -200.0f, 1e30f, -1e30f, NAN,  INFINITY};
    enum { N = sizeof x / sizeof *x };
    int8_t i8[N];
    static const int8_t i8_wanted[N] = {0, 1, -1, 2, 4, -2, 127, -128, 127, -128, 0, 127};
    floats_to(DTYPE_I8, x, i8, N);
    assert_memory_equal(i8, i8_wanted, sizeof i8);
    uint8_t u8[N];
    static const uint8_t u8_wanted[N] = {0, 1, 0, 2, 4, 0, 200, 0, 255, 0, 0, 255};
    floats_to(DTYPE_U8, x, u8, N);
    assert_memory_equal(u8, u8_wanted, sizeof u8);
    int64_t i64[N];
    floats_to(DTYPE_I64, x, i64, N);
    assert_true(i64[7] == -200 && i64[8] == INT64_MAX && i64[9] == INT64_MIN && i64[10] == 0);
    uint64_t u64[N];
    floats_to(DTYPE_U64, x, u64, N);
    assert_true(u64[2] == 0 && u64[6] == 200 && u64[8] == UINT64_MAX);
    int32_t i32[N];
    floats_to(DTYPE_I32, x, i32, N);
    assert_true(i32[8] == INT32_MAX && i32[9] == INT32_MIN && i32[5] == -2);
    uint8_t boolean[N];
    floats_to(DTYPE_BOOL, x, boolean, N);
    assert_true(boolean[0] == 0 && boolean[1] == 1 && boolean[2] == 1);

    float back[N];
    floats_from(DTYPE_I8, i8_wanted, back, N);
    assert_true(back[6] == 127.0f && back[7] == -128.0f);
    static const int64_t big[2] = {(int64_t)1 << 40, -3};
    floats_from(DTYPE_I64, big, back, 2);
    assert_true(back[0] == 0x1p40f && back[1] == -3.0f);
    static const uint32_t u32[1] = {4294967295u};
    floats_from(DTYPE_U32, u32, back, 1);
    assert_true(back[0] == 0x1p32f);
    static const double f64[2] = {0.1, 1e300};
    floats_from(DTYPE_F64, f64, back, 2);
    assert_true(back[0] == 0.1f && isinf(back[1]));
    static const uint8_t truth[3] = {0, 1, 2};
    floats_from(DTYPE_BOOL, truth, back, 3);
    assert_true(back[0] == 0.0f && back[1] == 1.0f && back[2] == 1.0f);
    double wide[2];
    floats_to(DTYPE_F64, x + 3, wide, 2);
    assert_true(wide[0] == 2.5 && wide[1] == 3.5);
    floats_from(DTYPE_F32, x, back, N);
    assert_memory_equal(back, x, sizeof x);
    floats_from(DTYPE_F32, NULL, NULL, 0);
}

static void test_first_not_finite(void **state)
{
    (void)state;
    float x[1000];
    for (int i = 0; i < 1000; i++)
        x[i] = (i % 2 ? 1.0f : -1.0f) * FLT_MAX;
    assert_int_equal(first_not_finite(x, 1000), 1000);
    assert_int_equal(first_not_finite(x, 0), 0);
    static const int places[] = {0, 1, 255, 256, 511, 512, 767, 768, 999};
    for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
        static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
        float kept = x[places[i]];
        x[places[i]] = bad[i % 4];
        assert_int_equal(first_not_finite(x, 1000), places[i]);
        assert_int_equal(first_not_finite(x, (size_t)places[i]), places[i]);
        x[places[i]] = kept;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dtypes),       cmocka_unit_test(test_tensor_shapes),
        cmocka_unit_test(test_sixteen_bits), cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_integers),     cmocka_unit_test(test_first_not_finite),
    };
    return cmocka_run_group_tests_name("base numbers", tests, NULL, NULL);
}
