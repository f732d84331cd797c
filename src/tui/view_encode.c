/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A text tested on an SAE: its tokens, the latents that fire on the selected one, and where in the text the
 * selected latent fires. The target is "SAE TEXT".
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/latent_page.h"

#define TOKEN_COLUMNS 31    /* of the list of tokens without the strongest latents */
#define LABELS_MAX    65536 /* latents whose labels are looked up */

static const struct action actions[] = {
    {"encode", "t", "test another text"},
    {"all-latents", "a", "list all latents of the SAE"},
    {NULL, NULL, NULL},
};

enum encode_pane { PANE_TOKENS, PANE_LATENTS, ENCODE_PANES };

struct encoded {
    int truncated;
    struct page_context context; /* the text's tokens */
    struct page_links pairs;     /* token i: [offsets[i], offsets[i + 1]), strongest first */
    size_t *offsets;             /* [context.n + 1] */
};

struct encode {
    struct encoded *encoded; /* NULL until it is there */
    char *error;
    struct list tokens, latents;
    enum encode_pane focus;
    size_t wanted_token, wanted_latent; /* SIZE_MAX: none */
};

/* ---- On the query thread. ---- */

struct encode_request {
    struct store *store;
    char *sae, *text;
};

static void free_request(void *arg)
{
    struct encode_request *r = arg;
    free(r->sae);
    free(r->text);
    free(r);
}

static void free_encoded(void *arg)
{
    struct encoded *e = arg;
    if (!e)
        return;
    for (size_t i = 0; i < e->pairs.n; i++)
        free(e->pairs.items[i].label);
    free(e->pairs.items);
    free(e->offsets);
    free(e->context.tokens);
    strbuf_free(&e->context.text);
    free(e);
}

static int by_activation(const void *a, const void *b)
{
    const struct page_link *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? 1 : -1;
    return (x->latent > y->latent) - (x->latent < y->latent);
}

static int fill(struct store_txn *t, const struct artifact *sae, const struct tokenizer *tok,
                const struct encoded_text *from, struct encoded *to, struct error *err)
{
    size_t n_pairs = from->rows.offsets[from->n_tokens];
    to->truncated = from->truncated;
    to->context.n = from->n_tokens;
    to->context.tokens = array_zeroed(from->n_tokens + 1, sizeof *to->context.tokens, "tokens", err);
    to->offsets = array_zeroed(from->n_tokens + 1, sizeof *to->offsets, "tokens", err);
    to->pairs.items = array_zeroed(n_pairs + 1, sizeof *to->pairs.items, "latents", err);
    if (!to->context.tokens || !to->offsets || !to->pairs.items)
        return STATUS_FAILED;
    to->pairs.n = n_pairs;
    memcpy(to->offsets, from->rows.offsets, (from->n_tokens + 1) * sizeof *to->offsets);
    for (size_t p = 0; p < n_pairs; p++) {
        struct page_link *link = &to->pairs.items[p];
        *link = (struct page_link){
            .sae = sae->id, .latent = from->rows.latents[p], .value = from->rows.values[p]};
        memcpy(link->name, sae->name, sizeof link->name);
        link->label = p < LABELS_MAX ? page_label(t, sae->id, link->latent, NULL) : NULL;
    }
    for (size_t i = 0; i < from->n_tokens; i++) {
        size_t n;
        const void *bytes = tokenizer_token(tok, from->ids[i], &n);
        page_token_make(&to->context.text, bytes, n, &to->context.tokens[i]);
        to->context.tokens[i].plain &= !tokenizer_is_special(tok, from->ids[i]);
        qsort(to->pairs.items + to->offsets[i], to->offsets[i + 1] - to->offsets[i], sizeof *to->pairs.items,
              by_activation);
    }
    return STATUS_OK;
}

static int read_encoded(struct query *q, struct store_txn *t, void *arg, void **result, struct error *err)
{
    const struct encode_request *r = arg;
    struct encoded_text text = {0};
    struct sae_facts facts = {0};
    struct tokenizer *tok = NULL;
    struct artifact sae;
    struct encoded *e = xcalloc(1, sizeof *e);
    int status = store_find(t, ARTIFACT_SAE, r->sae, &sae, err);
    if (status == STATUS_OK)
        status = encode_text(r->store, sae.id, r->text, strlen(r->text), 0, &text, err);
    if (status == STATUS_OK && !q->cancelled(q))
        status = sae_facts_read(t, sae.id, &facts, err);
    if (status == STATUS_OK)
        status = tokenizer_open(t, facts.model, &tok, err);
    if (status == STATUS_OK)
        status = fill(t, &sae, tok, &text, e, err);
    tokenizer_free(tok);
    sae_facts_free(&facts);
    encoded_text_free(&text);
    if (status != STATUS_OK) {
        free_encoded(e);
        return status;
    }
    *result = e;
    return STATUS_OK;
}

