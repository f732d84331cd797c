/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Draws the list of latents: columns as the setting `columns` says, as far as there is something in them. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/latents_view.h"

#define LABEL_COLUMNS 40 /* of labels that do not stand last */

static const struct column columns_known[] = {
    {"latent", "latent", KEY_LATENT, 8, -1},
    {"fired", "fired", KEY_FIRED, 10, -1},
    {"density", "density", KEY_DENSITY, 9, 5},
    {"max", "max", KEY_MAX, 8, 2},
    {"mean", "mean", KEY_MEAN, 8, 2},
    {"metas", "metas", KEY_META_LATENTS, 6, -1},
    {"meta_latents", "metas", KEY_META_LATENTS, 6, -1},
    {"ev", "EV", KEY_EV, 6, 2},
    {"in", "in", KEY_COSINE, 13, 2},
    {"cosine", "in", KEY_COSINE, 13, 2},
    {"label", "label", KEY_LABEL, 0, -1},
};

int latents_column_there(const struct latent_table *t, enum latent_key key)
{
    if (key == KEY_LATENT || key == KEY_LABEL)
        return 1;
    if (key == KEY_META_LATENTS)
        return t->meta_latents != NULL;
    if (key == KEY_COSINE)
        return t->cosine != NULL;
    return key == KEY_EV ? t->meta_ev != NULL : t->fired != NULL;
}

size_t latents_columns(struct view *v, const struct latent_table *t, const struct column *out[COLUMNS_MAX])
{
    const char *at = settings_text(app_settings(v->app), "columns");
    size_t n = 0;
    while (at && *at && n < COLUMNS_MAX) {
        size_t length = strcspn(at, ", ");
        for (size_t i = 0; i < ARRAY_LENGTH(columns_known); i++) {
            const struct column *c = &columns_known[i];
            if (strlen(c->name) == length && strncmp(c->name, at, length) == 0 &&
                latents_column_there(t, c->key))
                out[n++] = c;
        }
        at += length + strspn(at + length, ", ");
    }
    if (n == 0)
        out[n++] = &columns_known[0];
    return n;
}

/* ---- Drawing. ---- */

static void draw_titles(const struct canvas *c, const struct latents *d, const struct column *const *columns,
                        size_t n)
{
    canvas_fill(c, 0, 0, c->width, STYLE_STRONG);
    int x = 2;
    for (size_t i = 0; i < n; i++) {
        const struct column *k = columns[i];
        int sorted = k->key == d->table->sort_key;
        /* The latent's own number ascends, numbers descend, labels ascend. */
        int up = ((k->key == KEY_LATENT || k->key == KEY_LABEL) != 0) == !d->table->sort_reverse;
        char title[NAME_MAX_BYTES + 16];
        int named = k->key == KEY_COSINE; /* after the SAE in which the nearest latents are */
        snprintf(title, sizeof title, "%s%s%s%s", k->title, named ? " " : "", named ? d->table->in.name : "",
                 !sorted ? "" : glyph(up ? GLYPH_SORT_UP : GLYPH_SORT_DOWN));
        enum style style = sorted ? STYLE_BORDER_FOCUS : STYLE_STRONG;
        if (named)
            canvas_ellipsis(c, 0, x + 1, k->width - 1 + sorted, style, title);
        else if (k->width == 0)
            canvas_text(c, 0, x + 2, style, title);
        else
            canvas_right(c, 0, x + k->width + (sorted ? 1 : 0), style, title);
        x += k->width ? k->width + 1 : LABEL_COLUMNS;
    }
}

static void number_text(const struct latent_table *t, const struct column *k, uint32_t latent, char out[32])
{
    double value = 0;
    switch (k->key) {
    case KEY_FIRED:
        snprintf(out, 32, "%u", t->fired[latent]);
        return;
    case KEY_META_LATENTS:
        snprintf(out, 32, "%u", t->meta_latents[latent]);
        return;
    case KEY_DENSITY:
        value = t->tokens ? (double)t->fired[latent] / (double)t->tokens : NAN;
        break;
    case KEY_MAX:
        value = (double)t->max[latent];
        break;
    case KEY_MEAN:
        value = (double)t->mean[latent];
        break;
    case KEY_EV:
        value = (double)t->meta_ev[latent];
        break;
    default:
        snprintf(out, 32, "%u", latent);
        return;
    }
    if (isnan(value))
        snprintf(out, 32, "-");
    else
        snprintf(out, 32, "%.*f", k->decimals, value);
}

/* "0.83 /211": the nearest latent; "0.42 novel" when a stitch says that it is. */
static void draw_nearest(const struct canvas *c, int y, int x, const struct latent_table *t, uint32_t latent,
                         enum style style)
{
    x = canvas_printf(c, y, x + 1, style, "%4.2f ", (double)t->cosine[latent]);
    if (t->classes && t->classes[latent] == LATENT_NOVEL)
        canvas_text(c, y, x, style == STYLE_NORMAL ? STYLE_GOOD : style, "novel");
    else
        canvas_printf(c, y, x, style, "/%u", t->nearest[latent]);
}

static int is_match(const struct latents *d, uint32_t latent)
{
    return d->matches && d->matches[latent / 8] >> latent % 8 & 1;
}

