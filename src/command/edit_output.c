/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What `edit` writes: the row's meta-latents before and after, answers of every variant, outcomes of the
 * subsets. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/edit_run.h"

/* ---- The row. ---- */

static void component_row(struct writer *out, const struct edit_run *r, size_t meta_latent, double before)
{
    double after = before;
    for (size_t i = 0; i < r->edit.n; i++)
        if (r->changes[i].meta_latent == meta_latent)
            after = r->changes[i].adds ? r->changes[i].value : 0;
    writer_begin_row(out);
    writer_integer(out, "latent", (long long)meta_latent);
    writer_real(out, "before", before);
    if (r->edit.raw == 0)
        writer_real(out, "after", after);
    write_label(out, r->t, r->meta.facts.artifact.id, meta_latent);
    writer_end_row(out);
}

static double before_of(const struct edit_run *r, size_t meta_latent)
{
    for (size_t i = 0; i < r->parts.n; i++)
        if (r->parts.components[i].latent == meta_latent)
            return (double)r->parts.components[i].activation;
    return 0;
}

static void write_components(struct writer *out, const struct edit_run *r)
{
    static const struct writer_column columns[] = {{"latent", "meta-latent", "%d", 0},
                                                   {"before", NULL, "%.3f", 0},
                                                   {"after", NULL, "%.3f", 0},
                                                   {"label", NULL, NULL, 1}};
    static const struct writer_column raw_columns[] = {
        {"latent", "meta-latent", "%d", 0}, {"before", NULL, "%.3f", 0}, {"label", NULL, NULL, 1}};
    writer_begin_table(out, "components", r->edit.raw != 0 ? raw_columns : columns,
                       r->edit.raw != 0 ? ARRAY_LENGTH(raw_columns) : ARRAY_LENGTH(columns));
    for (size_t i = 0; i < r->parts.n; i++)
        component_row(out, r, r->parts.components[i].latent, (double)r->parts.components[i].activation);
    for (size_t i = 0; i < r->edit.n; i++)
        if (before_of(r, r->changes[i].meta_latent) == 0)
            component_row(out, r, r->changes[i].meta_latent, 0);
    writer_end_table(out);
}

/* A latent in a line: address, label, activation of one that was found. */
static void latent_line(struct writer *out, const struct edit_run *r, const char *what,
                        const struct address *at, const struct found_latent *found)
{
    struct label label;
    struct strbuf b = STRBUF_INIT;
    strbuf_addf(&b, "%-7s %s/%zu", what, at->sae.name, at->latent);
    if (store_label(r->t, at->sae.id, at->latent, &label, NULL) == STATUS_OK && label.text) {
        strbuf_adds(&b, "  (");
        displayable(&b, label.text, label.n);
        strbuf_addc(&b, ')');
    }
    if (found->activation > 0)
        strbuf_addf(&b, "  mean activation %.2f", found->activation);
    writer_line(out, "%s", strbuf_string(&b));
    strbuf_free(&b);
}

static void change_list(struct strbuf *b, const struct edit_run *r, uint64_t mask, int adds)
{
    const char *separator = "";
    for (size_t i = 0; i < r->edit.n; i++)
        if ((mask == CHANGES_ALL || mask >> i & 1) && r->changes[i].adds == adds) {
            strbuf_addf(b, "%s%zu", separator, r->changes[i].meta_latent);
            separator = " ";
        }
    if (!*separator)
        strbuf_addc(b, '-');
}

static void write_changes(struct writer *out, const struct edit_run *r, uint64_t mask)
{
    for (int adds = 0; adds < 2; adds++) {
        writer_begin_array(out, adds ? "add" : "remove");
        for (size_t i = 0; i < r->edit.n; i++)
            if ((mask == CHANGES_ALL || mask >> i & 1) && r->changes[i].adds == adds)
                writer_integer(out, NULL, (long long)r->changes[i].meta_latent);
        writer_end_array(out);
    }
}

