/* SPDX-License-Identifier: GPL-3.0-or-later */
/* help: from the tables. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/handlers.h"
#include "saescope/command/parse.h"
#include "saescope/formats/formats.h"
#include "saescope/model/family.h"

#define TEXT_COLUMNS 78

/* Prints text in lines of at most TEXT_COLUMNS: the first behind `left`, the text of each at column `indent`. */
static void write_wrapped(struct writer *out, size_t indent, const char *left, const char *text)
{
    struct strbuf line = STRBUF_INIT;
    size_t at = display_width(left, strlen(left)), words = 0;
    strbuf_adds(&line, left);
    if (at + 1 > indent && at > 0) { /* no room beside it */
        writer_line(out, "%s", left);
        strbuf_reset(&line);
        at = 0;
    }
    for (; *text; text += strspn(text, " ")) {
        size_t n = strcspn(text, " "), width = display_width(text, n);
        if (words > 0 && at + 1 + width > TEXT_COLUMNS) {
            writer_line(out, "%s", strbuf_string(&line));
            strbuf_reset(&line);
            at = words = 0;
        }
        size_t blanks = words++ > 0 ? 1 : indent - at;
        strbuf_addf(&line, "%*s%.*s", (int)blanks, "", (int)n, text);
        at += blanks + width;
        text += n;
    }
    if (line.length > 0)
        writer_line(out, "%s", strbuf_string(&line));
    strbuf_free(&line);
}

static void write_item(struct writer *out, size_t column, const char *name, const char *text)
{
    char *left = xasprintf("  %s", name);
    write_wrapped(out, column, left, text);
    free(left);
}

static void write_summary(struct writer *out, const struct command *c)
{
    writer_begin_object(out, NULL);
    writer_string(out, "name", c->name);
    writer_string(out, "summary", c->summary);
    writer_end_object(out);
    write_item(out, 18, c->name, c->summary);
}

static void help_all(struct writer *out)
{
    writer_begin_object(out, NULL);
    writer_begin_array(out, "groups");
    for (int g = 0; g < COMMAND_GROUPS; g++) {
        writer_begin_object(out, NULL);
        writer_string(out, "title", command_group_titles[g]);
        if (g > 0)
            writer_line(out, "%s", "");
        writer_line(out, "%s", command_group_titles[g]);
        writer_begin_array(out, "commands");
        for (size_t i = 0; commands[i]; i++)
            if (commands[i]->group == (enum command_group)g)
                write_summary(out, commands[i]);
        writer_end_array(out);
        writer_end_object(out);
    }
    writer_end_array(out);
    writer_end_object(out);
    writer_line(out, "%s", "");
    write_wrapped(out, 0, "", "`help COMMAND` tells more of one. `help architectures`, `help families` and `help formats` list "
                              "what is known of each; `set` lists the settings.");
}

static void write_options(struct writer *out, const struct option_spec *options)
{
    for (const struct option_spec *o = options; o && o->name; o++) {
        const char *value = o->type == WORD_FLAG ? NULL : o->choices ? o->choices : o->value ? o->value : "VALUE";
        char *left = xasprintf("--%s%s%s", o->name, value ? " " : "", value ? value : "");
        writer_begin_object(out, NULL);
        writer_string(out, "name", o->name);
        writer_string(out, "value", value);
        writer_boolean(out, "required", o->required);
        writer_string(out, "help", o->help);
        writer_end_object(out);
        write_item(out, 26, left, o->help ? o->help : "");
        free(left);
    }
}

static void write_arguments(struct writer *out, const struct command *c)
{
    writer_begin_array(out, "arguments");
    for (const struct argument_spec *a = c->arguments; a && a->name; a++) {
        writer_begin_object(out, NULL);
        writer_string(out, "name", a->name);
        writer_boolean(out, "optional", a->optional);
        writer_boolean(out, "repeated", a->repeated);
        writer_end_object(out);
    }
    writer_end_array(out);
}

