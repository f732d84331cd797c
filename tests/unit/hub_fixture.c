/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A Hub with two SAEs, and pulling from it. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hub_fixture.h"
#include "saescope/base/memory.h"

#define NO_WAIT 0.001

struct hub_server *hub;
char hub_weights[N_WEIGHTS], hub_etag[DIGEST_HEX_MAX + 1], *hub_cache;
const char hub_config[] = "{\"architecture\": \"standard\"}\n";
static int n_caches;

int hub_set_up(void **state)
{
    struct digest *d;
    set_up_directory(state);
    setenv("HOME", test_directory, 1);
    for (size_t i = 0; i < N_WEIGHTS; i++)
        hub_weights[i] = (char)(i * 2654435761u >> 13);
    assert_int_equal(digest_start(DIGEST_SHA256, N_WEIGHTS, &d, NULL), STATUS_OK);
    digest_add(d, hub_weights, N_WEIGHTS);
    digest_end(d, hub_etag);
    hub = hub_server_start(REPOSITORY);
    hub_server_add(hub, "README.md", "hello\n", 6, 0);
    hub_server_add(hub, "l8/sae/cfg.json", hub_config, strlen(hub_config), 0);
    hub_server_add(hub, "l8/sae/sae_weights.safetensors", hub_weights, N_WEIGHTS, 1);
    hub_server_add(hub, "l8/sae/plot.png", hub_weights, 1000, 0);
    hub_server_add(hub, "l9/a b\xc3\xa9/cfg.json", hub_config, strlen(hub_config), 0);
    hub_server_add(hub, "l9/a b\xc3\xa9/sae_weights.safetensors", hub_weights, 5000, 0);
    return 0;
}

int hub_tear_down(void **state)
{
    hub_server_stop(hub);
    return tear_down_directory(state);
}

/* Each test has a cache, an environment and a server of its own. */
int hub_fresh(void **state)
{
    (void)state;
    char *name = xasprintf("cache%d", n_caches++);
    hub_cache = test_path(name);
    free(name);
    setenv("HF_ENDPOINT", hub_server_endpoint(hub), 1);
    setenv("HF_HUB_CACHE", hub_cache, 1);
    setenv("no_proxy", "127.0.0.1", 1);
    unsetenv("HF_TOKEN");
    unsetenv("HF_HOME");
    unsetenv("HF_HUB_OFFLINE");
    hub_server_set(hub, NULL);
    return 0;
}

int hub_clean(void **state)
{
    (void)state;
    free(hub_cache);
    return 0;
}

int hub_pull_with(const char *from, const char *glob, struct monitor *m, struct hub_pulled *out,
                  struct error *err)
{
    struct hub_source source;
    assert_int_equal(hub_source_parse(from, &source, err), STATUS_OK);
    struct hub_pull what = {.source = &source, .glob = glob, .wait = NO_WAIT};
    int status = hub_pull(&what, m, out, err);
    hub_source_free(&source);
    return status;
}

void hub_pulls(const char *from, uint64_t downloaded)
{
    struct error err = {0};
    struct hub_pulled out;
    assert_ok(hub_pull_with(from, NULL, NULL, &out, &err));
    assert_int_equal(out.downloaded, downloaded);
    hub_pulled_free(&out);
}

void hub_refuses(const char *from, int status, const char *says)
{
    struct error err = {0};
    struct hub_pulled out;
    int got = hub_pull_with(from, NULL, NULL, &out, &err);
    assert_says(says);
    assert_int_equal(got, status);
    hub_pulled_free(&out);
}

char *hub_cached(const char *name)
{
    return path_join(hub_cache, name);
}

int hub_is_cached(const char *name)
{
    char *path = hub_cached(name);
    int there = path_exists(path);
    free(path);
    return there;
}

void hub_check_file(const char *name, const void *data, size_t n)
{
    struct error err = {0};
    struct strbuf text = STRBUF_INIT;
    char *path = hub_cached(name);
    assert_ok(file_read(path, 1 << 24, &text, &err));
    assert_int_equal(text.length, n);
    assert_memory_equal(text.data, data, n);
    strbuf_free(&text);
    free(path);
}

void hub_check_link(const char *name, const char *target)
{
    char text[256] = "";
    char *path = hub_cached(name);
    assert_true(readlink(path, text, sizeof text - 1) > 0);
    assert_string_equal(text, target);
    free(path);
}

void hub_check_weights(void)
{
    hub_check_file(SNAPSHOT "l8/sae/sae_weights.safetensors", hub_weights, N_WEIGHTS);
}

/* What an earlier run left of the weights. */
void hub_put_part(const void *data, size_t n)
{
    struct error err = {0};
    char *blobs = hub_cached("models--owner--name/blobs"),
         *path = xasprintf("%s/%s.incomplete", blobs, hub_etag);
    assert_ok(make_directories(blobs, 0755, &err));
    assert_ok(file_write_atomic(path, data, n, &err));
    free(path);
    free(blobs);
}

size_t hub_part_size(void)
{
    struct stat st;
    char *name = xasprintf("models--owner--name/blobs/%s.incomplete", hub_etag), *path = hub_cached(name);
    size_t n = stat(path, &st) == 0 ? (size_t)st.st_size : 0;
    free(path);
    free(name);
    return n;
}
