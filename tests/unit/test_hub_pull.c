/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pulling from a Hub on 127.0.0.1 that fails in the ways in which networks, disks and servers fail. */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "saescope/base/memory.h"
#include "saescope/formats/hub_internal.h"
#include "tests/support/hub_server.h"
#include "tests/support/support.h"

#define N_WEIGHTS  300000
#define REPOSITORY "owner/name"
#define SNAPSHOT   "models--owner--name/snapshots/" HUB_COMMIT "/"
#define NO_WAIT    0.001

static struct hub_server *server;
static char weights[N_WEIGHTS], etag[DIGEST_HEX_MAX + 1], *cache;
static const char config[] = "{\"architecture\": \"standard\"}\n";
static int n_caches;

static int set_up(void **state)
{
    struct digest *d;
    set_up_directory(state);
    setenv("HOME", test_directory, 1);
    for (size_t i = 0; i < N_WEIGHTS; i++)
        weights[i] = (char)(i * 2654435761u >> 13);
    assert_int_equal(digest_start(DIGEST_SHA256, N_WEIGHTS, &d, NULL), STATUS_OK);
    digest_add(d, weights, N_WEIGHTS);
    digest_end(d, etag);
    server = hub_server_start(REPOSITORY);
    hub_server_add(server, "README.md", "hello\n", 6, 0);
    hub_server_add(server, "l8/sae/cfg.json", config, strlen(config), 0);
    hub_server_add(server, "l8/sae/sae_weights.safetensors", weights, N_WEIGHTS, 1);
    hub_server_add(server, "l8/sae/plot.png", weights, 1000, 0);
    hub_server_add(server, "l9/a b\xc3\xa9/cfg.json", config, strlen(config), 0);
    hub_server_add(server, "l9/a b\xc3\xa9/sae_weights.safetensors", weights, 5000, 0);
    return 0;
}

static int tear_down(void **state)
{
    hub_server_stop(server);
    return tear_down_directory(state);
}

/* Each test has a cache, an environment and a server of its own. */
static int fresh(void **state)
{
    (void)state;
    char *name = xasprintf("cache%d", n_caches++);
    cache = test_path(name);
    free(name);
    setenv("HF_ENDPOINT", hub_server_endpoint(server), 1);
    setenv("HF_HUB_CACHE", cache, 1);
    setenv("no_proxy", "127.0.0.1", 1);
    unsetenv("HF_TOKEN");
    unsetenv("HF_HOME");
    unsetenv("HF_HUB_OFFLINE");
    hub_server_set(server, NULL);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    free(cache);
    return 0;
}

static int pull_with(const char *from, const char *glob, struct monitor *m, struct hub_pulled *out,
                     struct error *err)
{
    struct hub_source source;
    assert_int_equal(hub_source_parse(from, &source, err), STATUS_OK);
    struct hub_pull what = {.source = &source, .glob = glob, .wait = NO_WAIT};
    int status = hub_pull(&what, m, out, err);
    hub_source_free(&source);
    return status;
}

static void pulls(const char *from, uint64_t downloaded)
{
    struct error err = {0};
    struct hub_pulled out;
    assert_ok(pull_with(from, NULL, NULL, &out, &err));
    assert_int_equal(out.downloaded, downloaded);
    hub_pulled_free(&out);
}

static void refuses(const char *from, int status, const char *says)
{
    struct error err = {0};
    struct hub_pulled out;
    int got = pull_with(from, NULL, NULL, &out, &err);
    assert_says(says);
    assert_int_equal(got, status);
    hub_pulled_free(&out);
}

static char *cached(const char *name)
{
    return path_join(cache, name);
}

static int is_cached(const char *name)
{
    char *path = cached(name);
    int there = path_exists(path);
    free(path);
    return there;
}

static void check_file(const char *name, const void *data, size_t n)
{
    struct error err = {0};
    struct strbuf text = STRBUF_INIT;
    char *path = cached(name);
    assert_ok(file_read(path, 1 << 24, &text, &err));
    assert_int_equal(text.length, n);
    assert_memory_equal(text.data, data, n);
    strbuf_free(&text);
    free(path);
}

