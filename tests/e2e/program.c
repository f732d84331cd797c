/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running the program as its users do; the shapes of its JSON. */
#include "config.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "program.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"

#define WORDS_MAX 64

extern char **environ;

static char directory[64];

const char *program_directory(void)
{
    return directory;
}

char *program_path(const char *name)
{
    return path_join(directory, name);
}

static void set_path(const char *variable, const char *name)
{
    char *path = program_path(name);
    setenv(variable, path, 1);
    free(path);
}

void program_set_up(void)
{
    strcpy(directory, "/tmp/saescope-e2e-XXXXXX");
    assert_non_null(getenv("SAESCOPE"));
    assert_non_null(mkdtemp(directory));
    set_path("SAESCOPE_STORE", "store");
    set_path("XDG_DATA_HOME", "data");
    set_path("XDG_CONFIG_HOME", "config");
    set_path("XDG_STATE_HOME", "state");
    set_path("HOME", "home");
    unsetenv("SAESCOPE_CONFIG");
}

void program_tear_down(void)
{
    remove_tree(directory, NULL);
}

void program_write_file(const char *name, const void *bytes, size_t n)
{
    char *path = program_path(name), *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(make_directories(path, 0755, NULL), 0);
    *slash = '/';
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    free(path);
}

char *program_read_file(const char *name, size_t *n)
{
    struct strbuf b = STRBUF_INIT;
    char *path = program_path(name);
    assert_int_equal(file_read(path, SIZE_MAX >> 1, &b, NULL), 0);
    free(path);
    if (n)
        *n = b.length;
    return strbuf_detach(&b);
}

void program_write_corpus(const char *name, size_t documents)
{
    char *path = shipped_file("wordnet.txt"), *end;
    struct strbuf corpus = STRBUF_INIT;
    assert_int_equal(file_read(path, (size_t)1 << 30, &corpus, NULL), 0);
    end = corpus.data;
    for (size_t i = 0; i < documents; i++)
        end = strchr(end, '\n') + 1;
    program_write_file(name, corpus.data, (size_t)(end - corpus.data));
    strbuf_free(&corpus);
    free(path);
}

void result_free(struct result *r)
{
    free(r->out);
    free(r->err);
    *r = (struct result){0};
}

struct result program_run(const char *input, const char *const *words)
{
    char *argv[WORDS_MAX] = {xstrdup(getenv("SAESCOPE"))};
    for (size_t i = 0; words[i] && i + 2 < WORDS_MAX; i++)
        argv[i + 1] = xstrdup(words[i]);
    program_write_file("stdin", input ? input : "", input ? strlen(input) : 0);
    char *in = program_path("stdin"), *out = program_path("stdout"), *err = program_path("stderr");
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, in, O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    pid_t pid;
    int code = posix_spawn(&pid, argv[0], &files, NULL, argv, environ), ended = 0;
    posix_spawn_file_actions_destroy(&files);
    assert_int_equal(code, 0);
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    struct result r = {.status = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended)};
    r.out = program_read_file("stdout", &r.n_out);
    r.err = program_read_file("stderr", NULL);
    /* In a build with sanitizers, what they found. */
    if (strstr(r.err, "Sanitizer") || strstr(r.err, "runtime error: "))
        fail_msg("%s", r.err);
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    free(in);
    free(out);
    free(err);
    return r;
}

static void print_words(const char *const *words, const struct result *r)
{
    print_error("saescope");
    for (size_t i = 0; words[i]; i++)
        print_error(" %s", words[i]);
    print_error("\n-> %d: %s%s\n", r->status, r->err, r->out);
}

json *program_json(const char *const *words)
{
    struct error err = {0};
    struct result r = program_run(NULL, words);
    json *value = r.n_out > 0 ? json_parse(r.out, r.n_out, "output", &err) : NULL;
    const char *end = strchr(r.out, '\n');
    if (r.status != 0 || !value || !end || end[1] != '\0')
        print_words(words, &r);
    assert_int_equal(r.status, 0);
    assert_non_null(value);
    assert_true(end && end[1] == '\0'); /* one JSON text on one line */
    result_free(&r);
    return value;
}

