/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The shipped file of short names, read line by line. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/releases.h"

#define FILE_MAX  ((size_t)1 << 20)
#define WORDS_MAX 8

/* One line's words: "model NAME REPOSITORY", "release NAME REPOSITORY KEY=VALUE...", "sae ID KEY=VALUE...",
 * "other NAME WHAT..." */
struct line {
    char *words[WORDS_MAX];
    size_t n;
};

static const char *value_of(const struct line *l, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 2; i < l->n; i++)
        if (strncmp(l->words[i], key, n) == 0 && l->words[i][n] == '=')
            return l->words[i] + n + 1;
    return NULL;
}

static int refuse_line(const char *where, size_t number, struct error *err)
{
    return error_set(err, STATUS_REFUSED, "%s:%zu: not of the form that the file's head describes", where,
                     number);
}

static int check_line(const struct line *l, int has_release, const char *where, size_t number,
                      struct error *err)
{
    static const char *const keys[] = {
        "model=", "center=yes", "folder=", "hook=", "neuronpedia=", "scale=", "normalize="};
    const char *kind = l->words[0];
    size_t plain = strcmp(kind, "sae") == 0 ? 2 : 3;
    int good = (strcmp(kind, "model") == 0 && l->n == 3) || (strcmp(kind, "release") == 0 && l->n >= 3) ||
               (strcmp(kind, "sae") == 0 && l->n >= 2 && has_release);
    if (strcmp(kind, "other") == 0)
        return l->n >= 3 ? STATUS_OK : refuse_line(where, number, err);
    for (size_t i = plain; good && i < l->n; i++) {
        int known = 0;
        for (size_t k = 0; k < ARRAY_LENGTH(keys); k++)
            known |= strncmp(l->words[i], keys[k], strlen(keys[k])) == 0;
        good = known;
    }
    return good ? STATUS_OK : refuse_line(where, number, err);
}

/* Goes through the lines; `each` gets a line and, with "sae", the release that it is of. Non-zero ends it. */
typedef int line_taker(void *arg, const struct line *release, const struct line *line);

static int each_line(const char *text, const char *where, line_taker *each, void *arg, struct error *err)
{
    char *copy = xstrdup(text), *kept = xstrdup(""), *save = NULL, *release_save;
    struct line release = {{NULL}, 0};
    int status = STATUS_OK, done = 0;
    size_t number = 0;
    for (char *next = copy, *at; status == STATUS_OK && !done && (at = strsep(&next, "\n"));) {
        struct line l = {{NULL}, 0};
        number++;
        at[strcspn(at, "#")] = '\0';
        char *whole = xstrdup(at);
        for (char *word = strtok_r(at, " \t\r", &save); word && l.n < WORDS_MAX;
             word = strtok_r(NULL, " \t\r", &save))
            l.words[l.n++] = word;
        if (l.n > 0)
            status = check_line(&l, release.n > 0, where, number, err);
        if (status == STATUS_OK && l.n > 0 && strcmp(l.words[0], "release") == 0) {
            free(kept);
            kept = whole;
            whole = NULL;
            release.n = 0;
            for (char *word = strtok_r(kept, " \t\r", &release_save); word && release.n < WORDS_MAX;
                 word = strtok_r(NULL, " \t\r", &release_save))
                release.words[release.n++] = word;
        } else if (status == STATUS_OK && l.n > 0) {
            done = each(arg, &release, &l);
        }
        free(whole);
    }
    free(kept);
    free(copy);
    return status;
}

/* ---- Looking one up. ---- */

struct lookup {
    const char *name; /* without its revision */
    struct release *found;
    char *other; /* what it is instead of SAEs */
    int matched;
};

static char *filled_or_null(const char *text, const struct captures *c)
{
    return text ? pattern_fill(text, c) : NULL;
}

static void take_sae(struct lookup *l, const struct line *release, const struct line *line,
                     const struct captures *c)
{
    struct release *r = l->found;
    const char *folder = value_of(line, "folder");
    char *scale = filled_or_null(value_of(line, "scale"), c);
    r->source.repository = pattern_fill(release->words[2], c);
    r->models = filled_or_null(value_of(release, "model"), c);
    r->center = value_of(release, "center") != NULL;
    r->normalize = filled_or_null(value_of(release, "normalize"), c);
    r->hook = filled_or_null(value_of(line, "hook"), c);
    r->neuronpedia = filled_or_null(value_of(line, "neuronpedia"), c);
    if (scale)
        parse_double(scale, &r->scale);
    free(scale);
    r->source.folder = folder ? pattern_fill(folder, c) : xstrdup(strchr(l->name, '/') + 1);
    l->matched = 1;
}

