/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the view of a family shows, gathered on the query thread. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/tui/family_view.h"
#include "saescope/tui/latent_page.h"

void family_request_free(void *request)
{
    struct family_request *r = request;
    free(r->address);
    free(r->saes);
    free(r);
}

/* Changes when SAEs or stitches come, go or are renamed, or when an index of a meta-SAE does. Never 0. */
static uint64_t hash_store(struct store_txn *t)
{
    struct artifact *all = NULL;
    size_t n = 0;
    uint64_t hash = 1;
    if (store_list(t, 0, &all, &n, NULL) != STATUS_OK)
        return 1;
    for (size_t i = 0; i < n; i++)
        if (all[i].kind == ARTIFACT_SAE || all[i].kind == ARTIFACT_STITCH)
            hash = hash_mix(hash, all[i].id, all[i].kind == ARTIFACT_SAE ? store_index_of(t, all[i].id) : 0,
                            hash64(all[i].name, strlen(all[i].name), 0));
    free(all);
    return hash ? hash : 1;
}

static void free_labels(struct family_page *page)
{
    const struct family *f = page->family;
    for (size_t i = 0; i < f->n_nodes && page->labels; i++) {
        free(page->labels[i]);
        for (size_t k = 0; k < f->nodes[i].n_meta; k++)
            free(page->meta_names[i][k]);
        free(page->meta_names[i]);
    }
    free(page->labels);
    free(page->meta_names);
    page->labels = NULL;
    page->meta_names = NULL;
}

void family_page_relabel(struct family_page *page, struct store_txn *t)
{
    const struct family *f = page->family;
    free_labels(page);
    page->labels = xcalloc(f->n_nodes, sizeof *page->labels);
    page->meta_names = xcalloc(f->n_nodes, sizeof *page->meta_names);
    for (size_t i = 0; i < f->n_nodes; i++) {
        const struct family_node *node = &f->nodes[i];
        const struct family_column *column = &f->columns[node->column];
        page->labels[i] = page_label(t, column->sae.id, node->latent, NULL);
        page->meta_names[i] = xcalloc(node->n_meta + 1, sizeof *page->meta_names[i]);
        for (size_t k = 0; k < node->n_meta; k++)
            page->meta_names[i][k] = page_label(t, column->meta.id, node->meta[k].latent, NULL);
    }
}

void family_page_free(void *result)
{
    struct family_page *page = result;
    if (!page)
        return;
    free_labels(page);
    family_layout_free(&page->layout);
    family_free(page->family);
    free(page);
}

int family_page_read(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    const struct family_request *r = arg;
    struct query_watch watch = query_watch(q);
    struct address at;
    struct family *family;
    uint64_t now = hash_store(t);
    if (now == r->seen)
        return STATUS_OK;
    int status = address_parse(t, r->address, NULL, &at, err);
    if (status == STATUS_OK)
        status = family_read(t, &at, &r->options, &watch.monitor, &family, err);
    if (status != STATUS_OK)
        return status;
    struct family_page *page = xcalloc(1, sizeof *page);
    page->family = family;
    page->seen = now;
    family_layout_make(family, &page->layout);
    family_page_relabel(page, t);
    *result = page;
    return STATUS_OK;
}