/* ---- Life. ---- */

/* The links of a token. */
static struct page_links links_of(const struct encode *d, size_t token)
{
    struct page_links links = {0};
    if (d->encoded && token < d->encoded->context.n) {
        links.items = d->encoded->pairs.items + d->encoded->offsets[token];
        links.n = d->encoded->offsets[token + 1] - d->encoded->offsets[token];
    }
    return links;
}

/* The first token on which something fires: BOS comes before it. */
static size_t first_firing(const struct encode *d)
{
    for (size_t i = 0; i < d->tokens.n; i++)
        if (links_of(d, i).n > 0)
            return i;
    return 0;
}

static int encode_done(struct view *v, void *result, int status, const struct error *err)
{
    struct encode *d = v->data;
    free(d->error);
    d->error = status == STATUS_OK ? NULL : xstrdup(err->message);
    int first = !d->encoded;
    free_encoded(d->encoded);
    d->encoded = result;
    list_set_count(&d->tokens, d->encoded ? d->encoded->context.n : 0);
    if (d->wanted_token < d->tokens.n)
        d->tokens.cursor = d->wanted_token;
    else if (first)
        d->tokens.cursor = first_firing(d);
    struct page_links links = links_of(d, d->tokens.cursor);
    list_set_count(&d->latents, links.n);
    if (d->wanted_latent < links.n)
        d->latents.cursor = d->wanted_latent;
    d->wanted_token = d->wanted_latent = SIZE_MAX;
    return INVALID_DRAW;
}

static const struct query_spec encode_query = {read_encoded, encode_done, free_encoded, free_request};

static void load(struct view *v)
{
    const char *blank = strchr(v->target, ' ');
    struct encode_request *r = xcalloc(1, sizeof *r);
    r->store = app_store(v->app);
    r->sae = xstrndup(v->target, blank ? (size_t)(blank - v->target) : strlen(v->target));
    r->text = xstrdup(blank ? blank + 1 : "");
    query_start(v, 0, &encode_query, r);
}

static int encode_open(struct view *v, const char *target, struct error *err)
{
    struct encode *d = v->data;
    if (!strchr(target, ' '))
        return error_set(err, STATUS_USAGE, "which text? Give an SAE and a text");
    if (!app_store(v->app))
        return error_set(err, STATUS_STORE, "there is no store yet");
    d->wanted_token = d->wanted_latent = SIZE_MAX;
    load(v);
    return STATUS_OK;
}

static void encode_close(struct view *v)
{
    struct encode *d = v->data;
    free_encoded(d->encoded);
    free(d->error);
}

/* ---- Drawing. ---- */

/* Shades the tokens by the selected latent's activations; its largest one in the text. */
static double shade(struct encode *d)
{
    struct encoded *e = d->encoded;
    struct page_links selected = links_of(d, d->tokens.cursor);
    double max = 0;
    for (size_t i = 0; i < e->context.n; i++) {
        struct page_links links = links_of(d, i);
        e->context.tokens[i].activation = 0;
        for (size_t k = 0; k < links.n && d->latents.cursor < selected.n; k++)
            if (links.items[k].latent == selected.items[d->latents.cursor].latent) {
                e->context.tokens[i].activation = links.items[k].value;
                max = (double)links.items[k].value > max ? (double)links.items[k].value : max;
            }
    }
    return max;
}

static void draw_text(struct view *v, const struct canvas *c)
{
    struct encode *d = v->data;
    struct strbuf title = STRBUF_INIT;
    struct page_links links = links_of(d, d->tokens.cursor);
    double max = shade(d);
    strbuf_adds(&title, "text");
    if (d->encoded->truncated)
        strbuf_adds(&title, ", cut at the model's context length");
    if (d->latents.cursor < links.n)
        strbuf_addf(&title, " %s shaded by latent %zu", glyph(GLYPH_MIDDLE_DOT),
                    links.items[d->latents.cursor].latent);
    struct canvas in = canvas_box(c, STYLE_BORDER, strbuf_string(&title));
    strbuf_free(&title);
    int line = context_wrapped_line(&d->encoded->context, in.width, HEAT_PLAIN, d->tokens.cursor);
    context_wrapped_draw(&in, &d->encoded->context, line >= in.height ? line - in.height + 1 : 0, max,
                         HEAT_PLAIN, d->tokens.cursor);
}

