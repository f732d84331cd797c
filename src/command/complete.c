/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Completion from the tables of commands, options and settings, from the store's names and from the file system. */
#include "config.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/complete.h"
#include "saescope/command/lexer.h"
#include "saescope/command/options.h"
#include "saescope/command/parse.h"
#include "saescope/formats/formats.h"
#include "saescope/formats/releases.h"

const char *const *completion_actions, *const *completion_views;

/* What is being collected: unquoted words that begin with `prefix`. */
struct completion {
    struct context *ctx;
    const char *prefix; /* of the value: behind "--name=" and the last comma */
    const char *before; /* what stands before it in the same word */
    size_t n_before;
    char **words;
    int *partial; /* the word goes on: no blank behind it */
    size_t n, capacity;
};

static void add(struct completion *c, const char *word, int partial)
{
    if (strncmp(word, c->prefix, strlen(c->prefix)) != 0)
        return;
    char *whole = xasprintf("%.*s%s", (int)c->n_before, c->before, word);
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->words[i], whole) == 0) {
            free(whole);
            return;
        }
    if (c->n == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 16;
        c->words = xreallocarray(c->words, c->capacity, sizeof *c->words);
        c->partial = xreallocarray(c->partial, c->capacity, sizeof *c->partial);
    }
    c->partial[c->n] = partial;
    c->words[c->n++] = whole;
}

/* "a|b|c" */
static void add_choices(struct completion *c, const char *choices)
{
    while (*choices) {
        size_t n = strcspn(choices, "|");
        char *word = xstrndup(choices, n);
        add(c, word, 0);
        free(word);
        choices += n + (choices[n] == '|');
    }
}

static void add_names(struct completion *c, const char *const *names)
{
    for (; names && *names; names++)
        add(c, *names, 0);
}

/* ---- From the store. ---- */

static struct store_txn *begin(struct completion *c)
{
    struct store *s;
    struct store_txn *t;
    if (context_store(c->ctx, 1, &s, NULL) != STATUS_OK || store_begin(s, &t, NULL) != STATUS_OK)
        return NULL;
    return t;
}

static int is_meta(struct store_txn *t, const char *name)
{
    struct artifact a;
    json *m = store_find(t, ARTIFACT_SAE, name, &a, NULL) == STATUS_OK ? store_manifest(t, a.id, NULL) : NULL;
    const char *kind = json_get_string(m, "kind", "");
    int meta = kind && strcmp(kind, "meta") == 0;
    json_free(m);
    return meta;
}

static void add_stored(struct completion *c, enum artifact_kind kind, int only_meta, int address)
{
    struct store_txn *t = begin(c);
    if (!t)
        return;
    char **names = store_names(t, kind);
    for (size_t i = 0; names && names[i]; i++) {
        if (only_meta && !is_meta(t, names[i]))
            continue;
        char *word = xasprintf("%s%s", names[i], address ? "/" : "");
        add(c, word, address);
        free(word);
    }
    store_names_free(names);
    store_end(t);
}

static void add_hooks(struct completion *c)
{
    struct store_txn *t = begin(c);
    if (!t)
        return;
    char **models = store_names(t, ARTIFACT_MODEL);
    for (size_t i = 0; models && models[i]; i++) {
        struct artifact a;
        struct model_config config;
        json *m = store_find(t, ARTIFACT_MODEL, models[i], &a, NULL) == STATUS_OK ? store_manifest(t, a.id, NULL) : NULL;
        if (m && model_config_read(m, models[i], &config, NULL) == STATUS_OK) {
            char **hooks = hook_names(&config);
            add_names(c, (const char *const *)hooks);
            store_names_free(hooks);
        }
        json_free(m);
    }
    store_names_free(models);
    store_end(t);
}

