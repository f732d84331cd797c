/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A question that one key answers, on the bottom line. Further ones wait their turn. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/tui/app.h"

struct question {
    struct question *next;
    char *text, *choices;
    void (*done)(struct app *a, char answer, void *arg);
    void *arg;
};

void question_ask(struct app *a, const char *text, const char *choices,
                  void (*done)(struct app *a, char answer, void *arg), void *arg)
{
    if (a->quit) {
        done(a, 0, arg);
        return;
    }
    struct question *q = xcalloc(1, sizeof *q), **last = &a->question;
    *q = (struct question){NULL, xstrdup(text), xstrdup(choices), done, arg};
    while (*last)
        last = &(*last)->next;
    *last = q;
    prompt_close(a);
    a->mode = INPUT_QUESTION;
    a->invalid |= INVALID_DRAW;
}

static void answer_first(struct app *a, char answer)
{
    struct question *q = a->question;
    a->question = q->next;
    a->mode = a->question ? INPUT_QUESTION : INPUT_KEYS;
    a->invalid |= INVALID_DRAW;
    q->done(a, answer, q->arg);
    free(q->text);
    free(q->choices);
    free(q);
}

void question_key(struct app *a, const char *key)
{
    if (strcmp(key, "<Esc>") == 0 || strcmp(key, "<C-c>") == 0 || strcmp(key, "<C-g>") == 0)
        answer_first(a, 0);
    else if (strlen(key) == 1 && strchr(a->question->choices, key[0]))
        answer_first(a, key[0]);
}

void question_cancel(struct app *a)
{
    while (a->question)
        answer_first(a, 0);
}

void question_draw(struct app *a, const struct canvas *bottom)
{
    struct strbuf b = STRBUF_INIT;
    strbuf_addf(&b, "%s  ", a->question->text);
    if (strcmp(a->question->choices, "yn") == 0)
        strbuf_adds(&b, "y yes  n no ");
    canvas_fill(bottom, 0, 0, bottom->width, STYLE_WARNING);
    int x = canvas_ellipsis(bottom, 0, 0, bottom->width - 1, STYLE_WARNING, strbuf_string(&b));
    canvas_cursor(bottom, 0, x);
    strbuf_free(&b);
}
