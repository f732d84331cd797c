/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command pull, with Hubs on 127.0.0.1. */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/hub_server.h"
#include "program.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/http.h"

extern char **environ;

static struct hub_server *models, *saes, *torch;

static void use(struct hub_server *s, const char *cache)
{
    char *path = program_path(cache);
    setenv("HF_ENDPOINT", hub_server_endpoint(s), 1);
    setenv("HF_HUB_CACHE", path, 1);
    hub_server_set(s, NULL);
    free(path);
}

static void add_sae(const char *name, const char *below)
{
    char *path = xasprintf("%s/saelens/%s", getenv("SAESCOPE_TESTDATA"), name);
    hub_server_add_folder(saes, path, below);
    free(path);
}

static char *family_file(const char *name, const char *file)
{
    return xasprintf("%s/families/%s/%s", getenv("SAESCOPE_TESTDATA"), name, file);
}

static void add_family(const char *name, const char *below, const char *const *files)
{
    for (; *files; files++) {
        struct strbuf b = STRBUF_INIT;
        char *from = family_file(name, *files), *path = below ? path_join(below, *files) : xstrdup(*files);
        assert_int_equal(file_read(from, 1 << 20, &b, NULL), 0);
        hub_server_add(torch, path, b.data, b.length, strstr(*files, ".bin") && !strstr(*files, ".json"));
        strbuf_free(&b);
        free(from);
        free(path);
    }
}

static int set_up(void **state)
{
    (void)state;
    program_set_up();
    setenv("no_proxy", "127.0.0.1", 1);
    setenv("HF_TOKEN", "hf_very_secret", 1);
    unsetenv("HF_HUB_OFFLINE");
    char *folder = xasprintf("%s/wordnet-lm", getenv("SAESCOPE_DATADIR"));
    models = hub_server_start("gpt2");
    hub_server_add_folder(models, folder, "");
    free(folder);
    saes = hub_server_start("jbloom/GPT2-Small-SAEs-Reformatted");
    add_sae("standard", "blocks.8.hook_resid_pre");
    add_sae("topk", "blocks.9.hook_resid_pre");
    torch = hub_server_start("roneneldan/TinyStories-33M");
    add_family("gpt_neo", NULL,
               (const char *const[]){"config.json", "tokenizer.json", "pytorch_model.bin", NULL});
    add_family("gpt_neox", "shards",
               (const char *const[]){"config.json", "tokenizer.json", "pytorch_model.bin.index.json",
                                     "pytorch_model-00001-of-00003.bin", "pytorch_model-00002-of-00003.bin",
                                     "pytorch_model-00003-of-00003.bin", NULL});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hub_server_stop(models);
    hub_server_stop(saes);
    hub_server_stop(torch);
    program_tear_down();
    return 0;
}

static const char *text_of(const json *v, const char *key)
{
    return json_get_string(v, key, "(none)");
}

#define SHAPE "{name:s,kind:s,bytes:i,seconds:n,source:s,path:s,files:i,file_bytes:i,downloaded:i,offline:b}"