static void add_jobs(struct completion *c)
{
    struct store_txn *t = begin(c);
    uint64_t *ids = NULL;
    size_t n = 0;
    if (!t)
        return;
    if (store_jobs(t, &ids, &n, NULL) == STATUS_OK)
        for (size_t i = n; i > 0 && n - i < 50; i--) {
            char word[24];
            snprintf(word, sizeof word, "%llu", (unsigned long long)ids[i - 1]);
            add(c, word, 0);
        }
    free(ids);
    store_end(t);
}

/* ---- From the file system. ---- */

static void add_files(struct completion *c, int only_directories)
{
    const char *base = path_base(c->prefix);
    char *shown = xstrndup(c->prefix, (size_t)(base - c->prefix));
    char *directory = context_path(c->ctx, *shown ? shown : ".");
    DIR *d = opendir(directory);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || (e->d_name[0] == '.' && base[0] != '.'))
            continue;
        char *path = path_join(directory, e->d_name);
        int is_directory = path_is_directory(path);
        char *word = xasprintf("%s%s%s", shown, e->d_name, is_directory ? "/" : "");
        if (is_directory || !only_directories)
            add(c, word, is_directory);
        free(word);
        free(path);
    }
    if (d)
        closedir(d);
    free(directory);
    free(shown);
}

/* ---- From the tables. ---- */

static void add_commands(struct completion *c)
{
    for (size_t i = 0; commands[i]; i++) {
        char *first = xstrndup(commands[i]->name, strcspn(commands[i]->name, " "));
        add(c, first, 0);
        free(first);
    }
}

/* What may follow "import". */
static void add_second_words(struct completion *c, const char *first)
{
    size_t n = strlen(first);
    for (size_t i = 0; commands[i]; i++)
        if (strncmp(commands[i]->name, first, n) == 0 && commands[i]->name[n] == ' ')
            add(c, commands[i]->name + n + 1, 0);
}

static void add_options(struct completion *c, const struct option_spec *options)
{
    for (; options && options->name; options++) {
        char *word = xasprintf("--%s", options->name);
        add(c, word, 0);
        free(word);
    }
}

static void add_settings(struct completion *c)
{
    for (const struct setting_spec *s = settings_table; s->name; s++)
        add(c, s->name, 0);
}

static void add_setting_values(struct completion *c, const char *name)
{
    for (const struct setting_spec *s = settings_table; s->name; s++) {
        if (strcmp(s->name, name) != 0)
            continue;
        if (s->type == SETTING_SWITCH)
            add_choices(c, "on|off");
        else if (s->choices)
            add_choices(c, s->choices);
        else if (strcmp(name, "sae") == 0)
            add_stored(c, ARTIFACT_SAE, 0, 0);
        else
            add(c, settings_text(c->ctx->settings, name), 0);
    }
}

/* Step by step, as with folders: releases first, then what is in one. */
static void add_release(void *arg, const char *name, int partial)
{
    struct completion *c = arg;
    const char *slash = strchr(c->prefix, '/') ? NULL : strchr(name, '/');
    char *step = slash ? xstrndup(name, (size_t)(slash + 1 - name)) : xstrdup(name);
    add(c, step, slash || partial);
    free(step);
}