/* The id may be what Neuronpedia calls the SAE: its pattern is tried with every id that the line has. */
struct alias {
    struct lookup *lookup;
    const struct line *release, *line;
    const char *id, *neuronpedia;
};

static void try_alias(void *arg, const char *text, const struct captures *c, int partial)
{
    struct alias *a = arg;
    if (partial || a->lookup->matched)
        return;
    char *name = pattern_fill(a->neuronpedia, c);
    const char *source = strchr(name, '/');
    if (source && strcmp(source + 1, a->id) == 0) {
        take_sae(a->lookup, a->release, a->line, c);
        if (!value_of(a->line, "folder")) {
            free(a->lookup->found->source.folder);
            a->lookup->found->source.folder = xstrdup(text);
        }
    }
    free(name);
}

/* "transcoders", of a line "other NAME transcoders" that the release's name (with or without an ID) fits;
 * malloc'd. */
static char *match_other(const char *name, const struct line *line)
{
    struct captures c = {.n = 0};
    struct strbuf what = STRBUF_INIT;
    char *release = xstrndup(name, strcspn(name, "/"));
    int fits = pattern_match(line->words[1], release, &c);
    for (size_t i = 2; fits && i < line->n; i++)
        strbuf_addf(&what, "%s%s", i > 2 ? " " : "", line->words[i]);
    captures_free(&c);
    free(release);
    return fits ? strbuf_detach(&what) : NULL;
}

static int look_at(void *arg, const struct line *release, const struct line *line)
{
    struct lookup *l = arg;
    struct captures c = {.n = 0};
    const char *slash = strchr(l->name, '/');
    if (strcmp(line->words[0], "other") == 0) {
        l->other = match_other(l->name, line);
        l->matched = l->other != NULL;
    } else if (strcmp(line->words[0], "model") == 0) {
        if (!slash && pattern_match(line->words[1], l->name, &c)) {
            l->found->source.repository = pattern_fill(line->words[2], &c);
            l->found->source.folder = xstrdup("");
            l->found->is_model = l->matched = 1;
        }
    } else if (slash) {
        char *name = xstrndup(l->name, (size_t)(slash - l->name));
        const char *neuronpedia = value_of(line, "neuronpedia");
        if (pattern_match(release->words[1], name, &c)) {
            if (pattern_match(line->words[1], slash + 1, &c))
                take_sae(l, release, line, &c);
            else if (neuronpedia)
                pattern_each(line->words[1], &c, try_alias,
                             &(struct alias){l, release, line, slash + 1, neuronpedia});
        }
        free(name);
    }
    captures_free(&c);
    return l->matched;
}

/* ---- Names. ---- */

struct naming {
    void (*each)(void *arg, const char *name, int partial);
    void *arg;
    const struct line *line; /* of the SAE; NULL: only releases' names are wanted */
    const char *release;
};

static void name_model(void *arg, const char *text, const struct captures *c, int partial)
{
    struct naming *n = arg;
    (void)c;
    n->each(n->arg, text, partial);
}

static void name_sae(void *arg, const char *text, const struct captures *c, int partial)
{
    struct naming *n = arg;
    const char *neuronpedia = value_of(n->line, "neuronpedia");
    char *name = xasprintf("%s/%s", n->release, text);
    n->each(n->arg, name, partial);
    free(name);
    if (!neuronpedia || partial)
        return;
    char *id = pattern_fill(neuronpedia, c), *slash = strchr(id, '/');
    name = xasprintf("%s/%s", n->release, slash ? slash + 1 : id);
    n->each(n->arg, name, 0);
    free(name);
    free(id);
}

static void name_release(void *arg, const char *text, const struct captures *c, int partial)
{
    struct naming *n = arg;
    (void)partial;
    n->release = text;
    pattern_each(n->line->words[1], c, name_sae, n);
}

static int name_line(void *arg, const struct line *release, const struct line *line)
{
    struct naming *n = arg;
    static const struct captures none = {.n = 0};
    n->line = line;
    if (strcmp(line->words[0], "other") == 0)
        return 0; /* nothing to pull */
    if (strcmp(line->words[0], "model") == 0)
        pattern_each(line->words[1], &none, name_model, n);
    else
        pattern_each(release->words[1], &none, name_release, n);
    return 0;
}

