/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Models of which there are only PyTorch's files, one or several (tests/reference/families.py): what is in
 * the store is what the same model's safetensors give, bit by bit. And what is refused.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/memory.h"
#include "saescope/files/zip_archive.h"
#include "saescope/model/family.h"
#include "tests/support/support.h"

/* ---- Folders. ---- */

#define FILES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define SHARD(n)   "pytorch_model-0000" #n "-of-00003.bin"
#define TOKENIZER  "config.json", "tokenizer.json"

static const char *const one_file[] = {TOKENIZER, "pytorch_model.bin", NULL};
static const char *const three_files[] = {
    TOKENIZER, "pytorch_model.bin.index.json", SHARD(1), SHARD(2), SHARD(3), NULL};

static int import_folder(const char *folder, const char *name, artifact_id *id, struct error *err)
{
    const struct model_import options = {.directory = folder, .name = name, .replace = 1};
    return model_import_folder(test_store, &options, NULL, id, err);
}

/* ---- The same model. ---- */

struct pair {
    struct store_txn *t;
    artifact_id a, b;
    size_t n;
};

static int compare_weight(const struct weight_spec *spec, void *arg, struct error *e)
{
    struct pair *p = arg;
    struct store_tensor x, y;
    struct error err;
    (void)e;
    assert_ok(store_tensor_open(p->t, p->a, spec->store_name, &x, &err));
    assert_ok(store_tensor_open(p->t, p->b, spec->store_name, &y, &err));
    assert_int_equal(x.dtype, y.dtype);
    assert_int_equal(x.ndim, y.ndim);
    assert_memory_equal(x.shape, y.shape, (size_t)x.ndim * sizeof *x.shape);
    size_t row = dtype_size(x.dtype) * (x.ndim == 2 ? x.shape[1] : 1), bytes = x.shape[0] * row;
    void *first = xmalloc(bytes), *second = xmalloc(bytes);
    assert_ok(store_tensor_read(p->t, &x, 0, x.shape[0], first, &err));
    assert_ok(store_tensor_read(p->t, &y, 0, y.shape[0], second, &err));
    assert_memory_equal(first, second, bytes);
    free(first);
    free(second);
    p->n++;
    return STATUS_OK;
}

/* All weights, and all of the manifest but where the model came from. */
static void check_same(artifact_id a, artifact_id b, int untied)
{
    struct error err;
    struct pair p = {begin_reading(test_store), a, b, 0};
    struct model *m;
    assert_ok(model_open(p.t, a, &m, &err));
    const struct model_config *c = model_get_config(m);
    assert_int_equal((c->features & MODEL_UNTIED) != 0, untied);
    assert_ok(family_each_weight(model_family_find(c->family), c, compare_weight, &p, &err));
    assert_true(p.n > 10 * c->layers);
    struct weight_spec unembed = family_unembed(c);
    if (untied)
        compare_weight(&unembed, &p, &err);
    assert_int_equal(store_tensor_exists(p.t, b, unembed.store_name), untied);
    model_free(m);
    store_end(p.t);
    struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
    json *x = read_manifest(test_store, a), *y = read_manifest(test_store, b);
    json_set(x, "source", json_new_null());
    json_set(y, "source", json_new_null());
    json_dump(x, &first);
    json_dump(y, &second);
    assert_string_equal(strbuf_string(&first), strbuf_string(&second));
    strbuf_free(&first);
    strbuf_free(&second);
    json_free(x);
    json_free(y);
}

static void check_torch(const char *family, const char *const *files, int untied)
{
    struct error err = {0};
    artifact_id from_safetensors, from_torch;
    char *folder = copy_family(family, FILES(TOKENIZER, "model.safetensors"));
    assert_ok(import_folder(folder, "safetensors", &from_safetensors, &err));
    free(folder);
    folder = copy_family(family, files);
    assert_ok(import_folder(folder, "torch", &from_torch, &err));
    free(folder);
    check_same(from_safetensors, from_torch, untied);
}

/* The head is the embedding's storage. */
static void test_one_file(void **state)
{
    (void)state;
    check_torch("gpt_neo", one_file, 0);
}

static void test_shards(void **state)
{
    (void)state;
    check_torch("gpt_neox", three_files, 1);
}

/* ---- Which files are looked at, and what is refused. ---- */

