/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One frame: the status line, the view, the bottom line and what pops up. */
#include "config.h"

#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/tui/app.h"

/* "wn-4096/12" as "wn-4096 › 12"; views without a target by their name. */
static void add_place(struct strbuf *b, const struct view *v)
{
    const char *slash = strchr(v->target, '/');
    size_t digits = slash ? strspn(slash + 1, "0123456789") : 0;
    if (*v->target == '\0' || strcmp(v->ops->name, "help") == 0) {
        strbuf_adds(b, v->ops->name);
        if (*v->target)
            strbuf_addf(b, " %s %s", glyph(GLYPH_CHEVRON), v->target);
    } else if (slash && digits > 0 && slash[1 + digits] == '\0') {
        displayable(b, v->target, (size_t)(slash - v->target));
        strbuf_addf(b, " %s %s", glyph(GLYPH_CHEVRON), slash + 1);
    } else {
        displayable(b, v->target, strlen(v->target));
    }
}

static void draw_status(struct app *a, const struct canvas *c)
{
    struct view *v = history_view(a);
    struct strbuf left = STRBUF_INIT, right = STRBUF_INIT;
    add_place(&left, v);
    if (v->ops->status) {
        strbuf_adds(&left, "  ");
        v->ops->status(v, &left);
    }
    jobs_strip(a, &right);
    int width = (int)display_width(strbuf_string(&right), right.length);
    canvas_fill(c, 0, 0, c->width, STYLE_STATUS);
    canvas_ellipsis(c, 0, 1, c->width - 2 - (width ? width + 2 : 0), STYLE_STATUS, strbuf_string(&left));
    canvas_right(c, 0, c->width - 1, STYLE_STATUS, strbuf_string(&right));
    strbuf_free(&left);
    strbuf_free(&right);
}

/* What was typed of a count or of a row of keys. */
static void add_pending(struct app *a, struct strbuf *b)
{
    if (a->count >= 0)
        strbuf_addf(b, "%ld", a->count);
    for (size_t i = 0; i < a->n_pending; i++)
        strbuf_adds(b, a->pending[i]);
    if (b->length > 0)
        strbuf_adds(b, "  ");
}

/* The view's hints as far as whole ones fit, then how to get help and away. */
static void add_hints(struct strbuf *b, const char *own, const char *general, int room)
{
    int width = (int)display_width(strbuf_string(b), b->length) + (int)strlen(general);
    while (own && *own) {
        const char *end = strstr(own, "  ");
        size_t n = end ? (size_t)(end - own) : strlen(own);
        width += (int)display_width(own, n) + 2;
        if (width > room)
            break;
        strbuf_add(b, own, n);
        strbuf_adds(b, "  ");
        own += n + strspn(own + n, " ");
    }
    strbuf_adds(b, general);
}

static void draw_bottom(struct app *a, const struct canvas *c)
{
    struct view *v = history_view(a);
    const struct message *m = a->message_shown ? messages_at(a, messages_count(a) - 1) : NULL;
    const char *text = m ? m->text : runner_now(a), *general = "? help  : command  q back";
    const char *hint = v->ops->hint;
    struct strbuf hints = STRBUF_INIT;
    int room = c->width - 2, wanted = text ? (int)display_width(text, strlen(text)) : 0;
    if (a->history.at == 0)
        general = "? help  : command  q quit";
    add_pending(a, &hints);
    if (c->width < 100 && hint)
        general = a->history.at == 0 ? "? help  q quit" : "? help  q back";
    if (a->mode == INPUT_PALETTE) {
        hint = "type some of its letters  Up Down choose";
        general = "Enter runs  Esc closes";
    }
    add_hints(&hints, text ? NULL : hint, general, room);
    int width = (int)display_width(strbuf_string(&hints), hints.length);
    canvas_fill(c, 0, 0, c->width, STYLE_HINT);
    if (!text || wanted + 3 + width <= room)
        canvas_right(c, 0, c->width - 1, STYLE_HINT, strbuf_string(&hints));
    if (text)
        canvas_ellipsis(c, 0, 1, room, m && m->is_error ? STYLE_ERROR : STYLE_NORMAL, text);
    strbuf_free(&hints);
}

static void draw_too_small(const struct canvas *c)
{
    char text[64];
    snprintf(text, sizeof text, "%dx%d is too small", c->width, c->height);
    int y = c->height / 2 - 1;
    y = y > 0 ? y : 0;
    canvas_ellipsis(c, y, 0, c->width, STYLE_NORMAL, text);
    snprintf(text, sizeof text, "needed: %dx%d", SCREEN_MIN_WIDTH, SCREEN_MIN_HEIGHT);
    canvas_ellipsis(c, y + 1, 0, c->width, STYLE_NORMAL, text);
    canvas_ellipsis(c, y + 2, 0, c->width, STYLE_DIM, "q closes");
}

void app_draw(struct app *a)
{
    struct canvas all = {0, 0, screen_height(), screen_width()};
    struct view *v = history_view(a);
    a->invalid = INVALID_NONE;
    screen_begin();
    if (all.width < SCREEN_MIN_WIDTH || all.height < SCREEN_MIN_HEIGHT) {
        prompt_close(a); /* what cannot be seen takes no keys */
        palette_close(a);
        a->invalid = INVALID_NONE;
        draw_too_small(&all);
        if (a->mode == INPUT_QUESTION) {
            struct canvas bottom = canvas_part(&all, all.height - 1, 0, 1, all.width);
            question_draw(a, &bottom);
        }
        screen_end();
        return;
    }
    struct canvas status = canvas_part(&all, 0, 0, 1, all.width);
    struct canvas body = canvas_part(&all, 1, 0, all.height - 2, all.width);
    struct canvas bottom = canvas_part(&all, all.height - 1, 0, 1, all.width);
    v->ops->draw(v, &body);
    draw_status(a, &status);
    if (a->mode == INPUT_PROMPT)
        prompt_draw(a, &bottom, &body);
    else if (a->mode == INPUT_QUESTION)
        question_draw(a, &bottom);
    else
        draw_bottom(a, &bottom);
    if (a->mode == INPUT_PALETTE)
        palette_draw(a, &body);
    screen_end();
}
