/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of tensors as NumPy, PyTorch and safetensors wrote them, and hostile ones.
 * tests/reference/containers.py made them, with numbers that golden() below knows.
 */
#include "config.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/memory.h"
#include "saescope/files/tensor_file.h"
#include "tests/support/support.h"

static struct error err;

#ifdef HAVE_LIBZIP
enum { HAVE_ZIP = 1 };
#else
enum { HAVE_ZIP = 0 };
#endif

/* Without libzip, zip files are refused, and indexes that name them; bare.pt is none. */
static int readable_here(const char *file)
{
    const char *suffix = strrchr(file, '.');
    int is_zip = !strcmp(suffix, ".npz") || !strcmp(suffix, ".pt") || !strcmp(suffix, ".zip") ||
                 strstr(file, "torch") || strstr(file, "mixed");
    return HAVE_ZIP || !is_zip || !strcmp(file, "bare.pt");
}

static int open_container(const char *file, struct tensor_file **tf)
{
    char *name = path_join("containers", file), *path = data_path(name);
    error_clear(&err);
    int code = tensor_file_open(path, test_directory, tf, &err);
    free(name);
    free(path);
    return code;
}

/* Element i in row-major order of the tensor of this name, as float32. */
static float golden(const char *name, enum dtype dtype, size_t i)
{
    int whole = (int)((i * 37 + strlen(name) * 11) % 101);
    switch (dtype) {
    case DTYPE_BOOL:
        return whole != 0;
    case DTYPE_U8:
    case DTYPE_U16:
    case DTYPE_U32:
    case DTYPE_U64:
        return (float)whole;
    case DTYPE_I8:
    case DTYPE_I16:
    case DTYPE_I32:
    case DTYPE_I64:
        return (float)(whole - 50);
    default:
        return (float)(whole - 50) / 4;
    }
}

/* ---- Numbers. ---- */

