/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the tests share: checks that show an error's message, a temporary directory, stores, the demo model,
 * SAEs and jobs. A file of the library is linked only into the tests that use it, so each needs only the
 * rooms that it tests. All functions that have no status fail the running test when something goes wrong.
 */
#ifndef SAESCOPE_TESTS_SUPPORT_H
#define SAESCOPE_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/monitor.h"
#include "saescope/jobs/jobs.h"
#include "saescope/model/model.h"
#include "saescope/sae/sae.h"
#include "saescope/store/store.h"

/* ---- Checks. `err` is the struct error that the call fills. ---- */

#define assert_ok(call)   check_ok((call), #call, &err, __FILE__, __LINE__)
#define assert_says(text) check_says(&err, (text), __FILE__, __LINE__)

void check_ok(int status, const char *call, const struct error *err, const char *file, int line);
void check_says(const struct error *err, const char *text, const char *file, int line);

/* Ends a test that cannot run here, saying why. (cmocka's skip() writes "not ok", which counts as a failure.) */
#define SKIP_TEST(why)                                                                                       \
    do {                                                                                                     \
        print_message("# not run: %s\n", (why));                                                            \
        return;                                                                                              \
    } while (0)

/* ---- Files. ---- */

extern const char *test_directory; /* between set-up and tear-down */

/* Group fixtures, also to be called by others: a new directory under $TMPDIR or /tmp, and its removal. */
int set_up_directory(void **state);
int tear_down_directory(void **state);
void make_directory_in(const char *parent);

/* The same, with OpenBLAS ready and TEST_THREADS threads of ours. */
enum { TEST_THREADS = 2 };
int set_up_threads(void **state);
int tear_down_threads(void **state);

char *test_path(const char *name);                                   /* test_directory/name, malloc'd */
char *write_test_file(const char *name, const void *data, size_t n); /* its path, malloc'd */
void put_test_file(const char *name, const char *text);
/* The folders that such a file is in are made. */
void write_file_in(const char *folder, const char *name, const void *data, size_t n);
void copy_file(const char *from, const char *folder, const char *name);
/* The first `from`, which must be there, becomes `to`. */
void replace_in_file(const char *folder, const char *name, const char *from, const char *to);
char *data_path(const char *name);                                   /* tests/data/name, malloc'd */
char *data_path_in(const char *folder, const char *name);            /* tests/data/folder/name, malloc'd */
char *family_path(const char *family, const char *file); /* tests/data/families/family/file, malloc'd */
/* These files of a family (ending with NULL), alone in a folder of the test's directory; its path, malloc'd.
 */
char *copy_family(const char *family, const char *const *files);
#define MODEL_FILES "config.json", "tokenizer.json", "model.safetensors"
json *parse_json(const char *text);
/* The values of a JSON Lines file, *n of them, malloc'd. */
json **read_json_lines(const char *path, size_t *n);
void free_json_lines(json **lines, size_t n);

/* ---- XML, of the kind that we write: no doctypes, comments or CDATA. ---- */

#define XML_ATTRIBUTES 16
struct xml_element {
    const char *name, *text; /* entities resolved; text: what is directly in it */
    size_t n_attributes, depth; /* depth of the root: 0 */
    const char *attributes[XML_ATTRIBUTES][2]; /* name, value */
};
/* Well-formed or not; each (or NULL) is called with every element when it ends. */
void check_xml(const char *text, void (*each)(const struct xml_element *e, void *arg), void *arg);
const char *xml_attribute(const struct xml_element *e, const char *name); /* NULL: it has none */

/* ---- Monitors. ---- */

/* A monitor's `ask`: cancels when it has been asked this often before. */
extern int asks_before_cancel;
enum monitor_request cancel_later(struct monitor *m);
/* Its `cancelled`: says so when it has been asked this often before. */
extern int looks_before_cancel;
int cancelled_later(struct monitor *m);

/* ---- Stores. ---- */

struct store *open_store_with(const char *name, struct store_options options); /* test_directory/name */
struct store *open_store(const char *name);                                    /* made if it is missing */
/* Group fixtures: test_store, open, with the directory and the threads. */
extern struct store *test_store;
int set_up_store(void **state);
int tear_down_store(void **state);
struct store_txn *begin_reading(struct store *s);
artifact_id find_artifact(struct store *s, enum artifact_kind kind, const char *name); /* 0: none */
json *read_manifest(struct store *s, artifact_id id);

/* {role: id}; {} without a role. */
json *new_references(const char *role, artifact_id id);
/* A manifest with such references and the comment "MANIFEST OF A TEST". */
json *new_manifest(const char *role, artifact_id id);
/* Publishes an artifact that is nothing but such a manifest. */
artifact_id make_artifact2(struct store *s, enum artifact_kind kind, const char *name, const char *role,
                           artifact_id id, const char *role2, artifact_id id2);
artifact_id make_artifact(struct store *s, enum artifact_kind kind, const char *name, const char *role,
                          artifact_id id);
void remove_artifact(struct store *s, artifact_id id); /* with what depends on it */
/* n zeros, with a word in their middle. */
void put_bytes(struct store *s, artifact_id id, const char *tensor, size_t n, const char *word);

size_t table_entries(struct store *s, int table); /* of an enum table */

/* What store_verify says of the store of this name: how many problems, and the last. */
struct problems {
    int n;
    char name[64], tensor[64], message[200];
    uint64_t block;
};
struct problems verify_store(const char *name);

/* ---- Models and texts. ---- */

artifact_id import_demo_model(struct store *s, const char *name);
struct model_config model_config_of(struct store *s, artifact_id model);
artifact_id import_test_text(struct store *s, const char *path); /* as "text", with the model "lm" */

/* ---- SAEs. ---- */

struct sae *new_sae(const char *architecture, size_t d_in, size_t d_sae);
/* Cuts such an SAE of seven latents or more into three blocks, as a large one in the store is. */
void cut_into_blocks(struct sae *sae);
/* A meta-SAE's when there is a base; hook and model may be missing (NULL, 0). */
json *sae_manifest(const char *hook, artifact_id model, artifact_id base);
artifact_id save_sae(struct store *s, const char *name, const struct sae *sae, json *manifest);
/* One that is shipped, for the demo model under this id; imported when it is first asked for. */
artifact_id import_demo_sae(struct store *s, artifact_id model, const char *name);

/* ---- Jobs. ---- */

/* Group fixtures: a directory with a store, and an engine for it. */
extern struct store *job_store;
extern struct job_engine *job_engine;
int set_up_jobs(void **state);
int tear_down_jobs(void **state);

/* `program` runs detached jobs; NULL: this one. */
struct job_engine *start_engine(struct store *s, const char *program);
uint64_t submit_job(struct job_engine *e, const char *kind, json *parameters);
json *await_result(uint64_t id); /* of a job of job_engine */

#endif
