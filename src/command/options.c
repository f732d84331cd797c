/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The program's own options: before the command, and after it where the command has no option of that name. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/command/options.h"
#include "saescope/command/parse.h"

const struct program_option program_options[] = {
    {'S', {.name = "store", .type = WORD_DIRECTORY, .value = "DIR", .help = "use the store in DIR"}},
    {'c', {.name = NULL, .type = WORD_WORD, .value = "COMMANDS",
           .help = "run commands (separated by `;` or newlines) and exit; may be repeated"}},
    {'f', {.name = NULL, .type = WORD_FILE, .value = "FILE", .help = "run the commands in FILE, - for standard input, and exit"}},
    {0, {.name = "json", .type = WORD_FLAG, .help = "each command writes one JSON text on one line"}},
    {0, {.name = "tsv", .type = WORD_FLAG, .help = "each command writes tab-separated values with a header line"}},
    {0, {.name = "threads", .type = WORD_COUNT, .value = "N",
         .help = "compute with N threads (default: the processors that the program may use)"}},
    {0, {.name = "seed", .type = WORD_COUNT, .value = "N", .help = "seed of what is drawn at random"}},
    {0, {.name = "quiet", .type = WORD_FLAG, .help = "show no progress"}},
    {0, {.name = "color", .type = WORD_WORD, .value = "WHEN", .choices = "auto|always|never",
         .help = "use colour: auto, always or never"}},
    {0, {.name = "config", .type = WORD_FILE, .value = "FILE", .help = "read FILE instead of the user's configuration file"}},
    {0, {.name = "read-only", .type = WORD_FLAG, .help = "open the store for reading only, also one that may not be written"}},
    {0, {.name = "exclusive", .type = WORD_FLAG, .help = "open the store for this process alone, also on a network file system"}},
    {0, {.name = "log", .type = WORD_FILE, .value = "FILE", .help = "append errors and news of jobs to FILE"}},
    {0, {.name = "yes", .type = WORD_FLAG, .help = "answer questions with yes"}},
    {0, {.name = "batch", .type = WORD_FLAG, .help = "no full screen, no questions, no colour"}},
    {0, {.name = "keep-going", .type = WORD_FLAG, .help = "go on after a command failed; the first failure's status is returned"}},
    {0, {.name = "version", .type = WORD_FLAG, .help = "print the versions of the program and its libraries"}},
    {0, {.name = "help", .type = WORD_FLAG, .help = "print how the program is called"}},
    {0, {.name = NULL}},
};

const struct program_mode program_modes[] = {
    {"explore", "explore [SAE[/ID]]", "open the full-screen explorer, at an SAE or latent"},
    {"demo", "demo [--dir DIR] [--build-only]", "make the demo store (or go on making it) and explore it"},
    {"shell", "shell", "ask for commands, with editing, completion and history"},
    {NULL, NULL, NULL},
};

/* Options that only tests and the build use. */
static const struct program_option hidden_options[] = {
    {0, {.name = "docs", .type = WORD_WORD, .value = "LIST"}},
    {0, {.name = "tui-script", .type = WORD_FILE, .value = "FILE"}},
    {0, {.name = "size", .type = WORD_WORD, .value = "WxH"}},
    {0, {.name = NULL}},
};

static int is_end(const struct program_option *o)
{
    return !o->letter && !o->spec.name;
}

static const struct program_option *by_name(const char *name, size_t n)
{
    const struct program_option *const tables[] = {program_options, hidden_options};
    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++)
        for (const struct program_option *o = tables[i]; !is_end(o); o++)
            if (o->spec.name && strlen(o->spec.name) == n && strncmp(o->spec.name, name, n) == 0)
                return o;
    return NULL;
}

/* The program's option that a word is; *value: what follows '=' or a letter, or NULL. */
static const struct program_option *option_of_word(const char *word, const char **value)
{
    *value = NULL;
    if (word[0] != '-' || word[1] == '\0')
        return NULL;
    if (word[1] == '-') {
        size_t n = strcspn(word + 2, "=");
        if (word[2 + n] == '=')
            *value = word + 3 + n;
        return by_name(word + 2, n);
    }
    for (const struct program_option *o = program_options; !is_end(o); o++)
        if (o->letter == word[1]) {
            if (word[2])
                *value = word + 2;
            return o;
        }
    return NULL;
}

static void set_text(struct program_arguments *a, const struct program_option *o, const char *value)
{
    const struct {
        const char *name, **to;
    } texts[] = {
        {"store", &a->store}, {"color", &a->color},     {"config", &a->config}, {"log", &a->log},
        {"seed", &a->seed},   {"threads", &a->threads}, {"docs", &a->docs},     {"tui-script", &a->tui_script},
        {"size", &a->size},
    };
    if (!o->spec.name) {
        a->inputs = xreallocarray(a->inputs, a->n_inputs + 1, sizeof *a->inputs);
        a->inputs[a->n_inputs++] = (struct program_input){o->letter == 'f', value};
        return;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++)
        if (strcmp(texts[i].name, o->spec.name) == 0)
            *texts[i].to = value;
}

static void set_flag(struct program_arguments *a, const struct program_option *o)
{
    const struct {
        const char *name;
        int *to;
    } flags[] = {
        {"json", &a->json},           {"tsv", &a->tsv},
        {"quiet", &a->quiet},         {"yes", &a->yes},
        {"batch", &a->batch},         {"read-only", &a->read_only},
        {"exclusive", &a->exclusive}, {"keep-going", &a->keep_going},
        {"help", &a->help},           {"version", &a->version},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(flags); i++)
        if (strcmp(flags[i].name, o->spec.name) == 0)
            *flags[i].to = 1;
}