static void draw_token_row(const struct canvas *c, int y, const struct encode *d, size_t i)
{
    const struct page_token *token = &d->encoded->context.tokens[i];
    const char *text = strbuf_string(&d->encoded->context.text) + token->start;
    struct page_links links = links_of(d, i);
    char number[32];
    snprintf(number, sizeof number, "%zu", i);
    canvas_right(c, y, 6, STYLE_DIM, number);
    canvas_textn(c, y, 8, token->plain ? STYLE_NORMAL : STYLE_DIM, text,
                 display_prefix(text, token->length, 14));
    snprintf(number, sizeof number, "%zu", links.n);
    canvas_right(c, y, 27, STYLE_NORMAL, number);
    if (links.n == 0 || c->width <= TOKEN_COLUMNS)
        return;
    snprintf(number, sizeof number, "%.2f", (double)links.items[0].value);
    canvas_right(c, y, 35, STYLE_NORMAL, number);
    snprintf(number, sizeof number, "%zu", links.items[0].latent);
    canvas_right(c, y, 43, STYLE_NORMAL, number);
    canvas_ellipsis(c, y, 45, c->width - 46, STYLE_NORMAL, links.items[0].label ? links.items[0].label : "");
}

static void draw_tokens(struct view *v, const struct canvas *c)
{
    struct encode *d = v->data;
    int focused = v->focused && d->focus == PANE_TOKENS;
    struct canvas in = canvas_box(c, focused ? STYLE_BORDER_FOCUS : STYLE_BORDER, "tokens");
    canvas_right(&in, 0, 6, STYLE_STRONG, "at");
    canvas_text(&in, 0, 8, STYLE_STRONG, "token");
    canvas_right(&in, 0, 27, STYLE_STRONG, "L0");
    if (in.width > TOKEN_COLUMNS)
        canvas_right(&in, 0, 43, STYLE_STRONG, "strongest");
    struct canvas rows = canvas_part(&in, 1, 0, in.height - 1, in.width);
    list_layout(&d->tokens, rows.height);
    for (size_t i = d->tokens.top; i < d->tokens.n && i < d->tokens.top + (size_t)rows.height; i++) {
        int y = (int)(i - d->tokens.top);
        draw_token_row(&rows, y, d, i);
        if (i != d->tokens.cursor)
            continue;
        canvas_text(&rows, y, 0, focused ? STYLE_STRONG : STYLE_DIM, glyph(GLYPH_CURSOR));
        if (focused) {
            canvas_style(&rows, y, 0, rows.width, STYLE_SELECTED);
            canvas_cursor(&rows, y, 0);
        }
    }
    list_scroll_mark(&d->tokens, &rows);
}

static void draw_latents(struct view *v, const struct canvas *c, const char *sae)
{
    struct encode *d = v->data;
    int focused = v->focused && d->focus == PANE_LATENTS;
    struct page_links links = links_of(d, d->tokens.cursor);
    char title[64];
    snprintf(title, sizeof title, "%zu latents at token %zu", links.n, d->tokens.cursor);
    struct canvas in = canvas_box(c, focused ? STYLE_BORDER_FOCUS : STYLE_BORDER, title);
    if (links.n == 0)
        canvas_text(&in, 0, 1, STYLE_DIM, "no latent fires here");
    links_draw(&in, &links, &d->latents, focused, sae, 1);
}

static void encode_draw(struct view *v, const struct canvas *c)
{
    struct encode *d = v->data;
    if (!d->encoded) {
        canvas_ellipsis(c, 0, 1, c->width - 2, d->error ? STYLE_ERROR : STYLE_DIM,
                        d->error ? d->error : glyph(GLYPH_ELLIPSIS));
        return;
    }
    int lines =
        context_wrapped_line(&d->encoded->context, c->width - 2, HEAT_PLAIN, d->encoded->context.n) + 1;
    int top = lines + 2 < c->height / 3 ? lines + 2 : c->height / 3;
    int left = c->width >= LATENT_WIDE ? c->width / 2 : TOKEN_COLUMNS;
    struct canvas text = canvas_part(c, 0, 0, top, c->width);
    struct canvas tokens = canvas_part(c, top, 0, c->height - top, left);
    struct canvas latents = canvas_part(c, top, left, c->height - top, c->width - left);
    draw_text(v, &text);
    draw_tokens(v, &tokens);
    draw_latents(v, &latents, "");
}

/* ---- Actions. ---- */

static void text_answered(struct view *v, const char *answer)
{
    if (!answer || !*answer)
        return;
    char *target = xasprintf("%.*s %s", (int)strcspn(v->target, " "), v->target, answer);
    app_open(v->app, "encode", target);
    free(target);
}

