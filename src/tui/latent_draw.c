/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Draws a latent's page from what is there of it. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/tui/latent_view.h"

void window_text(long long window, char out[24])
{
    if (window >= WINDOW_FULL)
        snprintf(out, 24, "full");
    else
        snprintf(out, 24, "%lld", window);
}

size_t latent_contexts_shown(const struct latent_state *s, size_t *first)
{
    *first = 0;
    if (!s->head)
        return 0;
    *first = s->intervals ? s->head->n_top : 0;
    return s->intervals ? s->head->n_contexts - s->head->n_top : s->head->n_top;
}

static void add_dot(struct strbuf *b)
{
    strbuf_addf(b, " %s ", glyph(GLYPH_MIDDLE_DOT));
}

static struct canvas box(const struct canvas *c, int focused, const struct strbuf *title)
{
    return canvas_box(c, focused ? STYLE_BORDER_FOCUS : STYLE_BORDER, strbuf_string(title));
}

/* What stands in a pane whose data is not there: why, or that it is coming. */
static void draw_absent(const struct canvas *c, const char *failed)
{
    canvas_ellipsis(c, 0, 1, c->width - 2, failed ? STYLE_ERROR : STYLE_DIM,
                    failed ? failed : glyph(GLYPH_ELLIPSIS));
}

/* ---- The header. ---- */

static void statistics_text(const struct page_head *head, struct strbuf *out)
{
    if (!head->index) {
        strbuf_adds(out, "not indexed");
        return;
    }
    if (!head->fired) {
        strbuf_adds(out, head->is_meta ? "dead: no members among " : "dead: never fired in ");
        strbuf_add_grouped(out, (long long)head->tokens);
        strbuf_adds(out, head->is_meta ? " latents" : " tokens");
        return;
    }
    strbuf_adds(out, head->is_meta ? "members " : "fired ");
    strbuf_add_grouped(out, (long long)head->fired);
    strbuf_adds(out, " of ");
    strbuf_add_grouped(out, (long long)head->tokens);
    add_dot(out);
    strbuf_addf(out, "%.3g%%", 100 * (double)head->fired / (double)head->tokens);
    add_dot(out);
    strbuf_addf(out, "max %.3g", head->max);
    add_dot(out);
    strbuf_addf(out, "mean %.3g", head->mean);
}

static void draw_header(const struct canvas *c, const struct page_head *head)
{
    static const char *const sources[] = {"", "(user)", "(imported)", "(auto)"};
    struct strbuf text = STRBUF_INIT;
    statistics_text(head, &text);
    int width = (int)display_width(strbuf_string(&text), text.length);
    int one_line = c->height < 2, room = one_line ? c->width - width - 3 : c->width;
    if (one_line)
        canvas_right(c, 0, c->width - 1, STYLE_NORMAL, strbuf_string(&text));
    else
        canvas_ellipsis(c, 1, 1, c->width - 1, STYLE_NORMAL, strbuf_string(&text));
    struct canvas left = canvas_part(c, 0, 0, 1, room);
    if (!head->label) {
        canvas_text(&left, 0, 1, STYLE_DIM, "no label (L sets one)");
    } else {
        const char *source = head->source <= LABEL_AUTO ? sources[head->source] : "";
        int label_width = (int)display_width(head->label, strlen(head->label)),
            most = room - (int)strlen(source) - 3;
        canvas_ellipsis(&left, 0, 1, label_width < most ? label_width : most, STYLE_STRONG, head->label);
        canvas_text(&left, 0, (label_width < most ? label_width : most) + 2, STYLE_DIM, source);
    }
    strbuf_free(&text);
}

/* ---- Panes. ---- */

static void draw_members(const struct view *v, struct latent_state *s, const struct canvas *c)
{
    struct strbuf title = STRBUF_INIT;
    int focused = v->focused && s->focus == PANE_MEMBERS;
    strbuf_adds(&title, "members");
    if (s->members && *s->members->sae) {
        add_dot(&title);
        strbuf_addf(&title, "%zu latents of %s", s->members->links.n, s->members->sae);
        if (s->members->n_saes > 1)
            strbuf_addf(&title, " and %zu more", s->members->n_saes - 1);
    }
    struct canvas in = box(c, focused, &title);
    strbuf_free(&title);
    if (!s->members) {
        draw_absent(&in, s->failed[PANE_MEMBERS]);
        return;
    }
    if (s->members->links.n == 0)
        canvas_text(&in, 0, 1, STYLE_DIM, "no latent uses it");
    links_draw(&in, &s->members->links, &s->lists[PANE_MEMBERS], focused,
               s->members->n_saes > 1 ? NULL : s->members->sae, 1);
}

