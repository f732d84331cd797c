/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The forward pass of GPT-2-small's shape to blocks.8.hook_resid_pre, with weights of 32 and of 16 bits,
 * against its products done bare by OpenBLAS on float32 (the faster of its own threads and our blocks of
 * one-threaded calls). The two are run in turn; medians of 5.
 *
 * With the argument "large": a Gemma 2 of 2.6 billion BF16 parameters (random ones; 11 GB of disk under
 * $TMPDIR) is imported and run on 1,024 tokens to its last layer and its logits; what is told is the
 * anonymous memory of the process, and how long a pass goes without asking whether it is cancelled.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/base/random.h"
#include "saescope/files/safetensors.h"
#include "saescope/model/model.h"
#include "gpt2_shape.h"
#include "spent.h"

enum { TOKENS = 2048, RUNS = 5 };

/* ---- Speed. ---- */

struct pass_bench {
    struct store_txn *t;
    struct model *m;
    struct forward *f;
    struct hook hook;
    uint32_t *tokens;
};

static void open_pass(struct pass_bench *p, struct store *s, artifact_id id, const char *hook,
                      size_t n_contexts, size_t length)
{
    struct rng r;

    need(store_begin(s, &p->t, &failure));
    need(model_open(p->t, id, &p->m, &failure));
    need(model_attach(p->m, p->t, &failure));
    need(hook_parse(model_get_config(p->m), hook, &p->hook, &failure));
    need(forward_new(p->m, n_contexts, length, &p->f, &failure));
    p->tokens = xcalloc(n_contexts * length, sizeof(*p->tokens));
    rng_seed(&r, 1, 0);
    for (size_t i = 0; i < n_contexts * length; i++)
        p->tokens[i] = (uint32_t)rng_below(&r, model_get_config(p->m)->vocabulary_size);
}

static void close_pass(struct pass_bench *p)
{
    forward_free(p->f);
    model_free(p->m);
    store_end(p->t);
    free(p->tokens);
}

static int look(void *arg, float *x, size_t n_tokens, size_t width, struct error *err)
{
    (void)err;
    *(double *)arg += (double)x[n_tokens * width - 1];
    return STATUS_OK;
}

static struct spent run_pass(struct pass_bench *p)
{
    struct spent start = spent_now();
    double seen = 0;

    need(forward_run(p->f, p->m, p->tokens, TOKENS / LENGTH, LENGTH, &p->hook, look, &seen, NULL, &failure));
    return spent_since(start);
}

/* The products of TOKENS tokens, by OpenBLAS's own threads or by blocks. */
static struct spent run_products(struct operands *o, int library_threads)
{
    struct spent start;

    o->nn = library_threads ? sgemm_nn : parallel_sgemm_nn;
    blas_set_library_threads(library_threads ? parallel_threads() : 1);
    start = spent_now();
    for (int i = 0; i < TOKENS / FORWARD_ROWS; i++)
        forward_products(o);
    blas_set_library_threads(1);
    return spent_since(start);
}

static void measure(struct bench_store *b, artifact_id id, const char *what)
{
    struct operands o = {random_floats((size_t)FORWARD_ROWS * D_MLP, 1, 1),
                         random_floats((size_t)D_MLP * D, 2, 0.1F),
                         random_floats((size_t)FORWARD_ROWS * D_MLP, 3, 1), NULL, NULL};
    struct spent passes[RUNS], own[RUNS], blocks[RUNS], pass, products, other;
    struct pass_bench p;

    open_pass(&p, b->store, id, BENCH_HOOK, TOKENS / LENGTH, LENGTH);
    run_pass(&p);
    for (int i = 0; i < RUNS; i++) {
        own[i] = run_products(&o, 1);
        blocks[i] = run_products(&o, 0);
        passes[i] = run_pass(&p);
    }
    pass = median_spent(passes, RUNS);
    products = median_spent(blocks, RUNS);
    other = median_spent(own, RUNS);
    if (other.seconds < products.seconds)
        products = other;
    printf("  %s weights: %.3f s, %.2f times the %.3f s of the products (goal 1.4); processor time %.2f "
           "times theirs\n",
           what, pass.seconds, pass.seconds / products.seconds, products.seconds,
           pass.processor / products.processor);
    fflush(stdout);
    close_pass(&p);
    free(o.x);
    free(o.w);
    free(o.out);
}