static void write_head(struct writer *out, const struct edit_run *r)
{
    writer_string(out, "sae", r->at.sae.name);
    writer_integer(out, "latent", (long long)r->at.latent);
    write_label(out, r->t, r->at.sae.id, r->at.latent);
    writer_string(out, "meta", r->meta.facts.artifact.name);
    latent_line(out, r, "latent", &r->at, &r->found[0]);
    if (r->to.sae.id) {
        writer_begin_object(out, "target");
        writer_string(out, "sae", r->to.sae.name);
        writer_integer(out, "latent", (long long)r->to.latent);
        write_label(out, r->t, r->to.sae.id, r->to.latent);
        writer_end_object(out);
        latent_line(out, r, "target", &r->to, &r->found[1]);
    } else {
        writer_null(out, "target");
    }
    write_changes(out, r, CHANGES_ALL);
    writer_string(out, "method", r->edit.raw != 0 ? "raw" : r->edit.keep_residual ? "residual" : "rebuilt");
    writer_real(out, "cosine", r->cosine);
    writer_line(out, "row     from %s, cosine with the old one %.3f", r->meta.facts.artifact.name, r->cosine);
    const char *name = invocation_option(r->inv, "save");
    writer_string(out, "saved", name);
    if (name)
        writer_line(out, "saved   as %s", name);
}

/* ---- Answers. ---- */

static size_t likeliest(const double *log_probs, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (log_probs[i] > log_probs[best])
            best = i;
    return best;
}

static void prompts_as_json(struct writer *out, const struct edit_run *r)
{
    size_t at = 0;
    writer_begin_array(out, "prompts");
    for (size_t i = 0; i < r->table.n; i++) {
        const struct prompt *p = &r->table.prompts[i];
        writer_begin_object(out, NULL);
        writer_string(out, "prompt", p->text);
        writer_integer(out, "active", (long long)r->active[i]);
        writer_begin_array(out, "answers");
        for (size_t k = 0; k < p->n_answers; k++) {
            writer_begin_object(out, NULL);
            writer_string(out, "answer", p->answers[k].text);
            for (int v = 0; v < EDIT_VARIANTS; v++)
                if (r->there[v])
                    writer_real(out, edit_variant_names[v], r->log_probs[v][at + k]);
            writer_end_object(out);
        }
        writer_end_array(out);
        writer_begin_object(out, "likeliest");
        for (int v = 0; v < EDIT_VARIANTS; v++)
            if (r->there[v])
                writer_string(out, edit_variant_names[v],
                              p->answers[likeliest(r->log_probs[v] + at, p->n_answers)].text);
        writer_end_object(out);
        writer_end_object(out);
        at += p->n_answers;
    }
    writer_end_array(out);
}

/* The likeliest answer of a variant has an asterisk in text. */
static void write_cell(struct writer *out, const char *name, double log_prob, int best)
{
    char text[40];
    if (writer_format(out) != WRITE_TEXT) {
        writer_real(out, name, log_prob);
        return;
    }
    snprintf(text, sizeof text, "%.3f%s", log_prob, best ? "*" : " ");
    writer_string(out, name, text);
}

/* Numbers come before the prompts where the lines may be cut at a screen's edge. */
static void prompts_as_table(struct writer *out, const struct edit_run *r)
{
    const struct writer_column prompt = {"prompt", NULL, NULL, 1}, answer = {"answer", NULL, NULL, 1};
    struct writer_column columns[EDIT_VARIANTS + 2];
    size_t n = 0, at = 0;
    if (writer_format(out) != WRITE_TEXT)
        columns[n++] = prompt;
    columns[n++] = answer;
    for (int v = 0; v < EDIT_VARIANTS; v++)
        if (r->there[v])
            columns[n++] = (struct writer_column){edit_variant_names[v], NULL, NULL, 0};
    if (writer_format(out) == WRITE_TEXT)
        columns[n++] = prompt;
    writer_begin_table(out, "prompts", columns, n);
    for (size_t i = 0; i < r->table.n; i++) {
        const struct prompt *p = &r->table.prompts[i];
        for (size_t k = 0; k < p->n_answers; k++) {
            writer_begin_row(out);
            writer_string(out, "prompt", k > 0 && writer_format(out) == WRITE_TEXT ? "" : p->text);
            writer_string(out, "answer", p->answers[k].text);
            for (int v = 0; v < EDIT_VARIANTS; v++)
                if (r->there[v])
                    write_cell(out, edit_variant_names[v], r->log_probs[v][at + k],
                               likeliest(r->log_probs[v] + at, p->n_answers) == k);
            writer_end_row(out);
        }
        at += p->n_answers;
    }
    writer_end_table(out);
    writer_line(out, "%s", "* the likeliest of the answers");
    for (size_t i = 0; i < r->table.n; i++)
        if (r->active[i] == 0) {
            char *shown = displayable_string(r->table.prompts[i].text);
            writer_line(out, "%s/%zu is not active in: %s", r->at.sae.name, r->at.latent, shown);
            free(shown);
        }
}