/* By a short name; the release's facts go beyond what the files say. */
static void test_sae(void **state)
{
    (void)state;
    use(saes, "hub");
    json *made = PROGRAM_JSON("pull", "gpt2-small-res-jb/8-res-jb");
    assert_shape(made, SHAPE);
    assert_string_equal(text_of(made, "name"), "gpt2-small-res-jb-8-res-jb");
    assert_string_equal(text_of(made, "kind"), "sae");
    assert_string_equal(text_of(made, "source"),
                        "hf:jbloom/GPT2-Small-SAEs-Reformatted@" HUB_COMMIT "/blocks.8.hook_resid_pre");
    assert_int_equal(json_get_integer(made, "files", 0), 2);
    assert_int_equal(json_get_integer(made, "downloaded", 0), json_get_integer(made, "file_bytes", -1));
    json *info = PROGRAM_JSON("info", "gpt2-small-res-jb-8-res-jb");
    const json *source = json_get(info, "source");
    assert_true(json_get_boolean(info, "center_activations", 0));
    assert_string_equal(text_of(info, "hook"), "blocks.1.hook_resid_pre");
    assert_string_equal(text_of(source, "hub"), text_of(made, "source"));
    assert_string_equal(text_of(source, "release"), "gpt2-small-res-jb/8-res-jb");
    assert_string_equal(text_of(source, "neuronpedia_id"), "lm/1-res"); /* the file's own goes first */
    assert_non_null(strstr(json_string(json_at(json_get(source, "quirks"), 0), ""), "centred"));
    json_free(info);
    json_free(made);

    /* By its address nothing is known of it but what its files say. */
    made = PROGRAM_JSON("pull", "hf:jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre", "--name",
                        "plain");
    assert_int_equal(json_get_integer(made, "downloaded", -1), 0);
    info = PROGRAM_JSON("info", "plain");
    assert_false(json_get_boolean(info, "center_activations", 1));
    json_free(info);
    json_free(made);
}

static void test_model(void **state)
{
    (void)state;
    use(models, "hub");
    json *made = PROGRAM_JSON("pull", "gpt2", "--name", "words");
    assert_shape(made, SHAPE);
    assert_string_equal(text_of(made, "kind"), "model");
    assert_int_equal(json_get_integer(made, "files", 0), 5);
    assert_int_equal(hub_server_leaks(models), 0);
    json *info = PROGRAM_JSON("info", "words");
    assert_string_equal(text_of(info, "source"), "hf:gpt2@" HUB_COMMIT);
    json_free(info);
    json_free(made);
    /* The same as from its folder: the same tokens, and the cache as import model's folder. */
    char *folder = program_path("hub/models--gpt2/snapshots/" HUB_COMMIT);
    PROGRAM_DONE("import", "model", folder, "--name", "again");
    json *first = PROGRAM_JSON("tokenize", "words", "a small language model"),
         *second = PROGRAM_JSON("tokenize", "again", "a small language model");
    assert_int_equal(json_length(json_get(first, "tokens")), json_length(json_get(second, "tokens")));
    json_free(first);
    json_free(second);
    free(folder);
}

/* What the store holds of a model, but for the manifest's words on where it came from. */
static long long bytes_of(const json *info)
{
    return json_get_integer(info, "bytes", 0) - (long long)strlen(text_of(info, "source"));
}

/* Repositories that have PyTorch's files only: the model that the safetensors of the same weights give. */
static void check_torch(const char *source, const char *name, const char *family, int files)
{
    use(torch, "hub");
    json *made = PROGRAM_JSON("pull", source, "--name", name);
    assert_string_equal(text_of(made, "kind"), "model");
    assert_int_equal(json_get_integer(made, "files", 0), files);
    char *folder = family_file(family, "");
    PROGRAM_DONE("import", "model", folder, "--name", "safetensors", "--replace");
    json *first = PROGRAM_JSON("info", name), *second = PROGRAM_JSON("info", "safetensors");
    assert_string_equal(text_of(first, "family"), family);
    assert_string_equal(text_of(first, "dtype"), text_of(second, "dtype"));
    assert_true(bytes_of(first) > 20000);
    assert_int_equal(bytes_of(first), bytes_of(second));
    json_free(first);
    json_free(second);
    json_free(made);
    free(folder);
}

static void test_torch(void **state)
{
    (void)state;
    check_torch("hf:roneneldan/TinyStories-33M", "stories", "gpt_neo", 3);
    check_torch("hf:roneneldan/TinyStories-33M/shards", "pythia", "gpt_neox", 6);
    assert_int_equal(hub_server_requests(torch, "GET /cdn/shards/pytorch_model-0000", NULL), 3);
}

