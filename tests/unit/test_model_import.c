/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Import of model folders: precisions, prefixes, unembeddings; and what is refused, with the store left as it
 * was. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/files/safetensors.h"
#include "saescope/model/model.h"
#include "tests/support/support.h"

enum { LAYERS = 2, WIDTH = 8, HEADS = 2, CONTEXT = 16, VOCABULARY = 8192 };

/* ---- A small model's folder, good but for what a case changes. ---- */

struct folder {
    const char *prefix;
    enum dtype dtype;
    const char *config;   /* members after the sizes; a later one may not repeat an earlier one */
    size_t vocabulary;    /* of tensors and config.json; 0: VOCABULARY */
    size_t layers, width; /* what config.json says; 0: what the tensors have */
    const char *without, *with_nan;
    const char *add;      /* one more tensor [VOCABULARY, WIDTH] */
    int add_is_embedding; /* the same numbers as wte.weight */
    int no_tokenizer;
};

struct entry {
    char name[64];
    int ndim;
    size_t rows, columns;
    uint64_t seed;
    int nan;
};

static int read_entry(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    const struct entry *e = arg;
    size_t width = e->ndim == 2 ? e->columns : 1;
    (void)err;
    for (size_t i = 0; i < n * width; i++)
        dst[i] = 0.05f * (float)((double)(hash_mix(e->seed, first * width + i, 0, 0) >> 11) * 0x1p-52 - 1);
    if (e->nan && first == 0)
        dst[3] = NAN;
    return STATUS_OK;
}