/* ---- The file. ---- */

static int read_file(struct strbuf *text, char **where, struct error *err)
{
    *where = shipped_file("releases");
    return file_read(*where, FILE_MAX, text, err);
}

int release_names(void (*each)(void *, const char *, int), void *arg, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    char *where;
    struct naming n = {.each = each, .arg = arg};
    int status = read_file(&text, &where, err);
    if (status == STATUS_OK)
        status = each_line(strbuf_string(&text), where, name_line, &n, err);
    strbuf_free(&text);
    free(where);
    return status;
}

struct name_list {
    char **names; /* ends with NULL */
    size_t n;
};

static void keep_name(void *arg, const char *name, int partial)
{
    struct name_list *list = arg;
    if (partial)
        return;
    list->names = xreallocarray(list->names, list->n + 2, sizeof *list->names);
    list->names[list->n++] = xstrdup(name);
    list->names[list->n] = NULL;
}

static int refuse(const char *text, const char *where, const char *name, struct error *err)
{
    struct name_list list = {NULL, 0};
    struct naming n = {.each = keep_name, .arg = &list};
    each_line(text, where, name_line, &n, NULL);
    const char *near = list.n ? nearest_word(name, (const char *const *)list.names) : NULL;
    char *shown = displayable_string(name);
    if (near)
        error_set(err, STATUS_USAGE, "no release \"%s\": did you mean %s?", shown, near);
    else
        error_set(err, STATUS_USAGE,
                  "%s: neither hf:OWNER/REPO[@REVISION][/FOLDER] nor a short name (completion "
                  "lists those)",
                  shown);
    free(shown);
    for (size_t i = 0; i < list.n; i++)
        free(list.names[i]);
    free(list.names);
    return STATUS_USAGE;
}

static int refuse_other(const char *name, const char *what, struct error *err)
{
    char *shown = displayable_string(name);
    error_set(err, STATUS_REFUSED,
              "%s is of a release of %s: only SAEs, which rebuild what they read, can be imported "
              "(hf:OWNER/REPO --import none only downloads)",
              shown, what);
    free(shown);
    return STATUS_REFUSED;
}

int release_find_in(const char *text, const char *where, const char *name, struct release *out,
                    struct error *err)
{
    size_t n = strcspn(name, "@");
    char *bare = xstrndup(name, n);
    struct lookup l = {.name = bare, .found = out};
    *out = (struct release){0};
    int status = each_line(text, where, look_at, &l, err);
    if (status == STATUS_OK && !l.matched)
        status = refuse(text, where, bare, err);
    if (status == STATUS_OK && l.other)
        status = refuse_other(bare, l.other, err);
    free(l.other);
    if (status == STATUS_OK) {
        out->name = bare;
        bare = NULL;
        out->source.revision = xstrdup(name[n] == '@' ? name + n + 1 : "main");
        if (!hub_path_is_safe(out->source.revision, strlen(out->source.revision)) ||
            !hub_path_is_safe(out->source.repository, strlen(out->source.repository)) ||
            (*out->source.folder && !hub_path_is_safe(out->source.folder, strlen(out->source.folder))))
            status = error_set(err, STATUS_USAGE, "this name stands for no place in a repository");
    }
    free(bare);
    if (status != STATUS_OK)
        release_free(out);
    return status;
}

int release_find(const char *text, struct release *out, struct error *err)
{
    struct strbuf file = STRBUF_INIT;
    char *where = NULL;
    *out = (struct release){0};
    if (strncmp(text, "hf:", 3) == 0)
        return hub_source_parse(text, &out->source, err);
    int status = read_file(&file, &where, err);
    if (status == STATUS_OK)
        status = release_find_in(strbuf_string(&file), where, text, out, err);
    strbuf_free(&file);
    free(where);
    return status;
}

void release_free(struct release *r)
{
    free(r->name);
    hub_source_free(&r->source);
    free(r->models);
    free(r->hook);
    free(r->neuronpedia);
    free(r->normalize);
    *r = (struct release){0};
}

char *release_store_name(const struct release *r)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-";
    const char *folder = r->source.folder;
    char *name = r->name ? xstrdup(r->name)
                         : xasprintf("%s%s%s", path_base(r->source.repository), *folder ? "/" : "", folder);
    for (char *c = name; *c; c++)
        if (!strchr(plain, *c))
            *c = '-';
    if (*name == '.' || *name == '-')
        *name = '_';
    if (strlen(name) > 255)
        name[255] = '\0';
    return name;
}