static void draw_label(const struct canvas *c, int y, int x, int width, const struct latents *d, size_t row,
                       uint32_t latent)
{
    enum label_source source;
    const char *label = latents_label(d, row, &source);
    enum style style = label && source == LABEL_USER ? STYLE_STRONG : STYLE_NORMAL;
    if (!label)
        canvas_text(c, y, x, STYLE_DIM, glyph(GLYPH_ELLIPSIS));
    else
        canvas_ellipsis(c, y, x, width, is_match(d, latent) ? STYLE_MATCH : style, label);
}

static void draw_row(const struct canvas *c, int y, const struct latents *d, size_t row,
                     const struct column *const *columns, size_t n)
{
    const struct latent_table *t = d->table;
    uint32_t latent = t->order[row];
    int dead = t->fired && t->fired[latent] == 0, said = 0, x = 2;
    for (size_t i = 0; i < n; i++) {
        const struct column *k = columns[i];
        char text[32];
        if (k->key == KEY_LABEL) {
            draw_label(c, y, x + 2, i + 1 < n ? LABEL_COLUMNS - 2 : c->width - x - 3, d, row, latent);
            x += LABEL_COLUMNS;
            continue;
        }
        if (k->key == KEY_COSINE) {
            draw_nearest(c, y, x, t, latent, dead ? STYLE_DIM : STYLE_NORMAL);
            x += k->width + 1;
            continue;
        }
        if (dead && k->key != KEY_LATENT && k->key != KEY_META_LATENTS && k->key != KEY_EV) {
            /* The first number says it for all. */
            snprintf(text, sizeof text, "%s", said ? "" : "dead");
            said = 1;
        } else {
            number_text(t, k, latent, text);
        }
        canvas_right(c, y, x + k->width, dead ? STYLE_DIM : STYLE_NORMAL, text);
        x += k->width + 1;
    }
}

/* The line below the list. */
static void draw_foot(const struct canvas *c, int y, const struct latents *d)
{
    struct strbuf b = STRBUF_INIT;
    const struct latent_table *t = d->table;
    int x = 1;
    if (d->applied) {
        char *shown = displayable_string(d->applied);
        strbuf_addf(&b, "filter: %s   ", shown);
        free(shown);
        strbuf_add_grouped(&b, (long long)t->matched);
        strbuf_adds(&b, " of ");
        strbuf_add_grouped(&b, (long long)t->n);
        x = canvas_ellipsis(c, y, x, c->width - 2, STYLE_NORMAL, strbuf_string(&b)) + 3;
    }
    if (!t->fired && t->facts.is_meta)
        canvas_printf(c, y, x, STYLE_WARNING, "not indexed: no statistics");
    else if (!t->fired)
        canvas_printf(c, y, x, STYLE_WARNING,
                      "not indexed: no statistics and contexts; :index %s --text TEXT makes them",
                      t->facts.artifact.name);
    strbuf_free(&b);
}

void latents_draw(struct view *v, const struct canvas *c)
{
    struct latents *d = v->data;
    if (!d->table || d->error) {
        canvas_ellipsis(c, 0, 1, c->width - 2, d->error ? STYLE_ERROR : STYLE_DIM,
                        d->error ? d->error : glyph(GLYPH_ELLIPSIS));
        return;
    }
    const struct column *columns[COLUMNS_MAX];
    size_t n = latents_columns(v, d->table, columns);
    int foot = d->applied || !d->table->fired;
    struct canvas rows = canvas_part(c, 1, 0, c->height - 1 - foot, c->width);
    draw_titles(c, d, columns, n);
    list_layout(&d->list, rows.height);
    latents_want_labels(v);
    for (size_t i = d->list.top; i < d->table->matched && i < d->list.top + (size_t)rows.height; i++) {
        int y = (int)(i - d->list.top);
        if (i == d->list.cursor)
            canvas_text(&rows, y, 0, STYLE_STRONG, glyph(GLYPH_CURSOR));
        draw_row(&rows, y, d, i, columns, n);
        if (i == d->list.cursor) {
            canvas_style(&rows, y, 0, rows.width, STYLE_SELECTED);
            canvas_cursor(&rows, y, 0);
        }
    }
    if (d->table->matched == 0)
        canvas_text(&rows, 0, 2, STYLE_DIM, "no latent matches the filter; f changes it");
    list_scroll_mark(&d->list, &rows);
    if (foot)
        draw_foot(c, c->height - 1, d);
}

void latents_status(struct view *v, struct strbuf *out)
{
    const struct latents *d = v->data;
    if (!d->table)
        return;
    const struct sae_facts *f = &d->table->facts;
    const char *dot = glyph(GLYPH_MIDDLE_DOT);
    char *hook = f->hook ? displayable_string(f->hook) : NULL;
    strbuf_addf(out, "%s", f->architecture);
    if (f->k)
        strbuf_addf(out, " k %zu", f->k);
    if (f->is_meta && d->meta.id) {
        strbuf_addf(out, " %s meta-SAE of %s", dot, d->meta.name);
        if (f->n_bases > 1)
            strbuf_addf(out, " and %zu more", f->n_bases - 1);
    } else if (hook) {
        strbuf_addf(out, " %s %s", dot, hook);
    }
    strbuf_addf(out, " %s ", dot);
    strbuf_add_grouped(out, (long long)d->table->n);
    strbuf_adds(out, f->is_meta ? " meta-latents" : " latents");
    if (d->table->fired && !f->is_meta) {
        strbuf_addf(out, " %s %s%s", dot, d->text_name ? d->text_name : "", d->text_name ? " " : "");
        strbuf_add_grouped(out, (long long)d->table->tokens);
        strbuf_adds(out, " tokens");
    }
    free(hook);
}