static void test_names(void **state)
{
    (void)state;
    use(saes, "hub");
    PROGRAM_REFUSES(2, SAYS("did you mean gpt2-small-res-jb/9-res-jb"), "pull", "gpt2-small-res-jb/9-rs-jb");
    PROGRAM_REFUSES(2, SAYS("hf:OWNER/REPO[@REVISION][/FOLDER]"), "pull", "hf:nothing");
    PROGRAM_REFUSES(3, SAYS("there is an SAE named plain already"), "pull",
                    "hf:jbloom/GPT2-Small-SAEs-Reformatted/blocks.9.hook_resid_pre", "--name", "plain");
    PROGRAM_REFUSES(3, SAYS("plain is an SAE and cannot be replaced by a model"), "pull", "gpt2", "--name",
                    "plain", "--replace");
    assert_int_equal(hub_server_requests(saes, NULL, NULL), 0);
    json *made = PROGRAM_JSON("pull", "hf:jbloom/GPT2-Small-SAEs-Reformatted/blocks.9.hook_resid_pre",
                              "--name", "plain", "--replace");
    json_free(made);
    json *skipped = PROGRAM_JSON("pull", "gpt2-small-res-jb/8-res-jb", "--if-absent");
    assert_true(json_get_boolean(skipped, "present", 0));
    json_free(skipped);
    PROGRAM_REFUSES(3, SAYS("holds 2 SAEs", "blocks.8.hook_resid_pre, blocks.9.hook_resid_pre"), "pull",
                    "hf:jbloom/GPT2-Small-SAEs-Reformatted");
    PROGRAM_REFUSES(3, SAYS("no config.json: no model is there"), "pull", "--import", "model",
                    "hf:jbloom/GPT2-Small-SAEs-Reformatted/blocks.9.hook_resid_pre");
    PROGRAM_REFUSES(3, SAYS("has no revision v9"), "pull", "gpt2-small-res-jb/9-res-jb@v9");
    PROGRAM_REFUSES(3, SAYS("no hook blocks.1"), "pull", "gpt2-small-res-jb/9-res-jb", "--hook", "blocks.1",
                    "--model", "words", "--name", "unhooked");
}

/* What does not fit is downloaded, but not imported. */
static void test_refused_import(void **state)
{
    (void)state;
    use(saes, "hub");
    PROGRAM_REFUSES(3, SAYS("d_in is 12"), "pull", "gpt2-small-res-jb/8-res-jb", "--model", "words", "--name",
                    "unfitting");
    json *list = PROGRAM_JSON("list", "saes");
    for (size_t i = 0; i < json_length(json_get(list, "saes")); i++)
        assert_string_not_equal(text_of(json_at(json_get(list, "saes"), i), "name"), "unfitting");
    json_free(list);
}

static void test_only_download(void **state)
{
    (void)state;
    use(saes, "elsewhere");
    char *here = program_path("here");
    json *made = PROGRAM_JSON("pull", "hf:jbloom/GPT2-Small-SAEs-Reformatted", "--import", "none", "--files",
                              "*.json", "--cache", here);
    assert_shape(made, "{seconds:n,source:s,path:s,files:i,file_bytes:i,downloaded:i,offline:b}");
    assert_int_equal(json_get_integer(made, "files", 0), 2);
    char *config = path_join(text_of(made, "path"), "blocks.9.hook_resid_pre/cfg.json"),
         *other = program_path("elsewhere");
    assert_true(path_exists(config));
    assert_int_equal(strncmp(text_of(made, "path"), here, strlen(here)), 0);
    assert_false(path_exists(other));
    free(other);
    free(config);
    free(here);
    json_free(made);
}

static void test_offline(void **state)
{
    (void)state;
    use(saes, "hub");
    setenv("HF_HUB_OFFLINE", "1", 1);
    json *made = PROGRAM_JSON("pull", "gpt2-small-res-jb/8-res-jb", "--name", "offline");
    assert_true(json_get_boolean(made, "offline", 0));
    assert_int_equal(json_get_integer(made, "downloaded", -1), 0);
    assert_int_equal(hub_server_requests(saes, NULL, NULL), 0);
    json_free(made);
    PROGRAM_REFUSES(3, SAYS("HF_HUB_OFFLINE is set", "pythia-70m"), "pull", "pythia-70m");
    unsetenv("HF_HUB_OFFLINE");
}

