/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What commands printed. The last OUTPUTS_MAX are kept, so that `<` finds them again. */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/app.h"
#include "saescope/tui/text_view.h"

#define OUTPUTS_MAX 32

struct output {
    char *title, *text;
    size_t n;
};

struct outputs {
    struct output kept[OUTPUTS_MAX];
    size_t n; /* ever */
};

static struct outputs *outputs_of(struct app *a)
{
    if (!a->outputs)
        a->outputs = xcalloc(1, sizeof(struct outputs));
    return a->outputs;
}

static struct output *find(struct app *a, const char *title)
{
    struct outputs *o = outputs_of(a);
    for (size_t i = 0; i < OUTPUTS_MAX; i++)
        if (o->kept[i].title && strcmp(o->kept[i].title, title) == 0)
            return &o->kept[i];
    return NULL;
}

void output_show(struct app *a, const char *title, const char *text, size_t n)
{
    struct outputs *o = outputs_of(a);
    struct output *kept = find(a, title);
    if (!kept)
        kept = &o->kept[o->n++ % OUTPUTS_MAX];
    char *copy = xstrdup(title), *bytes = xmalloc(n + 1);
    memcpy(bytes, text, n);
    bytes[n] = '\0';
    free(kept->title);
    free(kept->text);
    *kept = (struct output){copy, bytes, n};
    app_open(a, "output", title);
}

void outputs_free(struct app *a)
{
    struct outputs *o = a->outputs;
    for (size_t i = 0; o && i < OUTPUTS_MAX; i++) {
        free(o->kept[i].title);
        free(o->kept[i].text);
    }
    free(o);
    a->outputs = NULL;
}

static int output_open(struct view *v, const char *target, struct error *err)
{
    struct text_lines *t = v->data;
    const struct output *o = find(v->app, target);
    if (!o)
        return error_set(err, STATUS_REFUSED, "there is no output of '%s' any more", target);
    for (const char *p = o->text, *end = o->text + o->n; p < end;) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        struct strbuf line = STRBUF_INIT;
        line_end = line_end ? line_end : end;
        displayable(&line, p, (size_t)(line_end - p));
        text_add(t, STYLE_NORMAL, strbuf_detach(&line));
        p = line_end + 1;
    }
    return STATUS_OK;
}

static void output_draw(struct view *v, const struct canvas *c)
{
    text_draw(v->data, c);
}

/* ---- What a line is about. ---- */

static int is_named(struct store_txn *t, enum artifact_kind kind, const char *name, size_t n)
{
    struct artifact found;
    char *copy = xstrndup(name, n);
    int is = n > 0 && store_find(t, kind, copy, &found, NULL) == STATUS_OK;
    free(copy);
    return is;
}

static int is_name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '+' || c == '-';
}

/* "SAE/NUMBER" anywhere, also in parentheses or before a colon. 1: there is one. */
static int address_within(struct store_txn *t, const char *line, struct strbuf *out)
{
    for (const char *slash = strchr(line, '/'); slash; slash = strchr(slash + 1, '/')) {
        const char *name = slash, *end = slash + 1 + strspn(slash + 1, "0123456789");
        while (name > line && is_name_byte(name[-1]))
            name--;
        if (end > slash + 1 && !isalnum((unsigned char)*end) &&
            is_named(t, ARTIFACT_SAE, name, (size_t)(slash - name))) {
            strbuf_add(out, name, (size_t)(end - name));
            return 1;
        }
    }
    return 0;
}

/* "SAE NUMBER" at the start, as tables have it; else what the first word names. */
static void name_at_start(struct store_txn *t, const char *line, struct strbuf *out)
{
    const char *name = line + strspn(line, " ");
    size_t n = strcspn(name, " "), blanks = strspn(name + n, " "),
           digits = strspn(name + n + blanks, "0123456789");
    char after = name[n + blanks + digits];
    int is_latent = blanks > 0 && digits > 0 && (after == ' ' || after == '\0');
    if (is_latent && is_named(t, ARTIFACT_SAE, name, n)) {
        strbuf_add(out, name, n);
        strbuf_addc(out, '/');
        strbuf_add(out, name + n + blanks, digits);
    } else if (is_named(t, 0, name, n)) {
        strbuf_add(out, name, n);
    }
}

static void output_selected(struct view *v, struct strbuf *out)
{
    const struct text_lines *t = v->data;
    struct store_txn *txn;
    if (t->list.cursor >= t->n || !app_store(v->app) ||
        store_begin(app_store(v->app), &txn, NULL) != STATUS_OK)
        return;
    const char *line = t->lines[t->list.cursor].text;
    if (!address_within(txn, line, out))
        name_at_start(txn, line, out);
    store_end(txn);
}

static int open_selected(struct view *v)
{
    struct strbuf address = STRBUF_INIT;
    output_selected(v, &address);
    if (address.length > 0)
        app_open_address(v->app, strbuf_string(&address));
    else
        app_message(v->app, 0, "this line names nothing of the store");
    strbuf_free(&address);
    return INVALID_DRAW;
}

static int output_act(struct view *v, const char *action, long count)
{
    if (strcmp(action, "open") == 0)
        return open_selected(v);
    return text_act(v->data, action, count);
}

static void output_status(struct view *v, struct strbuf *out)
{
    const struct text_lines *t = v->data;
    strbuf_addf(out, "line %zu of %zu", t->n ? t->list.cursor + 1 : 0, t->n);
}

static int output_search(struct view *v, const char *pattern, int direction)
{
    return text_search(v->data, pattern, direction);
}

static void output_save(struct view *v, struct strbuf *out)
{
    text_save(v->data, out);
}

static void output_restore(struct view *v, const char *place)
{
    text_restore(v->data, place);
}

static void output_close(struct view *v)
{
    text_free(v->data);
}

const struct view_ops output_view = {
    .name = "output",
    .summary = "what a command printed; Enter opens the latent or name of a line",
    .private_size = sizeof(struct text_lines),
    .open = output_open,
    .draw = output_draw,
    .act = output_act,
    .status = output_status,
    .hint = "Enter opens  / search  h l scroll sideways",
    .selected = output_selected,
    .save_place = output_save,
    .restore_place = output_restore,
    .search = output_search,
    .close = output_close,
};
