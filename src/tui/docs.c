/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The manual's list of keys, from the tables of actions; the version of curses. */
#include "config.h"

#include <curses.h>

#include "saescope/base/strbuf.h"
#include "saescope/command/docs.h"
#include "saescope/tui/tui.h"
#include "saescope/tui/view.h"

static void action_list(struct strbuf *out, const struct action *actions)
{
    strbuf_adds(out, ".Bl -tag -width Ds -compact\n");
    for (const struct action *a = actions; a->name; a++) {
        strbuf_adds(out, ".It Ic ");
        docs_text(out, a->name);
        strbuf_adds(out, " Pq ");
        docs_argument(out, a->keys && *a->keys ? a->keys : "no key");
        strbuf_adds(out, "\n");
        docs_text(out, a->help);
        strbuf_adds(out, ".\n");
    }
    strbuf_adds(out, ".El\n");
}

void tui_docs(struct strbuf *out)
{
    strbuf_adds(out, ".Ss Everywhere\n");
    action_list(out, generic_actions);
    for (size_t i = 0; views[i]; i++) {
        strbuf_adds(out, ".Ss View ");
        docs_text(out, views[i]->name);
        strbuf_adds(out, "\n");
        docs_text(out, views[i]->summary);
        strbuf_adds(out, ".\n");
        if (views[i]->actions && views[i]->actions->name)
            action_list(out, views[i]->actions);
    }
}

const char *tui_curses_version(void)
{
    return curses_version();
}