/* ---- What producers' importers read beside the weights. ---- */

static void check_pulled(struct hub_server *s, const char *from, const char *name, int files,
                         const char *format, const char *hook, const char *model, int context_size)
{
    use(s, name);
    json *made = PROGRAM_JSON("pull", from, "--name", name);
    assert_int_equal(json_get_integer(made, "files", 0), files);
    json_free(made);
    json *info = PROGRAM_JSON("info", name);
    const json *source = json_get(info, "source");
    assert_string_equal(text_of(source, "format"), format);
    assert_string_equal(text_of(info, "hook"), hook);
    assert_string_equal(text_of(source, "model_name"), model);
    assert_int_equal(json_get_integer(info, "context_size", 0), context_size);
    json_free(info);
    /* The same of the cache alone. */
    char *again = xasprintf("%s-again", name);
    setenv("HF_HUB_OFFLINE", "1", 1);
    made = PROGRAM_JSON("pull", from, "--name", again);
    unsetenv("HF_HUB_OFFLINE");
    assert_int_equal(json_get_integer(made, "files", 0), files);
    info = PROGRAM_JSON("info", again);
    assert_int_equal(json_get_integer(info, "context_size", 0), context_size);
    json_free(info);
    json_free(made);
    free(again);
}

static void test_producers(void **state)
{
    static const struct {
        const char *folder, *below, *from;
        int files;
        const char *format, *hook, *model;
        int context_size;
    } saes_of[] = {
        /* folder of tests/data/formats, its place in the repository, what is pulled, and what comes of it */
        {"sparsify", "run", "run/layers.5", 3, "sparsify", "blocks.5.hook_resid_post", "pythia-160m", 256},
        {"sparsify", "two", "two/layers.5/sae.safetensors", 3, "sparsify", "blocks.5.hook_resid_post",
         "pythia-160m", 256},
        {"llama-scope", "l8", "l8", 2, "llama-scope", "blocks.8.hook_resid_post", "Llama-3.1-8B", 1024},
        {"llama-scope", "l9", "l9/checkpoints/final.safetensors", 2, "llama-scope",
         "blocks.8.hook_resid_post", "Llama-3.1-8B", 1024},
        {"llama-scope-r1", "r1", "r1", 2, "llama-scope", "blocks.8.hook_resid_post", "Llama-3.1-8B", 1024},
        {"gemma-scope", "", "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71", 1, "gemma-scope",
         "blocks.20.hook_resid_post", "gemma-2-2b", 1024},
        {"gemma-scope-2", "g2", "g2/resid_post/layer_12_width_16k_l0_medium", 2, "gemma-scope-2",
         "blocks.12.hook_resid_post", "gemma-3-1b-pt", 1024},
        {"dictionary-topk", "trainer_0", "trainer_0", 2, "dictionary-learning", "blocks.3.hook_resid_post",
         "pythia-70m-deduped", 128},
        {"goodfire", "gf", "gf", 1, "goodfire", "blocks.19.hook_resid_post", "Llama-3.1-8B-Instruct", 0},
        {"qwen-scope", "", "SAE-Res-Qwen3-1.7B-Base-W32K-L0_6/layer3.sae.pt", 2, "qwen-scope",
         "blocks.3.hook_resid_post", "Qwen3-1.7B-Base", 1024},
        {"qresearch", "", "one/DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt", 1, "qresearch",
         "blocks.19.hook_resid_post", "DeepSeek-R1-Distill-Llama-8B", 1024},
        {"attention-saes", "", "all", 2, "attention-saes", "blocks.5.attn.hook_z", "gpt2-small", 128},
        {"openai-topk", "", "resid_post_mlp_v5_32k/autoencoders/8.pt", 1, "openai",
         "blocks.8.hook_resid_post", "gpt2-small", 64},
        {"batchtopk-topk", "", "gpt2-small_blocks.8.hook_resid_pre_48_topk_6_0.0003_99", 2, "batchtopk",
         "blocks.8.hook_resid_pre", "gpt2-small", 128},
        {"saelens-gated", "sl", "sl", 3, "saelens", "blocks.1.hook_resid_pre", "lm", 0},
        {"saelens-batchtopk", "sb", "sb", 3, "saelens", "blocks.1.hook_resid_pre", "lm", 0},
    };
    (void)state;
    struct hub_server *s = hub_server_start("some/saes");
    for (size_t i = 0; i < ARRAY_LENGTH(saes_of); i++) {
        char *folder = xasprintf("%s/formats/%s", getenv("SAESCOPE_TESTDATA"), saes_of[i].folder);
        hub_server_add_folder(s, folder, saes_of[i].below);
        free(folder);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(saes_of); i++) {
        char *from = xasprintf("hf:some/saes/%s", saes_of[i].from), *name = xasprintf("produced%zu", i);
        check_pulled(s, from, name, saes_of[i].files, saes_of[i].format, saes_of[i].hook, saes_of[i].model,
                     saes_of[i].context_size);
        free(from);
        free(name);
    }
    /* What the files do not say is said by options. */
    char *folder = xasprintf("%s/formats/goodfire-topk", getenv("SAESCOPE_TESTDATA"));
    hub_server_add_folder(s, folder, "tk");
    free(folder);
    PROGRAM_REFUSES(3, SAYS("--k"), "pull", "hf:some/saes/tk", "--name", "topk", "--hook", "blocks.0.hook_resid_pre");
    PROGRAM_DONE("pull", "hf:some/saes/tk", "--name", "topk", "--hook", "blocks.0.hook_resid_pre", "--k", "5");
    json *info = PROGRAM_JSON("info", "topk");
    assert_int_equal(json_get_integer(info, "k", 0), 5);
    json_free(info);
    hub_server_stop(s);
}

