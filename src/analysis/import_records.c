/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Records of an index in pieces: what was written of a latent is joined with what came later. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/import_records.h"
#include "saescope/analysis/index_select.h"
#include "saescope/base/memory.h"

#define RECORDS_A_TIME 256

int pending_init(struct pending_records *p, size_t d_sae, struct error *err)
{
    p->d_sae = d_sae;
    p->contexts = array_zeroed(d_sae, sizeof(*p->contexts), "latents", err);
    p->logits = array_zeroed(d_sae, sizeof(*p->logits), "latents", err);
    p->written = array_zeroed(d_sae, 1, "latents", err);
    return p->contexts && p->logits && p->written ? STATUS_OK : STATUS_FAILED;
}

void pending_free(struct pending_records *p)
{
    for (size_t i = 0; i < p->d_sae; i++) {
        if (p->contexts)
            strbuf_free(&p->contexts[i]);
        if (p->logits)
            strbuf_free(&p->logits[i]);
    }
    free(p->contexts);
    free(p->logits);
    free(p->written);
    memset(p, 0, sizeof(*p));
}

struct entry {
    const unsigned char *data;
    size_t n, order;
    float activation;
    unsigned char interval;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->interval != y->interval)
        return x->interval > y->interval ? -1 : 1; /* top ones are 255 */
    if (x->activation != y->activation)
        return x->activation > y->activation ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static float float_at(const unsigned char *p)
{
    uint32_t bits = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* Contexts that are packed one after the other, in the order that a record has them. */
static void make_record(const struct strbuf *packed, struct strbuf *record)
{
    struct entry *entries = NULL;
    size_t n = 0, capacity = 0;
    const unsigned char *data = (const unsigned char *)packed->data;
    for (size_t at = 0; at < packed->length; n++) {
        if (n == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            entries = xreallocarray(entries, capacity, sizeof(*entries));
        }
        struct entry *e = &entries[n];
        size_t pairs = (size_t)data[at + 10] | (size_t)data[at + 11] << 8;
        *e = (struct entry){data + at, RECORD_CONTEXT_BYTES + pairs * RECORD_PAIR_BYTES, n, 0, data[at + 12]};
        e->activation = float_at(data + at + 4);
        at += e->n;
    }
    if (n)
        qsort(entries, n, sizeof(*entries), compare_entries);
    strbuf_reset(record);
    record_add_u32(record, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        strbuf_add(record, entries[i].data, entries[i].n);
    free(entries);
}

/* What an earlier flush wrote goes before what is pending. */
static int join_earlier(struct pending_records *p, struct store *s, artifact_id index, size_t latent,
                        struct error *err)
{
    struct strbuf joined = STRBUF_INIT;
    struct store_txn *t;
    const void *data;
    size_t n;
    int status = store_begin(s, &t, err);
    if (status)
        return status;
    status = store_record(t, index, RECORD_CONTEXTS, latent, &data, &n, err);
    if (!status && n > 4)
        strbuf_add(&joined, (const char *)data + 4, n - 4);
    store_end(t);
    strbuf_add(&joined, p->contexts[latent].data, p->contexts[latent].length);
    strbuf_free(&p->contexts[latent]);
    p->contexts[latent] = joined;
    return status;
}

static int flush_logits(struct pending_records *p, struct store *s, artifact_id index, struct error *err)
{
    struct record records[RECORDS_A_TIME];
    size_t n = 0;
    int status = STATUS_OK;
    for (size_t i = 0; i < p->d_sae && !status; i++) {
        if (p->logits[i].length)
            records[n++] = (struct record){i, p->logits[i].data, p->logits[i].length};
        if (n == RECORDS_A_TIME || i + 1 == p->d_sae) {
            status = n ? store_put_records(s, index, RECORD_LOGITS, records, n, err) : STATUS_OK;
            n = 0;
        }
    }
    for (size_t i = 0; i < p->d_sae; i++)
        strbuf_free(&p->logits[i]);
    return status;
}

static int flush_contexts(struct pending_records *p, struct store *s, artifact_id index, struct monitor *m,
                          struct error *err)
{
    struct strbuf *made = xcalloc(RECORDS_A_TIME, sizeof(*made));
    struct record records[RECORDS_A_TIME];
    size_t n = 0;
    int status = STATUS_OK;
    for (size_t i = 0; i < p->d_sae && !status; i++) {
        if (p->contexts[i].length) {
            if (p->written[i])
                status = join_earlier(p, s, index, i, err);
            p->written[i] = 1;
            make_record(&p->contexts[i], &made[n]);
            records[n] = (struct record){i, made[n].data, made[n].length};
            n++;
        }
        if (!status && (n == RECORDS_A_TIME || i + 1 == p->d_sae)) {
            status = monitor_check(m, err);
            if (!status && n)
                status = store_put_records(s, index, RECORD_CONTEXTS, records, n, err);
            n = 0;
        }
    }
    for (size_t i = 0; i < p->d_sae; i++)
        strbuf_free(&p->contexts[i]);
    for (size_t i = 0; i < RECORDS_A_TIME; i++)
        strbuf_free(&made[i]);
    free(made);
    return status;
}

int pending_flush(struct pending_records *p, struct store *s, artifact_id index, struct monitor *m,
                  struct error *err)
{
    int status = flush_logits(p, s, index, err);
    if (!status)
        status = flush_contexts(p, s, index, m, err);
    p->bytes = 0;
    return status;
}
