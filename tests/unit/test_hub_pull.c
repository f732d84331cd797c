/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pulling: what lies where in the cache, and what goes on after cuts, kills, full disks and impatience. */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hub_fixture.h"
#include "saescope/base/memory.h"

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
    char *folder = hub_cached(SNAPSHOT "l8/sae"), *target = xasprintf("../../../../blobs/%s", hub_etag);
    setenv("HF_TOKEN", "hf_secret", 1);
    assert_ok(hub_pull_with("hf:" REPOSITORY "/l8/sae", NULL, NULL, &out, &err));
    assert_int_equal(out.content, HUB_SAE);
    assert_string_equal(out.path, folder);
    assert_string_equal(out.commit, HUB_COMMIT);
    assert_string_equal(out.origin, "hf:" REPOSITORY "@" HUB_COMMIT "/l8/sae");
    assert_int_equal(out.files, 2);
    assert_int_equal(out.bytes, N_WEIGHTS + strlen(hub_config));
    assert_int_equal(out.downloaded, out.bytes);
    assert_false(out.offline);
    hub_pulled_free(&out);
    hub_check_file("models--owner--name/refs/main", HUB_COMMIT, 40);
    hub_check_weights();
    hub_check_link(SNAPSHOT "l8/sae/sae_weights.safetensors", target);
    hub_check_file(SNAPSHOT "l8/sae/cfg.json", hub_config, strlen(hub_config));
    assert_false(hub_is_cached(SNAPSHOT "l8/sae/plot.png"));
    assert_false(hub_is_cached(SNAPSHOT "README.md"));
    assert_int_equal(hub_part_size(), 0);

    /* The token is for the Hub, not for where it sends us. */
    assert_int_equal(hub_server_requests(hub, BODY_REQUEST, &q), 1);
    assert_true(q.cdn);
    assert_string_equal(q.authorization, "");
    assert_int_equal(hub_server_leaks(hub), 0);
    assert_true(hub_server_requests(hub, "HEAD /owner/name/resolve/" HUB_COMMIT "/l8/sae/sae_weights", &q) ==
                1);
    assert_string_equal(q.authorization, "Bearer hf_secret");

    /* Again: nothing but the list. */
    hub_server_set(hub, NULL);
    hub_pulls("hf:" REPOSITORY "/l8/sae", 0);
    assert_int_equal(hub_server_requests(hub, "resolve", NULL), 0);
    /* Another revision with the same content: a link more. */
    hub_pulls("hf:" REPOSITORY "@refs/pr/1/l8/sae", 0);
    hub_check_file("models--owner--name/refs/refs/pr/1", HUB_OTHER_COMMIT, 40);
    hub_check_link("models--owner--name/snapshots/" HUB_OTHER_COMMIT "/l8/sae/sae_weights.safetensors",
                   target);
    assert_int_equal(hub_server_requests(hub, BODY_REQUEST, NULL), 0);
    free(target);
    free(folder);
}

static void test_names_and_pages(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    (void)state;
    hub_pulls("hf:" REPOSITORY "/l9/a b\xc3\xa9", 5000 + strlen(hub_config));
    hub_check_file(SNAPSHOT "l9/a b\xc3\xa9/sae_weights.safetensors", hub_weights, 5000);
    hub_server_set(hub, &(struct hub_faults){.page = 2});
    hub_refuses("hf:" REPOSITORY, STATUS_REFUSED,
                "holds 2 SAEs: name one of their folders or files: l8/sae, l9/");
    assert_int_equal(hub_server_requests(hub, "/tree/", NULL), 3);
    hub_server_set(hub, &(struct hub_faults){.page = 1});
    assert_ok(hub_pull_with("hf:" REPOSITORY, "*.md", NULL, &out, &err));
    assert_int_equal(out.files, 1);
    assert_int_equal(out.content, HUB_NONE);
    hub_pulled_free(&out);
    assert_int_equal(hub_server_requests(hub, "/tree/", NULL), 6);
    hub_check_file(SNAPSHOT "README.md", "hello\n", 6);
    /* A single file. */
    hub_pulls("hf:" REPOSITORY "/l8/sae/sae_weights.safetensors",
              N_WEIGHTS); /* the config has come with l9's */
    hub_check_weights();
}