/* Named in the repository's or the folder's name: nothing is downloaded. */
static void test_others(void **state)
{
    (void)state;
    struct hub_server *s = hub_server_start("some/qwen3-4b-transcoders");
    char *folder = xasprintf("%s/formats/others/qwen3-4b-transcoders", getenv("SAESCOPE_TESTDATA"));
    hub_server_add_folder(s, folder, "");
    use(s, "others");
    PROGRAM_REFUSES(3, SAYS("a transcoder, which reads one place", "--import none only downloads"), "pull",
                    "hf:some/qwen3-4b-transcoders/layer_7.safetensors", "--name", "other");
    assert_int_equal(hub_server_requests(s, "GET /some/qwen3-4b-transcoders/resolve", NULL), 0);
    json *made = PROGRAM_JSON("pull", "hf:some/qwen3-4b-transcoders/layer_7.safetensors", "--import", "none");
    assert_int_equal(json_get_integer(made, "files", 0), 1);
    PROGRAM_REFUSES(3, SAYS(": a transcoder"), "import", "sae", text_of(made, "path"), "--name", "other",
                    "--hook", "hook_embed");
    json_free(made);
    free(folder);
    hub_server_stop(s);
}

/* ---- Jobs. ---- */

static pid_t start(const char *const *words)
{
    char *argv[16] = {xstrdup(getenv("SAESCOPE"))};
    posix_spawn_file_actions_t files;
    pid_t pid;
    for (size_t i = 0; words[i]; i++)
        argv[i + 1] = xstrdup(words[i]);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawn(&pid, argv[0], &files, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&files);
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    return pid;
}

/* Bytes of the one partial download in the cache, once there are `wanted`; fails when they do not come. */
static size_t wait_for_part(const char *cache, size_t wanted)
{
    size_t n = 0;
    for (int i = 0; i < 3000 && n < wanted; i++) {
        char *find = xasprintf("find '%s/%s' -name '*.incomplete' -printf '%%s' 2>/dev/null",
                               program_directory(), cache);
        FILE *f = popen(find, "r");
        assert_non_null(f);
        if (fscanf(f, "%zu", &n) != 1)
            n = 0;
        pclose(f);
        free(find);
        nanosleep(&(struct timespec){0, 10 * 1000 * 1000}, NULL);
    }
    assert_true(n >= wanted);
    return n;
}

