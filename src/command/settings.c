/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The settings' table and their values. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/command/settings.h"

const struct setting_spec settings_table[] = {
    {"ascii", SETTING_SWITCH, "off", NULL, "screen", "draw bars, curves and borders with ASCII characters only"},
    {"clipboard", SETTING_SWITCH, "on", NULL, NULL,
     "the explorer asks the terminal to put what `y` and `open` name on its clipboard (OSC 52)"},
    {"color", SETTING_CHOICE, "auto", "auto|always|never", "screen",
     "use colour: when the terminal has it, always, or never (NO_COLOR means never)"},
    {"columns", SETTING_TEXT, "latent,density,max,mean,metas,ev,in,label", NULL, "latents",
     "columns of the list of latents, separated by commas"},
    {"limit", SETTING_COUNT, "50", NULL, NULL, "rows that `latents` and `search` print unless --limit says otherwise"},
    {"max-jobs", SETTING_COUNT, "1", NULL, "jobs", "jobs of one process that compute at a time; the others queue"},
    {"neighbors", SETTING_COUNT, "10", NULL, "latent", "nearest latents that are shown"},
    {"on-hangup", SETTING_CHOICE, "detach", "detach|stop", NULL,
     "running jobs when the terminal goes away or the program ends: go on in a process of their own, or stop at a "
     "checkpoint"},
    {"sae", SETTING_TEXT, "", NULL, "latent", "the SAE that an address /N means"},
    {"search-wrap", SETTING_SWITCH, "on", NULL, NULL, "searching goes on at the other end of a list"},
    {"window", SETTING_COUNT, "16", NULL, "latent", "tokens shown on either side of a context's peak"},
    {NULL, SETTING_TEXT, NULL, NULL, NULL, NULL},
};

#define SETTINGS_MAX (ARRAY_LENGTH(settings_table) - 1)

struct settings {
    char *values[SETTINGS_MAX];
    unsigned changes[SETTINGS_MAX];
};

struct settings *settings_new(void)
{
    struct settings *s = xcalloc(1, sizeof *s);
    for (size_t i = 0; i < SETTINGS_MAX; i++)
        s->values[i] = xstrdup(settings_table[i].fallback);
    return s;
}

void settings_free(struct settings *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < SETTINGS_MAX; i++)
        free(s->values[i]);
    free(s);
}

static size_t find(const char *name)
{
    size_t i = 0;
    while (i < SETTINGS_MAX && strcmp(settings_table[i].name, name) != 0)
        i++;
    return i;
}

static int unknown(const char *name, struct error *err)
{
    const char *names[SETTINGS_MAX + 1] = {NULL};
    for (size_t i = 0; i < SETTINGS_MAX; i++)
        names[i] = settings_table[i].name;
    const char *near = nearest_word(name, names);
    return error_set(err, STATUS_USAGE, "no setting named %s%s%s%s", name, near ? ": did you mean " : "",
                     near ? near : "", near ? "?" : "; `set` lists them");
}

/* Whether `value` is one of "a|b|c". */
static int is_choice(const char *choices, const char *value)
{
    size_t n = strlen(value);
    for (const char *c = choices; c && n; c = strchr(c, '|')) {
        c += *c == '|';
        if (strncmp(c, value, n) == 0 && (c[n] == '|' || c[n] == '\0'))
            return 1;
    }
    return 0;
}

static int check(const struct setting_spec *spec, const char *value, struct error *err)
{
    unsigned long long count;
    double number;
    switch (spec->type) {
    case SETTING_TEXT:
        return STATUS_OK;
    case SETTING_COUNT:
        if (parse_u64(value, 0, 1000000000, &count) == 0)
            return STATUS_OK;
        return error_set(err, STATUS_USAGE, "%s takes a whole number, not '%s'", spec->name, value);
    case SETTING_NUMBER:
        if (parse_double(value, &number) == 0)
            return STATUS_OK;
        return error_set(err, STATUS_USAGE, "%s takes a number, not '%s'", spec->name, value);
    case SETTING_SWITCH:
        if (is_choice("on|off", value))
            return STATUS_OK;
        return error_set(err, STATUS_USAGE, "%s takes on or off, not '%s'", spec->name, value);
    case SETTING_CHOICE:
        if (is_choice(spec->choices, value))
            return STATUS_OK;
        return error_set(err, STATUS_USAGE, "%s takes %s, not '%s'", spec->name, spec->choices, value);
    }
    return STATUS_OK;
}

int settings_set(struct settings *s, const char *name, const char *value, struct error *err)
{
    size_t i = find(name);
    if (i == SETTINGS_MAX)
        return unknown(name, err);
    int status = check(&settings_table[i], value, err);
    if (status != STATUS_OK)
        return status;
    if (strcmp(s->values[i], value) != 0) {
        free(s->values[i]);
        s->values[i] = xstrdup(value);
        s->changes[i]++;
    }
    return STATUS_OK;
}

const char *settings_text(const struct settings *s, const char *name)
{
    size_t i = find(name);
    return i < SETTINGS_MAX ? s->values[i] : NULL;
}

long long settings_count(const struct settings *s, const char *name)
{
    const char *value = settings_text(s, name);
    return value ? strtoll(value, NULL, 10) : 0;
}

double settings_number(const struct settings *s, const char *name)
{
    const char *value = settings_text(s, name);
    return value ? strtod(value, NULL) : 0;
}

int settings_switch(const struct settings *s, const char *name)
{
    const char *value = settings_text(s, name);
    return value && strcmp(value, "on") == 0;
}

unsigned settings_changes(const struct settings *s, const char *topic)
{
    unsigned sum = 0;
    for (size_t i = 0; i < SETTINGS_MAX; i++)
        if (settings_table[i].topic && strcmp(settings_table[i].topic, topic) == 0)
            sum += s->changes[i];
    return sum;
}