static const struct {
    const char *file, *tensor;
    enum dtype dtype;
    int ndim;
    size_t shape[TENSOR_MAX_DIMS];
} good[] = {
    {"f4.npy", "data", DTYPE_F32, 2, {5, 3}},
    {"f2.npy", "data", DTYPE_F16, 2, {5, 3}},
    {"f8.npy", "data", DTYPE_F64, 2, {5, 3}},
    {"i8.npy", "data", DTYPE_I64, 2, {5, 3}},
    {"i4.npy", "data", DTYPE_I32, 2, {5, 3}},
    {"i2.npy", "data", DTYPE_I16, 2, {5, 3}},
    {"i1.npy", "data", DTYPE_I8, 2, {5, 3}},
    {"u8.npy", "data", DTYPE_U64, 2, {5, 3}},
    {"u4.npy", "data", DTYPE_U32, 2, {5, 3}},
    {"u2.npy", "data", DTYPE_U16, 2, {5, 3}},
    {"u1.npy", "data", DTYPE_U8, 2, {5, 3}},
    {"bool.npy", "data", DTYPE_BOOL, 2, {5, 3}},
    {"fortran.npy", "data", DTYPE_F32, 2, {5, 3}},
    {"fortran3.npy", "data", DTYPE_F16, 3, {4, 3, 5}},
    {"big_endian.npy", "data", DTYPE_F64, 2, {5, 3}},
    {"version2.npy", "data", DTYPE_F32, 2, {5, 3}},
    {"version3.npy", "data", DTYPE_F32, 2, {5, 3}},
    {"scalar.npy", "data", DTYPE_F64, 0, {0}},
    {"empty.npy", "data", DTYPE_F32, 2, {0, 3}},
    {"stored.npz", "W_enc", DTYPE_F32, 2, {6, 40}},
    {"stored.npz", "b_enc", DTYPE_F32, 1, {40}},
    {"stored.npz", "W_dec", DTYPE_F16, 2, {40, 6}},
    {"stored.npz", "k", DTYPE_I64, 0, {0}},
    {"deflated.npz", "W_enc", DTYPE_F32, 2, {6, 40}},
    {"deflated.npz", "b_enc", DTYPE_F32, 1, {40}},
    {"deflated.npz", "W_dec", DTYPE_F16, 2, {40, 6}},
    {"deflated.npz", "k", DTYPE_I64, 0, {0}},
    {"zip64.npz", "W_enc", DTYPE_F32, 2, {6, 40}},
    {"alone.pt", "data", DTYPE_F32, 2, {4, 3}},
    {"deflated.pt", "data", DTYPE_F32, 2, {4, 3}},
    {"protocol4.pt", "w", DTYPE_F32, 2, {2, 2}},
    {"types.pt", "state_dict.encoder.weight", DTYPE_F32, 2, {4, 3}},
    {"types.pt", "transposed", DTYPE_F32, 2, {7, 5}},
    {"types.pt", "slice", DTYPE_F32, 2, {6, 4}},
    {"types.pt", "first", DTYPE_F32, 1, {35}},
    {"types.pt", "second", DTYPE_F32, 2, {5, 11}},
    {"types.pt", "cube", DTYPE_F32, 3, {2, 3, 4}},
    {"types.pt", "list.1", DTYPE_F32, 1, {2}},
    {"types.pt", "list.2.deep", DTYPE_F32, 1, {3}},
    {"types.pt", "float16", DTYPE_F16, 2, {3, 2}},
    {"types.pt", "bfloat16", DTYPE_BF16, 2, {3, 2}},
    {"types.pt", "float64", DTYPE_F64, 2, {3, 2}},
    {"types.pt", "int64", DTYPE_I64, 2, {3, 2}},
    {"types.pt", "int32", DTYPE_I32, 2, {3, 2}},
    {"types.pt", "int16", DTYPE_I16, 2, {3, 2}},
    {"types.pt", "int8", DTYPE_I8, 2, {3, 2}},
    {"types.pt", "uint8", DTYPE_U8, 2, {3, 2}},
    {"types.pt", "bool", DTYPE_BOOL, 2, {3, 2}},
    {"types.pt", "uint16", DTYPE_U16, 2, {3, 2}},
    {"types.pt", "uint32", DTYPE_U32, 2, {3, 2}},
    {"types.pt", "uint64", DTYPE_U64, 2, {3, 2}},
    {"types.pt", "scalar", DTYPE_F64, 0, {0}},
    {"sharded/model-00001-of-00002.safetensors", "a", DTYPE_F32, 2, {3, 4}},
    {"sharded/model.safetensors.index.json", "a", DTYPE_F32, 2, {3, 4}},
    {"sharded/model.safetensors.index.json", "b", DTYPE_BF16, 1, {5}},
    {"sharded/model.safetensors.index.json", "c", DTYPE_F16, 2, {2, 2}},
    {"sharded/pytorch_model.bin.index.json", "a", DTYPE_F32, 2, {3, 4}},
    {"sharded/pytorch_model.bin.index.json", "b", DTYPE_BF16, 1, {5}},
    {"sharded/pytorch_model.bin.index.json", "c", DTYPE_F16, 2, {2, 2}},
    {"sharded/mixed.json", "a", DTYPE_F32, 2, {3, 4}},
    {"sharded/mixed.json", "c", DTYPE_F16, 2, {2, 2}},
};

/* `n` numbers from number `at` on, of columns `width` wide when `turned`: those of a transposed [height,
 * width]. */
static void check_numbers(const char *file, const struct file_tensor *t, const float *x, size_t at, size_t n,
                          size_t width, size_t height, int turned)
{
    for (size_t i = 0; i < n; i++) {
        size_t place = at + i, row = turned ? place % height : 0, column = turned ? place / height : place;
        float wanted = golden(t->name, t->tensor.dtype, row * width + column);
        if (x[i] != wanted)
            fail_msg("%s: %s%s: number %zu is %g, not %g", file, t->name, turned ? " transposed" : "", place,
                     (double)x[i], (double)wanted);
    }
}

