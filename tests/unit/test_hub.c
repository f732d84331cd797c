/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The Hub without a network: names, the environment, short names, what is wanted of a repository, the cache
 * read offline. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "saescope/base/memory.h"
#include "saescope/formats/hub_internal.h"
#include "saescope/formats/releases.h"
#include "tests/support/support.h"

static const char *const variables[] = {
    "HF_ENDPOINT",           "HF_HOME",        "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE", "HF_TOKEN",       "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",         "HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN",
    "XDG_CACHE_HOME"};

static int clean_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(variables); i++)
        unsetenv(variables[i]);
    setenv("HOME", test_directory, 1);
    return 0;
}

/* ---- Names. ---- */

static void test_addresses(void **state)
{
    static const struct {
        const char *text, *repository, *revision, *folder;
    } good[] = {
        {"hf:a/b", "a/b", "main", ""},
        {"hf:a/b/", "a/b", "main", ""},
        {"hf:jbloom/GPT2-Small-SAEs/blocks.8/x", "jbloom/GPT2-Small-SAEs", "main", "blocks.8/x"},
        {"hf:a/b@v1.0", "a/b", "v1.0", ""},
        {"hf:a/b@v1.0/c/d/", "a/b", "v1.0", "c/d"},
        {"hf:a/b@refs/pr/7/c", "a/b", "refs/pr/7", "c"},
        {"hf:a/b@refs/convert/parquet", "a/b", "refs/convert/parquet", ""},
        {"hf:a/b@topic%2fone/c", "a/b", "topic/one", "c"},
    };
    static const char *const bad[] = {"",           "a/b",         "hf:",        "hf:a",      "hf:/b",
                                      "hf:a/",      "hf:a/b@",     "hf:a/b@/c",  "hf:a/../c", "hf:a/b/../c",
                                      "hf:a/b/./c", "hf:a/b//c",   "hf:a/b\\c",  "hf:a--b/c", "hf:a/b@../c",
                                      "hf:a/b?c",   "hf:a/b/c\nd", "hf:a/b@%2fx"};
    struct error err = {0};
    struct hub_source s;
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        assert_ok(hub_source_parse(good[i].text, &s, &err));
        assert_string_equal(s.repository, good[i].repository);
        assert_string_equal(s.revision, good[i].revision);
        assert_string_equal(s.folder, good[i].folder);
        hub_source_free(&s);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        if (hub_source_parse(bad[i], &s, &err) != STATUS_USAGE)
            fail_msg("%s was taken", bad[i]);
}

