/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pulling from servers that refuse, fail, lie or lead astray. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub_fixture.h"
#include "saescope/base/memory.h"

/* ---- Statuses. ---- */

static void test_missing(void **state)
{
    (void)state;
    hub_refuses("hf:" REPOSITORY "@dev", STATUS_REFUSED, "owner/name has no revision dev");
    hub_refuses("hf:" REPOSITORY "/nowhere", STATUS_REFUSED, "owner/name at main has no nowhere");
    hub_refuses("hf:other/name", STATUS_REFUSED, "has no repository other/name");
    hub_refuses("hf:other/name", STATUS_REFUSED, "set HF_TOKEN");
    setenv("HF_TOKEN", "hf_secret", 1);
    hub_refuses("hf:other/name", STATUS_REFUSED, "or the token that is set (HF_TOKEN) may not read it");
    hub_server_set(hub, &(struct hub_faults){.on = "GET /cdn/", .times = 1, .status = 404});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED,
                "owner/name at main has no l8/sae/sae_weights.safetensors");
    hub_server_set(hub, &(struct hub_faults){.on = "GET /cdn/", .times = 1, .status = 418});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED,
                "l8/sae/sae_weights.safetensors: the server answers with HTTP 418");
    assert_false(hub_is_cached(SNAPSHOT "l8/sae/sae_weights.safetensors"));
}

static void test_gated(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    (void)state;
    hub_server_set(hub, &(struct hub_faults){.gated = 1});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED,
                "owner/name is gated: accept its terms on http://127.0.0.1:");
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED, "set HF_TOKEN to a token of that account");
    setenv("HF_TOKEN", "hf_secret", 1);
    assert_int_equal(hub_pull_with("hf:" REPOSITORY "/l8/sae", NULL, NULL, &out, &err), STATUS_REFUSED);
    assert_says("see that the token that is set (HF_TOKEN) is of that account");
    assert_null(strstr(err.message, "hf_secret"));
    hub_pulled_free(&out);
    hub_server_set(hub, &(struct hub_faults){.token = "hf_right"});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED, "the one that is set (HF_TOKEN) is not accepted");
    setenv("HF_TOKEN", "hf_right", 1);
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(hub_config));
}

static void test_busy(void **state)
{
    double start = clock_seconds();
    (void)state;
    /* The wait that is asked for is kept, however short ours would be. */
    hub_server_set(
        hub, &(struct hub_faults){.on = "/tree/", .times = 1, .status = 429, .header = "Retry-After: 1"});
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(hub_config));
    assert_true(clock_seconds() - start >= 0.95);
    assert_int_equal(hub_server_requests(hub, "/tree/", NULL), 2);
    start = clock_seconds();
    hub_server_set(
        hub, &(struct hub_faults){
                 .on = "/revision/", .times = 1, .status = 429, .header = "RateLimit: \"api\";r=0;t=1"});
    hub_pulls("hf:" REPOSITORY "/l8/sae", 0);
    assert_true(clock_seconds() - start >= 0.95);
    hub_server_set(
        hub, &(struct hub_faults){.on = "/tree/", .times = 1, .status = 429, .header = "Retry-After: 3600"});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "asks for a pause of 3600 seconds");
    hub_server_set(hub, &(struct hub_faults){.times = 100, .status = 429});
    hub_refuses("hf:" REPOSITORY "/l9", STATUS_FAILED, "too many requests (HTTP 429)");
    assert_true(hub_server_requests(hub, NULL, NULL) <= 6);
    hub_server_set(hub, &(struct hub_faults){.times = 2, .status = 503, .on = "HEAD "});
    hub_pulls("hf:" REPOSITORY "@refs/pr/1/l9", 5000);
    hub_server_set(hub, &(struct hub_faults){.times = 100, .status = 500, .on = "GET /cdn/"});
    free(hub_cache);
    hub_cache = test_path("cache-busy");
    setenv("HF_HUB_CACHE", hub_cache, 1);
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "HTTP 500");
    assert_int_equal(hub_server_requests(hub, BODY_REQUEST, NULL), 6);
}

/* ---- Contents. ---- */

static void test_wrong_length(void **state)
{
    (void)state;
    hub_server_set(hub, &(struct hub_faults){.short_by = 10});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "cfg.json: the server ");
    hub_server_set(hub, &(struct hub_faults){.short_by = -1});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED,
                "cfg.json: longer than the 29 bytes that the Hub says");
    assert_false(hub_is_cached(SNAPSHOT "l8/sae/cfg.json"));
}