/* All rows at once, one by one, from the second on; raw ones too. */
static void check_rows(struct tensor_file *tf, const char *file, const struct file_tensor *t, size_t width,
                       size_t height, int turned)
{
    size_t n = tensor_elements(&t->tensor), rows = t->tensor.ndim ? t->tensor.shape[0] : 1;
    size_t row = rows ? n / rows : 0, item = dtype_size(t->tensor.dtype);
    float *x = xmalloc((n + 1) * sizeof *x), *widened = xmalloc((n + 1) * sizeof *x);
    unsigned char *raw = xmalloc(n * item + 1);
    assert_ok(tensor_file_rows(tf, t, 0, rows, x, &err));
    check_numbers(file, t, x, 0, n, width, height, turned);
    assert_ok(tensor_file_raw_rows(tf, t, 0, rows, raw, &err));
    floats_from(t->tensor.dtype, raw, widened, n);
    assert_memory_equal(x, widened, n * sizeof *x);
    for (size_t i = 0; i < rows; i++) {
        assert_ok(tensor_file_rows(tf, t, i, 1, x, &err));
        check_numbers(file, t, x, i * row, row, width, height, turned);
    }
    if (rows > 2) {
        assert_ok(tensor_file_rows(tf, t, 1, rows - 1, x, &err));
        check_numbers(file, t, x, row, n - row, width, height, turned);
        assert_ok(tensor_file_raw_rows(tf, t, 1, 2, raw, &err));
        floats_from(t->tensor.dtype, raw, widened, 2 * row);
        assert_memory_equal(x, widened, 2 * row * sizeof *x);
    }
    assert_int_equal(tensor_file_rows(tf, t, rows, 1, x, &err), STATUS_REFUSED);
    assert_int_equal(tensor_file_rows(tf, t, 1, SIZE_MAX, x, &err), STATUS_REFUSED);
    free(x);
    free(widened);
    free(raw);
}

static void test_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        struct tensor_file *tf;
        const struct file_tensor *t;
        if (!readable_here(good[i].file))
            continue;
        assert_ok(open_container(good[i].file, &tf));
        assert_ok(tensor_file_need(tf, good[i].tensor, &t, &err));
        assert_string_equal(t->name, good[i].tensor);
        assert_int_equal(t->tensor.dtype, good[i].dtype);
        assert_int_equal(t->tensor.ndim, good[i].ndim);
        for (int d = 0; d < good[i].ndim; d++)
            assert_int_equal(t->tensor.shape[d], good[i].shape[d]);
        check_rows(tf, good[i].file, t, 0, 0, 0);
        if (good[i].ndim == 2) {
            struct file_tensor turned = file_tensor_transposed(t);
            assert_int_equal(turned.tensor.shape[0], good[i].shape[1]);
            assert_int_equal(turned.tensor.shape[1], good[i].shape[0]);
            check_rows(tf, good[i].file, &turned, good[i].shape[1], good[i].shape[0], 1);
        }
        tensor_file_close(tf);
    }
}

static void check_number(const char *file, const char *tensor, double wanted)
{
    struct tensor_file *tf;
    const struct file_tensor *t;
    double x;
    if (!readable_here(file))
        return;
    assert_ok(open_container(file, &tf));
    assert_ok(tensor_file_need(tf, tensor, &t, &err));
    assert_ok(tensor_file_number(tf, t, &x, &err));
    assert_true(x == wanted);
    tensor_file_close(tf);
}

static void test_number(void **state)
{
    (void)state;
    check_number("scalar.npy", "data", -1.5);
    check_number("stored.npz", "k", -39);
    check_number("types.pt", "scalar", 4);
    static const struct {
        const char *header;
        double wanted;
        unsigned char bytes[8];
    } exact[] = {
        {"<i8", 9007199254740991.0, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f}},
        {"<u8", 18446744073709551615.0, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
        {"<f8", 0.1, {0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f}},
        {"<i4", -2147483647.0, {1, 0, 0, 0x80}},
        {"<u4", 4294967295.0, {0xff, 0xff, 0xff, 0xff}},
        {">i4", 16777217.0, {1, 0, 0, 1}},
        {"<f2", 0.5, {0, 0x38}},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(exact); i++) {
        char file[256];
        int n = snprintf(file, sizeof file, "{'descr': '%s', 'fortran_order': False, 'shape': (1, 1), }",
                         exact[i].header);
        struct strbuf b = STRBUF_INIT;
        strbuf_add(&b, "\x93NUMPY\1\0", 8);
        strbuf_addc(&b, (char)n);
        strbuf_addc(&b, 0);
        strbuf_add(&b, file, (size_t)n);
        strbuf_add(&b, exact[i].bytes, (size_t)(exact[i].header[2] - '0'));
        char *path = write_test_file("number.npy", b.data, b.length);
        struct tensor_file *tf;
        double x;
        assert_ok(tensor_file_open(path, NULL, &tf, &err));
        assert_ok(tensor_file_number(tf, tensor_file_at(tf, 0), &x, &err));
        if (x != exact[i].wanted)
            fail_msg("%s: %.17g, not %.17g", exact[i].header, x, exact[i].wanted);
        tensor_file_close(tf);
        unlink(path);
        free(path);
        strbuf_free(&b);
    }
    struct tensor_file *tf;
    double x;
    assert_ok(open_container("f4.npy", &tf));
    assert_int_equal(tensor_file_number(tf, tensor_file_at(tf, 0), &x, &err), STATUS_REFUSED);
    assert_says("it has 15 numbers, not one");
    tensor_file_close(tf);
}