static void test_paths(void **state)
{
    static const char *const bad[] = {"",     "/a",  "a/",   "a//b",  ".",    "..",    "../a", "a/../b",
                                      "a/..", "./a", "a\\b", "a/\nb", "\x7f", "a\xff", "a/./b"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        if (hub_path_is_safe(bad[i], strlen(bad[i])))
            fail_msg("%s was taken", bad[i]);
    assert_true(hub_path_is_safe("a", 1));
    assert_true(hub_path_is_safe("..a/...", 7));
    assert_true(hub_path_is_safe("a b/c:d/\xc3\xa9", 10));
    assert_false(hub_path_is_safe("a\0b", 3));
    char longest[2000];
    memset(longest, 'a', sizeof longest);
    longest[1999] = '\0';
    assert_false(hub_path_is_safe(longest, 1999));
}

/* ---- The environment. ---- */

static void check_settings(const char *given, const char *cache, const char *token, const char *endpoint,
                           int offline)
{
    struct error err = {0};
    struct hub_settings s;
    char *wanted = path_join(test_directory, cache);
    assert_ok(hub_settings_read(&s, given, &err));
    assert_string_equal(s.cache, wanted);
    assert_string_equal(s.endpoint, endpoint);
    assert_string_equal(s.token ? s.token : "", token);
    assert_int_equal(s.offline, offline);
    hub_settings_free(&s);
    free(wanted);
}

static void test_environment(void **state)
{
    const char *hub = "https://huggingface.co";
    struct error err = {0};
    struct hub_settings s;
    (void)state;
    check_settings(NULL, ".cache/huggingface/hub", "", hub, 0);
    setenv("XDG_CACHE_HOME", "/x/cache", 1);
    check_settings(NULL, "/x/cache/huggingface/hub", "", hub, 0);
    setenv("HF_HOME", "~/home", 1);
    check_settings(NULL, "home/hub", "", hub, 0);
    free(write_test_file("token", " hf_file \n", 10));
    char *home = test_path("home"), *token = test_path("home/token");
    assert_ok(make_directories(home, 0700, &err));
    assert_ok(file_write_atomic(token, "hf_stored\n", 10, &err));
    check_settings(NULL, "home/hub", "hf_stored", hub, 0);
    setenv("HF_TOKEN_PATH", "~/token", 1);
    check_settings(NULL, "home/hub", "hf_file", hub, 0);
    setenv("HF_TOKEN", "hf_given", 1);
    setenv("HF_HUB_CACHE", "/c", 1);
    setenv("HF_ENDPOINT", "http://mirror.example/hf//", 1);
    setenv("HF_HUB_OFFLINE", "True", 1);
    check_settings(NULL, "/c", "hf_given", "http://mirror.example/hf", 1);
    check_settings("/d", "/d", "hf_given", "http://mirror.example/hf", 1);
    setenv("HF_HUB_OFFLINE", "0", 1);
    setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", 1);
    check_settings(NULL, "/c", "", "http://mirror.example/hf", 0);
    unsetenv("HF_HUB_DISABLE_IMPLICIT_TOKEN");

    /* A line more in a token would be a header more. */
    setenv("HF_TOKEN", "hf\x01x", 1);
    assert_int_equal(hub_settings_read(&s, NULL, &err), STATUS_REFUSED);
    assert_says("token");
    assert_null(strstr(err.message, "hf\x01x"));
    hub_settings_free(&s);
    setenv("HF_TOKEN", "hf_x\r\nInjected: 1", 1);
    assert_ok(hub_settings_read(&s, NULL, &err));
    assert_string_equal(s.token, "hf_x");
    hub_settings_free(&s);
    setenv("HF_ENDPOINT", "ftp://a", 1);
    assert_int_equal(hub_settings_read(&s, NULL, &err), STATUS_REFUSED);
    assert_says("HF_ENDPOINT");
    hub_settings_free(&s);
    free(home);
    free(token);
}

/* ---- Short names. ---- */

static void test_patterns(void **state)
{
    struct captures c = {.n = 0};
    (void)state;
    assert_true(pattern_match("blocks.{0..11}.x", "blocks.10.x", &c));
    assert_int_equal(c.n, 1);
    assert_string_equal(c.text[0], "10");
    captures_free(&c);
    assert_false(pattern_match("blocks.{0..11}.x", "blocks.12.x", &c));
    assert_false(pattern_match("blocks.{0..11}.x", "blocks.01.x", &c));
    assert_int_equal(c.n, 0);
    assert_true(pattern_match("{a,ab}{c,bc}-{*}", "abc-d", &c)); /* a, then bc */
    char *filled = pattern_fill("{3}{2}{1}{4}{x}", &c);
    assert_string_equal(filled, "dbca{4}{x}");
    free(filled);
    captures_free(&c);
    assert_true(pattern_match("l_{*}/w_{*}/e", "l_12/w_16k/e", &c));
    assert_string_equal(c.text[1], "16k");
    captures_free(&c);
    assert_false(pattern_match("l_{*}/e", "l_/e", &c));
    assert_false(pattern_match("l_{*}/e", "l_a/b/e", &c));

    /* What goes with a brace's alternative; in patterns this is a brace of its own. */
    assert_true(pattern_match("{a,b}-{0..2}{1}_{2:x,y,z}", "b-2b_z", &c));
    filled = pattern_fill("{1:A,B}{2:p,q,r}{3}{4}{1:only}{2:p,q}{5:a}", &c);
    assert_string_equal(filled, "Brbz{5:a}");
    free(filled);
    captures_free(&c);
    assert_false(pattern_match("{a,b}-{0..2}{1}_{2:x,y,z}", "b-2a_z", &c));
    assert_false(pattern_match("{a,b}-{0..2}{1}_{2:x,y,z}", "b-2b_y", &c));
    assert_true(pattern_match("{*}-{1:a}", "x-", &c)); /* any text has no place in a list */
    captures_free(&c);
}

static void append_name(void *arg, const char *text, const struct captures *c, int partial)
{
    struct strbuf *out = arg;
    strbuf_addf(out, "%s%s(%zu) ", text, partial ? "*" : "", c->n);
}

static void test_names_of_patterns(void **state)
{
    static const struct captures none = {.n = 0};
    struct strbuf names = STRBUF_INIT;
    (void)state;
    pattern_each("{a,b}{0..1}_{1:x,y}", &none, append_name, &names);
    pattern_each("{c,d}/{*}/e", &none, append_name, &names);
    assert_string_equal(strbuf_string(&names), "a0_x(3) a1_x(3) b0_y(3) b1_y(3) c/*(1) d/*(1) ");
    strbuf_free(&names);
}

static void find(const char *name, struct release *r)
{
    struct error err = {0};
    if (release_find(name, r, &err) != STATUS_OK)
        fail_msg("%s: %s", name, err.message);
}

static void test_releases(void **state)
{
    struct release r;
    (void)state;
    find("gpt2", &r);
    assert_true(r.is_model);
    assert_string_equal(r.source.repository, "gpt2");
    assert_string_equal(r.source.revision, "main");
    release_free(&r);
    find("pythia-70m@step1000", &r);
    assert_string_equal(r.source.repository, "EleutherAI/pythia-70m");
    assert_string_equal(r.source.revision, "step1000");
    assert_string_equal(r.name, "pythia-70m");
    release_free(&r);

    find("gpt2-small-res-jb/blocks.8.hook_resid_pre", &r);
    assert_false(r.is_model);
    assert_string_equal(r.source.repository, "jbloom/GPT2-Small-SAEs-Reformatted");
    assert_string_equal(r.source.folder, "blocks.8.hook_resid_pre");
    assert_string_equal(r.neuronpedia, "gpt2-small/8-res-jb");
    assert_string_equal(r.models, "gpt2,gpt2-small");
    assert_true(r.center);
    char *name = release_store_name(&r);
    assert_string_equal(name, "gpt2-small-res-jb-blocks.8.hook_resid_pre");
    free(name);
    release_free(&r);

    /* By what Neuronpedia calls it. */
    find("gpt2-small-res-jb-feature-splitting/8-res_fs49152-jb", &r);
    assert_string_equal(r.source.repository, "jbloom/GPT2-Small-Feature-Splitting-Experiment-Layer-8");
    assert_string_equal(r.source.folder, "blocks.8.hook_resid_pre_49152");
    assert_true(r.center);
    release_free(&r);
    find("gpt2-small-mlp-out-v5-128k/3-mlp_128k-oai", &r);
    assert_string_equal(r.source.repository, "jbloom/GPT2-Small-OAI-v5-128k-mlp-out-SAEs");
    assert_string_equal(r.source.folder, "v5_128k_layer_3");
    assert_false(r.center);
    release_free(&r);
    find("gpt2-small-mlp-tm/blocks.1.hook_mlp_out", &r);
    assert_true(r.scale > 2.3693 && r.scale < 2.3695);
    release_free(&r);
    find("gemma-scope-9b-pt-mlp-canonical/layer_3/width_131k/canonical", &r);
    assert_string_equal(r.source.repository, "google/gemma-scope-9b-pt-mlp");
    assert_string_equal(r.source.folder, "layer_3/width_131k/average_l0_109");
    assert_string_equal(r.neuronpedia, "gemma-2-9b/3-gemmascope-mlp-131k");
    release_free(&r);
    find("gemma-scope-2-270m-it-mlp-all/layer_16_width_262k_l0_small", &r);
    assert_string_equal(r.source.repository, "google/gemma-scope-2-270m-it");
    assert_string_equal(r.source.folder, "mlp_out_all/layer_16_width_262k_l0_small");
    assert_string_equal(r.models, "gemma-3-270m-it");
    release_free(&r);
    find("gemma-scope-2-270m-pt-att/layer_9_width_65k_l0_big", &r);
    assert_string_equal(r.models, "gemma-3-270m");
    release_free(&r);
    find("llama_scope_lxm_32x/l7m_32x", &r);
    assert_string_equal(r.source.repository, "fnlp/Llama3_1-8B-Base-LXM-32x");
    assert_string_equal(r.source.folder, "Llama3_1-8B-Base-L7M-32x");
    assert_string_equal(r.neuronpedia, "llama3.1-8b/7-llamascope-mlp-131k");
    assert_true(r.scale == 0); /* its files say it */
    release_free(&r);
    find("llama_scope_r1_distill/l1r_800m_openr1_math", &r);
    assert_string_equal(r.source.folder, "0-Slimpajama-800M-OpenR1-Math-220k/L1R");
    assert_true(r.scale == 36.49473030775242);
    release_free(&r);
    find("qwen-scope-3.5-35b-a3b-base-w128k-l100/layer12", &r);
    assert_string_equal(r.source.repository, "Qwen/SAE-Res-Qwen3.5-35B-A3B-Base-W128K-L0_100");
    assert_string_equal(r.source.folder, "layer12.sae.pt");
    release_free(&r);
    find("mistral-7b-res-wg/blocks.16.hook_resid_pre", &r);
    assert_string_equal(r.source.folder, "mistral_7b_layer_16");
    assert_string_equal(r.normalize, "constant_norm_rescale");
    release_free(&r);
    find("gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82", &r);
    assert_string_equal(r.source.repository, "google/gemma-scope-2b-pt-res");
    assert_string_equal(r.source.folder, "layer_12/width_16k/average_l0_82");
    assert_string_equal(r.hook, "blocks.12.hook_resid_post");
    assert_string_equal(r.models, "gemma-2-2b");
    release_free(&r);
}

static void test_release_errors(void **state)
{
    static const char *const bad[] = {"gemma-scope-2b-pt-res/layer_../width_16k/average_l0_.", "gpt2@../x",
                                      "gpt2@", "gpt2-small-res-jb",
                                      "gpt2-small-res-jb/blocks.12.hook_resid_pre"};
    struct error err = {0};
    struct release r;
    (void)state;
    assert_int_equal(release_find("gpt2-smal", &r, &err), STATUS_USAGE);
    assert_says("did you mean gpt2-small?");
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        int status = release_find(bad[i], &r, &err);
        if (i == 0 && status == STATUS_OK) { /* dots inside a part are harmless */
            assert_true(hub_path_is_safe(r.source.folder, strlen(r.source.folder)));
            release_free(&r);
        } else if (status != STATUS_USAGE) {
            fail_msg("%s was taken", bad[i]);
        }
    }
    assert_int_equal(release_find("gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_76", &r, &err),
                     STATUS_REFUSED);
    assert_says("is of a release of transcoders: only SAEs");
    assert_int_equal(release_find("temporal-sae-gemma-2-2b/blocks.12.hook_resid_post", &r, &err),
                     STATUS_REFUSED);
    assert_says("is of a release of temporal SAEs");
    assert_int_equal(release_find("qwen-scope-3-30b-a3b-base-w32k-l100/layer0", &r, &err), STATUS_USAGE);
    assert_int_equal(release_find_in("other x\n", "f", "x", &r, &err), STATUS_REFUSED);
    assert_says("f:1:");
    assert_int_equal(release_find_in("sae x\n", "f", "x", &r, &err), STATUS_REFUSED);
    assert_says("f:1:");
    assert_int_equal(release_find_in("# a\nmodel x\n", "f", "x", &r, &err), STATUS_REFUSED);
    assert_says("f:2:");
    assert_int_equal(release_find_in("release a b/c\n sae x hok=y\n", "f", "a/x", &r, &err), STATUS_REFUSED);
    assert_says("f:2:");
    assert_int_equal(release_find_in("model x ../y\n", "f", "x", &r, &err), STATUS_USAGE);
}