static size_t list_entries(const struct folder *f, struct entry *out)
{
    static const struct {
        const char *name;
        size_t rows, columns;
    } in_layer[] = {
        {"ln_1.weight", WIDTH, 0},
        {"ln_1.bias", WIDTH, 0},
        {"attn.c_attn.weight", WIDTH, 3 * WIDTH},
        {"attn.c_attn.bias", 3 * WIDTH, 0},
        {"attn.c_proj.weight", WIDTH, WIDTH},
        {"attn.c_proj.bias", WIDTH, 0},
        {"ln_2.weight", WIDTH, 0},
        {"ln_2.bias", WIDTH, 0},
        {"mlp.c_fc.weight", WIDTH, 4 * WIDTH},
        {"mlp.c_fc.bias", 4 * WIDTH, 0},
        {"mlp.c_proj.weight", 4 * WIDTH, WIDTH},
        {"mlp.c_proj.bias", WIDTH, 0},
        {"attn.masked_bias", 1, 0},
        {"attn.bias", CONTEXT, CONTEXT},
    };
    size_t n = 0;
    struct entry all[64] = {
        {"wte.weight", 2, f->vocabulary ? f->vocabulary : VOCABULARY, WIDTH, 1, 0},
        {"wpe.weight", 2, CONTEXT, WIDTH, 2, 0},
        {"ln_f.weight", 1, WIDTH, 0, 3, 0},
        {"ln_f.bias", 1, WIDTH, 0, 4, 0},
    };
    size_t count = 4;
    for (size_t layer = 0; layer < LAYERS; layer++) {
        for (size_t i = 0; i < ARRAY_LENGTH(in_layer); i++, count++) {
            all[count] = (struct entry){.ndim = in_layer[i].columns ? 2 : 1,
                                        .rows = in_layer[i].rows,
                                        .columns = in_layer[i].columns,
                                        .seed = 5 + count};
            snprintf(all[count].name, sizeof all[count].name, "h.%zu.%s", layer, in_layer[i].name);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (f->without && !strcmp(f->without, all[i].name))
            continue;
        out[n] = all[i];
        out[n].nan = f->with_nan && !strcmp(f->with_nan, all[i].name);
        char *name = xasprintf("%s%s", f->prefix ? f->prefix : "", all[i].name);
        assert_true(strlen(name) < sizeof out[n].name);
        strcpy(out[n].name, name);
        free(name);
        n++;
    }
    if (f->add) {
        out[n] = (struct entry){
            .ndim = 2, .rows = VOCABULARY, .columns = WIDTH, .seed = f->add_is_embedding ? 1 : 99};
        snprintf(out[n++].name, sizeof out->name, "%s", f->add);
    }
    return n;
}

static char *make_folder(const struct folder *f)
{
    struct entry entries[64];
    struct safetensors_source sources[64];
    size_t n = list_entries(f, entries);
    for (size_t i = 0; i < n; i++) {
        sources[i] = (struct safetensors_source){
            entries[i].name, entries[i].ndim, {entries[i].rows, entries[i].columns}, read_entry, &entries[i]};
    }
    char *dir = test_path("folder");
    assert_int_equal(remove_tree(dir, NULL), 0);
    assert_int_equal(make_directories(dir, 0700, NULL), 0);
    char *weights = path_join(dir, "model.safetensors");
    assert_int_equal(safetensors_write(weights, sources, n, f->dtype, NULL, NULL), 0);
    free(weights);
    struct strbuf b = STRBUF_INIT;
    strbuf_addf(&b,
                "{\"model_type\":\"gpt2\",\"n_layer\":%zu,\"n_embd\":%zu,\"n_head\":%d,\"n_positions\":%d,"
                "\"vocab_size\":%zu%s}",
                f->layers ? f->layers : LAYERS, f->width ? f->width : WIDTH, HEADS, CONTEXT,
                f->vocabulary ? f->vocabulary : (size_t)VOCABULARY, f->config ? f->config : "");
    write_file_in(dir, "config.json", b.data, b.length);
    if (!f->no_tokenizer) {
        char *from = shipped_file("wordnet-lm/tokenizer.json");
        copy_file(from, dir, "tokenizer.json");
        free(from);
    }
    strbuf_free(&b);
    return dir;
}

static int import_folder(const char *dir, artifact_id *id, struct monitor *m, struct error *err)
{
    const struct model_import options = {.directory = dir, .name = "small", .replace = 1};
    return model_import_folder(test_store, &options, m, id, err);
}

/* The last residual stream of a few tokens, and their logits. */
static void run(artifact_id id, float *final, float *logits)
{
    static const uint32_t tokens[4] = {8191, 5, 300, 77};
    struct store_txn *t = begin_reading(test_store);
    struct model *m;
    struct forward *f;
    struct error err;
    assert_ok(model_open(t, id, &m, &err));
    assert_ok(model_attach(m, t, &err));
    assert_ok(forward_new(m, 1, 4, &f, &err));
    assert_ok(forward_run(f, m, tokens, 1, 4, NULL, NULL, NULL, final, &err));
    assert_ok(model_unembed(m, final, 4, logits, &err));
    forward_free(f);
    model_free(m);
    store_end(t);
}

static void import_good(const struct folder *f, float *final, float *logits)
{
    struct error err = {0};
    artifact_id id;
    char *dir = make_folder(f);
    assert_ok(import_folder(dir, &id, NULL, &err));
    run(id, final, logits);
    free(dir);
}

static void test_names_and_heads(void **state)
{
    (void)state;
    static const char untied[] = ",\"tie_word_embeddings\":false";
    float first[4 * WIDTH], final[4 * WIDTH];
    float *logits = xmalloc(4 * VOCABULARY * sizeof *logits), *tied = xmalloc(4 * VOCABULARY * sizeof *tied);
    import_good(&(struct folder){0}, first, tied);
    const struct folder same[] = {
        {.prefix = "transformer."},
        {.prefix = "transformer.", .add = "lm_head.weight", .add_is_embedding = 1},
        {.add = "lm_head.weight", .add_is_embedding = 1, .config = untied},
        {.config = ",\"n_inner\":null,\"activation_function\":\"gelu_pytorch_tanh\",\"bos_token_id\":null"},
        {.config = ",\"n_inner\":32,\"layer_norm_epsilon\":1e-5,\"eos_token_id\":8191"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(same); i++) {
        import_good(&same[i], final, logits);
        assert_memory_equal(final, first, sizeof first);
        assert_memory_equal(logits, tied, 4 * VOCABULARY * sizeof *logits);
    }
    /* An unembedding of its own: logit v = final · its row v. */
    import_good(&(struct folder){.prefix = "transformer.", .add = "lm_head.weight", .config = untied}, final,
                logits);
    assert_memory_equal(final, first, sizeof first);
    struct entry head = {.ndim = 2, .rows = VOCABULARY, .columns = WIDTH, .seed = 99};
    for (size_t v = 0; v < VOCABULARY; v += 1000) {
        float row[WIDTH];
        double sum = 0;
        assert_int_equal(read_entry(&head, v, 1, row, NULL), 0);
        for (size_t j = 0; j < WIDTH; j++)
            sum += (double) final[3 * WIDTH + j] * (double)row[j];
        assert_true(fabs(sum - (double)logits[3 * VOCABULARY + v]) < 1e-6);
    }
    free(logits);
    free(tied);
}

/* An embedding that takes several of the store's blocks. */
static void test_large_vocabulary(void **state)
{
    (void)state;
    const size_t vocabulary = 1200000;
    struct entry embedding = {.ndim = 2, .rows = vocabulary, .columns = WIDTH, .seed = 1};
    struct error err;
    artifact_id id;
    struct store_tensor x;
    char *dir = make_folder(&(struct folder){.vocabulary = vocabulary});
    assert_ok(import_folder(dir, &id, NULL, &err));
    struct store_txn *t = begin_reading(test_store);
    assert_ok(store_tensor_open(t, id, "embed.W_E", &x, &err));
    assert_true(x.n_blocks > 1);
    store_end(t);
    float final[4 * WIDTH], *logits = xmalloc(4 * vocabulary * sizeof *logits);
    run(id, final, logits);
    for (size_t v = 7; v < vocabulary; v += 999) {
        float row[WIDTH];
        double sum = 0;
        assert_int_equal(read_entry(&embedding, v, 1, row, NULL), 0);
        for (size_t j = 0; j < WIDTH; j++)
            sum += (double) final[2 * WIDTH + j] * (double)row[j];
        assert_true(fabs(sum - (double)logits[2 * vocabulary + v]) < 1e-6);
    }
    free(logits);
    free(dir);
}

/* In the store are the file's matrices, bit for bit; vectors are widened. What is there is rounded as the
 * file's precision demands. */
static void test_precisions(void **state)
{
    (void)state;
    static const struct {
        enum dtype dtype;
        double step; /* largest relative rounding */
        const char *name;
    } cases[] = {
        {DTYPE_F32, 0, "float32"}, {DTYPE_F16, 0x1p-11, "float16"}, {DTYPE_BF16, 0x1p-8, "bfloat16"}};
    struct entry c_fc = {.ndim = 2, .rows = WIDTH, .columns = 4 * WIDTH, .seed = 5 + 4 + 8};
    float wanted[WIDTH * 4 * WIDTH], got[WIDTH * 4 * WIDTH];
    char stored[sizeof got];
    assert_int_equal(read_entry(&c_fc, 0, WIDTH, wanted, NULL), 0);
    for (size_t c = 0; c < ARRAY_LENGTH(cases); c++) {
        struct error err;
        artifact_id id;
        struct store_txn *t;
        struct store_tensor x;
        char *dir = make_folder(&(struct folder){.dtype = cases[c].dtype});
        assert_ok(import_folder(dir, &id, NULL, &err));
        assert_ok(store_begin(test_store, &t, &err));
        assert_ok(store_tensor_open(t, id, "blocks.0.mlp.W_in", &x, &err));
        assert_int_equal(x.dtype, cases[c].dtype);
        assert_ok(store_tensor_read(t, &x, 0, WIDTH, stored, &err));
        floats_from(x.dtype, stored, got, ARRAY_LENGTH(got));
        assert_ok(store_tensor_open(t, id, "blocks.0.mlp.b_in", &x, &err));
        assert_int_equal(x.dtype, DTYPE_F32);
        json *manifest = store_manifest(t, id, &err);
        assert_string_equal(json_get_string(manifest, "dtype", ""), cases[c].name);
        json_free(manifest);
        store_end(t);
        for (size_t i = 0; i < ARRAY_LENGTH(got); i++) {
            /* F16's subnormals have an absolute step of 2⁻²⁴. */
            assert_true(fabs((double)got[i] - (double)wanted[i]) <=
                        cases[c].step * fabs((double)wanted[i]) +
                            (cases[c].dtype == DTYPE_F16 ? 0x1p-25 : 0));
        }
        free(dir);
    }
}

/* ---- Refused. ---- */

static size_t count_models(void)
{
    struct store_txn *t = begin_reading(test_store);
    struct artifact *list;
    struct error err;
    size_t n;
    assert_ok(store_list(t, 0, &list, &n, &err));
    free(list);
    store_end(t);
    return n;
}

static void no_problem(const struct store_problem *p, void *arg)
{
    (void)arg;
    fail_msg("%s: %s", p->name ? p->name : "store", p->message);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        struct folder folder;
        const char *says, *file;
    } cases[] = {
        {{.without = "h.1.attn.c_proj.bias"}, "no tensor h.1.attn.c_proj.bias", "model.safetensors"},
        {{.without = "wte.weight"}, "no tensor wte.weight", "model.safetensors"},
        {{.prefix = "transformer.", .without = "ln_f.bias"},
         "no tensor transformer.ln_f.bias",
         "model.safetensors"},
        {{.with_nan = "wpe.weight"}, "wpe.weight is NaN or infinite at row 0, column 3", "model.safetensors"},
        {{.with_nan = "h.0.ln_2.bias"}, "h.0.ln_2.bias is NaN or infinite at 3", "model.safetensors"},
        {{.with_nan = "h.1.mlp.c_proj.weight", .dtype = DTYPE_BF16},
         "h.1.mlp.c_proj.weight is NaN",
         "model.safetensors"},
        {{.dtype = DTYPE_F64}, "wte.weight is F64", "model.safetensors"},
        {{.dtype = DTYPE_U8},
         "wte.weight is U8, not F32, F16 or BF16: is the checkpoint quantised?",
         "model.safetensors"},
        {{.layers = 3}, "no tensor h.2.ln_1.weight", "model.safetensors"},
        {{.layers = 1},
         "h.1.ln_1.weight: config.json says that there are only 1 layers",
         "model.safetensors"},
        {{.width = 16}, "wte.weight is [8192, 8], but config.json makes it [8192, 16]", "model.safetensors"},
        {{.width = 7}, "not a multiple of n_head", "config.json"},
        {{.width = 1 << 20}, "n_embd", "config.json"},
        {{.config = ",\"n_inner\":16"}, "h.0.mlp.c_fc.weight is [8, 32]", "model.safetensors"},
        {{.config = ",\"activation_function\":\"relu\""}, "activation_function \"relu\"", "config.json"},
        {{.config = ",\"scale_attn_by_inverse_layer_idx\":true"},
         "scale_attn_by_inverse_layer_idx",
         "config.json"},
        {{.config = ",\"reorder_and_upcast_attn\":true"}, "reorder_and_upcast_attn", "config.json"},
        {{.config = ",\"bos_token_id\":8192"}, "bos_token_id", "config.json"},
        {{.config = ",\"layer_norm_epsilon\":0"}, "layer_norm_epsilon", "config.json"},
        {{.config = ",\"n_head\":4"}, "", "config.json"}, /* a key twice */
        {{.config = ",\"tie_word_embeddings\":false"}, "no tensor lm_head.weight", "model.safetensors"},
        {{.add = "lm_head.weight"}, "lm_head.weight differs from wte.weight", "model.safetensors"},
        {{.vocabulary = 8000}, "the tokenizer has 8192 tokens, config.json's vocab_size is 8000", "folder"},
        {{.no_tokenizer = 1}, "", "folder"},
    };
    size_t before = count_models();
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct error err = {0};
        artifact_id id = 0;
        char *dir = make_folder(&cases[i].folder);
        int code = import_folder(dir, &id, NULL, &err);
        if (code != STATUS_REFUSED || !strstr(err.message, cases[i].says) ||
            !strstr(err.message, cases[i].file))
            fail_msg("case %zu: %d \"%s\", wanted \"%s\"", i, code, err.message, cases[i].says);
        assert_int_equal(id, 0);
        assert_int_equal(count_models(), before);
        free(dir);
    }
    assert_int_equal(store_verify(test_store, NULL, no_problem, NULL, NULL), 0);
}