static void add_by_type(struct completion *c, enum word_type type)
{
    switch (type) {
    case WORD_ARTIFACT:
        add_stored(c, 0, 0, 0);
        break;
    case WORD_MODEL:
        add_stored(c, ARTIFACT_MODEL, 0, 0);
        break;
    case WORD_TEXT_NAME:
        add_stored(c, ARTIFACT_TEXT, 0, 0);
        break;
    case WORD_SAE:
    case WORD_META:
    case WORD_ADDRESS:
        add_stored(c, ARTIFACT_SAE, type == WORD_META, type == WORD_ADDRESS);
        break;
    case WORD_STITCH:
        add_stored(c, ARTIFACT_STITCH, 0, 0);
        break;
    case WORD_HOOK:
        add_hooks(c);
        break;
    case WORD_FILE:
    case WORD_DIRECTORY:
        add_files(c, type == WORD_DIRECTORY);
        break;
    case WORD_JOB:
        add_jobs(c);
        break;
    case WORD_KIND:
        add_choices(c, "models|texts|saes|stitches");
        break;
    case WORD_COMMAND:
        add_commands(c);
        break;
    case WORD_SETTING:
        add_settings(c);
        break;
    case WORD_KEY:
        for (int i = 0; i < LATENT_KEYS; i++)
            add(c, latent_key_names[i], 0);
        break;
    case WORD_FORMAT:
        for (size_t i = 0; sae_formats[i]; i++)
            if (sae_formats[i]->read)
                add(c, sae_formats[i]->name, 0);
        break;
    case WORD_FORMAT_WRITTEN:
        for (size_t i = 0; sae_formats[i]; i++)
            if (sae_formats[i]->export)
                add(c, sae_formats[i]->name, 0);
        break;
    case WORD_RELEASE:
        release_names(add_release, c, NULL);
        break;
    case WORD_ARCHITECTURE:
        for (size_t i = 0; sae_architectures[i]; i++)
            add(c, sae_architectures[i]->name, 0);
        break;
    case WORD_NAME_NEW:
    case WORD_COUNT:
    case WORD_NUMBER:
    case WORD_WORD:
    case WORD_FLAG:
        break;
    }
}

/* The value of an option; `word` holds it up to the cursor. */
static void option_value(struct completion *c, const struct option_spec *o, const char *word)
{
    const char *comma = o->list ? strrchr(word, ',') : NULL;
    c->prefix = comma ? comma + 1 : word;
    c->n_before = (size_t)(c->prefix - c->before);
    if (o->choices)
        add_choices(c, o->choices);
    else if (strcmp(o->name ? o->name : "", "view") == 0)
        add_names(c, completion_views);
    else
        add_by_type(c, o->type);
}

static void complete_command(struct completion *c, char **words, size_t n);

/* Words of a command behind its name. */
static void complete_words(struct completion *c, const struct command *command, char **words, size_t n)
{
    const struct option_spec *awaits = NULL;
    size_t arguments = 0, i;
    int only_arguments = 0;
    for (i = 0; i < n; i++) {
        if (command->raw_after && arguments >= command->raw_after)
            break;
        awaits = NULL;
        if (!only_arguments && strcmp(words[i], "--") == 0) {
            only_arguments = 1;
        } else if (!only_arguments && strncmp(words[i], "--", 2) == 0) {
            const struct option_spec *o = strchr(words[i], '=') ? NULL : command_option(command, words[i] + 2);
            if (o && o->type != WORD_FLAG && ++i >= n)
                awaits = o;
        } else {
            arguments++;
        }
    }
    const struct argument_spec *a = command_argument(command, arguments);
    if (awaits) {
        option_value(c, awaits, c->prefix);
    } else if (command->raw_after && arguments >= command->raw_after) {
        if (i >= n)
            add_names(c, completion_actions);
        complete_command(c, words + i, n - (i < n ? i : n));
    } else if (!only_arguments && strncmp(c->prefix, "--", 2) == 0) {
        const char *equals = strchr(c->prefix, '=');
        char *name = equals ? xstrndup(c->prefix + 2, (size_t)(equals - c->prefix - 2)) : NULL;
        const struct option_spec *o = name ? command_option(command, name) : NULL;
        if (o && o->type != WORD_FLAG) {
            option_value(c, o, equals + 1);
        } else if (!equals) {
            add_options(c, command->options);
            if (command->cost == COST_JOB)
                add_options(c, job_options);
            add_options(c, common_options);
        }
        free(name);
    } else if (strcmp(command->name, "help") == 0 && n == 1) {
        add_second_words(c, words[0]);
    } else if (strcmp(command->name, "set") == 0 && n == 1) {
        add_setting_values(c, words[0]);
    } else if (a) {
        add_by_type(c, a->type);
    }
}

static void complete_command(struct completion *c, char **words, size_t n)
{
    size_t used;
    const struct command *command = command_of_words(words, n, &used);
    if (command)
        complete_words(c, command, words + used, n - used);
    else if (n == 0)
        add_commands(c);
    else if (n == 1)
        add_second_words(c, words[0]);
}