/* Every name that is listed can be pulled, and leads to a place in a repository. */
static void check_name(void *arg, const char *name, int partial)
{
    size_t *n = arg;
    struct release r;
    if (partial)
        return;
    find(name, &r);
    (*n)++;
    char *stored = release_store_name(&r);
    assert_int_equal(store_check_name(stored, NULL), STATUS_OK);
    assert_null(strchr(r.source.folder, '{'));
    assert_null(strchr(r.source.repository, '{'));
    if (r.neuronpedia)
        assert_null(strchr(r.neuronpedia, '{'));
    free(stored);
    release_free(&r);
}

static void test_all_releases(void **state)
{
    struct error err = {0};
    size_t n = 0;
    (void)state;
    assert_ok(release_names(check_name, &n, &err));
    assert_true(n > 9000);
}

/* ---- What is wanted of a repository. ---- */

struct choice {
    enum hub_content content;
    char *import;
    char names[1024]; /* of the selected files, sorted, each with a blank behind it */
    struct error err;
    int status;
};

static struct choice choose(const char *const *paths, const char *folder, const char *glob,
                            enum hub_content content)
{
    struct choice c = {.content = content};
    struct hub_listing list = {0};
    struct hub_source source = {xstrdup("o/r"), xstrdup("main"), xstrdup(folder)};
    size_t below = strlen(folder);
    for (; *paths; paths++)
        hub_listing_add(&list, &(struct hub_file){.path = xstrdup(*paths)});
    hub_listing_sort(&list);
    /* As it is listed: a source's own files, or those beside it; others when it asks for them. */
    const char *slash = strrchr(folder, '/');
    for (size_t i = 0; i < list.n; i++)
        if (strcmp(list.files[i].path, folder) == 0)
            below = slash ? (size_t)(slash - folder) : 0;
    char *above = hub_listing_above(&list, &source);
    for (size_t i = 0; i < list.n && below; i++)
        list.files[i].above =
            strncmp(list.files[i].path, folder, below) != 0 || list.files[i].path[below] != '/';
    size_t kept = 0;
    for (size_t i = 0; i < list.n; i++) {
        struct hub_file *file = &list.files[i];
        const char *base = path_base(file->path);
        size_t n = base > file->path ? (size_t)(base - file->path) - 1 : 0;
        if (!file->above || (above && strlen(above) == n && strncmp(above, file->path, n) == 0))
            list.files[kept++] = *file;
        else
            free(file->path);
    }
    list.n = kept;
    free(above);
    c.status = hub_select(&list, &source, glob, &c.content, &c.import, &c.err);
    for (size_t i = 0; i < list.n; i++)
        if (list.files[i].selected)
            snprintf(c.names + strlen(c.names), sizeof c.names - strlen(c.names), "%s ", list.files[i].path);
    hub_listing_free(&list);
    hub_source_free(&source);
    return c;
}