static void check_link(const char *name, const char *target)
{
    char text[256] = "";
    char *path = cached(name);
    assert_true(readlink(path, text, sizeof text - 1) > 0);
    assert_string_equal(text, target);
    free(path);
}

static void check_weights(void)
{
    check_file(SNAPSHOT "l8/sae/sae_weights.safetensors", weights, N_WEIGHTS);
}

/* What an earlier run left of the weights. */
static void put_part(const void *data, size_t n)
{
    struct error err = {0};
    char *blobs = cached("models--owner--name/blobs"), *path = xasprintf("%s/%s.incomplete", blobs, etag);
    assert_ok(make_directories(blobs, 0755, &err));
    assert_ok(file_write_atomic(path, data, n, &err));
    free(path);
    free(blobs);
}

static size_t part_size(void)
{
    struct stat st;
    char *name = xasprintf("models--owner--name/blobs/%s.incomplete", etag), *path = cached(name);
    size_t n = stat(path, &st) == 0 ? (size_t)st.st_size : 0;
    free(path);
    free(name);
    return n;
}

#define BODY_REQUEST "GET /cdn/l8/sae/sae_weights.safetensors"

/* ---- What goes well. ---- */

static void test_digests(void **state)
{
    char hex[DIGEST_HEX_MAX + 1];
    struct digest *d;
    (void)state;
    assert_int_equal(digest_start(DIGEST_SHA256, 3, &d, NULL), STATUS_OK); /* FIPS 180-4's example */
    digest_add(d, "a", 1);
    digest_add(d, "bc", 2);
    digest_end(d, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(digest_start(DIGEST_GIT_BLOB, 6, &d, NULL), STATUS_OK); /* git hash-object: "hello\n" */
    digest_add(d, "hello\n", 6);
    digest_end(d, hex);
    assert_string_equal(hex, "ce013625030ba8dba906f756967f9e9ca394464a");
}

static void test_layout(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    struct hub_request q;
    (void)state;
    char *folder = cached(SNAPSHOT "l8/sae"), *target = xasprintf("../../../../blobs/%s", etag);
    setenv("HF_TOKEN", "hf_secret", 1);
    assert_ok(pull_with("hf:" REPOSITORY "/l8/sae", NULL, NULL, &out, &err));
    assert_int_equal(out.content, HUB_SAE);
    assert_string_equal(out.path, folder);
    assert_string_equal(out.commit, HUB_COMMIT);
    assert_string_equal(out.origin, "hf:" REPOSITORY "@" HUB_COMMIT "/l8/sae");
    assert_int_equal(out.files, 2);
    assert_int_equal(out.bytes, N_WEIGHTS + strlen(config));
    assert_int_equal(out.downloaded, out.bytes);
    assert_false(out.offline);
    hub_pulled_free(&out);
    check_file("models--owner--name/refs/main", HUB_COMMIT, 40);
    check_weights();
    check_link(SNAPSHOT "l8/sae/sae_weights.safetensors", target);
    check_file(SNAPSHOT "l8/sae/cfg.json", config, strlen(config));
    assert_false(is_cached(SNAPSHOT "l8/sae/plot.png"));
    assert_false(is_cached(SNAPSHOT "README.md"));
    assert_int_equal(part_size(), 0);

    /* The token is for the Hub, not for where it sends us. */
    assert_int_equal(hub_server_requests(server, BODY_REQUEST, &q), 1);
    assert_true(q.cdn);
    assert_string_equal(q.authorization, "");
    assert_int_equal(hub_server_leaks(server), 0);
    assert_true(
        hub_server_requests(server, "HEAD /owner/name/resolve/" HUB_COMMIT "/l8/sae/sae_weights", &q) == 1);
    assert_string_equal(q.authorization, "Bearer hf_secret");

    /* Again: nothing but the list. */
    hub_server_set(server, NULL);
    pulls("hf:" REPOSITORY "/l8/sae", 0);
    assert_int_equal(hub_server_requests(server, "resolve", NULL), 0);
    /* Another revision with the same content: a link more. */
    pulls("hf:" REPOSITORY "@refs/pr/1/l8/sae", 0);
    check_file("models--owner--name/refs/refs/pr/1", HUB_OTHER_COMMIT, 40);
    check_link("models--owner--name/snapshots/" HUB_OTHER_COMMIT "/l8/sae/sae_weights.safetensors", target);
    assert_int_equal(hub_server_requests(server, BODY_REQUEST, NULL), 0);
    free(target);
    free(folder);
}

static void test_names_and_pages(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    (void)state;
    pulls("hf:" REPOSITORY "/l9/a b\xc3\xa9", 5000 + strlen(config));
    check_file(SNAPSHOT "l9/a b\xc3\xa9/sae_weights.safetensors", weights, 5000);
    hub_server_set(server, &(struct hub_faults){.page = 2});
    refuses("hf:" REPOSITORY, STATUS_REFUSED,
            "holds 2 SAEs: name one of their folders or files: l8/sae, l9/");
    assert_int_equal(hub_server_requests(server, "/tree/", NULL), 3);
    hub_server_set(server, &(struct hub_faults){.page = 1});
    assert_ok(pull_with("hf:" REPOSITORY, "*.md", NULL, &out, &err));
    assert_int_equal(out.files, 1);
    assert_int_equal(out.content, HUB_NONE);
    hub_pulled_free(&out);
    assert_int_equal(hub_server_requests(server, "/tree/", NULL), 6);
    check_file(SNAPSHOT "README.md", "hello\n", 6);
    /* A single file. */
    pulls("hf:" REPOSITORY "/l8/sae/sae_weights.safetensors", N_WEIGHTS); /* the config has come with l9's */
    check_weights();
}

static void test_moved_repository(void **state)
{
    (void)state;
    setenv("HF_TOKEN", "hf_secret", 1);
    hub_server_set(server, &(struct hub_faults){.moved = 1, .token = "hf_secret"});
    pulls("hf:old/name/l8/sae", N_WEIGHTS + strlen(config));
    check_file("models--old--name/snapshots/" HUB_COMMIT "/l8/sae/sae_weights.safetensors", weights,
               N_WEIGHTS);
    assert_int_equal(hub_server_leaks(server), 0);
}

/* ---- Connections. ---- */

static void test_cut(void **state)
{
    struct hub_request q;
    (void)state;
    hub_server_set(server, &(struct hub_faults){.cuts = 2, .cut_after = 100000});
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(config));
    assert_int_equal(hub_server_requests(server, BODY_REQUEST, &q), 3);
    assert_string_equal(q.range, "bytes=200000-");
    check_weights();
}

