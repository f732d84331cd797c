/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The model's cross-entropy with the base spliced in, as it is and rebuilt from the meta-SAE. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/evaluate.h"
#include "saescope/analysis/rebuild.h"
#include "saescope/analysis/report_parts.h"
#include "saescope/base/memory.h"

static int evaluate(struct report_work *w, struct sae *instead, struct evaluation *e, struct error *err)
{
    const struct evaluate_options o = {.sae = w->rows.bases.ids[0],
                                       .instead = instead,
                                       .text = w->o->text,
                                       .tokens = w->o->tokens,
                                       .no_cosines = 1};
    return evaluate_run(w->store, &o, w->monitor, e, err);
}

static int evaluate_rebuilt(struct report_work *w, const size_t *without, size_t n, double *cross_entropy,
                            struct error *err)
{
    struct store_txn *t;
    struct sae *rebuilt = NULL;
    struct evaluation e;
    int status = report_begin(w, &t, err);
    if (status)
        return status;
    const struct rebuild r = {.base = w->rows.saes[0],
                              .meta = w->rows.meta,
                              .raw = w->rows.raw,
                              .without = without,
                              .n_without = n};
    status = rebuild_sae(&r, w->monitor, &rebuilt, err);
    store_end(t);
    if (!status)
        status = evaluate(w, rebuilt, &e, err);
    if (!status)
        *cross_entropy = e.ce_sae;
    sae_free(rebuilt);
    return status;
}

static int name_text(struct report_work *w, struct error *err)
{
    struct store_txn *t;
    struct artifact a;
    int status = store_begin(w->store, &t, err);
    if (status)
        return status;
    status = store_get(t, w->o->text, &a, err);
    if (!status)
        memcpy(w->out->text, a.name, sizeof(w->out->text));
    store_end(t);
    return status;
}

int report_losses(struct report_work *w, struct error *err)
{
    struct report *r = w->out;
    struct evaluation e;
    int status = name_text(w, err);
    if (!status)
        status = evaluate(w, NULL, &e, err);
    if (!status) {
        r->tokens = e.tokens;
        r->ce_model = e.ce_original;
        r->ce_sae = e.ce_sae;
        r->ce_zero = e.ce_zero;
        status = evaluate_rebuilt(w, NULL, 0, &r->ce_rebuilt, err);
    }
    r->without = xcalloc(w->o->n_without + 1, sizeof(*r->without));
    for (size_t i = 0; !status && i < w->o->n_without; i++) {
        struct report_without *one = &r->without[r->n_without++];
        one->latent = w->o->without[i];
        status = evaluate_rebuilt(w, &one->latent, 1, &one->cross_entropy, err);
    }
    return status;
}