/* The words, quoted for the command language or as they are, with a blank behind whole ones. */
static char **finish(struct completion *c, int quote)
{
    if (c->n == 0) {
        free(c->words);
        free(c->partial);
        return NULL;
    }
    char **out = xcalloc(c->n + 1, sizeof *out);
    for (size_t i = 0; i < c->n; i++) {
        struct strbuf b = STRBUF_INIT;
        if (quote)
            lexer_quote(&b, c->words[i]);
        else
            strbuf_adds(&b, c->words[i]);
        /* A word that goes on stays open behind its quote. */
        if (c->partial[i] && quote && b.length > 0 && b.data[b.length - 1] != c->words[i][strlen(c->words[i]) - 1])
            b.data[--b.length] = '\0';
        if (!c->partial[i])
            strbuf_addc(&b, ' ');
        out[i] = strbuf_detach(&b);
        free(c->words[i]);
    }
    free(c->words);
    free(c->partial);
    return out;
}

char **completion_candidates(void *context, const char *line, size_t point, size_t *start)
{
    struct word_list words;
    lexer_partial(line, point, &words);
    *start = point;
    if (words.pipe) {
        word_list_free(&words);
        return NULL;
    }
    size_t n = words.n - (words.last_open ? 1 : 0);
    const char *prefix = words.last_open ? words.words[words.n - 1] : "";
    struct completion c = {.ctx = context, .prefix = prefix, .before = prefix};
    *start = words.last_open ? words.last_start : point;
    complete_command(&c, words.words, n);
    char **out = finish(&c, 1);
    word_list_free(&words);
    return out;
}

/* ---- For other shells. ---- */

static void add_program_options(struct completion *c)
{
    for (const struct program_option *o = program_options; o->letter || o->spec.name; o++) {
        char letter[] = {'-', o->letter, '\0'};
        char *name = o->spec.name ? xasprintf("--%s", o->spec.name) : NULL;
        if (name)
            add(c, name, 0);
        else
            add(c, letter, 0);
        free(name);
    }
}

static void complete_mode(struct completion *c, const char *mode, char **words, size_t n)
{
    if (strcmp(mode, "explore") == 0 && n == 0) {
        add_by_type(c, WORD_ADDRESS);
    } else if (strcmp(mode, "demo") == 0) {
        if (n > 0 && strcmp(words[n - 1], "--dir") == 0)
            add_files(c, 1);
        else
            add_choices(c, "--dir|--build-only");
    }
}

char **completion_of_words(struct context *ctx, char **words, size_t n)
{
    const struct option_spec *awaits;
    if (n == 0)
        return NULL;
    const char *prefix = words[n - 1];
    struct completion c = {.ctx = ctx, .prefix = prefix, .before = prefix};
    size_t first = program_options_skip(words, n - 1, &ctx->store_options.path, &awaits);
    char **rest = words + first;
    size_t n_rest = n - 1 - (first < n - 1 ? first : n - 1);
    int is_mode = 0;
    for (const struct program_mode *m = program_modes; m->name && n_rest > 0; m++)
        is_mode |= strcmp(m->name, rest[0]) == 0;
    if (awaits) {
        option_value(&c, awaits, prefix);
    } else if (n_rest == 0 && prefix[0] == '-') {
        add_program_options(&c);
    } else if (is_mode) {
        complete_mode(&c, rest[0], rest + 1, n_rest - 1);
    } else {
        complete_command(&c, rest, n_rest);
        for (const struct program_mode *m = program_modes; m->name && n_rest == 0; m++)
            add(&c, m->name, 0);
        if (n_rest > 0 && strncmp(prefix, "--", 2) == 0)
            add_program_options(&c);
    }
    return finish(&c, 0);
}

void completion_free(char **candidates)
{
    for (size_t i = 0; candidates && candidates[i]; i++)
        free(candidates[i]);
    free(candidates);
}