static void test_other_folders(void **state)
{
    (void)state;
    struct error err;
    artifact_id id;
    char *missing = test_path("nowhere");
    assert_int_equal(import_folder(missing, &id, NULL, &err), STATUS_REFUSED);
    assert_says("config.json");
    char *dir = make_folder(&(struct folder){0});
    write_file_in(dir, "config.json", "{\"model_type\":\"gemma3\"}", 23);
    assert_int_equal(import_folder(dir, &id, NULL, &err), STATUS_REFUSED);
    assert_says("model_type \"gemma3\" is not supported: did you mean gemma? (supported: gpt2, gpt_neo,");
    write_file_in(dir, "config.json", "{\"model_type\":\"mamba\"}", 22);
    assert_int_equal(import_folder(dir, &id, NULL, &err), STATUS_REFUSED);
    assert_says("model_type \"mamba\" is not supported");
    write_file_in(dir, "config.json", "[]", 2);
    assert_int_equal(import_folder(dir, &id, NULL, &err), STATUS_REFUSED);
    free(dir);
    dir = make_folder(&(struct folder){0});
    char *weights = path_join(dir, "model.safetensors");
    assert_int_equal(truncate(weights, 200000), 0);
    assert_int_equal(import_folder(dir, &id, NULL, &err), STATUS_REFUSED);
    assert_says("truncated");
    assert_int_equal(unlink(weights), 0);
    assert_int_equal(import_folder(dir, &id, NULL, &err), STATUS_REFUSED);
    assert_says("model.safetensors");
    free(weights);
    free(dir);
    free(missing);
}

static void test_cancelled(void **state)
{
    (void)state;
    struct error err;
    artifact_id id;
    struct monitor monitor = {.ask = cancel_later};
    size_t before = count_models();
    char *dir = make_folder(&(struct folder){0});
    asks_before_cancel = 2;
    assert_int_equal(import_folder(dir, &id, &monitor, &err), STATUS_FAILED);
    assert_says("cancelled");
    assert_int_equal(count_models(), before);
    assert_ok(import_folder(dir, &id, NULL, &err));
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_names_and_heads),
        cmocka_unit_test(test_precisions),    cmocka_unit_test(test_large_vocabulary),
        cmocka_unit_test(test_other_folders), cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests_name("model import", tests, set_up_store, tear_down_store);
}