static void test_cut_for_ever(void **state)
{
    (void)state;
    hub_server_set(server, &(struct hub_faults){.cuts = 1000, .cut_after = 7});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "given up after 6 tries");
    assert_true(hub_server_requests(server, NULL, NULL) < 30);
}

/* As long as bytes come, it goes on. */
static void test_many_cuts(void **state)
{
    (void)state;
    hub_server_set(server, &(struct hub_faults){.cuts = 1000, .cut_after = 66000});
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(config));
    check_weights();
    hub_server_set(server, &(struct hub_faults){.cuts = 7, .cut_after = 66000, .ignore_ranges = 1});
    pulls("hf:" REPOSITORY "@refs/pr/1/l8/sae", 0);
}

static void test_resume(void **state)
{
    struct hub_request q;
    (void)state;
    put_part(weights, 123456);
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS - 123456 + strlen(config));
    assert_int_equal(hub_server_requests(server, BODY_REQUEST, &q), 1);
    assert_string_equal(q.range, "bytes=123456-");
    check_weights();
}

static void test_resume_without_ranges(void **state)
{
    (void)state;
    put_part(weights, 123456);
    hub_server_set(server, &(struct hub_faults){.ignore_ranges = 1});
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(config));
    check_weights();
}

/* A part that is whole, wrong, or longer than the file. */
static void test_parts(void **state)
{
    char other[N_WEIGHTS + 10];
    (void)state;
    put_part(weights, N_WEIGHTS);
    pulls("hf:" REPOSITORY "/l8/sae", strlen(config));
    check_weights();
    free(cache);
    cache = test_path("cache-wrong");
    setenv("HF_HUB_CACHE", cache, 1);
    memset(other, 1, sizeof other);
    put_part(other, 1000);
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS - 1000 + N_WEIGHTS + strlen(config));
    check_weights();
    free(cache);
    cache = test_path("cache-long");
    setenv("HF_HUB_CACHE", cache, 1);
    put_part(other, sizeof other);
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(config));
    check_weights();
}