static void components_title(const struct page_components *components, struct strbuf *title)
{
    strbuf_adds(title, "meta-latents");
    if (!components || !*components->sae)
        return;
    add_dot(title);
    if (!isnan(components->explained_variance)) {
        strbuf_addf(title, "EV %.2f", components->explained_variance);
        add_dot(title);
    }
    strbuf_adds(title, components->sae);
}

static void draw_components(const struct view *v, struct latent_state *s, const struct canvas *c)
{
    struct strbuf title = STRBUF_INIT;
    int focused = v->focused && s->focus == PANE_COMPONENTS;
    components_title(s->components, &title);
    struct canvas in = box(c, focused, &title);
    strbuf_free(&title);
    if (!s->components) {
        draw_absent(&in, s->failed[PANE_COMPONENTS]);
        return;
    }
    if (!*s->components->sae) {
        canvas_text(&in, 0, 1, STYLE_DIM, "no meta-SAE");
        canvas_printf(&in, 1, 1, STYLE_DIM, ":train meta NAME --sae %s --width N", s->head->at.sae.name);
        return;
    }
    if (s->components->links.n == 0)
        canvas_text(&in, 0, 1, STYLE_DIM, "no meta-latent fires on it");
    struct canvas rows = in;
    if ((size_t)in.height > s->components->links.n) {
        rows = canvas_part(&in, 0, 0, in.height - 1, in.width);
        if (!isnan(s->components->explained_variance))
            canvas_printf(&in, in.height - 1, 2, STYLE_DIM, "residual %.2f of norm 1",
                          s->components->residual_norm);
    }
    links_draw(&rows, &s->components->links, &s->lists[PANE_COMPONENTS], focused, s->components->sae, 1);
}

static void draw_relatives(const struct view *v, struct latent_state *s, const struct latent_layout *l)
{
    struct strbuf title = STRBUF_INIT;
    int focused = v->focused && s->focus == PANE_RELATIVES;
    struct canvas in = l->relatives;
    if (l->boxed_relatives) {
        strbuf_adds(&title, "relatives");
        add_dot(&title);
        strbuf_adds(&title, "decoder cosine");
        in = box(&in, focused, &title);
        strbuf_free(&title);
    }
    if (!s->relatives) {
        draw_absent(&in, s->failed[PANE_RELATIVES]);
    } else if (l->boxed_relatives) {
        links_draw(&in, &s->relatives->links, &s->lists[PANE_RELATIVES], focused, NULL, 0);
    } else {
        list_set_count(&s->lists[PANE_RELATIVES], s->relatives->links.n);
        links_line_draw(&in, &s->relatives->links, &s->lists[PANE_RELATIVES], focused);
    }
}

static void draw_histogram(const struct latent_state *s, const struct canvas *c)
{
    struct strbuf title = STRBUF_INIT;
    strbuf_adds(&title, s->head->is_meta ? "members by activation" : "activations > 0");
    if (!s->head->is_meta) {
        add_dot(&title);
        strbuf_adds(&title, "log");
    }
    struct canvas in = box(c, 0, &title);
    histogram_draw(&in, s->head);
    strbuf_free(&title);
}

static void draw_logits(const struct latent_state *s, const struct latent_layout *l)
{
    struct canvas in = l->logits;
    if (l->boxed_logits)
        in = canvas_box(&l->logits, STYLE_BORDER, "logits");
    if (s->logits)
        logits_draw(&in, s->logits);
    else
        draw_absent(&in, NULL);
}

/* ---- Contexts. ---- */

static void contexts_title(const struct view *v, const struct latent_state *s, size_t n, struct strbuf *title)
{
    char window[24];
    window_text(settings_count(app_settings(v->app), "window"), window);
    strbuf_adds(title, "contexts");
    if (n == 0)
        return;
    add_dot(title);
    strbuf_addf(title, s->intervals ? "%zu sampled by interval" : "top %zu", n);
    add_dot(title);
    strbuf_addf(title, "window %s", window);
}

