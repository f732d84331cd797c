/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is read of an imported index and not yet in its records; for index_import.c. */
#ifndef SAESCOPE_ANALYSIS_IMPORT_RECORDS_H
#define SAESCOPE_ANALYSIS_IMPORT_RECORDS_H

#include <stddef.h>
#include "saescope/base/monitor.h"
#include "saescope/base/strbuf.h"
#include "saescope/store/store.h"

struct pending_records {
    size_t d_sae;
    struct strbuf *contexts; /* [d_sae]: as index_select.h packs them, without the count, in any order */
    struct strbuf *logits;   /* [d_sae]: whole RECORD_LOGITS records */
    unsigned char *written;  /* [d_sae]: contexts of it are in a record already */
    size_t bytes;            /* of all; whoever adds counts */
};
int pending_init(struct pending_records *p, size_t d_sae, struct error *err); /* p zeroed */
void pending_free(struct pending_records *p);
/* Writes all, each latent's contexts in the record's order, with those that earlier calls wrote. */
int pending_flush(struct pending_records *p, struct store *s, artifact_id index, struct monitor *m, struct error *err);

#endif