/* ---- What there is beside numbers. ---- */

static void check_values(const char *file, enum container container, const char *wanted)
{
    struct tensor_file *tf;
    struct strbuf text = STRBUF_INIT;
    assert_ok(open_container(file, &tf));
    assert_int_equal(tensor_file_container(tf), container);
    json_dump(tensor_file_values(tf), &text);
    assert_string_equal(strbuf_string(&text), wanted);
    strbuf_free(&text);
    tensor_file_close(tf);
}

static void test_values(void **state)
{
    (void)state;
    check_values("f4.npy", CONTAINER_NPY, "{}");
    check_values("sharded/model-00002-of-00002.safetensors", CONTAINER_SAFETENSORS, "{\"format\": \"pt\"}");
    check_values("sharded/model.safetensors.index.json", CONTAINER_SHARDS, "{\"total_size\": 66}");
    check_values("sharded/pytorch_model.bin.index.json", CONTAINER_SHARDS, "{\"total_size\": 66}");
}

static void test_unreadable(void **state)
{
    (void)state;
    static const struct {
        const char *file, *tensor, *says;
    } cases[] = {
        {"objects.npy", "data", "tensor data: it holds Python objects, which are not read (dtype |O)"},
        {"records.npy", "data", "it holds records"},
        {"many.npy", "data", "more than 4 dimensions"},
        {"stored.npz", "activation", "it holds text (dtype <U4)"},
        {"types.pt", "complex", "complex numbers"},
        {"types.pt", "five", "more than 4 dimensions"},
        {"types.pt", "float8", "float8_e4m3fn"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct tensor_file *tf;
        const struct file_tensor *t;
        float x;
        if (!readable_here(cases[i].file))
            continue;
        assert_ok(open_container(cases[i].file, &tf));
        assert_int_equal(tensor_file_need(tf, cases[i].tensor, &t, &err), STATUS_REFUSED);
        assert_says(cases[i].says);
        t = tensor_file_find(tf, cases[i].tensor);
        assert_non_null(t);
        assert_int_equal(tensor_file_rows(tf, t, 0, 1, &x, &err), STATUS_REFUSED);
        assert_says(cases[i].says);
        tensor_file_close(tf);
    }
}

static void test_need(void **state)
{
    (void)state;
    struct tensor_file *tf;
    const struct file_tensor *t;
    assert_ok(open_container("sharded/model.safetensors.index.json", &tf));
    assert_int_equal(tensor_file_count(tf), 3);
    assert_null(tensor_file_at(tf, 3));
    assert_int_equal(tensor_file_need(tf, "W_enc", &t, &err), STATUS_REFUSED);
    assert_says("no tensor W_enc (it has: a, b, c)");
    tensor_file_close(tf);
}

/* ---- What is refused. ---- */

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *file, *says;
    } cases[] = {
        {"bare.pt", "a bare pickle"},
        {"huge.npy", "huge.npy: npy header: its shape is impossibly large"},
        {"large.npy", "shape [1048576, 1048576] takes 4398046511104 bytes, but the file has 64"},
        {"minus.npy", "no whole number"},
        {"truncated.npy", "the file has 63 (is it truncated?)"},
        {"longer.npy", "the file has 65"},
        {"sharded/disagree.json", "has tensor a, which the index places in another file"},
        {"sharded/absent.json", "has no tensor d"},
        {"sharded/missing.json", "model-00003-of-00003.safetensors is named there, but is not in its folder"},
        {"sharded/outside.json", "is no name of a file in this folder"},
        {"sharded/absolute.json", "is no name of a file in this folder"},
        {"sharded/nothing.json", "names no tensors"},
        {"sharded/itself.json", "itself.json: an index of files, where a file of tensors belongs"},
        {"sharded/array.json", "f4.npy is neither a safetensors file nor a PyTorch checkpoint"},
        {"sharded/text.json", "neither safetensors, npy, npz nor a PyTorch checkpoint"},
        {"sharded/disagree-torch.json", "has tensor a, which the index places in another file"},
        {"sharded/absent-torch.json", "has no tensor d"},
        {"sharded/number.json", "a is mapped to no file name"},
        {"module.pt", "module.pt: the checkpoint calls torch.nn.modules.linear.Linear: refused"},
        {"system.pt", "system.pt: the checkpoint calls posix.system: refused"},
        {"eval.pt", "the checkpoint calls builtins.eval: refused"},
        {"getattr.pt", "the checkpoint calls __builtin__.getattr: refused"},
        {"big_endian.pt", "big-endian"},
        {"beyond.pt", "reach beyond its storage of 16 bytes"},
        {"stride.pt", "reach beyond its storage of 16 bytes"},
        {"wrap.pt", "reach beyond its storage of 16 bytes"},
        {"negative.pt", "no whole numbers"},
        {"lying.pt", "storage 0 of 400 numbers of 4 bytes is declared to have 16 bytes"},
        {"endless.pt", "repeats a storage of 16 bytes over 1 GiB"},
        {"missing.pt", "storage 1 is missing"},
        {"callable.pt", "names a storage in a form that is not PyTorch's"},
        {"deep.pt", "nested more than 100 deep"},
        {"loop.pt", "nested more than 100 deep"},
        {"laughs.pt", "are too many"},
        {"twice.pt", "have a key twice"},
        {"short.pt", "it ends in the middle"},
        {"lying.npz", "takes 4398046511104 bytes, but its entry is declared to have 64"},
        {"bomb.npz", "takes 64 bytes, but its entry is declared to have 4194304"},
        {"truncated.npz", "damaged zip file"},
        {"plain.zip", "neither arrays (npz) nor a PyTorch checkpoint"},
        {"lzma.npz", "compressed by something else than deflate"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct tensor_file *tf;
        int code = open_container(cases[i].file, &tf);
        const char *says = readable_here(cases[i].file) ? cases[i].says : "built without libzip";
        if (code != STATUS_REFUSED || !strstr(err.message, says))
            fail_msg("%s: %d \"%s\", wanted \"%s\"", cases[i].file, code, err.message, says);
        assert_null(tf);
    }
    assert_int_not_equal(access("/tmp/saescope-was-here", F_OK), 0);
}