static int is_choice(const char *choices, const char *value)
{
    size_t n = strlen(value);
    for (const char *c = choices; c; c = strchr(c, '|')) {
        c += *c == '|';
        if (n > 0 && strncmp(c, value, n) == 0 && (c[n] == '|' || c[n] == '\0'))
            return 1;
    }
    return 0;
}

/* words[*i] is option o; *i moves to the last word that it takes. */
static int take(struct program_arguments *a, const struct program_option *o, const char *value, char **words, size_t n,
                size_t *i, struct error *err)
{
    char name[40];
    unsigned long long count;
    if (o->spec.name)
        snprintf(name, sizeof name, "--%s", o->spec.name);
    else
        snprintf(name, sizeof name, "-%c", o->letter);
    if (o->spec.type == WORD_FLAG) {
        if (value)
            return error_set(err, STATUS_USAGE, "%s takes no value", name);
        set_flag(a, o);
        return STATUS_OK;
    }
    if (!value && *i + 1 >= n)
        return error_set(err, STATUS_USAGE, "%s needs a value: %s %s", name, name, o->spec.value);
    if (!value)
        value = words[++*i];
    if (o->spec.type == WORD_COUNT && parse_u64(value, 0, UINT64_MAX >> 1, &count) != 0)
        return error_set(err, STATUS_USAGE, "%s takes a whole number", name);
    if (o->spec.choices && !is_choice(o->spec.choices, value))
        return error_set(err, STATUS_USAGE, "%s takes %s", name, o->spec.choices);
    set_text(a, o, value);
    return STATUS_OK;
}

static int unknown(const char *word, struct error *err)
{
    const char *names[ARRAY_LENGTH(program_options) + 1] = {NULL};
    size_t k = 0;
    for (const struct program_option *o = program_options; !is_end(o); o++)
        if (o->spec.name)
            names[k++] = o->spec.name;
    const char *start = word + strspn(word, "-");
    char *name = xstrndup(start, strcspn(start, "="));
    const char *near = nearest_word(name, names);
    char *shown = displayable_string(word);
    error_set(err, STATUS_USAGE, "no option %s%s%s%s", shown, near ? ": did you mean --" : "", near ? near : "",
              near ? "?" : "; --help lists them");
    free(shown);
    free(name);
    return STATUS_USAGE;
}

/* The words behind the command's name: options of the program are taken out, the command's own stay. */
static int take_words(struct program_arguments *a, char **words, size_t n, struct error *err)
{
    size_t used;
    const struct command *c = command_of_words(words, n, &used);
    int status = STATUS_OK;
    a->words = xcalloc(n + 1, sizeof *a->words);
    for (size_t i = 0; i < n && status == STATUS_OK; i++) {
        const char *value;
        const struct program_option *o = option_of_word(words[i], &value);
        char *name = xstrndup(words[i] + strspn(words[i], "-"), strcspn(words[i] + strspn(words[i], "-"), "="));
        const struct option_spec *own = c && words[i][0] == '-' && words[i][1] == '-' ? command_option(c, name) : NULL;
        free(name);
        if (strcmp(words[i], "--") == 0 || strcmp(words[0], "complete") == 0) {
            while (i < n)
                a->words[a->n_words++] = words[i++];
        } else if (own || !o) {
            a->words[a->n_words++] = words[i];
            if (own && own->type != WORD_FLAG && !strchr(words[i], '=') && i + 1 < n)
                a->words[a->n_words++] = words[++i];
        } else {
            status = take(a, o, value, words, n, &i, err);
        }
    }
    return status;
}

int program_arguments_parse(int argc, char **argv, struct program_arguments *out, struct error *err)
{
    size_t n = argc > 0 ? (size_t)argc - 1 : 0, i = 0;
    char **words = argv + 1;
    int status = STATUS_OK;
    memset(out, 0, sizeof *out);
    for (; i < n && status == STATUS_OK && words[i][0] == '-'; i++) {
        const char *value;
        if (strcmp(words[i], "--") == 0) {
            i++;
            break;
        }
        const struct program_option *o = option_of_word(words[i], &value);
        status = o ? take(out, o, value, words, n, &i, err) : unknown(words[i], err);
    }
    if (status == STATUS_OK && i < n)
        status = take_words(out, words + i, n - i, err);
    if (status == STATUS_OK && out->json && out->tsv)
        status = error_set(err, STATUS_USAGE, "--json and --tsv exclude each other");
    if (status == STATUS_OK && out->n_inputs > 0 && out->n_words > 0)
        status = error_set(err, STATUS_USAGE, "-c and -f take no further words: quote what belongs to -c");
    if (status != STATUS_OK)
        program_arguments_free(out);
    return status;
}

void program_arguments_free(struct program_arguments *a)
{
    free(a->inputs);
    free(a->words);
    memset(a, 0, sizeof *a);
}

size_t program_options_skip(char **words, size_t n, const char **store, const struct option_spec **awaits)
{
    size_t i = 0;
    *awaits = NULL;
    for (; i < n && words[i][0] == '-'; i++) {
        const char *value;
        const struct program_option *o = option_of_word(words[i], &value);
        if (!o)
            break;
        if (o->spec.type != WORD_FLAG && !value) {
            if (++i == n) {
                *awaits = &o->spec;
                break;
            }
            value = words[i];
        }
        if (o->letter == 'S' && value)
            *store = value;
    }
    return i;
}