static void refuses(const char *folder, const char *says)
{
    struct error err = {0};
    artifact_id id;
    assert_int_equal(import_folder(folder, "refused", &id, &err), STATUS_REFUSED);
    assert_says(says);
    assert_int_equal(find_artifact(test_store, ARTIFACT_MODEL, "refused"), 0);
}

/* safetensors are taken first, whatever PyTorch's files are. */
static void test_choice(void **state)
{
    (void)state;
    struct error err = {0};
    artifact_id id;
    char *folder = copy_family("gpt_neo", FILES(TOKENIZER, "model.safetensors"));
    write_file_in(folder, "pytorch_model.bin", "nothing", 7);
    assert_ok(import_folder(folder, "first", &id, &err));
    free(folder);
    folder = copy_family("gpt_neo", FILES(TOKENIZER));
    refuses(folder, "no weights: neither model.safetensors nor pytorch_model.bin");
    free(folder);
}

/* The index, with one text replaced by another. */
static char *folder_with_index(const char *from, const char *to)
{
    char *folder = copy_family("gpt_neox", three_files);
    replace_in_file(folder, three_files[2], from, to);
    return folder;
}

static void test_hostile_indexes(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        {"\"gpt_neox.embed_in.weight\": \"" SHARD(1), "\"gpt_neox.embed_in.weight\": \"../" SHARD(1),
         "../" SHARD(1) " is no name of a file in this folder"},
        {"\"gpt_neox.embed_in.weight\": \"" SHARD(1), "\"gpt_neox.embed_in.weight\": \"/etc/passwd",
         "/etc/passwd is no name of a file in this folder"},
        {"\"gpt_neox.embed_in.weight\": \"" SHARD(1), "\"gpt_neox.embed_in.weight\": \"" SHARD(2),
         SHARD(1) " has tensor gpt_neox.embed_in.weight, which the index places in another file"},
        {"\"gpt_neox.embed_in.weight\":", "\"gpt_neox.other.weight\":",
         SHARD(1) " has no tensor gpt_neox.other.weight, which the index places there"},
        {"\"gpt_neox.embed_in.weight\": \"" SHARD(1), "\"gpt_neox.embed_in.weight\": \"config.json",
         "config.json: an index of files, where a file of tensors belongs"},
        {"\"weight_map\"", "\"map\"", "\"weight_map\" is missing"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *folder = folder_with_index(cases[i].from, cases[i].to);
        refuses(folder, cases[i].says);
        free(folder);
    }
    char *folder = copy_family("gpt_neox", three_files), *shard = path_join(folder, SHARD(2));
    assert_int_equal(truncate(shard, 9000), 0);
    refuses(folder, SHARD(2));
    assert_int_equal(unlink(shard), 0);
    refuses(folder, SHARD(2) " is named there, but is not in its folder");
    free(shard);
    free(folder);
}

/* What PyTorch wrote before it wrote zip files says what to do; what would execute something is refused. */
static void test_other_files(void **state)
{
    (void)state;
    static const struct {
        const char *container, *says;
    } cases[] = {
        {"containers/bare.pt",
         "pytorch_model.bin: a bare pickle, as PyTorch wrote before 1.6: load it with torch.load "
         "and save it again, as safetensors or with torch.save, or take a revision that has "
         "safetensors"},
        {"containers/system.pt", "system"},
        {"containers/alone.pt", "no tensor wte.weight (it has: data)"},
        {"containers/bomb.npz", "pytorch_model.bin"},
    };
    char *folder = copy_family("gpt_neo", one_file);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char *path = data_path(cases[i].container);
        copy_file(path, folder, "pytorch_model.bin");
        refuses(folder, cases[i].says);
        free(path);
    }
    char tar[1024] = "sys_info";
    memcpy(tar + 257, "ustar", 5);
    write_file_in(folder, "pytorch_model.bin", tar, sizeof tar);
    refuses(folder, "a tar archive, as PyTorch wrote before 0.2");
    assert_int_not_equal(access("/tmp/saescope-was-here", F_OK), 0);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_file),    cmocka_unit_test(test_shards),
        cmocka_unit_test(test_choice),      cmocka_unit_test(test_hostile_indexes),
        cmocka_unit_test(test_other_files),
    };
    if (!zip_library_version()) {
        printf("1..0 # SKIP built without libzip\n");
        return 0;
    }
    return cmocka_run_group_tests_name("models of PyTorch's files", tests, set_up_store, tear_down_store);
}