static void test_other_files(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } cases[] = {
        {"", 0, "the file is empty"},
        {"\x93NUMPY", 6, "npy header: it is missing"},
        {"\x93NUMPY\4\0\0\0", 10, "version 4 is unknown"},
        {"\x93NUMPY\1\0\xff\xff{}", 12, "npy header: it is truncated"},
        {"\x93NUMPY\2\0\xff\xff\xff\xff{}", 14, "over 1 MiB"},
        {"some text that is nothing", 25, "neither safetensors, npy, npz nor a PyTorch checkpoint"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:", 54,
         "a Git LFS pointer, not the file: 'git lfs pull'"},
        {"{\"a\": 1, \"b\": 2}", 16, "\"weight_map\" is missing"},
        {"{\"weight_map\": [1,2,3]}", 23, "\"weight_map\" is missing"},
        {"\x80\x02}q\0.", 6, "a bare pickle, as PyTorch wrote before 1.6: load it with torch.load"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *path = write_test_file("other", cases[i].bytes, cases[i].n);
        struct tensor_file *tf;
        int code = tensor_file_open(path, NULL, &tf, &err);
        if (code != STATUS_REFUSED || !strstr(err.message, cases[i].says))
            fail_msg("case %zu: %d \"%s\", wanted \"%s\"", i, code, err.message, cases[i].says);
        unlink(path);
        free(path);
    }
}

