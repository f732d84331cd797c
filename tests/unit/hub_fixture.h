/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A Hub on 127.0.0.1 with a repository of two SAEs, and checks of what is pulled from it. */
#ifndef SAESCOPE_TESTS_HUB_FIXTURE_H
#define SAESCOPE_TESTS_HUB_FIXTURE_H

#include "saescope/formats/hub_internal.h"
#include "tests/support/hub_server.h"
#include "tests/support/support.h"

#define REPOSITORY   "owner/name"
#define SNAPSHOT     "models--owner--name/snapshots/" HUB_COMMIT "/"
#define BODY_REQUEST "GET /cdn/l8/sae/sae_weights.safetensors"

/* README.md, plot.png; l8/sae and "l9/a bé" with cfg.json and sae_weights.safetensors, l8's in Git LFS. */
#define N_WEIGHTS 300000
extern struct hub_server *hub;
extern char hub_weights[N_WEIGHTS], hub_etag[DIGEST_HEX_MAX + 1];
extern const char hub_config[];
extern char *hub_cache; /* the running test's, malloc'd */

int hub_set_up(void **state);
int hub_tear_down(void **state);
/* Each test has a cache, an environment and a server without faults of its own. */
int hub_fresh(void **state);
int hub_clean(void **state);
#define HUB_TEST(test) cmocka_unit_test_setup_teardown(test, hub_fresh, hub_clean)

/* With next to no waits between tries. */
int hub_pull_with(const char *from, const char *glob, struct monitor *m, struct hub_pulled *out,
                  struct error *err);
void hub_pulls(const char *from, uint64_t downloaded);
void hub_refuses(const char *from, int status, const char *says);

char *hub_cached(const char *name); /* its path in the cache, malloc'd */
int hub_is_cached(const char *name);
void hub_check_file(const char *name, const void *data, size_t n);
void hub_check_link(const char *name, const char *target);
void hub_check_weights(void); /* of l8/sae, in the snapshot */
/* The part of l8's weights that an interrupted run left. */
void hub_put_part(const void *data, size_t n);
size_t hub_part_size(void);

#endif
