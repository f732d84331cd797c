/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mdoc(7) lists of options, commands, settings and formats, for the manual. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/command/docs.h"
#include "saescope/command/options.h"
#include "saescope/command/parse.h"
#include "saescope/formats/formats.h"
#include "saescope/model/family.h"

#define LINE_BYTES 76

void docs_text(struct strbuf *out, const char *text)
{
    for (const char *c = text; *c; c++) {
        if (*c == '\\')
            strbuf_adds(out, "\\e");
        else if ((c == text || c[-1] == '\n') && (*c == '.' || *c == '\''))
            strbuf_addf(out, "\\&%c", *c);
        else if (c[0] == '-' && c[1] == '-')
            strbuf_adds(out, "\\-");
        else if (c > text && c[-1] == '-' && c[0] == '-')
            strbuf_adds(out, "\\-");
        else
            strbuf_addc(out, *c);
    }
}

/* Sentences: capital first letter, full stop; each on lines of its own, of at most LINE_BYTES, as mdoc wants them. */
static void sentence(struct strbuf *out, const char *text)
{
    struct strbuf b = STRBUF_INIT;
    size_t used = 0;
    char last = '\0';
    for (const char *c = text; *c;) {
        size_t n = strcspn(c, " ");
        int begins = used > 0 && (last == '.' || used + 1 + n > LINE_BYTES);
        if (used > 0)
            strbuf_addc(&b, begins ? '\n' : ' ');
        used = begins ? n : used + 1 + n;
        strbuf_add(&b, c, n);
        last = n > 0 ? c[n - 1] : last;
        c += n + strspn(c + n, " ");
    }
    if (b.length > 0 && b.data[0] >= 'a' && b.data[0] <= 'z')
        b.data[0] = (char)(b.data[0] - 'a' + 'A');
    docs_text(out, strbuf_string(&b));
    strbuf_adds(out, last == '.' ? "\n" : ".\n");
    strbuf_free(&b);
}

void docs_argument(struct strbuf *out, const char *text)
{
    strbuf_addc(out, '"');
    for (const char *c = text; *c; c++) {
        if (*c == '"')
            strbuf_adds(out, "\\(dq");
        else if (*c == '\\')
            strbuf_adds(out, "\\e");
        else
            strbuf_addc(out, *c);
    }
    strbuf_addc(out, '"');
}

static const char *value_of(const struct option_spec *o)
{
    return o->choices ? o->choices : o->value ? o->value : "VALUE";
}

static void list_options(struct strbuf *out)
{
    strbuf_adds(out, ".Bl -tag -width Ds\n");
    for (const struct program_option *o = program_options; o->letter || o->spec.name; o++) {
        strbuf_adds(out, ".It");
        if (o->letter)
            strbuf_addf(out, " Fl %c", o->letter);
        if (o->letter && o->spec.name)
            strbuf_adds(out, " ,");
        if (o->spec.name)
            strbuf_addf(out, " Fl \\-%s", o->spec.name);
        if (o->spec.type != WORD_FLAG) {
            strbuf_adds(out, " Ar ");
            docs_argument(out, value_of(&o->spec));
        }
        strbuf_addc(out, '\n');
        sentence(out, o->spec.help);
    }
    strbuf_adds(out, ".El\n");
}

static void synopsis(struct strbuf *out, const struct command *c)
{
    strbuf_adds(out, ".It Ic ");
    docs_argument(out, c->name);
    for (const struct argument_spec *a = c->arguments; a && a->name; a++) {
        strbuf_adds(out, a->optional ? " Op Ar " : " Ar ");
        docs_argument(out, a->name);
        if (a->repeated)
            strbuf_adds(out, " ...");
    }
    for (const struct option_spec *o = c->options; o && o->name; o++) {
        if (!o->required)
            continue;
        strbuf_addf(out, " Fl \\-%s", o->name);
        if (o->type != WORD_FLAG) {
            strbuf_adds(out, " Ar ");
            docs_argument(out, value_of(o));
        }
    }
    if (c->options && c->options->name)
        strbuf_adds(out, " Op Ar options");
    strbuf_addc(out, '\n');
}

static void option_list(struct strbuf *out, const struct option_spec *options)
{
    strbuf_adds(out, ".Bl -tag -width Ds -compact\n");
    for (const struct option_spec *o = options; o->name; o++) {
        strbuf_addf(out, ".It Fl \\-%s", o->name);
        if (o->type != WORD_FLAG) {
            strbuf_adds(out, " Ar ");
            docs_argument(out, value_of(o));
        }
        strbuf_addc(out, '\n');
        sentence(out, o->help ? o->help : "");
    }
    strbuf_adds(out, ".El\n");
}

static void one_command(struct strbuf *out, const struct command *c)
{
    synopsis(out, c);
    sentence(out, c->summary);
    if (c->description)
        sentence(out, c->description);
    if (c->options && c->options->name)
        option_list(out, c->options);
}

static void list_commands(struct strbuf *out)
{
    for (int g = 0; g < COMMAND_GROUPS; g++) {
        strbuf_addf(out, ".Ss %s\n.Bl -tag -width Ds\n", command_group_titles[g]);
        for (size_t i = 0; commands[i]; i++)
            if (commands[i]->group == (enum command_group)g)
                one_command(out, commands[i]);
        strbuf_adds(out, ".El\n");
    }
    strbuf_adds(out, ".Ss Options of every command\n");
    option_list(out, common_options);
    strbuf_adds(out, ".Ss Options of commands that run jobs\n");
    option_list(out, job_options);
}

static void list_settings(struct strbuf *out)
{
    strbuf_adds(out, ".Bl -tag -width Ds\n");
    for (const struct setting_spec *s = settings_table; s->name; s++) {
        strbuf_addf(out, ".It Cm %s", s->name);
        if (s->choices || s->type == SETTING_SWITCH) {
            strbuf_adds(out, " Ar ");
            docs_argument(out, s->choices ? s->choices : "on|off");
        }
        strbuf_addc(out, '\n');
        sentence(out, s->help);
        if (*s->fallback) {
            strbuf_adds(out, "Default:\n.Ql ");
            docs_text(out, s->fallback);
            strbuf_adds(out, " .\n");
        }
    }
    strbuf_adds(out, ".El\n");
}

static void list_formats(struct strbuf *out)
{
    strbuf_adds(out, ".Bl -tag -width Ds\n.It Architectures of SAEs\n");
    for (size_t i = 0; sae_architectures[i]; i++)
        strbuf_addf(out, "%s%s", i ? ", " : "", sae_architectures[i]->name);
    strbuf_adds(out, ".\n.It Families of models\n");
    for (size_t i = 0; model_families[i]; i++)
        strbuf_addf(out, "%s%s", i ? ", " : "", model_families[i]->name);
    strbuf_adds(out, ".\n");
    for (size_t i = 0; sae_formats[i]; i++) {
        strbuf_addf(out, ".It Format Cm %s\n", sae_formats[i]->name);
        sentence(out, sae_formats[i]->summary);
    }
    strbuf_adds(out, ".El\n");
}

int docs_list(const char *list, struct strbuf *out, struct error *err)
{
    static const struct {
        const char *name;
        void (*write)(struct strbuf *out);
    } lists[] = {
        {"options", list_options}, {"commands", list_commands}, {"settings", list_settings}, {"formats", list_formats}};
    for (size_t i = 0; i < ARRAY_LENGTH(lists); i++)
        if (strcmp(lists[i].name, list) == 0) {
            lists[i].write(out);
            return STATUS_OK;
        }
    return error_set(err, STATUS_USAGE, "no list %s", list);
}