static int open_latent(struct view *v)
{
    const struct encode *d = v->data;
    struct page_links links = links_of(d, d->tokens.cursor);
    if (d->latents.cursor >= links.n)
        return INVALID_NONE;
    char *target =
        xasprintf("%s/%zu", links.items[d->latents.cursor].name, links.items[d->latents.cursor].latent);
    app_open(v->app, "latent", target);
    free(target);
    return INVALID_DRAW;
}

static int all_latents(struct view *v)
{
    char *sae = xstrndup(v->target, strcspn(v->target, " "));
    app_open(v->app, "latents", sae);
    free(sae);
    return INVALID_DRAW;
}

/* Left and right step through the tokens in either pane. */
static int move(struct view *v, const char *action, long count)
{
    struct encode *d = v->data;
    int sideways = strcmp(action, "left") == 0 || strcmp(action, "right") == 0;
    if (sideways)
        action = strcmp(action, "left") == 0 ? "up" : "down";
    if (d->focus == PANE_LATENTS && !sideways) {
        list_set_count(&d->latents, links_of(d, d->tokens.cursor).n);
        return list_act(&d->latents, action, count);
    }
    size_t before = d->tokens.cursor;
    int invalid = list_act(&d->tokens, action, count);
    if (d->tokens.cursor != before)
        d->latents.cursor = d->latents.top = 0;
    return invalid;
}

static int encode_act(struct view *v, const char *action, long count)
{
    struct encode *d = v->data;
    if (strcmp(action, "open") == 0 && count < 0)
        return open_latent(v);
    if (strcmp(action, "open") == 0 || strcmp(action, "jump") == 0) {
        d->focus = PANE_TOKENS;
        return count < 0 ? INVALID_NONE : move(v, "jump", count + 1); /* tokens count from 0 */
    }
    if (strcmp(action, "next-pane") == 0 || strcmp(action, "previous-pane") == 0) {
        d->focus = d->focus == PANE_TOKENS ? PANE_LATENTS : PANE_TOKENS;
        return INVALID_DRAW;
    }
    if (strcmp(action, "all-latents") == 0)
        return all_latents(v);
    if (strcmp(action, "encode") == 0) {
        const char *blank = strchr(v->target, ' ');
        app_ask(v->app, "text: ", blank ? blank + 1 : "", text_answered);
        return INVALID_NONE;
    }
    return move(v, action, count);
}

static void encode_selected(struct view *v, struct strbuf *out)
{
    const struct encode *d = v->data;
    struct page_links links = links_of(d, d->tokens.cursor);
    if (d->latents.cursor < links.n)
        strbuf_addf(out, "%s/%zu", links.items[d->latents.cursor].name,
                    links.items[d->latents.cursor].latent);
    else
        strbuf_add(out, v->target, strcspn(v->target, " "));
}

/* FOCUS TOKEN LATENT */
static void encode_save(struct view *v, struct strbuf *out)
{
    const struct encode *d = v->data;
    strbuf_addf(out, "%d %zu %zu", (int)d->focus, d->tokens.cursor, d->latents.cursor);
}

static void encode_restore(struct view *v, const char *place)
{
    struct encode *d = v->data;
    int focus;
    size_t token, latent;
    if (sscanf(place, "%d %zu %zu", &focus, &token, &latent) != 3)
        return;
    d->focus = focus == PANE_LATENTS ? PANE_LATENTS : PANE_TOKENS;
    d->wanted_token = token;
    d->wanted_latent = latent;
    load(v);
}

/* In the tokens. */
static int encode_search(struct view *v, const char *pattern, int direction)
{
    struct encode *d = v->data;
    size_t n = d->encoded ? d->encoded->context.n : 0, at = d->tokens.cursor, wanted = strlen(pattern);
    for (size_t k = 1; k <= n; k++) {
        size_t i = row_round(at, k, n, direction);
        const struct page_token *token = &d->encoded->context.tokens[i];
        if (!memmem(strbuf_string(&d->encoded->context.text) + token->start, token->length, pattern, wanted))
            continue;
        d->tokens.cursor = i;
        d->latents.cursor = d->latents.top = 0;
        return 0;
    }
    return -1;
}

const struct view_ops encode_view = {
    .name = "encode",
    .summary = "a text on an SAE: its tokens, and the latents that fire on each",
    .actions = actions,
    .private_size = sizeof(struct encode),
    .open = encode_open,
    .draw = encode_draw,
    .act = encode_act,
    .hint = "Left Right token  Tab pane  Enter opens the latent  t another text",
    .selected = encode_selected,
    .save_place = encode_save,
    .restore_place = encode_restore,
    .search = encode_search,
    .close = encode_close,
};