static void test_moved_repository(void **state)
{
    (void)state;
    setenv("HF_TOKEN", "hf_secret", 1);
    hub_server_set(hub, &(struct hub_faults){.moved = 1, .token = "hf_secret"});
    hub_pulls("hf:old/name/l8/sae", N_WEIGHTS + strlen(hub_config));
    hub_check_file("models--old--name/snapshots/" HUB_COMMIT "/l8/sae/sae_weights.safetensors", hub_weights,
                   N_WEIGHTS);
    assert_int_equal(hub_server_leaks(hub), 0);
}

/* ---- Connections. ---- */

static void test_cut(void **state)
{
    struct hub_request q;
    (void)state;
    hub_server_set(hub, &(struct hub_faults){.cuts = 2, .cut_after = 100000});
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(hub_config));
    assert_int_equal(hub_server_requests(hub, BODY_REQUEST, &q), 3);
    assert_string_equal(q.range, "bytes=200000-");
    hub_check_weights();
}

static void test_cut_for_ever(void **state)
{
    (void)state;
    hub_server_set(hub, &(struct hub_faults){.cuts = 1000, .cut_after = 7});
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED, "given up after 6 tries");
    assert_true(hub_server_requests(hub, NULL, NULL) < 30);
}

/* As long as bytes come, it goes on. */
static void test_many_cuts(void **state)
{
    (void)state;
    hub_server_set(hub, &(struct hub_faults){.cuts = 1000, .cut_after = 66000});
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(hub_config));
    hub_check_weights();
    hub_server_set(hub, &(struct hub_faults){.cuts = 7, .cut_after = 66000, .ignore_ranges = 1});
    hub_pulls("hf:" REPOSITORY "@refs/pr/1/l8/sae", 0);
}

static void test_resume(void **state)
{
    struct hub_request q;
    (void)state;
    hub_put_part(hub_weights, 123456);
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS - 123456 + strlen(hub_config));
    assert_int_equal(hub_server_requests(hub, BODY_REQUEST, &q), 1);
    assert_string_equal(q.range, "bytes=123456-");
    hub_check_weights();
}

static void test_resume_without_ranges(void **state)
{
    (void)state;
    hub_put_part(hub_weights, 123456);
    hub_server_set(hub, &(struct hub_faults){.ignore_ranges = 1});
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(hub_config));
    hub_check_weights();
}

/* A part that is whole, wrong, or longer than the file. */
static void test_parts(void **state)
{
    char other[N_WEIGHTS + 10];
    (void)state;
    hub_put_part(hub_weights, N_WEIGHTS);
    hub_pulls("hf:" REPOSITORY "/l8/sae", strlen(hub_config));
    hub_check_weights();
    free(hub_cache);
    hub_cache = test_path("cache-wrong");
    setenv("HF_HUB_CACHE", hub_cache, 1);
    memset(other, 1, sizeof other);
    hub_put_part(other, 1000);
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS - 1000 + N_WEIGHTS + strlen(hub_config));
    hub_check_weights();
    free(hub_cache);
    hub_cache = test_path("cache-long");
    setenv("HF_HUB_CACHE", hub_cache, 1);
    hub_put_part(other, sizeof other);
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(hub_config));
    hub_check_weights();
}

static void test_unreachable(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    (void)state;
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(hub_config));
    setenv("HF_ENDPOINT", "http://127.0.0.1:1", 1);
    assert_ok(hub_pull_with("hf:" REPOSITORY "/l8/sae", NULL, NULL, &out, &err)); /* what is in the cache */
    assert_true(out.offline);
    hub_pulled_free(&out);
    hub_refuses("hf:" REPOSITORY "/l9", STATUS_FAILED,
                "http://127.0.0.1:1/api/models/owner/name/revision/main: ");
    setenv("HF_HUB_OFFLINE", "1", 1);
    setenv("HF_ENDPOINT", hub_server_endpoint(hub), 1);
    hub_server_set(hub, NULL);
    hub_pulls("hf:" REPOSITORY "/l8/sae", 0);
    hub_refuses("hf:" REPOSITORY "/l9", STATUS_REFUSED, "HF_HUB_OFFLINE is set");
    assert_int_equal(hub_server_requests(hub, NULL, NULL), 0);
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
    hub_refuses("hf:" REPOSITORY "/l8/sae", STATUS_FAILED,
                "the first 200.0 kB of 300.0 kB are kept: make room and pull again to go on from there");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(hub_part_size(), 200000);
    hub_server_set(hub, NULL);
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS - 200000);
    hub_check_weights();
}