static void test_unreachable(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    (void)state;
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(config));
    setenv("HF_ENDPOINT", "http://127.0.0.1:1", 1);
    assert_ok(pull_with("hf:" REPOSITORY "/l8/sae", NULL, NULL, &out, &err)); /* what is in the cache */
    assert_true(out.offline);
    hub_pulled_free(&out);
    refuses("hf:" REPOSITORY "/l9", STATUS_FAILED,
            "http://127.0.0.1:1/api/models/owner/name/revision/main: ");
    setenv("HF_HUB_OFFLINE", "1", 1);
    setenv("HF_ENDPOINT", hub_server_endpoint(server), 1);
    hub_server_set(server, NULL);
    pulls("hf:" REPOSITORY "/l8/sae", 0);
    refuses("hf:" REPOSITORY "/l9", STATUS_REFUSED, "HF_HUB_OFFLINE is set");
    assert_int_equal(hub_server_requests(server, NULL, NULL), 0);
}

/* ---- Statuses. ---- */

static void test_missing(void **state)
{
    (void)state;
    refuses("hf:" REPOSITORY "@dev", STATUS_REFUSED, "owner/name has no revision dev");
    refuses("hf:" REPOSITORY "/nowhere", STATUS_REFUSED, "owner/name at main has no nowhere");
    refuses("hf:other/name", STATUS_REFUSED, "has no repository other/name");
    refuses("hf:other/name", STATUS_REFUSED, "set HF_TOKEN");
    setenv("HF_TOKEN", "hf_secret", 1);
    refuses("hf:other/name", STATUS_REFUSED, "or the token that is set (HF_TOKEN) may not read it");
    hub_server_set(server, &(struct hub_faults){.on = "GET /cdn/", .times = 1, .status = 404});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED,
            "owner/name at main has no l8/sae/sae_weights.safetensors");
    hub_server_set(server, &(struct hub_faults){.on = "GET /cdn/", .times = 1, .status = 418});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED,
            "l8/sae/sae_weights.safetensors: the server answers with HTTP 418");
    assert_false(is_cached(SNAPSHOT "l8/sae/sae_weights.safetensors"));
}

static void test_gated(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    (void)state;
    hub_server_set(server, &(struct hub_faults){.gated = 1});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED,
            "owner/name is gated: accept its terms on http://127.0.0.1:");
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED, "set HF_TOKEN to a token of that account");
    setenv("HF_TOKEN", "hf_secret", 1);
    assert_int_equal(pull_with("hf:" REPOSITORY "/l8/sae", NULL, NULL, &out, &err), STATUS_REFUSED);
    assert_says("see that the token that is set (HF_TOKEN) is of that account");
    assert_null(strstr(err.message, "hf_secret"));
    hub_pulled_free(&out);
    hub_server_set(server, &(struct hub_faults){.token = "hf_right"});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED, "the one that is set (HF_TOKEN) is not accepted");
    setenv("HF_TOKEN", "hf_right", 1);
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(config));
}