static void test_wrong_content(void **state)
{
    (void)state;
    hub_server_set(hub, &(struct hub_faults){.corrupt = 1});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED, "cfg.json: its Git name is ");
    hub_server_set(hub, NULL);
    hub_pulls("hf:" REPOSITORY "/l8/sae/cfg.json", strlen(hub_config));
    assert_false(hub_is_cached(SNAPSHOT "l8/sae/sae_weights.safetensors"));
}

static void test_wrong_hash(void **state)
{
    (void)state;
    struct error err = {0};
    struct hub_pulled out;
    hub_server_set(hub, &(struct hub_faults){.corrupt = 1});
    assert_int_equal(hub_pull_with("hf:" REPOSITORY, "*.safetensors", NULL, &out, &err), STATUS_REFUSED);
    assert_says("l8/sae/sae_weights.safetensors: its SHA-256 is ");
    assert_says(hub_etag);
    hub_pulled_free(&out);
    assert_int_equal(hub_part_size(), 0); /* what is known to be wrong is not gone on with */
    assert_false(hub_is_cached(SNAPSHOT "l8/sae/sae_weights.safetensors"));
    hub_server_set(hub, NULL);
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(hub_config));
    hub_check_weights();
}

static void test_hostile_names(void **state)
{
    static const char *const names[] = {"../x",  "/etc/x",  "a/../../x", "a\\\\b", "a\\u0000b",
                                        "a//b",  "",        ".",         "a/",     "..",
                                        "a\\nb", "\\u0000", "a/.",       "\\u007f"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        char *tree = xasprintf("[{\"type\":\"file\",\"path\":\"%s\",\"size\":3,\"oid\":\"\"}]", names[i]);
        hub_server_set(hub, &(struct hub_faults){.tree = tree});
        hub_refuses("hf:" REPOSITORY, STATUS_REFUSED,
                    "which is no path in a repository: nothing was downloaded");
        assert_int_equal(hub_server_requests(hub, "resolve", NULL), 0);
        free(tree);
    }
    assert_false(path_exists(hub_cache));
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
        hub_server_set(hub, &(struct hub_faults){.tree = trees[i][0]});
        hub_refuses("hf:" REPOSITORY,
                    strstr(trees[i][1], "a Hub") || strstr(trees[i][1], "size") ? STATUS_FAILED
                                                                                : STATUS_REFUSED,
                    trees[i][1]);
    }
    hub_server_set(hub, &(struct hub_faults){.on = "HEAD ", .times = 1, .status = 200});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "X-Repo-Commit is not the commit");
    hub_server_set(hub, &(struct hub_faults){.on = "/revision/", .times = 1, .status = 200});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_REFUSED, "line 1");
}

/* ---- Redirects. ---- */

static void test_redirects(void **state)
{
    (void)state;
    setenv("HF_TOKEN", "hf_secret", 1);
    hub_server_set(hub, &(struct hub_faults){.redirect_to = "file:///etc/passwd"});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "redirects to no HTTP address");
    hub_server_set(hub, &(struct hub_faults){.redirect_to = ""});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "redirects");
    hub_server_set(
        hub, &(struct hub_faults){.on = "/tree/", .times = 100, .status = 302, .header = "Location: ?a"});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "more than 10 redirects");
    /* Within the Hub the token goes along. */
    struct hub_request q;
    hub_server_set(hub, &(struct hub_faults){.direct = 1, .token = "hf_secret"});
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS);
    hub_check_weights();
    assert_int_equal(hub_server_requests(hub, "GET /owner/name/resolve/", &q), 1);
    assert_string_equal(q.authorization, "Bearer hf_secret");
}

/* The signature in a CDN's address is a secret too. */
static void test_no_signature_shown(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    (void)state;
    hub_server_set(hub, &(struct hub_faults){.redirect_to = "http://127.0.0.1:1/x?signature=SECRET#y"});
    assert_int_equal(hub_pull_with("hf:" REPOSITORY "/l8/sae", NULL, NULL, &out, &err), STATUS_FAILED);
    assert_says("http://127.0.0.1:1/x: ");
    assert_null(strstr(err.message, "SECRET"));
    hub_pulled_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(test_missing),       HUB_TEST(test_gated),
        HUB_TEST(test_busy),          HUB_TEST(test_wrong_length),
        HUB_TEST(test_wrong_content), HUB_TEST(test_wrong_hash),
        HUB_TEST(test_hostile_names), HUB_TEST(test_hostile_lists),
        HUB_TEST(test_redirects),     HUB_TEST(test_no_signature_shown),
    };
    if (!http_library_version()) {
        printf("1..0 # SKIP built without libcurl\n");
        return 0;
    }
    return cmocka_run_group_tests_name("hub_faults", tests, hub_set_up, hub_tear_down);
}
