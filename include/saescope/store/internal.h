/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of src/store share. Tables (LMDB's named databases) and their keys; numbers in keys are
 * big-endian, so that LMDB's byte order is theirs:
 *
 *   meta        "format" -> struct format_record; "next-id", "next-job" -> uint64_t
 *   artifacts   id -> struct artifact_record, name
 *   manifests   id -> sealed JSON
 *   names       name -> uint64_t id
 *   pending     id -> struct pending_record, name: ids without manifest, and what to do with them
 *   references  id referred to, id that refers -> role
 *   index_of    SAE's id -> uint64_t index's id
 *   sizes       id -> uint64_t bytes of its tensors and records
 *   tensors     id, tensor's name -> sealed struct tensor_record
 *   blocks      id, tensor's number (32 bits), block (32 bits) -> struct block_header, rows
 *   records     id, table (32 bits), number -> sealed bytes
 *   labels      SAE's id, latent, source (8 bits) -> sealed text
 *   jobs        job -> JSON
 *
 * A sealed value starts with the 64-bit hash of the rest, which only store_verify looks at.
 */
#ifndef SAESCOPE_STORE_INTERNAL_H
#define SAESCOPE_STORE_INTERNAL_H

#include <lmdb.h>
#include <pthread.h>
#include <string.h>
#include <sys/types.h>
#include "saescope/store/store.h"

enum table {
    TABLE_META,
    TABLE_ARTIFACTS,
    TABLE_MANIFESTS,
    TABLE_NAMES,
    TABLE_PENDING,
    TABLE_REFERENCES,
    TABLE_INDEX_OF,
    TABLE_SIZES,
    TABLE_TENSORS,
    TABLE_BLOCKS,
    TABLE_RECORDS,
    TABLE_LABELS,
    TABLE_JOBS,
    TABLE_COUNT
};

struct store_txn {
    struct store *store;
    MDB_txn *txn;
    int writing;
    struct store_txn *next; /* in store->readers */
};

struct store {
    char *path;
    MDB_env *env;
    MDB_dbi tables[TABLE_COUNT];
    size_t page_size;
    int read_only, exclusive;
    int no_lock;              /* LMDB's own lock file is not used */
    int lock_fd;              /* DIR/saescope.lock, or -1 */
    uint64_t generation_base; /* compact starts LMDB's count again */

    dev_t device; /* of the directory: one process opens an environment once */
    ino_t inode;
    unsigned references;
    struct store *next_open;

    /* The gate that transactions pass: see transactions.c. */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned open_txns;
    int moving;                /* compact is changing the environment: nobody may enter */
    int writing;               /* with no_lock: a write transaction is under way */
    struct store_txn *readers; /* with no_lock */

    char token[48]; /* this process's file in DIR/work, empty until it is needed */
    int token_fd;
};

/* ---- Values. ---- */
#define FORMAT_MAGIC 0x65706f63u /* also tells a store of the other byte order */
struct format_record {
    uint32_t magic, version;
};

struct artifact_record {
    uint32_t kind, reserved;
};

enum pending_mode {
    PENDING_WRITER = 1, /* alive while its process holds the lock on DIR/work/token */
    PENDING_JOB,        /* alive until the job is done, failed or cancelled */
    PENDING_DOOMED      /* to be purged */
};
struct pending_record {
    uint32_t kind, mode;
    uint64_t job;
    uint32_t replace, reserved;
    char token[48];
};
struct pending {
    struct pending_record record;
    char name[NAME_MAX_BYTES + 1];
};

struct tensor_record {
    uint32_t number;
    uint16_t dtype, ndim;
    uint64_t shape[TENSOR_MAX_DIMS];
    uint64_t row_bytes, rows_per_block, n_blocks;
    uint32_t complete, reserved;
};

/*
 * Before the rows of a block. LMDB puts a large value at offset 16 of a page, so that the rows begin at
 * offset 64.
 */
#define BLOCK_MAGIC          0x6b6c6273u
#define BLOCK_HEADER_VERSION 1
struct block_header {
    uint32_t magic;
    uint16_t version, dtype;
    uint64_t id;
    uint32_t number, block;
    uint64_t rows, row_bytes;
    uint64_t checksum; /* hash64 of the rows, seeded with id */
};
_Static_assert(sizeof(struct block_header) == 48, "rows would not start at a 64-byte boundary");

/* ---- Keys. ---- */
#define KEY_MAX 511
struct key {
    size_t n;
    unsigned char bytes[KEY_MAX];
};
struct key key_u64(uint64_t n);
struct key key_string(const char *s); /* at most NAME_MAX_BYTES */
void key_add(struct key *k, uint64_t n, int bytes);
void key_add_string(struct key *k, const char *s);
uint64_t key_number(const void *bytes, int n);

/* ---- Access: these return LMDB's codes. ---- */
int table_get(struct store_txn *t, enum table table, const struct key *k, MDB_val *value);
int table_put(struct store_txn *t, enum table table, const struct key *k, const void *data, size_t n);
int table_delete(struct store_txn *t, enum table table, const struct key *k); /* MDB_NOTFOUND is 0 */
int table_get_u64(struct store_txn *t, enum table table, const struct key *k, uint64_t *n); /* else *n = 0 */
int table_put_u64(struct store_txn *t, enum table table, const struct key *k, uint64_t n);
int sealed_get(struct store_txn *t, enum table table, const struct key *k,
               MDB_val *value); /* without the hash */
int sealed_put(struct store_txn *t, enum table table, const struct key *k, const void *data, size_t n);
int sealed_intact(const MDB_val *sealed);
#define SEAL_BYTES 8

/* Walks the entries whose keys start with a prefix. */
struct walk {
    MDB_cursor *cursor;
    struct key prefix;
    MDB_val key, value;
    int started;
};
int walk_begin(struct store_txn *t, enum table table, const struct key *prefix,
               struct walk *w);                        /* NULL: all */
int walk_next(struct walk *w);                         /* MDB_NOTFOUND at the end */
int walk_seek(struct walk *w, const struct key *from); /* the first entry at or after `from` */
int walk_delete(struct walk *w);
void walk_end(struct walk *w);

/* ---- Transactions. ---- */
int store_fail(struct store *s, int code, struct error *err, const char *doing); /* LMDB's code into err */
int write_begin(struct store *s, struct store_txn *t, struct error *err);
int write_commit(struct store_txn *t, struct error *err);
void write_abort(struct store_txn *t);
int gate_close(struct store *s,
               struct error *err); /* waits until no transaction is open; nobody enters until … */
void gate_open(struct store *s);

/* ---- Environment. ---- */
int environment_open(struct store *s, int create, struct error *err); /* env and tables of s->path */
void environment_close(struct store *s);
int network_file_system(long magic, const char **name);
void lock_holders(int fd, char *out, size_t n); /* "process 12, 34" */

/* ---- Artifacts. ---- */
const char *kind_label(uint32_t kind);                                  /* as in messages: "SAE" */
const char *kind_article(uint32_t kind);                                /* "an" */
int next_number(struct store_txn *t, const char *counter, uint64_t *n); /* counts up from 1; LMDB's code */
int artifact_load(struct store_txn *t, artifact_id id, struct artifact *out);     /* LMDB's code */
void artifact_describe(struct store_txn *t, artifact_id id, char *out, size_t n); /* "index of SAE wn-256" */
int artifact_exists(struct store_txn *t, artifact_id id);                         /* published or pending */
int size_change(struct store_txn *t, artifact_id id, uint64_t add, uint64_t subtract); /* LMDB's code */

int pending_load(struct store_txn *t, artifact_id id, struct pending *out); /* LMDB's code */
int pending_put(struct store_txn *t, artifact_id id, const struct pending *p);
int pending_need(struct store_txn *t, artifact_id id, struct pending *out,
                 struct error *err); /* not a doomed one */
int pending_alive(struct store_txn *t, const struct pending *p, char *who, size_t n);
int name_unclaimed(struct store_txn *t, const char *name, struct error *err);
int writer_token(struct store *s, struct error *err); /* makes s->token */
void writer_token_drop(struct store *s);
void writer_tokens_clean(struct store *s);

struct id_list {
    artifact_id *ids;
    size_t n, capacity;
};
void id_list_add(struct id_list *l, artifact_id id);
int id_list_has(const struct id_list *l, artifact_id id);
/* The artifacts that go with `id`; STATUS_REFUSED when others refer to one of them and not `cascade`. */
int removal_collect(struct store_txn *t, artifact_id id, int cascade, struct id_list *l, struct error *err);
int removal_unpublish(struct store_txn *t, artifact_id id); /* LMDB's code; leaves it doomed */
void purge(struct store *s, artifact_id id); /* of a doomed id; what stays is for the next sweep */

/* ---- Tensors. ---- */
int tensor_record_load(struct store_txn *t, artifact_id id, const char *tensor, struct tensor_record *out);
int tensor_record_parse(const MDB_val *payload, struct tensor_record *out); /* 0, or MDB_CORRUPTED */
size_t tensor_rows(const struct store_tensor *x);
struct store_tensor tensor_view(artifact_id id, const struct tensor_record *r);
/* The block's value with its header checked against x. */
int tensor_block_load(struct store_txn *t, const struct store_tensor *x, size_t block,
                      struct block_header *header, const unsigned char **rows, struct error *err);
size_t block_rows(const struct store_tensor *x, size_t block);

#endif