static void help_command_named(struct writer *out, const struct command *c)
{
    struct strbuf usage = STRBUF_INIT;
    command_usage(c, &usage);
    writer_own_text(out);
    writer_begin_object(out, NULL);
    writer_string(out, "name", c->name);
    writer_string(out, "group", command_group_titles[c->group]);
    writer_string(out, "summary", c->summary);
    writer_string(out, "description", c->description);
    writer_string(out, "usage", strbuf_string(&usage));
    writer_line(out, "%s: %s", c->name, c->summary);
    writer_line(out, "%s", "");
    write_wrapped(out, 2, "", strbuf_string(&usage));
    if (c->description) {
        writer_line(out, "%s", "");
        write_wrapped(out, 0, "", c->description);
    }
    writer_line(out, "%s", "");
    write_arguments(out, c);
    writer_begin_array(out, "options");
    write_options(out, c->options);
    if (c->cost == COST_JOB)
        write_options(out, job_options);
    write_options(out, common_options);
    writer_end_array(out);
    writer_end_object(out);
    strbuf_free(&usage);
}

/* `help train`: the commands that begin so. 0 when there are none. */
static int help_prefix(struct writer *out, const char *word)
{
    size_t n = strlen(word), found = 0;
    for (size_t i = 0; commands[i]; i++) {
        if (strncmp(commands[i]->name, word, n) != 0 || commands[i]->name[n] != ' ')
            continue;
        if (found++ == 0) {
            writer_own_text(out);
            writer_begin_object(out, NULL);
            writer_begin_array(out, "commands");
        }
        write_summary(out, commands[i]);
    }
    if (found > 0) {
        writer_end_array(out);
        writer_end_object(out);
    }
    return found > 0;
}

static void write_listed(struct writer *out, const char *name, const char *summary)
{
    writer_begin_object(out, NULL);
    writer_string(out, "name", name);
    if (summary)
        writer_string(out, "summary", summary);
    writer_end_object(out);
    if (summary)
        write_item(out, 18, name, summary);
    else
        writer_line(out, "  %s", name);
}

/* The tables that commands' options take their names from. 0 when there is none of that name. */
static int help_table(struct writer *out, const char *word)
{
    int architectures = strcmp(word, "architectures") == 0, families = strcmp(word, "families") == 0;
    if (!architectures && !families && strcmp(word, "formats") != 0)
        return 0;
    writer_own_text(out);
    writer_begin_object(out, NULL);
    writer_begin_array(out, word);
    if (architectures)
        for (size_t i = 0; sae_architectures[i]; i++)
            write_listed(out, sae_architectures[i]->name, NULL);
    else if (families)
        for (size_t i = 0; model_families[i]; i++)
            write_listed(out, model_families[i]->name, NULL);
    else
        for (size_t i = 0; sae_formats[i]; i++)
            write_listed(out, sae_formats[i]->name, sae_formats[i]->summary);
    writer_end_array(out);
    writer_end_object(out);
    return 1;
}

static int run_help(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err)
{
    struct strbuf name = STRBUF_INIT;
    int status = STATUS_OK;
    (void)ctx;
    if (inv->n_arguments == 0) {
        writer_own_text(out);
        help_all(out);
        return STATUS_OK;
    }
    for (size_t i = 0; i < inv->n_arguments; i++)
        strbuf_addf(&name, "%s%s", i ? " " : "", inv->arguments[i]);
    const struct command *c = command_find(strbuf_string(&name));
    if (c)
        help_command_named(out, c);
    else if (!help_prefix(out, strbuf_string(&name)) && !help_table(out, strbuf_string(&name)))
        status = command_unknown(inv->arguments, inv->n_arguments, err);
    strbuf_free(&name);
    return status;
}

static const struct argument_spec help_arguments[] = {
    {.name = "COMMAND", .type = WORD_COMMAND, .optional = 1, .repeated = 1}, {.name = NULL}};
const struct command help_command = {
    .name = "help",
    .group = GROUP_SESSION,
    .summary = "list the commands, or tell how one is used",
    .arguments = help_arguments,
    .cost = COST_INSTANT,
    .run = run_help,
};
