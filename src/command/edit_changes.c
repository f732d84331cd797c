/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which meta-latents `edit` removes and adds, and how much of them. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/edit_run.h"

/* The meta-SAE: of --meta, of the first meta-latent that is named in full, or the one that is shown with the
 * SAE. */
int edit_open_meta(struct edit_run *r, struct error *err)
{
    const char *name = invocation_option(r->inv, "meta"),
               *lists[] = {invocation_option(r->inv, "remove"), invocation_option(r->inv, "add")};
    struct artifact a = {0};
    int status = STATUS_OK;
    for (size_t i = 0; i < ARRAY_LENGTH(lists) && !name && !a.id && !status; i++)
        if (lists[i] && lists[i][0] != '/' && strchr(lists[i], '/')) {
            char *first = xstrndup(lists[i], strcspn(lists[i], "/"));
            status = store_find(r->t, ARTIFACT_SAE, first, &a, err);
            free(first);
        }
    if (!status && name)
        status = store_find(r->t, ARTIFACT_SAE, name, &a, err);
    if (!status && !a.id && !(a.id = meta_sae_of(r->t, r->at.sae.id)))
        return error_set(err, STATUS_REFUSED,
                         "%s has no meta-SAE: make one with `train meta NAME --sae %s --width W`",
                         r->at.sae.name, r->at.sae.name);
    if (!status)
        status = opened_sae_open(r->t, a.id, &r->meta, err);
    if (!status && !sae_facts_has_base(&r->meta.facts, r->at.sae.id))
        status = error_set(err, STATUS_REFUSED, "%s is no meta-SAE of %s", r->meta.facts.artifact.name,
                           r->at.sae.name);
    return status;
}

static const struct component *find_component(const struct decomposition *d, size_t meta_latent)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->components[i].latent == meta_latent)
            return &d->components[i];
    return NULL;
}

static int add_change(struct edit_run *r, struct row_change change, struct error *err)
{
    for (size_t i = 0; i < r->edit.n; i++)
        if (r->changes[i].meta_latent == change.meta_latent)
            return error_set(err, STATUS_REFUSED, "%s/%zu is named twice", r->meta.facts.artifact.name,
                             change.meta_latent);
    r->changes = xreallocarray(r->changes, r->edit.n + 1, sizeof *r->changes);
    r->changes[r->edit.n++] = change;
    r->edit.changes = r->changes;
    return STATUS_OK;
}

/* How active an added meta-latent becomes: as in the target, else as in its members on the average; times
 * --scale. */
static int added_value(struct edit_run *r, size_t meta_latent, double *value, struct error *err)
{
    const struct component *c = find_component(&r->target_parts, meta_latent);
    int status = STATUS_OK;
    if (c)
        *value = (double)c->activation;
    else
        status = mean_member_activation(r->t, r->base.sae, r->meta.sae, meta_latent, value, err);
    if (!status && *value == 0 && r->edit.raw == 0)
        return error_set(err, STATUS_REFUSED,
                         "%s/%zu is active in no latent of %s: say how much of it, as %s/%zu=0.3",
                         r->meta.facts.artifact.name, meta_latent, r->at.sae.name,
                         r->meta.facts.artifact.name, meta_latent);
    *value *= invocation_number(r->inv, "scale", 1);
    return status;
}

/* META/ID, or META/ID=X of one that is added. */
static int read_change(struct edit_run *r, int adds, const char *word, struct error *err)
{
    const char *equals = strrchr(word, '=');
    struct row_change change = {.adds = adds};
    struct address at;
    if (equals && (!adds || parse_double(equals + 1, &change.value) != 0)) {
        char *shown = displayable_string(word);
        error_set(err, STATUS_USAGE,
                  adds ? "--add takes META/ID or META/ID=X, not '%s'" : "--remove takes META/ID, not '%s'",
                  shown);
        free(shown);
        return STATUS_USAGE;
    }
    char *text = xstrndup(word, equals ? (size_t)(equals - word) : strlen(word));
    int status = address_parse(r->t, text, r->meta.facts.artifact.name, &at, err);
    free(text);
    if (!status && at.sae.id != r->meta.facts.artifact.id)
        return error_set(err, STATUS_REFUSED,
                         "%s/%zu is not of %s: an edit has the meta-latents of one meta-SAE", at.sae.name,
                         at.latent, r->meta.facts.artifact.name);
    change.meta_latent = at.latent;
    if (!status && !adds && r->edit.raw == 0 && !find_component(&r->parts, at.latent))
        return error_set(err, STATUS_REFUSED,
                         "%s/%zu is not active in %s/%zu: `decompose %s/%zu` lists what is", at.sae.name,
                         at.latent, r->at.sae.name, r->at.latent, r->at.sae.name, r->at.latent);
    if (!status && adds && !equals)
        status = added_value(r, at.latent, &change.value, err);
    return status ? status : add_change(r, change, err);
}

