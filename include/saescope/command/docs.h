/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The manual's lists, in mdoc(7), from the tables. */
#ifndef SAESCOPE_COMMAND_DOCS_H
#define SAESCOPE_COMMAND_DOCS_H

#include "saescope/base/error.h"
#include "saescope/base/strbuf.h"

/* list: "options", "commands", "settings" or "formats". STATUS_USAGE otherwise. */
int docs_list(const char *list, struct strbuf *out, struct error *err);

/* Appends text with what roff would take for its own escaped. */
void docs_text(struct strbuf *out, const char *text);
/* As one quoted argument of a macro: arguments must not look like macros, and brackets and bars are punctuation to them. */
void docs_argument(struct strbuf *out, const char *text);

#endif
