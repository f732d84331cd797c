/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages: the last one on the bottom line, the last MESSAGES_MAX in the view `messages`. */
#include "config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/tui/app.h"

void app_message_text(struct app *a, int is_error, const char *displayable_text)
{
    struct message *m = &a->messages[a->n_messages++ % MESSAGES_MAX];
    free(m->text);
    *m = (struct message){xstrdup(displayable_text), is_error, app_time(a)};
    a->message_shown = 1;
    a->invalid |= INVALID_DRAW;
}

void app_message(struct app *a, int is_error, const char *format, ...)
{
    struct strbuf b = STRBUF_INIT;
    va_list args;
    va_start(args, format);
    strbuf_vaddf(&b, format, args);
    va_end(args);
    app_message_text(a, is_error, strbuf_string(&b));
    strbuf_free(&b);
}

size_t messages_count(const struct app *a)
{
    return a->n_messages < MESSAGES_MAX ? a->n_messages : MESSAGES_MAX;
}

const struct message *messages_at(const struct app *a, size_t i)
{
    size_t oldest = a->n_messages < MESSAGES_MAX ? 0 : a->n_messages;
    return &a->messages[(oldest + i) % MESSAGES_MAX];
}