static void test_busy(void **state)
{
    double start = clock_seconds();
    (void)state;
    /* The wait that is asked for is kept, however short ours would be. */
    hub_server_set(
        server, &(struct hub_faults){.on = "/tree/", .times = 1, .status = 429, .header = "Retry-After: 1"});
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(config));
    assert_true(clock_seconds() - start >= 0.95);
    assert_int_equal(hub_server_requests(server, "/tree/", NULL), 2);
    start = clock_seconds();
    hub_server_set(
        server, &(struct hub_faults){
                    .on = "/revision/", .times = 1, .status = 429, .header = "RateLimit: \"api\";r=0;t=1"});
    pulls("hf:" REPOSITORY "/l8/sae", 0);
    assert_true(clock_seconds() - start >= 0.95);
    hub_server_set(server, &(struct hub_faults){
                               .on = "/tree/", .times = 1, .status = 429, .header = "Retry-After: 3600"});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "asks for a pause of 3600 seconds");
    hub_server_set(server, &(struct hub_faults){.times = 100, .status = 429});
    refuses("hf:" REPOSITORY "/l9", STATUS_FAILED, "too many requests (HTTP 429)");
    assert_true(hub_server_requests(server, NULL, NULL) <= 6);
    hub_server_set(server, &(struct hub_faults){.times = 2, .status = 503, .on = "HEAD "});
    pulls("hf:" REPOSITORY "@refs/pr/1/l9", 5000);
    hub_server_set(server, &(struct hub_faults){.times = 100, .status = 500, .on = "GET /cdn/"});
    free(cache);
    cache = test_path("cache-busy");
    setenv("HF_HUB_CACHE", cache, 1);
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "HTTP 500");
    assert_int_equal(hub_server_requests(server, BODY_REQUEST, NULL), 6);
}

/* ---- Contents. ---- */

static void test_wrong_length(void **state)
{
    (void)state;
    hub_server_set(server, &(struct hub_faults){.short_by = 10});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "cfg.json: the server ");
    hub_server_set(server, &(struct hub_faults){.short_by = -1});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED,
            "cfg.json: longer than the 29 bytes that the Hub says");
    assert_false(is_cached(SNAPSHOT "l8/sae/cfg.json"));
}

static void test_wrong_content(void **state)
{
    (void)state;
    hub_server_set(server, &(struct hub_faults){.corrupt = 1});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED, "cfg.json: its Git name is ");
    hub_server_set(server, NULL);
    pulls("hf:" REPOSITORY "/l8/sae/cfg.json", strlen(config));
    assert_false(is_cached(SNAPSHOT "l8/sae/sae_weights.safetensors"));
}

static void test_wrong_hash(void **state)
{
    (void)state;
    struct error err = {0};
    struct hub_pulled out;
    hub_server_set(server, &(struct hub_faults){.corrupt = 1});
    assert_int_equal(pull_with("hf:" REPOSITORY, "*.safetensors", NULL, &out, &err), STATUS_REFUSED);
    assert_says("l8/sae/sae_weights.safetensors: its SHA-256 is ");
    assert_says(etag);
    hub_pulled_free(&out);
    assert_int_equal(part_size(), 0); /* what is known to be wrong is not gone on with */
    assert_false(is_cached(SNAPSHOT "l8/sae/sae_weights.safetensors"));
    hub_server_set(server, NULL);
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(config));
    check_weights();
}

static void test_hostile_names(void **state)
{
    static const char *const names[] = {"../x",  "/etc/x",  "a/../../x", "a\\\\b", "a\\u0000b",
                                        "a//b",  "",        ".",         "a/",     "..",
                                        "a\\nb", "\\u0000", "a/.",       "\\u007f"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        char *tree = xasprintf("[{\"type\":\"file\",\"path\":\"%s\",\"size\":3,\"oid\":\"\"}]", names[i]);
        hub_server_set(server, &(struct hub_faults){.tree = tree});
        refuses("hf:" REPOSITORY, STATUS_REFUSED, "which is no path in a repository: nothing was downloaded");
        assert_int_equal(hub_server_requests(server, "resolve", NULL), 0);
        free(tree);
    }
    assert_false(path_exists(cache));
}

static void test_hostile_lists(void **state)
{
    static const char *const trees[][2] = {
        {"{}", "does not answer as a Hub does (no list of files)"},
        {"[{\"type\":\"file\",\"path\":\"a.pt\",\"size\":-1}]", "a file without a size"},
        {"[{\"type\":\"file\",\"path\":\"a.pt\"}]", "a file without a size"},
        {"[{\"type\":\"file\",\"size\":1}]", "no path in a repository"},
        {"[{\"type\":\"file\",\"path\":7,\"size\":1}]", "no path in a repository"},
        {"[7]", "no path in a repository"},
        {"<html>", "line 1"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(trees); i++) {
        hub_server_set(server, &(struct hub_faults){.tree = trees[i][0]});
        refuses("hf:" REPOSITORY,
                strstr(trees[i][1], "a Hub") || strstr(trees[i][1], "size") ? STATUS_FAILED : STATUS_REFUSED,
                trees[i][1]);
    }
    hub_server_set(server, &(struct hub_faults){.on = "HEAD ", .times = 1, .status = 200});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "X-Repo-Commit is not the commit");
    hub_server_set(server, &(struct hub_faults){.on = "/revision/", .times = 1, .status = 200});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED, "line 1");
}

