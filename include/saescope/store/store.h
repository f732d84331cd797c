/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The store: one LMDB environment (a directory) with everything in it. Only src/store knows LMDB.
 *
 * An artifact (model, text, SAE or meta-SAE, index, stitch) has a 64-bit id that is never reused, a manifest (a JSON
 * object, immutable once published), tensors cut into blocks of rows, and records. Names map to ids; an index has no
 * name and hangs on its SAE. Everything of an artifact is written under an id that has no manifest yet, one block a
 * transaction; store_publish() makes it visible in one last transaction. What a writer that died left behind is swept
 * by the next writer.
 *
 * Errors: STATUS_STORE for what is wrong with the store itself (none, newer, damaged, full, locked), STATUS_REFUSED
 * for names and ids that are not there or taken. A failed call changes nothing that can be seen.
 *
 * Threads: all calls may come from any thread, but a `struct store_txn` is used by one thread at a time. Calls that
 * write may wait for another writer; never make them on the UI thread.
 */
#ifndef SAESCOPE_STORE_STORE_H
#define SAESCOPE_STORE_STORE_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/base/json.h"
#include "saescope/base/tensor.h"

struct store;
struct store_txn;
typedef uint64_t artifact_id; /* 0: none */

#define STORE_FORMAT_VERSION 1
#define NAME_MAX_BYTES       255

struct store_options {
    const char *path;
    int create;    /* make it when it is missing */
    int read_only; /* also of a store that the user may not write: then without LMDB's locks */
    int exclusive; /* one process, also on a network file system */
};

int store_open(const struct store_options *options, struct store **out, struct error *err);
void store_close(struct store *s); /* no transaction may be open; NULL is fine */
const char *store_path(const struct store *s);
const char *store_library_version(void);
int store_is_read_only(const struct store *s);

/* Counts up with every commit by any process: a view that saw the same number need not look again. */
uint64_t store_generation(struct store *s);

/* ---- Reading. A transaction sees one state; pointers into the map live as long as it. Keep it short: a frame, a
 * query, a slice of a job. ---- */
int store_begin(struct store *s, struct store_txn **out, struct error *err);
void store_end(struct store_txn *t); /* NULL is fine */

enum artifact_kind {
    ARTIFACT_MODEL = 1,
    ARTIFACT_TEXT,
    ARTIFACT_SAE, /* SAEs and meta-SAEs: manifest member "kind" is "sae" or "meta" */
    ARTIFACT_INDEX,
    ARTIFACT_STITCH,
    ARTIFACT_KINDS
};
const char *artifact_kind_name(enum artifact_kind kind); /* "model", "text", "sae", "index", "stitch" */

struct artifact {
    artifact_id id;
    enum artifact_kind kind;
    char name[NAME_MAX_BYTES + 1]; /* empty for an index */
};

/* kind 0: any. STATUS_REFUSED "no SAE named X: did you mean Y?" */
int store_find(struct store_txn *t, enum artifact_kind kind, const char *name, struct artifact *out,
               struct error *err);
int store_get(struct store_txn *t, artifact_id id, struct artifact *out, struct error *err);
/* All of one kind (0: all) by name; malloc'd array. */
int store_list(struct store_txn *t, enum artifact_kind kind, struct artifact **out, size_t *n, struct error *err);
json *store_manifest(struct store_txn *t, artifact_id id, struct error *err); /* a new reference */
uint64_t store_bytes(struct store_txn *t, artifact_id id); /* size of its values, its index included for an SAE */
artifact_id store_index_of(struct store_txn *t, artifact_id sae); /* the SAE's current index, or 0 */

/* NULL-terminated malloc'd array of malloc'd names for completion and suggestions. */
char **store_names(struct store_txn *t, enum artifact_kind kind);
void store_names_free(char **names);

/* 0, or STATUS_REFUSED: 1 to 255 bytes of [A-Za-z0-9._+-], not starting with '-' or '.'. */
int store_check_name(const char *name, struct error *err);

/* ---- Tensors. ---- */
struct store_tensor {
    artifact_id id;
    uint32_t number; /* of the tensor within the artifact */
    enum dtype dtype;
    int ndim;
    size_t shape[TENSOR_MAX_DIMS];
    size_t row_bytes;      /* bytes of one row (all dimensions but the first) */
    size_t rows_per_block; /* blocks are 8 to 32 MiB; a row is never cut */
    size_t n_blocks;
};

int store_tensor_open(struct store_txn *t, artifact_id id, const char *tensor, struct store_tensor *out,
                      struct error *err); /* STATUS_REFUSED when it has no such tensor */
int store_tensor_exists(struct store_txn *t, artifact_id id, const char *tensor);
/* Rows of one block, in the map, at a 64-byte boundary. */
int store_tensor_block(struct store_txn *t, const struct store_tensor *x, size_t block, const void **data,
                       size_t *first_row, size_t *n_rows, struct error *err);
int store_tensor_row(struct store_txn *t, const struct store_tensor *x, size_t row, const void **data,
                     struct error *err);
/* Copies rows [first, first+n) out. */
int store_tensor_read(struct store_txn *t, const struct store_tensor *x, size_t first, size_t n, void *dst,
                      struct error *err);

/* ---- Writing an artifact. ---- */
/* A new id without manifest. `name` (NULL for an index) is claimed: STATUS_REFUSED when it is taken and not `replace`,
 * or when a live writer has claimed it. */
int store_create(struct store *s, enum artifact_kind kind, const char *name, int replace, artifact_id *id,
                 struct error *err);

struct tensor_writer;
/* Rows are appended in order; a full block is committed as soon as it is there. */
int store_tensor_begin(struct store *s, artifact_id id, const char *tensor, enum dtype dtype, int ndim,
                       const size_t *shape, struct tensor_writer **out, struct error *err);