/* Cut anywhere, a file is refused or what it still has can be read; nothing crashes. */
static void test_cut(void **state)
{
    (void)state;
    static const char *const files[] = {"fortran.npy", "stored.npz", "deflated.npz", "types.pt",
                                        "sharded/model-00001-of-00002.safetensors"};
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        char *name = path_join("containers", files[i]), *path = data_path(name);
        struct strbuf bytes = STRBUF_INIT;
        assert_ok(file_read(path, 1 << 20, &bytes, &err));
        for (size_t n = 0; n < bytes.length; n += 1 + bytes.length / 97) {
            char *cut = write_test_file("cut", bytes.data, n);
            struct tensor_file *tf;
            assert_int_equal(tensor_file_open(cut, test_directory, &tf, &err), STATUS_REFUSED);
            assert_null(tf);
            unlink(cut);
            free(cut);
        }
        strbuf_free(&bytes);
        free(name);
        free(path);
    }
}

/* ---- Shards. ---- */

/* Views of one storage are known as such without a look; others never are. */
static void test_same(void **state)
{
    (void)state;
    struct tensor_file *tf;
    const struct file_tensor *a, *b;
    assert_ok(open_container("sharded/mixed.json", &tf));
    a = tensor_file_find(tf, "a");
    b = tensor_file_find(tf, "c");
    assert_true(file_tensors_same(a, a));
    assert_false(file_tensors_same(a, b));
    tensor_file_close(tf);
    if (!readable_here("types.pt"))
        return;
    assert_ok(open_container("types.pt", &tf));
    a = tensor_file_find(tf, "first");
    b = tensor_file_find(tf, "transposed");
    struct file_tensor turned = file_tensor_transposed(b);
    assert_true(file_tensors_same(b, b));
    assert_false(file_tensors_same(b, &turned));
    assert_false(file_tensors_same(a, b));
    tensor_file_close(tf);
}

/* ---- Only with libzip. ---- */

#ifdef HAVE_LIBZIP
/* Larger than a tile in both directions, and not a multiple of it; inflated into a file without a name. */
static void test_large(void **state)
{
    (void)state;
    enum { ROWS = 700, COLUMNS = 400 };
    struct tensor_file *tf;
    const struct file_tensor *t;
    assert_ok(open_container("large.npz", &tf));
    assert_ok(tensor_file_need(tf, "large", &t, &err));
    float *x = xmalloc(ROWS * COLUMNS * sizeof *x);
    assert_ok(tensor_file_rows(tf, t, 0, ROWS, x, &err));
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        assert_true(x[i] == (float)(i % 8));
    struct file_tensor turned = file_tensor_transposed(t);
    assert_ok(tensor_file_rows(tf, &turned, 3, 300, x, &err));
    for (size_t i = 0; i < 300; i++)
        for (size_t j = 0; j < ROWS; j++)
            assert_true(x[i * ROWS + j] == (float)((j * COLUMNS + i + 3) % 8));
    DIR *dir = opendir(test_directory);
    assert_non_null(dir);
    const struct dirent *entry;
    while ((entry = readdir(dir)))
        assert_true(entry->d_name[0] == '.');
    closedir(dir);
    tensor_file_close(tf);
    free(x);
}

static void test_no_room(void **state)
{
    (void)state;
    char *path = data_path("containers/large.npz");
    struct tensor_file *tf;
    float x[400];
    assert_ok(tensor_file_open(path, NULL, &tf, &err));
    assert_int_equal(tensor_file_rows(tf, tensor_file_at(tf, 0), 0, 1, x, &err), STATUS_REFUSED);
    assert_says("no directory was given");
    tensor_file_close(tf);
    char *missing = test_path("missing");
    assert_ok(tensor_file_open(path, missing, &tf, &err));
    assert_int_equal(tensor_file_rows(tf, tensor_file_at(tf, 0), 0, 1, x, &err), STATUS_FAILED);
    assert_says("cannot make a temporary file");
    tensor_file_close(tf);
    free(missing);
    free(path);
}