static void test_huge(void **state)
{
    (void)state;
    hub_server_set(
        hub, &(struct hub_faults){
                 .tree = "[{\"type\":\"file\",\"path\":\"a.pt\",\"size\":1000000000000000,\"oid\":\"\"}]"});
    hub_refuses("hf:" REPOSITORY, STATUS_FAILED, "are to be downloaded, but");
    assert_int_equal(hub_server_requests(hub, "resolve", NULL), 0);
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
    assert_ok(hub_pull_with("hf:" REPOSITORY "/l8/sae", NULL, &w.monitor, &out, &err));
    assert_int_equal(w.last, N_WEIGHTS + strlen(hub_config));
    assert_false(w.went_back);
    hub_pulled_free(&out);
}

static void test_cancel(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    struct watcher w = {.monitor = {.report = watch, .ask = cancel_in_time}, .cancel_at = 100000};
    (void)state;
    hub_server_set(hub, &(struct hub_faults){.cuts = 1, .cut_after = 120000, .stall = 1});
    assert_int_equal(hub_pull_with("hf:" REPOSITORY "/l8/sae", NULL, &w.monitor, &out, &err), STATUS_FAILED);
    assert_says("cancelled");
    hub_pulled_free(&out);
    size_t kept = hub_part_size();
    assert_true(kept >= 90000 && kept <= 120000);
    hub_server_set(hub, NULL);
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS - kept);
    hub_check_weights();
}

/* Cancelled while it waits to try again. */
static void test_cancel_waiting(void **state)
{
    struct error err = {0};
    struct hub_pulled out;
    struct monitor m = {.report = NULL, .ask = cancel_later};
    (void)state;
    asks_before_cancel = 10;
    hub_server_set(hub, &(struct hub_faults){.times = 1, .status = 429, .header = "Retry-After: 200"});
    assert_int_equal(hub_pull_with("hf:" REPOSITORY "/l8/sae", NULL, &m, &out, &err), STATUS_FAILED);
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
    char *folder = hub_cached(".locks/models--owner--name"),
         *path = xasprintf("%s/%s.lock", folder, hub_etag);
    assert_ok(make_directories(folder, 0755, &err));
    w.lock = open(path, O_RDWR | O_CREAT, 0644);
    assert_true(w.lock >= 0);
    assert_int_equal(flock(w.lock, LOCK_EX), 0);
    assert_ok(hub_pull_with("hf:" REPOSITORY "/l8/sae", NULL, &w.monitor, &out, &err));
    assert_int_equal(w.waited, 1);
    assert_true(w.asks >= 5);
    hub_check_weights();
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
    *status = hub_pull_with("hf:" REPOSITORY "/l8/sae", NULL, NULL, &out, &err);
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
    assert_int_equal(hub_server_requests(hub, BODY_REQUEST, NULL), 1);
    hub_check_weights();
}

static void test_damaged_cache(void **state)
{
    struct error err = {0};
    (void)state;
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS + strlen(hub_config));
    /* A blob that was cut off is not taken for the file. */
    char *name = xasprintf("models--owner--name/blobs/%s", hub_etag), *path = hub_cached(name);
    assert_ok(file_write_atomic(path, "short", 5, &err));
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS);
    hub_check_weights();
    /* A link whose blob was removed. */
    unlink(path);
    hub_pulls("hf:" REPOSITORY "/l8/sae", N_WEIGHTS);
    hub_check_weights();
    free(path);
    free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST(test_digests),
        HUB_TEST(test_layout),
        HUB_TEST(test_names_and_pages),
        HUB_TEST(test_moved_repository),
        HUB_TEST(test_cut),
        HUB_TEST(test_cut_for_ever),
        HUB_TEST(test_many_cuts),
        HUB_TEST(test_resume),
        HUB_TEST(test_resume_without_ranges),
        HUB_TEST(test_parts),
        HUB_TEST(test_unreachable),
        HUB_TEST(test_full_disk),
        HUB_TEST(test_huge),
        HUB_TEST(test_progress),
        HUB_TEST(test_cancel),
        HUB_TEST(test_cancel_waiting),
        HUB_TEST(test_lock),
        HUB_TEST(test_two_at_once),
        HUB_TEST(test_damaged_cache),
    };
    if (!http_library_version()) {
        printf("1..0 # SKIP built without libcurl\n");
        return 0;
    }
    return cmocka_run_group_tests_name("hub_pull", tests, hub_set_up, hub_tear_down);
}