/* ---- Subsets. ---- */

/* The likeliest answers of all prompts, joined. */
static char *outcome(const struct edit_run *r, const double *log_probs)
{
    struct strbuf b = STRBUF_INIT;
    for (size_t i = 0; i < r->table.n; i++) {
        const struct prompt *p = &r->table.prompts[i];
        const char *text = p->answers[likeliest(log_probs, p->n_answers)].text;
        strbuf_addf(&b, "%s%s", b.length ? ", " : "", text + strspn(text, " "));
        log_probs += p->n_answers;
    }
    return strbuf_detach(&b);
}

static void subsets_as_json(struct writer *out, const struct edit_run *r)
{
    writer_begin_array(out, "subsets");
    for (size_t s = 0; s < r->n_subsets; s++) {
        const struct edit_subset *subset = &r->subsets[s];
        const double *log_probs = subset->log_probs;
        writer_begin_object(out, NULL);
        write_changes(out, r, subset->mask);
        writer_real(out, "cosine", subset->cosine);
        writer_begin_array(out, "log_probs");
        for (size_t i = 0; i < r->table.n && !isnan(subset->cosine); i++) {
            writer_begin_array(out, NULL);
            for (size_t k = 0; k < r->table.prompts[i].n_answers; k++)
                writer_real(out, NULL, log_probs[k]);
            writer_end_array(out);
            log_probs += r->table.prompts[i].n_answers;
        }
        writer_end_array(out);
        writer_end_object(out);
    }
    writer_end_array(out);
}

/* Each combination of likeliest answers that some subset has, with the smallest one. */
static void write_outcomes(struct writer *out, const struct edit_run *r)
{
    static const struct writer_column columns[] = {{"answers", "likeliest answers", NULL, 1},
                                                   {"subsets", NULL, "%d", 0},
                                                   {"removed", NULL, NULL, 1},
                                                   {"added", NULL, NULL, 1}};
    char **outcomes = xcalloc(r->n_subsets + 1, sizeof *outcomes);
    for (size_t s = 0; s < r->n_subsets; s++)
        outcomes[s] = isnan(r->subsets[s].cosine) ? xstrdup("") : outcome(r, r->subsets[s].log_probs);
    writer_begin_table(out, "outcomes", columns, ARRAY_LENGTH(columns));
    for (size_t s = 0; s < r->n_subsets; s++) {
        long long same = 0;
        size_t first = s;
        for (size_t o = r->n_subsets; o-- > 0;)
            if (strcmp(outcomes[o], outcomes[s]) == 0) {
                same++;
                first = o;
            }
        if (first < s || !*outcomes[s])
            continue;
        struct strbuf removed = STRBUF_INIT, added = STRBUF_INIT;
        change_list(&removed, r, r->subsets[s].mask, 0);
        change_list(&added, r, r->subsets[s].mask, 1);
        writer_begin_row(out);
        writer_string(out, "answers", outcomes[s]);
        writer_integer(out, "subsets", same);
        writer_string(out, "removed", strbuf_string(&removed));
        writer_string(out, "added", strbuf_string(&added));
        writer_end_row(out);
        strbuf_free(&removed);
        strbuf_free(&added);
    }
    writer_end_table(out);
    for (size_t s = 0; s < r->n_subsets; s++)
        free(outcomes[s]);
    free(outcomes);
    if (r->n_subsets > 0 && r->edit.n > SUBSETS_MAX)
        writer_line(out, "subsets of the %d largest of %zu changes", SUBSETS_MAX, r->edit.n);
}

void edit_write(struct writer *out, const struct edit_run *r)
{
    enum writer_format format = writer_format(out);
    writer_own_text(out);
    writer_begin_object(out, NULL);
    write_head(out, r);
    if (format != WRITE_TSV || r->table.n == 0)
        write_components(out, r);
    if (format == WRITE_JSON)
        prompts_as_json(out, r);
    else if (r->table.n > 0 && (format == WRITE_TEXT || r->n_subsets == 0))
        prompts_as_table(out, r);
    if (format == WRITE_JSON)
        subsets_as_json(out, r);
    if (r->n_subsets > 0 || format == WRITE_JSON)
        write_outcomes(out, r);
    writer_end_object(out);
}