/* torch's expand: one row of numbers, four of the tensor. */
static void test_repeated(void **state)
{
    (void)state;
    struct tensor_file *tf;
    const struct file_tensor *t;
    float x[12];
    assert_ok(open_container("types.pt", &tf));
    assert_ok(tensor_file_need(tf, "repeated", &t, &err));
    assert_int_equal(t->tensor.shape[0], 4);
    assert_ok(tensor_file_rows(tf, t, 0, 4, x, &err));
    for (size_t i = 0; i < 12; i++)
        assert_true(x[i] == golden("repeated", DTYPE_F32, i % 3));
    struct file_tensor turned = file_tensor_transposed(t);
    assert_ok(tensor_file_rows(tf, &turned, 0, 3, x, &err));
    for (size_t i = 0; i < 12; i++)
        assert_true(x[i] == golden("repeated", DTYPE_F32, i / 4));
    tensor_file_close(tf);
}

static void test_checkpoint_values(void **state)
{
    (void)state;
    check_values("stored.npz", CONTAINER_NPZ, "{}");
    check_values("alone.pt", CONTAINER_TORCH, "{\"tensor\": \"data\"}");
    struct tensor_file *tf;
    assert_ok(open_container("types.pt", &tf));
    static const struct {
        const char *key, *wanted;
    } members[] = {
        {"state_dict", "{\"encoder.weight\": {\"tensor\": \"state_dict.encoder.weight\"}}"},
        {"list", "[1, {\"tensor\": \"list.1\"}, {\"deep\": {\"tensor\": \"list.2.deep\"}}]"},
        {"activation", "\"TopK\""},
        {"activation_state_dict", "{\"k\": 32, \"postact_fn\": \"ReLU\"}"},
        {"dtype", "\"bfloat16\""},
        {"device", "\"cuda:1\""},
        {"size", "[3, 4]"},
        {"int", "-5"},
        {"wide", "1099511627776"},
        {"huge", "1.18059162e+21"},
        {"negative", "-8589934592"},
        {"real", "0.25"},
        {"nan", "null"},
        {"none", "null"},
        {"yes", "true"},
        {"no", "false"},
        {"tuple", "[1, \"two\", [3.5]]"},
        {"set", "[7]"},
        {"bytes", "\"ab\xEF\xBF\xBD\""},
        {"numpy", "2.5"},
        {"numpy_int", "-7"},
        {"numpy_bool", "true"},
        {"text", "\"h\xC3\xA9\xE4\xB8\x96\""},
        {"keys", "{\"3\": \"int\", \"[1, \\\"a\\\"]\": \"tuple\", \"null\": \"none\"}"},
        {"complex", "{\"tensor\": \"complex\"}"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        struct strbuf text = STRBUF_INIT;
        const json *v = json_get(tensor_file_values(tf), members[i].key);
        assert_non_null(v);
        json_dump(v, &text);
        assert_string_equal(strbuf_string(&text), members[i].wanted);
        strbuf_free(&text);
    }
    tensor_file_close(tf);
}

/* Found when the numbers are read. */
static void test_damaged_entries(void **state)
{
    (void)state;
    static const struct {
        const char *file, *tensor, *says;
    } cases[] = {
        {"checksum.npz", "W_enc", "entry W_enc.npy is damaged: CRC error"},
        {"longer.npz", "W", "entry W.npy is longer than its declared size"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct tensor_file *tf;
        const struct file_tensor *t;
        float x[240];
        assert_ok(open_container(cases[i].file, &tf));
        assert_ok(tensor_file_need(tf, cases[i].tensor, &t, &err));
        for (int again = 0; again < 2; again++) {
            assert_int_equal(tensor_file_rows(tf, t, 0, 1, x, &err), STATUS_REFUSED);
            assert_says(cases[i].says);
        }
        tensor_file_close(tf);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_number),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_need),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_same),
#ifdef HAVE_LIBZIP
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_damaged_entries),
        cmocka_unit_test(test_checkpoint_values),
#endif
    };
    return cmocka_run_group_tests(tests, set_up_directory, tear_down_directory);
}
