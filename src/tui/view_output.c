/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What commands printed. The last OUTPUTS_MAX are kept, so that `<` finds them again. */
#include "config.h"

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

static int output_act(struct view *v, const char *action, long count)
{
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
    .summary = "what a command printed",
    .private_size = sizeof(struct text_lines),
    .open = output_open,
    .draw = output_draw,
    .act = output_act,
    .status = output_status,
    .hint = "/ search  h l scroll sideways",
    .save_place = output_save,
    .restore_place = output_restore,
    .search = output_search,
    .close = output_close,
};