static void measure_speed(void)
{
    struct bench_store b;

    bench_store_open(&b, 2000);
    printf("forward pass, d_model %d, layer %d, %d tokens; %zu threads, OpenBLAS core %s\n", D, LAYERS,
           TOKENS, parallel_threads(), blas_core_name());
    measure(&b, b.model, "F32");
    measure(&b, bench_model(&b, "half", DTYPE_F16), "F16");
    measure(&b, bench_model(&b, "brain", DTYPE_BF16), "BF16");
    bench_store_close(&b);
}

/* ---- Memory. ---- */

/* Gemma 2 2B's. */
enum {
    L_LAYERS = 26,
    L_D = 2304,
    L_HEADS = 8,
    L_KV = 4,
    L_HEAD = 256,
    L_MLP = 9216,
    L_VOCABULARY = 256000,
    L_LENGTH = 1024
};

/* Anonymous memory. */
static double most_mb;

static void look_at_memory(void)
{
    double now = (double)anonymous_kib() * 1.024 / 1e3;

    most_mb = now > most_mb ? now : most_mb;
}

static void watch_memory(struct monitor *m, const struct progress *p)
{
    (void)m;
    (void)p;
    look_at_memory();
}

static int look_inside(void *arg, float *x, size_t n_tokens, size_t width, struct error *err)
{
    look_at_memory();
    return look(arg, x, n_tokens, width, err);
}

static int small_numbers(void *arg, size_t first, size_t n, float *dst, struct error *err)
{
    const struct safetensors_source *s = arg;
    size_t columns = s->ndim == 2 ? s->shape[1] : 1;
    struct rng r;

    (void)err;
    rng_seed(&r, hash64(s->name, strlen(s->name), 0), first);
    for (size_t i = 0; i < n * columns; i++)
        dst[i] = 0.05F * (float)(rng_uniform(&r) - 0.5);
    return STATUS_OK;
}

static struct safetensors_source large[L_LAYERS * 11 + 2];
static size_t n_large;

static void add_large(char *name, size_t rows, size_t columns)
{
    struct safetensors_source *s = &large[n_large++];

    *s = (struct safetensors_source){name, columns ? 2 : 1, {rows, columns}, small_numbers, s};
}

static void write_large(const char *folder)
{
    static const char *const norms[] = {"input_layernorm", "post_attention_layernorm",
                                        "pre_feedforward_layernorm", "post_feedforward_layernorm"};
    static const struct {
        const char *name;
        size_t rows, columns;
    } matrices[] = {
        {"self_attn.q_proj", L_HEADS * L_HEAD, L_D},
        {"self_attn.k_proj", L_KV * L_HEAD, L_D},
        {"self_attn.v_proj", L_KV * L_HEAD, L_D},
        {"self_attn.o_proj", L_D, L_HEADS * L_HEAD},
        {"mlp.gate_proj", L_MLP, L_D},
        {"mlp.up_proj", L_MLP, L_D},
        {"mlp.down_proj", L_D, L_MLP},
    };
    char *weights = path_join(folder, "model.safetensors"), *config = path_join(folder, "config.json"), *text;

    need(make_directories(folder, 0700, &failure));
    add_large(xstrdup("model.embed_tokens.weight"), L_VOCABULARY, L_D);
    add_large(xstrdup("model.norm.weight"), L_D, 0);
    for (int layer = 0; layer < L_LAYERS; layer++) {
        for (size_t i = 0; i < ARRAY_LENGTH(norms); i++)
            add_large(xasprintf("model.layers.%d.%s.weight", layer, norms[i]), L_D, 0);
        for (size_t i = 0; i < ARRAY_LENGTH(matrices); i++)
            add_large(xasprintf("model.layers.%d.%s.weight", layer, matrices[i].name), matrices[i].rows,
                      matrices[i].columns);
    }
    need(safetensors_write(weights, large, n_large, DTYPE_BF16, NULL, &failure));
    text = xasprintf(
        "{\"model_type\": \"gemma2\", \"num_hidden_layers\": %d, \"hidden_size\": %d, "
        "\"num_attention_heads\": %d, "
        "\"num_key_value_heads\": %d, \"head_dim\": %d, \"intermediate_size\": %d, \"vocab_size\": %d, "
        "\"max_position_embeddings\": 8192, \"rms_norm_eps\": 1e-6, \"rope_theta\": 10000.0, "
        "\"hidden_activation\": \"gelu_pytorch_tanh\", \"hidden_act\": \"gelu_pytorch_tanh\", "
        "\"sliding_window\": 4096, \"query_pre_attn_scalar\": 256, \"attn_logit_softcapping\": 50.0, "
        "\"final_logit_softcapping\": 30.0, \"bos_token_id\": 2, \"eos_token_id\": 1}\n",
        L_LAYERS, L_D, L_HEADS, L_KV, L_HEAD, L_MLP, L_VOCABULARY);
    need(file_write_atomic(config, text, strlen(text), &failure));
    bench_tokenizer(folder);
    for (size_t i = 0; i < n_large; i++)
        free((void *)(uintptr_t)large[i].name);
    free(text);
    free(weights);
    free(config);
}