/* ---- Redirects. ---- */

static void test_redirects(void **state)
{
    (void)state;
    setenv("HF_TOKEN", "hf_secret", 1);
    hub_server_set(server, &(struct hub_faults){.redirect_to = "file:///etc/passwd"});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "redirects to no HTTP address");
    hub_server_set(server, &(struct hub_faults){.redirect_to = ""});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "redirects");
    hub_server_set(
        server, &(struct hub_faults){.on = "/tree/", .times = 100, .status = 302, .header = "Location: ?a"});
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "more than 10 redirects");
    /* Within the Hub the token goes along. */
    struct hub_request q;
    hub_server_set(server, &(struct hub_faults){.direct = 1, .token = "hf_secret"});
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS);
    check_weights();
    assert_int_equal(hub_server_requests(server, "GET /owner/name/resolve/", &q), 1);
    assert_string_equal(q.authorization, "Bearer hf_secret");
}

/* The signature in a CDN's address is a secret too. */
static void test_no_signature_shown(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    (void)state;
    hub_server_set(server, &(struct hub_faults){.redirect_to = "http://127.0.0.1:1/x?signature=SECRET#y"});
    assert_int_equal(pull_with("hf:" REPOSITORY "/l8/sae", NULL, NULL, &out, &err), STATUS_FAILED);
    assert_says("http://127.0.0.1:1/x: ");
    assert_null(strstr(err.message, "SECRET"));
    hub_pulled_free(&out);
}

/* ---- Disks, locks, impatience. ---- */

static void test_full_disk(void **state)
{
    struct rlimit before, small = {200000, 200000};
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED,
            "the first 200.0 kB of 300.0 kB are kept: make room and pull again to go on from there");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(part_size(), 200000);
    hub_server_set(server, NULL);
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS - 200000);
    check_weights();
}

static void test_huge(void **state)
{
    (void)state;
    hub_server_set(
        server,
        &(struct hub_faults){
            .tree = "[{\"type\":\"file\",\"path\":\"a.pt\",\"size\":1000000000000000,\"oid\":\"\"}]"});
    refuses("hf:" REPOSITORY, STATUS_FAILED, "are to be downloaded, but");
    assert_int_equal(hub_server_requests(server, "resolve", NULL), 0);
}

struct watcher {
    struct monitor monitor;
    uint64_t last, cancel_at;
    int asks, went_back, waited, lock;
};

static void watch(struct monitor *m, const struct progress *p)
{
    struct watcher *w = (struct watcher *)m;
    if (strcmp(p->phase, "waiting") == 0)
        w->waited++;
    w->went_back |= p->step < w->last;
    w->last = p->step;
    assert_true(p->steps == 0 || p->step <= p->steps);
}

static enum monitor_request cancel_in_time(struct monitor *m)
{
    struct watcher *w = (struct watcher *)m;
    return w->cancel_at && w->last >= w->cancel_at ? MONITOR_CANCEL : MONITOR_GO_ON;
}

static void test_progress(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    struct watcher w = {.monitor = {.report = watch, .ask = cancel_in_time}};
    (void)state;
    assert_ok(pull_with("hf:" REPOSITORY "/l8/sae", NULL, &w.monitor, &out, &err));
    assert_int_equal(w.last, N_WEIGHTS + strlen(config));
    assert_false(w.went_back);
    hub_pulled_free(&out);
}

static void test_cancel(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    struct watcher w = {.monitor = {.report = watch, .ask = cancel_in_time}, .cancel_at = 100000};
    (void)state;
    hub_server_set(server, &(struct hub_faults){.cuts = 1, .cut_after = 120000, .stall = 1});
    assert_int_equal(pull_with("hf:" REPOSITORY "/l8/sae", NULL, &w.monitor, &out, &err), STATUS_FAILED);
    assert_says("cancelled");
    hub_pulled_free(&out);
    size_t kept = part_size();
    assert_true(kept >= 90000 && kept <= 120000);
    hub_server_set(server, NULL);
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS - kept);
    check_weights();
}

