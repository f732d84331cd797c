/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Labels of latents. Of the labels by different sources, the first in key order is the one to show. */
#include "config.h"

#include <stdlib.h>
#include "saescope/store/internal.h"

#define LABEL_MAX_BYTES ((size_t)64 << 10)

static int label_from(const struct walk *w, struct label *out)
{
    const unsigned char *key = w->key.mv_data;

    if (w->key.mv_size != 17 || w->value.mv_size < SEAL_BYTES || key[16] < LABEL_USER || key[16] > LABEL_AUTO)
        return MDB_CORRUPTED;
    out->latent = key_number(key + 8, 8);
    out->source = (enum label_source)key[16];
    out->text = (const char *)w->value.mv_data + SEAL_BYTES;
    out->n = w->value.mv_size - SEAL_BYTES;
    return 0;
}

int store_label(struct store_txn *t, artifact_id sae, uint64_t latent, struct label *out, struct error *err)
{
    struct key key = key_u64(sae);
    struct walk w;
    int rc;

    memset(out, 0, sizeof *out);
    out->latent = latent;
    key_add(&key, latent, 8);
    rc = walk_begin(t, TABLE_LABELS, &key, &w);
    if (!rc)
        rc = walk_next(&w);
    if (!rc)
        rc = label_from(&w, out);
    walk_end(&w);
    return rc && rc != MDB_NOTFOUND ? store_fail(t->store, rc, err, "read a label") : 0;
}

int store_labels_each(struct store_txn *t, artifact_id sae, int (*fn)(const struct label *label, void *arg),
                      void *arg, struct error *err)
{
    struct key key = key_u64(sae);
    struct label label;
    uint64_t last = 0;
    int rc, any = 0, stop = 0;
    struct walk w;

    rc = walk_begin(t, TABLE_LABELS, &key, &w);
    while (!rc && !stop && !(rc = walk_next(&w)) && !(rc = label_from(&w, &label))) {
        if (any && label.latent == last)
            continue;
        any = 1;
        last = label.latent;
        stop = fn(&label, arg);
    }
    walk_end(&w);
    return rc && rc != MDB_NOTFOUND ? store_fail(t->store, rc, err, "read labels") : 0;
}

static int labels_check(const struct label *labels, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (labels[i].source < LABEL_USER || labels[i].source > LABEL_AUTO)
            return error_set(err, STATUS_FAILED, "label of latent %llu: no such source",
                             (unsigned long long)labels[i].latent);
        if (labels[i].text && labels[i].n > LABEL_MAX_BYTES)
            return error_set(err, STATUS_REFUSED,
                             "the label of latent %llu has %zu bytes, and %zu is the most",
                             (unsigned long long)labels[i].latent, labels[i].n, LABEL_MAX_BYTES);
    }
    return 0;
}

int store_put_labels(struct store *s, artifact_id sae, const struct label *labels, size_t count,
                     struct error *err)
{
    struct store_txn t;
    int code = labels_check(labels, count, err), rc = 0;

    if (!code)
        code = write_begin(s, &t, err);
    if (code)
        return code;
    if (!artifact_exists(&t, sae))
        code = error_set(err, STATUS_REFUSED, "the SAE of these labels is no longer in the store");
    for (size_t i = 0; i < count && !code && !rc; i++) {
        struct key key = key_u64(sae);
        key_add(&key, labels[i].latent, 8);
        key_add(&key, (uint64_t)labels[i].source, 1);
        rc = labels[i].text ? sealed_put(&t, TABLE_LABELS, &key, labels[i].text, labels[i].n)
                            : table_delete(&t, TABLE_LABELS, &key);
    }
    if (rc)
        code = store_fail(s, rc, err, "write labels");
    if (!code)
        return write_commit(&t, err);
    write_abort(&t);
    return code;
}
