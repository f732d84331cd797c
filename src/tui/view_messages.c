/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The messages so far, newest last. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/tui/app.h"
#include "saescope/tui/text_view.h"

static void fill(struct view *v)
{
    struct text_lines *t = v->data;
    int at_end = t->n == 0 || t->list.cursor + 1 >= t->n;
    double now = app_time(v->app);
    text_reset(t);
    for (size_t i = 0; i < messages_count(v->app); i++) {
        const struct message *m = messages_at(v->app, i);
        struct strbuf b = STRBUF_INIT;
        strbuf_add_duration(&b, now - m->when);
        char *line = xasprintf("%8s ago  %s", strbuf_string(&b), m->text);
        text_add_head(t, line, 12 + (b.length > 8 ? b.length - 8 : 0), STYLE_DIM);
        if (m->is_error)
            t->lines[t->n - 1].style = STYLE_ERROR;
        strbuf_free(&b);
    }
    if (at_end && t->n)
        t->list.cursor = t->n - 1;
}

static int messages_open(struct view *v, const char *target, struct error *err)
{
    (void)target;
    (void)err;
    fill(v);
    return STATUS_OK;
}

static void messages_draw(struct view *v, const struct canvas *c)
{
    struct text_lines *t = v->data;
    fill(v);
    if (t->n == 0)
        canvas_text(c, 1, 2, STYLE_DIM, "No messages yet.");
    text_draw(t, c);
}

static int messages_act(struct view *v, const char *action, long count)
{
    return text_act(v->data, action, count);
}

static int messages_search(struct view *v, const char *pattern, int direction)
{
    return text_search(v->data, pattern, direction);
}

static void messages_close(struct view *v)
{
    text_free(v->data);
}

const struct view_ops messages_view = {
    .name = "messages",
    .summary = "the messages so far",
    .private_size = sizeof(struct text_lines),
    .open = messages_open,
    .draw = messages_draw,
    .act = messages_act,
    .hint = "/ search",
    .search = messages_search,
    .close = messages_close,
};