void program_done(const char *const *words)
{
    struct result r = program_run(NULL, words);
    if (r.status != 0)
        print_words(words, &r);
    assert_int_equal(r.status, 0);
    result_free(&r);
}

void program_refuses(int status, const char *const *says, const char *const *words)
{
    struct result r = program_run(NULL, words);
    int good = r.status == status && r.n_out == 0 && strncmp(r.err, "saescope: ", 10) == 0;
    for (size_t i = 0; says[i]; i++)
        good &= strstr(r.err, says[i]) != NULL;
    if (!good) {
        print_error("expected status %d and", status);
        for (size_t i = 0; says[i]; i++)
            print_error(" '%s'", says[i]);
        print_error(": ");
        print_words(words, &r);
    }
    assert_true(good);
    result_free(&r);
}

/* ---- Shapes. ---- */

static int matches(const json *v, const char **shape, struct strbuf *where);

/* Moves over one shape without looking at a value. */
static void pass_over(const char **shape)
{
    int depth = 0;
    do {
        depth += **shape == '{' || **shape == '[';
        depth -= **shape == '}' || **shape == ']';
        ++*shape;
    } while (depth > 0);
    *shape += **shape == '+';
    *shape += **shape == '?';
}

static int object_matches(const json *v, const char **shape, struct strbuf *where)
{
    int good = json_is_object(v);
    for (++*shape; **shape != '}';) {
        size_t n = strcspn(*shape, ":"), length = where->length;
        char *key = xstrndup(*shape, n);
        *shape += n + 1;
        if (good) {
            strbuf_addf(where, ".%s", key);
            const json *member = json_get(v, key);
            good = member && matches(member, shape, where);
            if (good)
                where->data[where->length = length] = '\0';
        } else {
            pass_over(shape);
        }
        free(key);
        *shape += **shape == ',';
    }
    ++*shape;
    return good;
}

static int array_matches(const json *v, const char **shape, struct strbuf *where)
{
    int good = json_is_array(v);
    const char *item = *shape + 1;
    pass_over(shape);
    good = good && ((*shape)[-1] != '+' || json_length(v) > 0);
    for (size_t i = 0; good && i < json_length(v); i++) {
        const char *again = item;
        size_t length = where->length;
        strbuf_addf(where, "[%zu]", i);
        good = matches(json_at(v, i), &again, where);
        if (good)
            where->data[where->length = length] = '\0';
    }
    return good;
}

static int matches(const json *v, const char **shape, struct strbuf *where)
{
    const char *start = *shape, *end = start;
    int good;
    pass_over(&end);
    if (end[-1] == '?' && json_is_null(v)) {
        *shape = end;
        return 1;
    }
    if (*start == '{')
        good = object_matches(v, shape, where);
    else if (*start == '[')
        good = array_matches(v, shape, where);
    else
        good = *start == 's'   ? json_is_string(v)
               : *start == 'i' ? json_is_integer(v)
               : *start == 'n' ? json_is_number(v)
               : *start == 'b' ? json_is_boolean(v)
                               : *start == 'x';
    *shape = end;
    return good;
}

void assert_shape(const json *value, const char *shape)
{
    struct strbuf where = STRBUF_INIT, text = STRBUF_INIT;
    const char *s = shape;
    int good = matches(value, &s, &where);
    if (!good) {
        json_dump(value, &text);
        print_error("%s is not as in %s: %.2000s\n", strbuf_string(&where), shape, strbuf_string(&text));
    }
    strbuf_free(&where);
    strbuf_free(&text);
    assert_true(good);
}

long long integer_of(const json *object, const char *key)
{
    return json_get_integer(object, key, -1);
}

double number_of(const json *object, const char *key)
{
    return json_get_number(object, key, NAN);
}

void assert_is(const json *object, const char *key, const char *text)
{
    assert_string_equal(json_get_string(object, key, "(none)"), text);
}
