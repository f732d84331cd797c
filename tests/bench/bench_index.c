/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An index of GPT-2-small's shape (d_model 768, 12 heads, hook blocks.8.hook_resid_pre, contexts of 128
 * tokens, d_sae 24576, about 40 active latents a token) against the sum of the forward pass's products and
 * the encoder's, done bare by OpenBLAS: the faster of its own threads and our blocks of one-threaded calls.
 * Medians of 5; the index is that of a store in a temporary directory, from opening the SAE to its published
 * index.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/analysis/activations.h"
#include "saescope/analysis/index.h"
#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/files/safetensors.h"
#include "saescope/sae/sae.h"

enum {
    D = 768,
    HEADS = 12,
    D_HEAD = D / HEADS,
    D_MLP = 4 * D,
    LAYERS = 8, /* that run */
    VOCABULARY = 8192,
    LENGTH = 128,
    D_SAE = 24576,
    L0 = 40,
    TOKENS = 8192,
    ROWS = 1024, /* of a product */
    RUNS = 5
};

static struct error failure;

static void need(int status)
{
    if (status) {
        fprintf(stderr, "bench_index: %s\n", failure.message);
        exit(1);
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *seconds)
{
    qsort(seconds, RUNS, sizeof(*seconds), compare_doubles);
    return seconds[RUNS / 2];
}

static float *random_floats(size_t n, uint64_t seed, float scale)
{
    float *x = array_alloc(n, sizeof(*x), "bench", &failure);
    struct rng r;

    need(!x);
    rng_seed(&r, seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (float)(rng_uniform(&r) - 0.5);
    return x;
}

/* ---- A model with random weights, in a folder as it would be imported. ---- */
static int read_random(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    const struct safetensors_source *source = arg;
    size_t columns = source->ndim == 2 ? source->shape[1] : 1;
    struct rng r;

    (void)err;
    rng_seed(&r, hash64(source->name, strlen(source->name), 0), first);
    for (size_t i = 0; i < n * columns; i++)
        dst[i] = strstr(source->name, "ln_") ? (strstr(source->name, "bias") ? 0 : 1)
                                             : 0.07F * (float)(rng_uniform(&r) - 0.5);
    return STATUS_OK;
}

static struct safetensors_source sources[16 * LAYERS + 32];
static size_t n_sources;

static void add_tensor(int layer, const char *name, size_t rows, size_t columns)
{
    struct safetensors_source *s = &sources[n_sources++];

    s->name = layer < 0 ? xstrdup(name) : xasprintf("h.%d.%s", layer, name);
    s->ndim = columns ? 2 : 1;
    s->shape[0] = rows;
    s->shape[1] = columns;
    s->read = read_random;
    s->arg = s;
}

static void write_model(const char *directory)
{
    static const char *const files[] = {"tokenizer.json", "vocab.json", "merges.txt"};
    struct strbuf text = STRBUF_INIT;
    char *path, *shipped;

    need(make_directories(directory, 0700, &failure));
    add_tensor(-1, "wte.weight", VOCABULARY, D);
    add_tensor(-1, "wpe.weight", LENGTH, D);
    add_tensor(-1, "ln_f.weight", D, 0);
    add_tensor(-1, "ln_f.bias", D, 0);
    for (int i = 0; i <= LAYERS; i++) {
        add_tensor(i, "ln_1.weight", D, 0);
        add_tensor(i, "ln_1.bias", D, 0);
        add_tensor(i, "attn.c_attn.weight", D, 3 * D);
        add_tensor(i, "attn.c_attn.bias", 3 * D, 0);
        add_tensor(i, "attn.c_proj.weight", D, D);
        add_tensor(i, "attn.c_proj.bias", D, 0);
        add_tensor(i, "ln_2.weight", D, 0);
        add_tensor(i, "ln_2.bias", D, 0);
        add_tensor(i, "mlp.c_fc.weight", D, D_MLP);
        add_tensor(i, "mlp.c_fc.bias", D_MLP, 0);
        add_tensor(i, "mlp.c_proj.weight", D_MLP, D);
        add_tensor(i, "mlp.c_proj.bias", D, 0);
    }
    path = path_join(directory, "model.safetensors");
    need(safetensors_write(path, sources, n_sources, DTYPE_F32, NULL, &failure));
    free(path);
    strbuf_addf(
        &text,
        "{\"model_type\": \"gpt2\", \"activation_function\": \"gelu_new\", \"vocab_size\": %d, "
        "\"n_positions\": %d, \"n_embd\": %d, \"n_layer\": %d, \"n_head\": %d, \"layer_norm_epsilon\": 1e-5, "
        "\"bos_token_id\": 8191, \"eos_token_id\": 8191}\n",
        VOCABULARY, LENGTH, D, LAYERS + 1, HEADS);
    path = path_join(directory, "config.json");
    need(file_write_atomic(path, text.data, text.length, &failure));
    free(path);
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        char *folder = shipped_file("wordnet-lm");

        shipped = path_join(folder, files[i]);
        path = path_join(directory, files[i]);
        strbuf_reset(&text);
        need(file_read(shipped, 64 << 20, &text, &failure));
        need(file_write_atomic(path, text.data, text.length, &failure));
        free(folder);
        free(shipped);
        free(path);
    }
    strbuf_free(&text);
    for (size_t i = 0; i < n_sources; i++)
        free((void *)(uintptr_t)sources[i].name);
}

/* The beginning of the corpus: about 33 tokens a line. */
static artifact_id import_text(struct store *s, const char *directory)
{
    char *corpus = shipped_file("wordnet.txt"), *path = path_join(directory, "text.txt");
    FILE *in = fopen(corpus, "r"), *out = fopen(path, "w");
    artifact_id id;
    char line[4096];

    if (!in || !out) {
        fprintf(stderr, "bench_index: cannot copy %s\n", corpus);
        exit(1);
    }
    for (int i = 0; i < TOKENS / 20 && fgets(line, sizeof(line), in); i++)
        fputs(line, out);
    fclose(in);
    fclose(out);
    struct text_import import = {.path = path, .name = "text", .model = "model"};
    need(text_import(s, &import, NULL, &id, &failure));
    free(corpus);
    free(path);
    return id;
}

/* The threshold that lets about L0 latents a token through: a quantile of a sample. */
static float find_threshold(struct store *s, const struct stream_options *o, const struct sae *sae)
{
    enum { LATENTS = 512, SAMPLE = 512 };
    double *p = xreallocarray(NULL, (size_t)LATENTS * SAMPLE, sizeof(*p));
    struct stream_batch b;
    struct stream *st;
    double threshold;

    need(stream_open(s, o, &st, &failure));
    need(stream_next(st, &b, &failure));
    for (size_t i = 0; i < SAMPLE; i++)
        for (size_t j = 0; j < LATENTS; j++)
            p[i * LATENTS + j] = (double)vec_dot(sae->owned_W_enc + j * D, b.activations + i * D, D);
    qsort(p, (size_t)LATENTS * SAMPLE, sizeof(*p), compare_doubles);
    threshold = p[(size_t)((double)LATENTS * SAMPLE * (1 - (double)L0 / D_SAE))];
    stream_close(st);
    free(p);
    return (float)threshold;
}

static artifact_id make_sae(struct store *s, artifact_id model, artifact_id text)
{
    struct stream_options o = {.model = model,
                               .text = text,
                               .hook = "blocks.8.hook_resid_pre",
                               .context_size = LENGTH,
                               .prepend_bos = 1};
    json *manifest = json_new_object(), *references = json_new_object();
    struct sae *sae;
    struct rng r;
    artifact_id id;
    float threshold;

    need(sae_new(sae_architecture_find("jumprelu", &failure), D, D_SAE, &sae, &failure));
    rng_seed(&r, 3, 0);
    for (size_t i = 0; i < (size_t)D_SAE * D; i++)
        sae->owned_W_enc[i] = sae->owned_W_dec[i] = (float)(rng_uniform(&r) - 0.5) * 0.125F;
    if (!sae->threshold)
        sae->threshold = xcalloc(D_SAE, sizeof(float));
    threshold = find_threshold(s, &o, sae);
    for (size_t i = 0; i < D_SAE; i++)
        sae->threshold[i] = threshold;
    need(store_create(s, ARTIFACT_SAE, "sae", 0, &id, &failure));
    json_set(manifest, "kind", json_new_string("sae"));
    json_set(manifest, "hook", json_new_string(o.hook));
    json_set(manifest, "context_size", json_new_integer(LENGTH));
    json_set(manifest, "prepend_bos", json_new_boolean(1));
    json_set(references, "model", json_new_integer((long long)model));
    json_set(manifest, "references", references);
    need(sae_save(s, id, sae, manifest, &failure));
    sae_free(sae);
    return id;
}

/* ---- The products alone. ---- */
typedef void product(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                     size_t ldb, float beta, float *c, size_t ldc);

struct operands {
    float *x, *w, *out;
    product *nn, *nt;
};

static void one_head(size_t head, size_t worker, void *arg)
{
    const struct operands *o = arg;
    const float *q = o->x + head % HEADS * D_HEAD + head / HEADS * LENGTH * 3 * D;
    float *scores = o->out + (size_t)ROWS * D + (worker % 64) * LENGTH * LENGTH;

    sgemm_nt(LENGTH, LENGTH, D_HEAD, 1, q, 3 * D, q + D, 3 * D, 0, scores, LENGTH);
    sgemm_nn(LENGTH, D_HEAD, LENGTH, 1, scores, LENGTH, q + 2 * D, 3 * D, 0,
             o->out + head / HEADS * LENGTH * D + head % HEADS * D_HEAD, D);
}

/* Forward pass and encoder of ROWS tokens; attention is whole (no causal half is saved). */
static void all_products(struct operands *o)
{
    for (int i = 0; i < LAYERS; i++) {
        o->nn(ROWS, 3 * D, D, 1, o->x, D, o->w, 3 * D, 0, o->out, 3 * D);
        parallel_for(ROWS / LENGTH * HEADS, one_head, o);
        o->nn(ROWS, D, D, 1, o->x, D, o->w, D, 0, o->out, D);
        o->nn(ROWS, D_MLP, D, 1, o->x, D, o->w, D_MLP, 0, o->out, D_MLP);
        o->nn(ROWS, D, D_MLP, 1, o->x, D_MLP, o->w, D, 0, o->out, D);
    }
    o->nt(ROWS, D_SAE, D, 1, o->x, D, o->w, D, 0, o->out, D_SAE);
}

/* Seconds for `rows` tokens. */
static double product_seconds(struct operands *o, int library_threads, double rows)
{
    double seconds[RUNS];

    o->nn = library_threads ? sgemm_nn : parallel_sgemm_nn;
    o->nt = library_threads ? sgemm_nt : parallel_sgemm_nt;
    blas_set_library_threads(library_threads ? parallel_threads() : 1);
    all_products(o);
    for (int i = 0; i < RUNS; i++) {
        double start = clock_seconds();

        all_products(o);
        seconds[i] = (clock_seconds() - start) * rows / ROWS;
    }
    blas_set_library_threads(1);
    return median(seconds);
}

static double half_way; /* when the second half began */

static void watch(struct monitor *m, const struct progress *p)
{
    (void)m;
    if (p->phase && !strcmp(p->phase, "reading"))
        half_way = clock_seconds();
}

int main(void)
{
    struct operands o = {random_floats((size_t)ROWS * D_MLP, 1, 1), random_floats((size_t)D_SAE * D, 2, 0.1F),
                         random_floats((size_t)ROWS * D_SAE, 3, 1), NULL, NULL};
    char directory[] = "/tmp/saescope-bench-XXXXXX", *folder, *path;
    struct store_options options = {.create = 1};
    struct monitor monitor = {.report = watch};
    double seconds[RUNS], own, blocks, product_sum, index, second_half = 0;
    artifact_id model, text, sae;
    struct store *s;

    blas_start();
    parallel_start(0);
    if (!mkdtemp(directory))
        return 1;
    folder = path_join(directory, "model");
    options.path = path = path_join(directory, "store");
    write_model(folder);
    need(store_open(&options, &s, &failure));
    struct model_import import = {.directory = folder, .name = "model"};
    need(model_import_folder(s, &import, NULL, &model, &failure));
    text = import_text(s, directory);
    sae = make_sae(s, model, text);
    printf("index, d_model %d, layer %d, d_sae %d, %d tokens; %zu threads, OpenBLAS core %s\n", D, LAYERS,
           D_SAE, TOKENS, parallel_threads(), blas_core_name());
    own = product_seconds(&o, 1, TOKENS);
    blocks = product_seconds(&o, 0, TOKENS);
    product_sum = own < blocks ? own : blocks;
    printf("  bare products: %.3f s (OpenBLAS's threads %.3f s, blocks of one-threaded calls %.3f s)\n",
           product_sum, own, blocks);
    for (int i = 0; i < RUNS; i++) {
        struct index_options io = {.saes = &sae, .n_saes = 1, .text = text, .tokens = TOKENS};
        double start = clock_seconds();

        need(index_run(s, &io, &monitor, &failure));
        seconds[i] = clock_seconds() - start;
        second_half = clock_seconds() - half_way;
    }
    index = median(seconds);
    printf(
        "index: %.3f s, %.2f times the products (goal 1.5); of it %.3f s after the model and the encoder\n",
        index, index / product_sum, second_half);
    store_close(s);
    remove_tree(directory, &failure);
    free(folder);
    free(path);
    free(o.x);
    free(o.w);
    free(o.out);
    parallel_stop();
    return 0;
}
