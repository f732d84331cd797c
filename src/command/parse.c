/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Words to an invocation: which command, its arguments and options, each checked by its type. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/command/command.h"
#include "saescope/command/parse.h"

const char *const command_group_titles[COMMAND_GROUPS] = {
    "Store", "Bring in, send out", "Compute", "Explore", "Jobs", "Session",
};

/* Options that every command takes. */
const struct option_spec common_options[] = {
    {.name = "json", .type = WORD_FLAG, .help = "write one JSON text on one line"},
    {.name = "tsv", .type = WORD_FLAG, .help = "write tab-separated values with a header line"},
    {.name = "quiet", .type = WORD_FLAG, .help = "show no progress"},
    {.name = "yes", .type = WORD_FLAG, .help = "answer questions with yes"},
    {.name = NULL},
};

/* Options that commands of COST_JOB take besides. */
const struct option_spec job_options[] = {
    {.name = "wait", .type = WORD_FLAG, .help = "run it to its end before the next command"},
    {.name = "background", .type = WORD_FLAG, .help = "queue it as a job of this process"},
    {.name = "detach", .type = WORD_FLAG, .help = "run it in a process of its own"},
    {.name = NULL},
};

const struct command *command_find(const char *name)
{
    for (size_t i = 0; commands[i]; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

const struct command *command_of_words(char **words, size_t n, size_t *used)
{
    const struct command *found = NULL;
    *used = 0;
    for (size_t i = 0; n > 0 && commands[i]; i++) {
        const char *name = commands[i]->name, *space = strchr(name, ' ');
        if (!space) {
            if (*used < 1 && strcmp(name, words[0]) == 0) {
                found = commands[i];
                *used = 1;
            }
        } else if (n > 1 && strncmp(name, words[0], (size_t)(space - name)) == 0 &&
                   words[0][space - name] == '\0' && strcmp(space + 1, words[1]) == 0) {
            found = commands[i];
            *used = 2;
        }
    }
    return found;
}

/* Names of commands that begin with "WORD " ("import"), comma-separated. */
static char *second_words(const char *first)
{
    struct strbuf b = STRBUF_INIT;
    size_t n = strlen(first);
    for (size_t i = 0; commands[i]; i++)
        if (strncmp(commands[i]->name, first, n) == 0 && commands[i]->name[n] == ' ')
            strbuf_addf(&b, "%s%s", b.length ? ", " : "", commands[i]->name + n + 1);
    return strbuf_detach(&b);
}

/* The command whose name is nearest to the first word, or to the first two. */
static const char *nearest_command(char **words, size_t n)
{
    size_t count = 0;
    while (commands[count])
        count++;
    const char **names = xcalloc(count + 1, sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = commands[i]->name;
    const char *near = nearest_word(words[0], names);
    if (!near && n > 1) {
        char *both = xasprintf("%s %s", words[0], words[1]);
        near = nearest_word(both, names);
        free(both);
    }
    free(names);
    return near;
}

int command_unknown(char **words, size_t n, struct error *err)
{
    char *seconds = second_words(words[0]);
    char *word = displayable_string(words[0]);
    if (*seconds) {
        char *second = n > 1 ? displayable_string(words[1]) : NULL;
        if (second)
            error_set(err, STATUS_USAGE, "no command `%s %s`: after %s comes one of %s", word, second, word,
                      seconds);
        else
            error_set(err, STATUS_USAGE, "`%s` needs a second word: %s", word, seconds);
        free(second);
    } else {
        const char *near = nearest_command(words, n);
        if (near)
            error_set(err, STATUS_USAGE, "no command `%s`: did you mean `%s`?", word, near);
        else
            error_set(err, STATUS_USAGE, "no command `%s`: `help` lists them", word);
    }
    free(seconds);
    free(word);
    return STATUS_USAGE;
}

static const struct option_spec *find_in(const struct option_spec *options, const char *name)
{
    for (; options && options->name; options++)
        if (strcmp(options->name, name) == 0)
            return options;
    return NULL;
}

const struct option_spec *command_option(const struct command *c, const char *name)
{
    const struct option_spec *o = find_in(c->options, name);
    if (!o)
        o = find_in(common_options, name);
    if (!o && c->cost == COST_JOB)
        o = find_in(job_options, name);
    return o;
}

static size_t add_names(const char **names, size_t k, size_t max, const struct option_spec *options)
{
    for (; options && options->name && k < max; options++)
        names[k++] = options->name;
    return k;
}

static int unknown_option(const struct command *c, const char *name, struct error *err)
{
    const char *names[96] = {NULL};
    size_t max = ARRAY_LENGTH(names) - 1;
    size_t k = add_names(names, 0, max, c->options);
    k = add_names(names, k, max, common_options);
    if (c->cost == COST_JOB)
        add_names(names, k, max, job_options);
    const char *near = nearest_word(name, names);
    char *shown = displayable_string(name);
    if (near)
        error_set(err, STATUS_USAGE, "%s has no option --%s: did you mean --%s?", c->name, shown, near);
    else
        error_set(err, STATUS_USAGE, "%s has no option --%s: `help %s` lists them", c->name, shown, c->name);
    free(shown);
    return STATUS_USAGE;
}

static int one_of(const char *choices, const char *value, size_t n)
{
    for (const char *c = choices; c; c = strchr(c, '|')) {
        c += *c == '|';
        if (n > 0 && strncmp(c, value, n) == 0 && (c[n] == '|' || c[n] == '\0'))
            return 1;
    }
    return 0;
}

/* One value of an option or argument called `what` ("--k", "ID"). */
static int check_value(enum word_type type, const char *choices, const char *what, const char *value, size_t n,
                       struct error *err)
{
    unsigned long long count;
    double number;
    char *word = xstrndup(value, n), *shown = displayable_string(word);
    int status = STATUS_OK;
    if (choices && !one_of(choices, value, n))
        status = error_set(err, STATUS_USAGE, "%s takes %s, not '%s'", what, choices, shown);
    else if ((type == WORD_COUNT || type == WORD_JOB) && parse_u64(word, 0, UINT64_MAX >> 1, &count) != 0)
        status = error_set(err, STATUS_USAGE, "%s takes a whole number, not '%s'", what, shown);
    else if (type == WORD_NUMBER && parse_double(word, &number) != 0)
        status = error_set(err, STATUS_USAGE, "%s takes a number, not '%s'", what, shown);
    else if (n == 0 && type != WORD_WORD && type != WORD_COMMAND)
        status = error_set(err, STATUS_USAGE, "%s is empty", what);
    free(word);
    free(shown);
    return status;
}

static int check_option(const struct option_spec *o, const char *value, struct error *err)
{
    char what[80];
    snprintf(what, sizeof what, "--%s", o->name);
    if (!o->list)
        return check_value(o->type, o->choices, what, value, strlen(value), err);
    for (const char *start = value;; start++) {
        size_t n = strcspn(start, ",");
        int status = check_value(o->type, o->choices, what, start, n, err);
        if (status != STATUS_OK)
            return status;
        start += n;
        if (!*start)
            return STATUS_OK;
    }
}

/* Notes what common and job options say beside keeping them. */
static void note_flags(struct invocation *inv, const char *name)
{
    inv->json |= strcmp(name, "json") == 0;
    inv->tsv |= strcmp(name, "tsv") == 0;
    inv->wait |= strcmp(name, "wait") == 0;
    inv->background |= strcmp(name, "background") == 0;
    inv->detach |= strcmp(name, "detach") == 0;
    inv->quiet |= strcmp(name, "quiet") == 0;
    inv->yes |= strcmp(name, "yes") == 0;
}

/* A list may be given in several options: their values are joined. */
static void keep_option(struct invocation *inv, const struct option_spec *o, const char *value)
{
    for (size_t i = 0; o->list && i < inv->n_options; i++) {
        struct given_option *given = &inv->options[i];
        if (given->spec != o)
            continue;
        char *joined = xasprintf("%s,%s", given->value, value);
        free(given->value);
        given->value = joined;
        return;
    }
    inv->options = xreallocarray(inv->options, inv->n_options + 1, sizeof *inv->options);
    inv->options[inv->n_options++] = (struct given_option){o, value ? xstrdup(value) : NULL};
}

/* words[*i] is "--name" or "--name=value"; *i moves to the last word taken. */
static int take_option(struct invocation *inv, char **words, size_t n, size_t *i, struct error *err)
{
    const char *text = words[*i] + 2, *equals = strchr(text, '=');
    char *name = equals ? xstrndup(text, (size_t)(equals - text)) : xstrdup(text);
    const struct option_spec *o = command_option(inv->command, name);
    int status = STATUS_OK;
    const char *value = equals ? equals + 1 : NULL;
    if (!o) {
        status = unknown_option(inv->command, name, err);
    } else if (o->type == WORD_FLAG && value) {
        status = error_set(err, STATUS_USAGE, "--%s takes no value", o->name);
    } else if (!o->list && invocation_flag(inv, o->name)) {
        status = error_set(err, STATUS_USAGE, "--%s is given twice", o->name);
    } else if (o->type != WORD_FLAG && !value) {
        if (*i + 1 >= n)
            status = error_set(err, STATUS_USAGE, "--%s needs a value: --%s %s", o->name, o->name,
                               o->value ? o->value : "VALUE");
        else
            value = words[++*i];
    }
    if (status == STATUS_OK && value)
        status = check_option(o, value, err);
    if (status == STATUS_OK) {
        keep_option(inv, o, value);
        note_flags(inv, o->name);
    }
    free(name);
    return status;
}

const struct argument_spec *command_argument(const struct command *c, size_t i)
{
    const struct argument_spec *a = c->arguments;
    for (; a && a->name && i > 0 && !a->repeated; i--)
        a++;
    return a && a->name ? a : NULL;
}

static int take_argument(struct invocation *inv, const char *word, struct error *err)
{
    const struct argument_spec *a = command_argument(inv->command, inv->n_arguments);
    if (!a) {
        char *shown = displayable_string(word);
        error_set(err, STATUS_USAGE, "%s: '%s' is one word too many: quote it with the word before, as in '… %s'",
                  inv->command->name, shown, shown);
        free(shown);
        return STATUS_USAGE;
    }
    int status = check_value(a->type, NULL, a->name, word, strlen(word), err);
    if (status != STATUS_OK)
        return error_prefix(err, "%s", inv->command->name);
    inv->arguments = xreallocarray(inv->arguments, inv->n_arguments + 1, sizeof *inv->arguments);
    inv->arguments[inv->n_arguments++] = xstrdup(word);
    return STATUS_OK;
}

/* Everything that must be there is. */
static int check_complete(const struct invocation *inv, struct error *err)
{
    const struct command *c = inv->command;
    const struct argument_spec *a = c->arguments;
    struct strbuf usage = STRBUF_INIT;
    int status = STATUS_OK;
    command_usage(c, &usage);
    for (size_t i = 0; a && a[i].name && status == STATUS_OK; i++)
        if (!a[i].optional && i >= inv->n_arguments)
            status = error_set(err, STATUS_USAGE, "%s needs %s: %s", c->name, a[i].name, strbuf_string(&usage));
    for (const struct option_spec *o = c->options; o && o->name && status == STATUS_OK; o++)
        if (o->required && !invocation_option(inv, o->name))
            status = error_set(err, STATUS_USAGE, "%s needs --%s %s: %s", c->name, o->name, o->value ? o->value : "",
                               strbuf_string(&usage));
    if (status == STATUS_OK && inv->json && inv->tsv)
        status = error_set(err, STATUS_USAGE, "--json and --tsv exclude each other");
    if (status == STATUS_OK && inv->wait + inv->background + inv->detach > 1)
        status = error_set(err, STATUS_USAGE, "--wait, --background and --detach exclude each other");
    strbuf_free(&usage);
    return status;
}

static void usage_option(const struct option_spec *o, struct strbuf *out)
{
    strbuf_addf(out, o->required ? " --%s" : " [--%s", o->name);
    if (o->type != WORD_FLAG)
        strbuf_addf(out, " %s", o->choices ? o->choices : o->value ? o->value : "VALUE");
    if (!o->required)
        strbuf_addc(out, ']');
}

void command_usage(const struct command *c, struct strbuf *out)
{
    strbuf_adds(out, c->name);
    for (const struct argument_spec *a = c->arguments; a && a->name; a++)
        strbuf_addf(out, a->optional ? " [%s%s]" : " %s%s", a->name, a->repeated ? "..." : "");
    for (const struct option_spec *o = c->options; o && o->name; o++)
        usage_option(o, out);
}

int invocation_from_words(struct context *ctx, char **words, size_t n, struct invocation **out, struct error *err)
{
    size_t used;
    (void)ctx;
    *out = NULL;
    const struct command *c = command_of_words(words, n, &used);
    if (!c)
        return n == 0 ? error_set(err, STATUS_USAGE, "no command given: `help` lists them")
                      : command_unknown(words, n, err);
    struct invocation *inv = xcalloc(1, sizeof *inv);
    inv->command = c;
    int only_arguments = 0, status = STATUS_OK;
    for (size_t i = used; i < n && status == STATUS_OK; i++) {
        only_arguments |= c->raw_after && inv->n_arguments >= c->raw_after;
        if (!only_arguments && strcmp(words[i], "--") == 0)
            only_arguments = 1;
        else if (!only_arguments && strncmp(words[i], "--", 2) == 0)
            status = take_option(inv, words, n, &i, err);
        else if (!only_arguments && words[i][0] == '-' && words[i][1] != '\0' && !strchr("0123456789.", words[i][1]))
            status = unknown_option(c, words[i] + 1, err);
        else
            status = take_argument(inv, words[i], err);
    }
    if (status == STATUS_OK)
        status = check_complete(inv, err);
    if (status != STATUS_OK) {
        invocation_free(inv);
        return status;
    }
    *out = inv;
    return STATUS_OK;
}

void invocation_free(struct invocation *inv)
{
    if (!inv)
        return;
    for (size_t i = 0; i < inv->n_arguments; i++)
        free(inv->arguments[i]);
    for (size_t i = 0; i < inv->n_options; i++)
        free(inv->options[i].value);
    free(inv->arguments);
    free(inv->options);
    free(inv->pipe);
    free(inv);
}

const char *invocation_argument(const struct invocation *inv, size_t i)
{
    return i < inv->n_arguments ? inv->arguments[i] : NULL;
}

const char *invocation_option(const struct invocation *inv, const char *name)
{
    for (size_t i = 0; i < inv->n_options; i++)
        if (strcmp(inv->options[i].spec->name, name) == 0)
            return inv->options[i].value ? inv->options[i].value : "";
    return NULL;
}

int invocation_flag(const struct invocation *inv, const char *name)
{
    return invocation_option(inv, name) != NULL;
}

uint64_t invocation_count(const struct invocation *inv, const char *option, uint64_t fallback)
{
    unsigned long long n;
    const char *value = invocation_option(inv, option);
    return value && parse_u64(value, 0, UINT64_MAX >> 1, &n) == 0 ? n : fallback;
}

double invocation_number(const struct invocation *inv, const char *option, double fallback)
{
    double x;
    const char *value = invocation_option(inv, option);
    return value && parse_double(value, &x) == 0 ? x : fallback;
}