/* How far apart a pass asks whether to go on. */
static struct {
    double last, longest; /* seconds */
    unsigned questions;
} gaps;

static int note_gap(struct monitor *m)
{
    double now = clock_seconds();
    (void)m;
    if (gaps.questions++ && now - gaps.last > gaps.longest)
        gaps.longest = now - gaps.last;
    gaps.last = now;
    return 0;
}

static void run_large(struct store *s, artifact_id id)
{
    enum { LOGITS = 16 }; /* rows of them at a time */
    struct pass_bench p;
    double start, seen = 0, before;
    float *final = random_floats((size_t)L_LENGTH * L_D, 1, 1),
          *logits = random_floats((size_t)LOGITS * L_VOCABULARY, 1, 1);

    struct monitor monitor = {.cancelled = note_gap};

    open_pass(&p, s, id, "blocks.25.hook_resid_post", 1, L_LENGTH);
    forward_watch(p.f, &monitor);
    before = (double)anonymous_kib() * 1.024 / 1e3;
    start = clock_seconds();
    need(forward_run(p.f, p.m, p.tokens, 1, L_LENGTH, &p.hook, look_inside, &seen, final, &failure));
    look_at_memory();
    printf("  a pass of %d tokens: %.1f s; it says that it takes %.0f MB\n", L_LENGTH,
           clock_seconds() - start, (double)forward_bytes(p.m, 1, L_LENGTH) / 1e6);
    printf("  asked %u times whether it is cancelled, at most %.0f ms apart (goal 50)\n", gaps.questions,
           gaps.longest * 1e3);
    start = clock_seconds();
    need(model_unembed(p.m, final, LOGITS, logits, &failure));
    look_at_memory();
    printf("  logits of %d tokens: %.1f s\n", LOGITS, clock_seconds() - start);
    printf("  anonymous memory: %.0f MB before, at most %.0f MB (goal 1000)\n", before, most_mb);
    close_pass(&p);
    free(final);
    free(logits);
}

static void measure_memory(void)
{
    const char *temporary = getenv("TMPDIR");
    char *directory = xasprintf("%s/saescope-bench-XXXXXX", temporary ? temporary : "/tmp"), *folder, *path;
    struct store_options options = {.create = 1};
    struct monitor monitor = {.report = watch_memory};
    struct store *s;
    artifact_id id;
    double start;

    if (!mkdtemp(directory)) {
        perror("bench");
        exit(1);
    }
    folder = path_join(directory, "model");
    options.path = path = path_join(directory, "store");
    printf("Gemma 2's 2.6 billion parameters in BF16; %zu threads\n", parallel_threads());
    write_large(folder);
    need(store_open(&options, &s, &failure));
    struct model_import import = {.directory = folder, .name = "large"};
    start = clock_seconds();
    need(model_import_folder(s, &import, &monitor, &id, &failure));
    printf("  import: %.1f s, anonymous memory at most %.0f MB\n", clock_seconds() - start, most_mb);
    most_mb = 0;
    run_large(s, id);
    store_close(s);
    remove_tree(directory, &failure);
    free(directory);
    free(folder);
    free(path);
}

int main(int argc, char **argv)
{
    blas_start();
    parallel_start(0);
    if (argc > 1 && !strcmp(argv[1], "large"))
        measure_memory();
    else
        measure_speed();
    parallel_stop();
    return 0;
}