static void test_killed(void **state)
{
    struct hub_request q;
    int ended = 0;
    (void)state;
    use(models, "killed");
    hub_server_set(models, &(struct hub_faults){.cuts = 1, .cut_after = 4000000, .stall = 1});
    pid_t pid = start((const char *const[]){"pull", "gpt2", "--name", "killed", NULL});
    size_t there = wait_for_part("killed", 4000000);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_true(WIFSIGNALED(ended));

    /* The job is interrupted; taking it up again goes on from what is there. */
    json *jobs = PROGRAM_JSON("jobs");
    const json *job = json_at(json_get(jobs, "jobs"), 0);
    assert_string_equal(text_of(job, "state"), "interrupted");
    char *id = xasprintf("%lld", json_get_integer(job, "id", 0));
    json_free(jobs);
    hub_server_set(models, NULL);
    PROGRAM_DONE("run", id);
    assert_int_equal(hub_server_requests(models, "GET /cdn/model.safetensors", &q), 1);
    char *range = xasprintf("bytes=%zu-", there);
    assert_string_equal(q.range, range);
    json *info = PROGRAM_JSON("info", "killed");
    assert_string_equal(text_of(info, "family"), "gpt2");
    json_free(info);
    free(range);
    free(id);
}

static void test_cancelled(void **state)
{
    (void)state;
    use(models, "cancelled");
    hub_server_set(models, &(struct hub_faults){.cuts = 1, .cut_after = 3000000, .stall = 1});
    PROGRAM_DONE("pull", "gpt2", "--name", "cancelled", "--detach");
    wait_for_part("cancelled", 3000000);
    json *jobs = PROGRAM_JSON("jobs");
    for (int i = 0; i < 100 && json_get_integer(json_at(json_get(jobs, "jobs"), 0), "step", 0) == 0; i++) {
        json_free(jobs); /* progress is written ten times a second */
        jobs = PROGRAM_JSON("jobs");
    }
    const json *job = json_at(json_get(jobs, "jobs"), 0);
    assert_string_equal(text_of(job, "kind"), "pull");
    assert_true(json_get_integer(job, "step", 0) > 0);
    assert_true(json_get_integer(job, "steps", 0) > 10000000);
    char *id = xasprintf("%lld", json_get_integer(job, "id", 0));
    json_free(jobs);
    PROGRAM_DONE("cancel", id);
    struct result r = PROGRAM("wait", id);
    assert_int_equal(r.status, 1);
    result_free(&r);
    jobs = PROGRAM_JSON("jobs");
    assert_string_equal(text_of(json_at(json_get(jobs, "jobs"), 0), "state"), "cancelled");
    json_free(jobs);
    free(id);
    wait_for_part("cancelled", 3000000); /* kept for the next time */
}

/* The token is nowhere: not in the store's records, nor in what is printed. */
static void test_secret(void **state)
{
    (void)state;
    use(saes, "secret");
    hub_server_set(saes, &(struct hub_faults){.gated = 1});
    struct result r = PROGRAM("pull", "gpt2-small-res-jb/8-res-jb", "--name", "gated");
    assert_int_equal(r.status, 3);
    assert_null(strstr(r.err, "hf_very"));
    result_free(&r);
    char *search = xasprintf("grep -rqa hf_very_secret '%s'", program_directory());
    int found = system(search);
    assert_int_equal(WEXITSTATUS(found), 1);
    free(search);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sae),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_torch),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_refused_import),
        cmocka_unit_test(test_only_download),
        cmocka_unit_test(test_offline),
        cmocka_unit_test(test_producers),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_secret),
    };
    if (!http_library_version()) {
        printf("1..0 # SKIP built without libcurl\n");
        return 0;
    }
    return cmocka_run_group_tests_name("pull", tests, set_up, tear_down);
}