/* Cancelled while it waits to try again. */
static void test_cancel_waiting(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    struct monitor m = {.report = NULL, .ask = cancel_later};
    (void)state;
    asks_before_cancel = 10;
    hub_server_set(server, &(struct hub_faults){.times = 1, .status = 429, .header = "Retry-After: 200"});
    assert_int_equal(pull_with("hf:" REPOSITORY "/l8/sae", NULL, &m, &out, &err), STATUS_FAILED);
    assert_says("cancelled");
    hub_pulled_free(&out);
}

static enum monitor_request unlock_later(struct monitor *m)
{
    struct watcher *w = (struct watcher *)m;
    if (w->waited && ++w->asks == 5)
        flock(w->lock, LOCK_UN);
    return MONITOR_GO_ON;
}

/* Another program, such as huggingface_hub, is downloading the same file. */
static void test_lock(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    struct watcher w = {.monitor = {.report = watch, .ask = unlock_later}};
    (void)state;
    char *folder = cached(".locks/models--owner--name"), *path = xasprintf("%s/%s.lock", folder, etag);
    assert_ok(make_directories(folder, 0755, &err));
    w.lock = open(path, O_RDWR | O_CREAT, 0644);
    assert_true(w.lock >= 0);
    assert_int_equal(flock(w.lock, LOCK_EX), 0);
    assert_ok(pull_with("hf:" REPOSITORY "/l8/sae", NULL, &w.monitor, &out, &err));
    assert_int_equal(w.waited, 1);
    assert_true(w.asks >= 5);
    check_weights();
    hub_pulled_free(&out);
    close(w.lock);
    free(path);
    free(folder);
}

static void *pull_in_thread(void *arg)
{
    struct error err = {0};
    struct hub_pulled out;
    int *status = arg;
    *status = pull_with("hf:" REPOSITORY "/l8/sae", NULL, NULL, &out, &err);
    hub_pulled_free(&out);
    return NULL;
}

static void test_two_at_once(void **state)
{
    pthread_t threads[2];
    int statuses[2] = {-1, -1};
    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pull_in_thread, &statuses[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(statuses[i], STATUS_OK);
    }
    assert_int_equal(hub_server_requests(server, BODY_REQUEST, NULL), 1);
    check_weights();
}

static void test_damaged_cache(void **state)
{
    struct error err = {0};
    (void)state;
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(config));
    /* A blob that was cut off is not taken for the file. */
    char *name = xasprintf("models--owner--name/blobs/%s", etag), *path = cached(name);
    assert_ok(file_write_atomic(path, "short", 5, &err));
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS);
    check_weights();
    /* A link whose blob was removed. */
    unlink(path);
    pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS);
    check_weights();
    free(path);
    free(name);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, fresh, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_digests),
        TEST(test_layout),
        TEST(test_names_and_pages),
        TEST(test_moved_repository),
        TEST(test_cut),
        TEST(test_cut_for_ever),
        TEST(test_many_cuts),
        TEST(test_resume),
        TEST(test_resume_without_ranges),
        TEST(test_parts),
        TEST(test_unreachable),
        TEST(test_missing),
        TEST(test_gated),
        TEST(test_busy),
        TEST(test_wrong_length),
        TEST(test_wrong_content),
        TEST(test_wrong_hash),
        TEST(test_hostile_names),
        TEST(test_hostile_lists),
        TEST(test_redirects),
        TEST(test_no_signature_shown),
        TEST(test_full_disk),
        TEST(test_huge),
        TEST(test_progress),
        TEST(test_cancel),
        TEST(test_cancel_waiting),
        TEST(test_lock),
        TEST(test_two_at_once),
        TEST(test_damaged_cache),
    };
    if (!http_library_version()) {
        printf("1..0 # SKIP built without libcurl\n");
        return 0;
    }
    return cmocka_run_group_tests_name("hub_pull", tests, set_up, tear_down);
}