static void draw_context_row(const struct canvas *c, int y, const struct latent_state *s, size_t i,
                             size_t first, size_t window)
{
    const struct page_context *context = &s->head->contexts[i];
    char value[32];
    int x = 2;
    if (s->intervals) {
        if (i == first || s->head->contexts[i - 1].interval != context->interval)
            canvas_printf(c, y, x, STYLE_DIM, "%d/%d", context->interval + 1, INDEX_INTERVALS);
        x += 4;
    }
    snprintf(value, sizeof value, "%.2f", (double)context->activation);
    canvas_right(c, y, x + 6, STYLE_NORMAL, value);
    context_line_draw(c, y, x + 8, context, window, s->head->max);
}

static void draw_contexts(const struct view *v, struct latent_state *s, const struct canvas *c)
{
    struct strbuf title = STRBUF_INIT;
    struct list *list = &s->lists[PANE_CONTEXTS];
    int focused = v->focused && s->focus == PANE_CONTEXTS;
    size_t first, n = latent_contexts_shown(s, &first);
    long long window = settings_count(app_settings(v->app), "window");
    contexts_title(v, s, n, &title);
    struct canvas in = box(c, focused, &title);
    strbuf_free(&title);
    list_set_count(list, n);
    list_layout(list, in.height);
    for (size_t i = list->top; i < n && i < list->top + (size_t)in.height; i++) {
        int y = (int)(i - list->top);
        if (i == list->cursor) {
            canvas_text(&in, y, 0, focused ? STYLE_STRONG : STYLE_DIM, glyph(GLYPH_CURSOR));
            if (focused) {
                canvas_style(&in, y, 0, s->intervals ? 12 : 8, STYLE_SELECTED);
                canvas_cursor(&in, y, 0);
            }
        }
        draw_context_row(&in, y, s, first + i, first, (size_t)window);
    }
    if (n == 0)
        canvas_text(&in, 0, 1, STYLE_DIM,
                    !s->head->index  ? "not indexed"
                    : s->head->fired ? "none are kept"
                                     : "it fired on no token");
    else if (n > (size_t)(in.height > 0 ? in.height : 0))
        list_scroll_mark(list, &in);
}

static void draw_whole_context(struct latent_state *s, const struct canvas *c)
{
    struct strbuf title = STRBUF_INIT;
    size_t first, n = latent_contexts_shown(s, &first), i = s->lists[PANE_CONTEXTS].cursor;
    const struct page_context *context = &s->head->contexts[first + i];
    strbuf_addf(&title, "context %zu", context->context);
    add_dot(&title);
    strbuf_addf(&title, "%zu of %zu", i + 1, n);
    add_dot(&title);
    if (context->interval >= 0)
        strbuf_addf(&title, "interval %d of %d, ", context->interval + 1, INDEX_INTERVALS);
    strbuf_addf(&title, "activation %.2f at token %zu of %zu", (double)context->activation, context->position,
                context->n);
    struct canvas in = box(c, 1, &title);
    strbuf_free(&title);
    int lines =
        context_wrapped_draw(&in, context, s->whole_top, s->head->max, HEAT_VALUES, context->position);
    if (s->whole_top > lines - 1)
        s->whole_top = lines - 1;
}

void latent_draw(struct view *v, const struct canvas *c)
{
    struct latent_state *s = v->data;
    if (!s->head) {
        canvas_ellipsis(c, 0, 1, c->width - 2, s->error ? STYLE_ERROR : STYLE_DIM,
                        s->error ? s->error : glyph(GLYPH_ELLIPSIS));
        return;
    }
    size_t first;
    if (s->whole && s->lists[PANE_CONTEXTS].cursor < latent_contexts_shown(s, &first)) {
        draw_whole_context(s, c);
        return;
    }
    struct latent_layout l;
    latent_layout(c, s->head->is_meta, s->head->has_meta, &l);
    draw_header(&l.header, s->head);
    if (l.members.height > 0)
        draw_members(v, s, &l.members);
    if (l.components.height > 0)
        draw_components(v, s, &l.components);
    if (l.histogram.height > 0)
        draw_histogram(s, &l.histogram);
    if (l.logits.height > 0)
        draw_logits(s, &l);
    if (l.relatives.height > 0)
        draw_relatives(v, s, &l);
    if (l.contexts.height > 0)
        draw_contexts(v, s, &l.contexts);
}