static void check_choice(const char *const *paths, const char *folder, enum hub_content content,
                         const char *import, const char *names)
{
    struct choice c = choose(paths, folder, NULL, HUB_AUTO);
    if (c.status != STATUS_OK)
        fail_msg("%s: %s", folder, c.err.message);
    assert_int_equal(c.content, content);
    assert_string_equal(c.import, import);
    assert_string_equal(c.names, names);
    free(c.import);
}

#define PATHS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_selection(void **state)
{
    (void)state;
    check_choice(PATHS("README.md", "config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json",
                       "vocab.json", "merges.txt", "onnx/config.json", "onnx/model.onnx", "tf_model.h5",
                       "64.tflite"),
                 "", HUB_MODEL, "", "config.json merges.txt model.safetensors tokenizer.json vocab.json ");
    check_choice(PATHS("config.json", "consolidated.safetensors", "model-00001-of-00002.safetensors",
                       "model-00002-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json"),
                 "", HUB_MODEL, "",
                 "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors "
                 "model.safetensors.index.json tokenizer.json ");
    /* PyTorch's files, only where there are no others. */
    check_choice(PATHS("config.json", "flax_model.msgpack", "generation_config.json", "pytorch_model.bin",
                       "training_args.bin", "vocab.json", "merges.txt"),
                 "", HUB_MODEL, "",
                 "config.json generation_config.json merges.txt pytorch_model.bin vocab.json ");
    check_choice(PATHS("config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin",
                       "pytorch_model.bin.index.json", "tokenizer.json"),
                 "", HUB_MODEL, "",
                 "config.json pytorch_model-00001-of-00002.bin pytorch_model-00002-of-00002.bin "
                 "pytorch_model.bin.index.json tokenizer.json ");
    check_choice(PATHS("config.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json",
                       "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "tokenizer.json"),
                 "", HUB_MODEL, "",
                 "config.json model-00001-of-00001.safetensors model.safetensors.index.json tokenizer.json ");
    check_choice(
        PATHS("b/cfg.json", "b/sae_weights.safetensors", "b/sparsity.safetensors", "b/runner_cfg.json"), "b",
        HUB_SAE, "b", "b/cfg.json b/runner_cfg.json b/sae_weights.safetensors b/sparsity.safetensors ");
    check_choice(PATHS("l/w/a/params.npz"), "l/w/a", HUB_SAE, "l/w/a", "l/w/a/params.npz ");
    check_choice(PATHS("l/w/a/params.npz"), "l", HUB_SAE, "l/w/a", "l/w/a/params.npz ");
    check_choice(PATHS("t/ae.pt", "t/config.json", "t/checkpoints/ae_0.pt", "t/checkpoints/ae_100.pt"), "t",
                 HUB_SAE, "t", "t/ae.pt t/config.json ");
    check_choice(PATHS("x/hyperparams.json", "x/checkpoints/final.safetensors", "x/lm_config.json"), "x",
                 HUB_SAE, "x", "x/checkpoints/final.safetensors x/hyperparams.json x/lm_config.json ");
    /* sparsify's run is described above its SAEs; so are checkpoints of Llama Scope and dictionary_learning.
     */
    check_choice(PATHS("config.json", "layers.4/cfg.json", "layers.4/sae.safetensors", "layers.5/cfg.json",
                       "layers.5/sae.safetensors", "lr_scheduler.pt"),
                 "layers.5", HUB_SAE, "layers.5", "config.json layers.5/cfg.json layers.5/sae.safetensors ");
    check_choice(PATHS("r/config.json", "r/other.json", "r/layers.4/cfg.json", "r/layers.4/sae.safetensors"),
                 "r/layers.4/sae.safetensors", HUB_SAE, "r/layers.4",
                 "r/config.json r/layers.4/cfg.json r/layers.4/sae.safetensors ");
    check_choice(PATHS("r/config.json", "r/layers.4/cfg.json", "r/layers.4/sae.safetensors"), "", HUB_SAE,
                 "r/layers.4", "r/config.json r/layers.4/cfg.json r/layers.4/sae.safetensors ");
    check_choice(PATHS("x/hyperparams.json", "x/checkpoints/final.safetensors", "x/lm_config.json"),
                 "x/checkpoints/final.safetensors", HUB_SAE, "x",
                 "x/checkpoints/final.safetensors x/hyperparams.json x/lm_config.json ");
    check_choice(PATHS("x/hyperparams.json", "x/checkpoints/final.safetensors"), "x/checkpoints", HUB_SAE,
                 "x", "x/checkpoints/final.safetensors x/hyperparams.json ");
    check_choice(
        PATHS("x/hyperparams.json", "x/checkpoints/final.safetensors", "x/checkpoints/1.safetensors"),
        "x/checkpoints/final.safetensors", HUB_SAE, "x/checkpoints/final.safetensors",
        "x/checkpoints/final.safetensors x/hyperparams.json ");
    check_choice(PATHS("t/ae.pt", "t/config.json", "t/checkpoints/ae_0.pt", "t/checkpoints/ae_100.pt"),
                 "t/checkpoints/ae_100.pt", HUB_SAE, "t/checkpoints/ae_100.pt",
                 "t/checkpoints/ae_100.pt t/config.json ");
    /* Qwen Scope's layers share a configuration. */
    check_choice(PATHS("config.json", "layer0.sae.pt", "layer1.sae.pt", "README.md"), "layer1.sae.pt",
                 HUB_SAE, "layer1.sae.pt", "config.json layer1.sae.pt ");
    check_choice(PATHS("a/resid_post/x/config.json", "a/resid_post/x/params.safetensors"), "a/resid_post/x",
                 HUB_SAE, "a/resid_post/x", "a/resid_post/x/config.json a/resid_post/x/params.safetensors ");
    check_choice(PATHS("b/cfg.json", "b/sae_weights.safetensors", "b/activation_scaler.json",
                       "b/activations_store_state.safetensors", "b/trainer_state.pt"),
                 "b", HUB_SAE, "b", "b/activation_scaler.json b/cfg.json b/sae_weights.safetensors ");
    check_choice(PATHS("m/sae.pt", "m/config.json"), "m", HUB_SAE, "m", "m/config.json m/sae.pt ");
    /* One file of several. */
    check_choice(PATHS("s/L0_v9.pt", "s/L0_v9_cfg.json", "s/L1_v5.pt", "s/L1_v5_cfg.json", "s/config.json"),
                 "s/L1_v5.pt", HUB_SAE, "s/L1_v5.pt", "s/L1_v5.pt s/L1_v5_cfg.json s/config.json ");
    check_choice(PATHS("ae.pt", "config.json", "README.md"), "ae.pt", HUB_SAE, "", "ae.pt config.json ");
}

static void refuses(const char *const *paths, enum hub_content content, const char *says)
{
    struct choice c = choose(paths, "", NULL, content);
    assert_int_equal(c.status, STATUS_REFUSED);
    if (!strstr(c.err.message, says))
        fail_msg("\"%s\" does not say \"%s\"", c.err.message, says);
    free(c.import);
}

static void test_selection_refused(void **state)
{
    (void)state;
    refuses(PATHS("README.md"), HUB_AUTO, "no file of weights");
    refuses(PATHS("a/cfg.json", "a/sae_weights.safetensors", "b/cfg.json", "b/sae_weights.safetensors"),
            HUB_AUTO, "holds 2 SAEs: name one of their folders or files: a, b");
    refuses(PATHS("a/0.pt", "a/1.pt"), HUB_SAE, "a/0.pt, a/1.pt");
    refuses(PATHS("config.json", "flax_model.msgpack", "training_args.bin"), HUB_MODEL,
            "neither model.safetensors nor pytorch_model.bin");
    refuses(PATHS("config.json", "flax_model.msgpack"), HUB_AUTO, "no file of weights");
    refuses(PATHS("model.safetensors"), HUB_MODEL, "no config.json");
    struct choice c = choose(PATHS("transcoder/x/config.json", "transcoder/x/params.safetensors"),
                             "transcoder/x", NULL, HUB_AUTO);
    assert_int_equal(c.status, STATUS_REFUSED);
    assert_non_null(strstr(c.err.message, "o/r/transcoder/x: a transcoder, which reads one place"));
    assert_non_null(strstr(c.err.message, "--import none only downloads"));
    c = choose(PATHS("transcoder/x/config.json", "transcoder/x/params.safetensors"), "transcoder/x", NULL,
               HUB_NONE);
    assert_int_equal(c.status, STATUS_OK);
    free(c.import);
}

static void test_patterns_of_files(void **state)
{
    static const char *const paths[] = {"a/cfg.json", "a/sae_weights.safetensors", "a/plot.png", "b/x.txt",
                                        NULL};
    (void)state;
    struct choice c = choose(paths, "", "*.txt", HUB_AUTO);
    assert_int_equal(c.status, STATUS_OK);
    assert_int_equal(c.content, HUB_NONE);
    assert_string_equal(c.names, "b/x.txt ");
    free(c.import);
    c = choose(paths, "", "a/*", HUB_AUTO); /* more than the SAE needs, but an SAE */
    assert_int_equal(c.content, HUB_SAE);
    assert_string_equal(c.import, "a");
    assert_string_equal(c.names, "a/cfg.json a/plot.png a/sae_weights.safetensors ");
    free(c.import);
    c = choose(paths, "", "*", HUB_NONE);
    assert_int_equal(c.content, HUB_NONE);
    assert_string_equal(c.import, "");
    free(c.import);
    c = choose(paths, "a", "cfg.json", HUB_SAE);
    assert_int_equal(c.status, STATUS_REFUSED);
    free(c.import);
    c = choose(paths, "", "*.npz", HUB_AUTO);
    assert_int_equal(c.status, STATUS_REFUSED);
    assert_non_null(strstr(c.err.message, "matches *.npz"));
    free(c.import);
}

/* ---- The cache, as huggingface_hub leaves it. ---- */

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static void put_link(const char *name, const char *target)
{
    struct error err = {0};
    char *path = test_path(name), *parent = xstrndup(path, (size_t)(path_base(path) - path));
    assert_ok(make_directories(parent, 0755, &err));
    assert_int_equal(symlink(target, path), 0);
    free(parent);
    free(path);
}

static int pull_offline(const char *from, struct hub_pulled *out, struct error *err)
{
    struct hub_source source;
    assert_int_equal(hub_source_parse(from, &source, err), STATUS_OK);
    struct hub_pull what = {.source = &source};
    int status = hub_pull(&what, NULL, out, err);
    hub_source_free(&source);
    return status;
}

static void test_offline(void **state)
{
    struct error err = {0};
    struct hub_pulled pulled;
    (void)state;
    char *cache = test_path("cache"), *wanted = test_path("cache/models--o--r/snapshots/" COMMIT "/b");
    setenv("HF_HUB_CACHE", cache, 1);
    setenv("HF_HUB_OFFLINE", "1", 1);
    put_test_file("cache/models--o--r/refs/main", COMMIT);
    put_test_file("cache/models--o--r/blobs/aa", "{}");
    put_test_file("cache/models--o--r/blobs/bb", "weights");
    put_link("cache/models--o--r/snapshots/" COMMIT "/b/cfg.json", "../../../blobs/aa");
    put_link("cache/models--o--r/snapshots/" COMMIT "/b/sae_weights.safetensors", "../../../blobs/bb");
    put_link("cache/models--o--r/snapshots/" COMMIT "/b/lost.safetensors", "../../../blobs/gone");

    assert_ok(pull_offline("hf:o/r/b", &pulled, &err));
    assert_string_equal(pulled.path, wanted);
    assert_string_equal(pulled.commit, COMMIT);
    assert_string_equal(pulled.origin, "hf:o/r@" COMMIT "/b");
    assert_int_equal(pulled.content, HUB_SAE);
    assert_int_equal(pulled.files, 2);
    assert_int_equal(pulled.bytes, 9);
    assert_int_equal(pulled.downloaded, 0);
    assert_true(pulled.offline);
    hub_pulled_free(&pulled);
    assert_ok(pull_offline("hf:o/r@" COMMIT "/b/sae_weights.safetensors", &pulled, &err));
    assert_string_equal(pulled.path, wanted);
    hub_pulled_free(&pulled);

    assert_int_equal(pull_offline("hf:o/r@dev/b", &pulled, &err), STATUS_REFUSED);
    assert_says("HF_HUB_OFFLINE is set");
    assert_says("has no o/r at dev");
    assert_int_equal(pull_offline("hf:o/other", &pulled, &err), STATUS_REFUSED);
    assert_says("has no o/other at main");
    assert_int_equal(pull_offline("hf:o/r/missing", &pulled, &err), STATUS_REFUSED);
    assert_says("o/r/missing has no file of weights");
    free(wanted);
    free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_paths),
        cmocka_unit_test_setup(test_environment, clean_environment),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_names_of_patterns),
        cmocka_unit_test(test_releases),
        cmocka_unit_test(test_release_errors),
        cmocka_unit_test(test_all_releases),
        cmocka_unit_test(test_selection),
        cmocka_unit_test(test_selection_refused),
        cmocka_unit_test(test_patterns_of_files),
        cmocka_unit_test_setup(test_offline, clean_environment),
    };
    return cmocka_run_group_tests_name("hub", tests, set_up_directory, tear_down_directory);
}