static int read_list(struct edit_run *r, int adds, struct error *err)
{
    const char *list = invocation_option(r->inv, adds ? "add" : "remove");
    char *copy = xstrdup(list ? list : ""), *save = NULL;
    int status = STATUS_OK;
    for (char *word = strtok_r(copy, ",", &save); word && !status; word = strtok_r(NULL, ",", &save))
        status = read_change(r, adds, word, err);
    free(copy);
    return status;
}

/* What one of the two latents has and the other has not: the start's goes, the target's comes. */
static int unique_changes(struct edit_run *r, struct error *err)
{
    int status = STATUS_OK;
    for (size_t i = 0; i < r->parts.n && !status; i++)
        if (!find_component(&r->target_parts, r->parts.components[i].latent))
            status = add_change(r, (struct row_change){r->parts.components[i].latent, 0, 0}, err);
    for (size_t i = 0; i < r->target_parts.n && !status; i++) {
        struct row_change change = {r->target_parts.components[i].latent, 1, 0};
        if (find_component(&r->parts, change.meta_latent))
            continue;
        status = added_value(r, change.meta_latent, &change.value, err);
        if (!status)
            status = add_change(r, change, err);
    }
    return status;
}

/* How much of a meta-latent goes or comes. */
static double change_size(const struct edit_run *r, size_t i)
{
    const struct component *c = find_component(&r->parts, r->changes[i].meta_latent);
    return r->changes[i].adds ? fabs(r->changes[i].value) : c ? (double)c->activation : 0;
}

/* Subsets are of all changes, or of the largest when too many were found; too many that were named are
 * refused. */
static int choose_varied(struct edit_run *r, int given, struct error *err)
{
    if (r->edit.n > (given ? SUBSETS_MAX : 63))
        return error_set(err, STATUS_REFUSED,
                         "%zu meta-latents have too many subsets: name at most %d with --remove and --add",
                         r->edit.n, SUBSETS_MAX);
    for (size_t k = 0; k < r->edit.n && k < SUBSETS_MAX; k++) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < r->edit.n; i++)
            if (!(r->varied >> i & 1) && (best == SIZE_MAX || change_size(r, i) > change_size(r, best)))
                best = i;
        r->varied |= (uint64_t)1 << best;
    }
    return STATUS_OK;
}

int edit_read_changes(struct edit_run *r, struct error *err)
{
    int given = invocation_flag(r->inv, "remove") || invocation_flag(r->inv, "add");
    r->edit.raw = invocation_number(r->inv, "raw-add", 0);
    r->edit.keep_residual = invocation_flag(r->inv, "keep-residual");
    if (!given && !r->to.sae.id)
        return error_set(
            err, STATUS_USAGE,
            "edit needs --remove or --add META/ID, or a latent to take them from: --swap SAE/ID");
    int status = decompose_latent(r->t, r->base.sae, r->meta.sae, r->at.latent, &r->parts, err);
    if (!status && r->to.sae.id)
        status = decompose_latent(r->t, r->base.sae, r->meta.sae, r->to.latent, &r->target_parts, err);
    if (!status && !given)
        status = unique_changes(r, err);
    if (!status && given)
        status = read_list(r, 0, err);
    if (!status && given)
        status = read_list(r, 1, err);
    if (!status && invocation_flag(r->inv, "subsets"))
        status = choose_varied(r, given, err);
    return status;
}
