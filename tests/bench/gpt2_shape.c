/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the benches share. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/activations.h"
#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/files/safetensors.h"
#include "gpt2_shape.h"
#include "spent.h"

struct error failure;

void need(int status)
{
    if (status) {
        fprintf(stderr, "bench: %s\n", failure.message);
        exit(1);
    }
}

float *random_floats(size_t n, uint64_t seed, float scale)
{
    float *x = array_alloc(n, sizeof(*x), "bench", &failure);
    struct rng r;

    need(!x);
    rng_seed(&r, seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (float)(rng_uniform(&r) - 0.5);
    return x;
}

/* ---- The products alone. ---- */

static void one_head(size_t head, size_t worker, void *arg)
{
    const struct operands *o = arg;
    const float *q = o->x + head % HEADS * D_HEAD + head / HEADS * LENGTH * 3 * D;
    float *scores = o->out + (size_t)FORWARD_ROWS * D + (worker % 64) * LENGTH * LENGTH;

    sgemm_nt(LENGTH, LENGTH, D_HEAD, 1, q, 3 * D, q + D, 3 * D, 0, scores, LENGTH);
    sgemm_nn(LENGTH, D_HEAD, LENGTH, 1, scores, LENGTH, q + 2 * D, 3 * D, 0,
             o->out + head / HEADS * LENGTH * D + head % HEADS * D_HEAD, D);
}

void forward_products(const struct operands *o)
{
    struct operands heads = *o;

    for (int i = 0; i < LAYERS; i++) {
        o->nn(FORWARD_ROWS, 3 * D, D, 1, o->x, D, o->w, 3 * D, 0, o->out, 3 * D);
        parallel_for(FORWARD_ROWS / LENGTH * HEADS, one_head, &heads);
        o->nn(FORWARD_ROWS, D, D, 1, o->x, D, o->w, D, 0, o->out, D);
        o->nn(FORWARD_ROWS, D_MLP, D, 1, o->x, D, o->w, D_MLP, 0, o->out, D_MLP);
        o->nn(FORWARD_ROWS, D, D_MLP, 1, o->x, D_MLP, o->w, D, 0, o->out, D);
    }
}

double product_seconds(struct operands *o, void (*products)(const struct operands *o), int library_threads,
                       size_t runs)
{
    double *seconds = xcalloc(runs, sizeof(*seconds)), middle;

    o->nn = library_threads ? sgemm_nn : parallel_sgemm_nn;
    o->nt = library_threads ? sgemm_nt : parallel_sgemm_nt;
    blas_set_library_threads(library_threads ? parallel_threads() : 1);
    products(o);
    for (size_t i = 0; i < runs; i++) {
        double start = clock_seconds();

        products(o);
        seconds[i] = clock_seconds() - start;
    }
    blas_set_library_threads(1);
    middle = median(seconds, runs);
    free(seconds);
    return middle;
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

void bench_tokenizer(const char *directory)
{
    static const char *const files[] = {"tokenizer.json", "vocab.json", "merges.txt"};
    char *folder = shipped_file("wordnet-lm");
    struct strbuf text = STRBUF_INIT;

    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        char *shipped = path_join(folder, files[i]), *path = path_join(directory, files[i]);

        strbuf_reset(&text);
        need(file_read(shipped, 64 << 20, &text, &failure));
        need(file_write_atomic(path, text.data, text.length, &failure));
        free(shipped);
        free(path);
    }
    strbuf_free(&text);
    free(folder);
}

static void write_model(const char *directory, enum dtype dtype)
{
    struct strbuf text = STRBUF_INIT;
    char *path;

    need(make_directories(directory, 0700, &failure));
    n_sources = 0;
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
    need(safetensors_write(path, sources, n_sources, dtype, NULL, &failure));
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
    bench_tokenizer(directory);
    strbuf_free(&text);
    for (size_t i = 0; i < n_sources; i++)
        free((void *)(uintptr_t)sources[i].name);
}

/* The beginning of the corpus: about 33 tokens a line. */
static artifact_id import_text(struct store *s, const char *directory, size_t tokens)
{
    char *corpus = shipped_file("wordnet.txt"), *path = path_join(directory, "text.txt");
    FILE *in = fopen(corpus, "r"), *out = fopen(path, "w");
    artifact_id id;
    char line[4096];

    if (!in || !out) {
        fprintf(stderr, "bench: cannot copy %s\n", corpus);
        exit(1);
    }
    for (size_t i = 0; i < tokens / 20 && fgets(line, sizeof(line), in); i++)
        fputs(line, out);
    fclose(in);
    fclose(out);
    struct text_import import = {.path = path, .name = "text", .model = "model"};
    need(text_import(s, &import, NULL, &id, &failure));
    free(corpus);
    free(path);
    return id;
}

/* The threshold that lets about l0 latents a token through: a quantile of a sample. */
static float find_threshold(struct store *s, const struct stream_options *o, const struct sae *sae, size_t l0)
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
    threshold = p[(size_t)((double)LATENTS * SAMPLE * (1 - (double)l0 / (double)sae->d_sae))];
    stream_close(st);
    free(p);
    return (float)threshold;
}

artifact_id bench_sae(const struct bench_store *b, const char *name, size_t d_sae, size_t l0, uint64_t seed)
{
    struct stream_options o = {
        .model = b->model, .text = b->text, .hook = BENCH_HOOK, .context_size = LENGTH, .prepend_bos = 1};
    json *manifest = json_new_object(), *references = json_new_object();
    struct sae *sae;
    struct rng r;
    artifact_id id;
    float threshold;

    need(sae_new(sae_architecture_find("jumprelu", &failure), D, d_sae, &sae, &failure));
    rng_seed(&r, seed, 0);
    for (size_t i = 0; i < d_sae * D; i++)
        sae->owned_W_enc[i] = sae->owned_W_dec[i] = (float)(rng_uniform(&r) - 0.5) * 0.125F;
    threshold = find_threshold(b->store, &o, sae, l0);
    for (size_t i = 0; i < d_sae; i++)
        sae->threshold[i] = threshold;
    need(store_create(b->store, ARTIFACT_SAE, name, 0, &id, &failure));
    json_set(manifest, "kind", json_new_string("sae"));
    json_set(manifest, "hook", json_new_string(o.hook));
    json_set(manifest, "context_size", json_new_integer(LENGTH));
    json_set(manifest, "prepend_bos", json_new_boolean(1));
    json_set(references, "model", json_new_integer((long long)b->model));
    json_set(manifest, "references", references);
    need(sae_save(b->store, id, sae, manifest, &failure));
    sae_free(sae);
    return id;
}

artifact_id bench_model(const struct bench_store *b, const char *name, enum dtype dtype)
{
    char *folder = path_join(b->directory, name);
    struct model_import import = {.directory = folder, .name = name};
    artifact_id id;

    write_model(folder, dtype);
    need(model_import_folder(b->store, &import, NULL, &id, &failure));
    free(folder);
    return id;
}

void bench_store_open(struct bench_store *b, size_t tokens)
{
    struct store_options options = {.create = 1};
    char *path;

    strcpy(b->directory, "/tmp/saescope-bench-XXXXXX");
    if (!mkdtemp(b->directory)) {
        perror("bench");
        exit(1);
    }
    options.path = path = path_join(b->directory, "store");
    need(store_open(&options, &b->store, &failure));
    b->model = bench_model(b, "model", DTYPE_F32);
    b->text = import_text(b->store, b->directory, tokens);
    free(path);
}

void bench_store_close(struct bench_store *b)
{
    store_close(b->store);
    remove_tree(b->directory, &failure);
}