/* The same with shape[0] not known before store_tensor_finish (texts). */
int store_tensor_begin_growing(struct store *s, artifact_id id, const char *tensor, enum dtype dtype, int ndim,
                               const size_t *shape, struct tensor_writer **out, struct error *err);
int store_tensor_append(struct tensor_writer *w, const void *rows, size_t n_rows, struct error *err);
/*
 * Without a copy, of a tensor whose size is known and to which nothing is appended: `read` puts rows [first, first + n), a block,
 * where they are written from; while there are rows left, it is called again. `ahead`: the block before is committed on this
 * thread while `read` runs on another one, which pays when rows are only copied.
 */
typedef int tensor_read(void *arg, size_t first, size_t n, void *rows, struct error *err);
int store_tensor_fill(struct tensor_writer *w, int ahead, tensor_read *read, void *arg, struct error *err);
size_t store_tensor_left(const struct tensor_writer *w);
int store_tensor_finish(struct tensor_writer *w, struct error *err); /* frees w in any case */
void store_tensor_abandon(struct tensor_writer *w);
int store_tensor_put(struct store *s, artifact_id id, const char *tensor, const struct tensor *x, struct error *err);

/*
 * Makes it visible: takes over `manifest` (a member "references": {"role": id, ...} names what it needs; "kind" etc.
 * as the room that writes it says). A replaced artifact of the same name is removed in the same transaction; refused
 * when something else refers to it. For an index, the SAE's earlier index goes.
 */
int store_publish(struct store *s, artifact_id id, json *manifest, struct error *err);
/* Takes everything written under an unpublished id away again. */
void store_abandon(struct store *s, artifact_id id);

/*
 * What keeps an unpublished id from being swept: the life of the process that created it, or, after store_hold, a job
 * record (while there is one whose member "state" is not "done", "failed" or "cancelled"), or, after store_adopt, the
 * life of the process that goes on with it. A tensor may be begun again as long as the id is unpublished.
 */
int store_hold(struct store *s, artifact_id id, uint64_t job, struct error *err);
int store_adopt(struct store *s, artifact_id id, struct error *err);

/* STATUS_REFUSED while something refers to it, naming what, unless cascade. *removed counts artifacts. */
int store_remove(struct store *s, artifact_id id, int cascade, size_t *removed, struct error *err);
int store_rename(struct store *s, artifact_id id, const char *new_name, struct error *err);

/* ---- Records: small values of an artifact by (table, number), for example one per latent. ---- */
enum record_table {
    RECORD_CONTEXTS = 1, /* of an index: a latent's top and sampled contexts */
    RECORD_TOKENIZER,    /* of a model: compiled vocabulary parts */
    RECORD_PARENTS,      /* of a stitch: a large latent's parents in the small SAE */
    RECORD_LOGITS        /* of an imported index: the tokens that a latent raises and lowers most */
};
/* *data = NULL, *n = 0 when there is none; the pointer lives as long as the transaction; no alignment. */
int store_record(struct store_txn *t, artifact_id id, enum record_table table, uint64_t number, const void **data,
                 size_t *n, struct error *err);
struct record {
    uint64_t number;
    const void *data;
    size_t n;
};
/* Writes `count` records, ascending by number, in one transaction. */
int store_put_records(struct store *s, artifact_id id, enum record_table table, const struct record *records,
                      size_t count, struct error *err);

/* ---- Labels: text of a latent, by (SAE, latent, source); mutable. ---- */
enum label_source { LABEL_USER = 1, LABEL_IMPORTED = 2, LABEL_AUTO = 3 }; /* the lowest that is there is shown */
struct label {
    uint64_t latent;
    enum label_source source;
    const char *text; /* not NUL-terminated when read from the map */
    size_t n;
};
/* The label to show; text NULL when there is none. */
int store_label(struct store_txn *t, artifact_id sae, uint64_t latent, struct label *out, struct error *err);
/* Shown labels in latent order; stops when fn returns non-zero. */
int store_labels_each(struct store_txn *t, artifact_id sae, int (*fn)(const struct label *label, void *arg), void *arg,
                      struct error *err);
/* Sets (text) or removes (text NULL) labels in one transaction. */
int store_put_labels(struct store *s, artifact_id sae, const struct label *labels, size_t count, struct error *err);

/* ---- Job records (the job's state file beside it is src/jobs' own). ---- */
int store_job_create(struct store *s, json *record, uint64_t *id, struct error *err); /* ids count up from 1 */
json *store_job(struct store_txn *t, uint64_t id, struct error *err); /* STATUS_REFUSED "no job N" */
int store_job_put(struct store *s, uint64_t id, const json *record, struct error *err);
int store_jobs(struct store_txn *t, uint64_t **ids, size_t *n, struct error *err); /* ascending; malloc'd */

/* ---- Upkeep. ---- */
struct store_problem {
    const char *name, *tensor;
    uint64_t block;
    const char *message;
};
struct monitor;
/* Checks every block's checksum and every reference; calls problem for each. */
int store_verify(struct store *s, struct monitor *m, void (*problem)(const struct store_problem *p, void *arg),
                 void *arg, struct error *err);
/* Rewrites the environment without free pages: in place (exclusive) or to a new directory. */
int store_compact(struct store *s, const char *to, struct error *err);

/* DIR/work/… and DIR/jobs/…: plain files of runs; malloc'd paths, made when missing. */
char *store_work_directory(struct store *s, uint64_t job, struct error *err);
char *store_jobs_directory(struct store *s, struct error *err);
int store_sweep(struct store *s, struct error *err); /* ids whose writer is gone */

#endif
