/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Checks, files and monitors for tests. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/memory.h"
#include "support.h"

void check_ok(int status, const char *call, const struct error *err, const char *file, int line)
{
    if (status != STATUS_OK) {
        print_error("%s is %d: %s\n", call, status, err->message);
        _fail(file, line);
    }
}

void check_says(const struct error *err, const char *text, const char *file, int line)
{
    if (!strstr(err->message, text)) {
        print_error("\"%s\" does not say \"%s\"\n", err->message, text);
        _fail(file, line);
    }
}

const char *test_directory;

void make_directory_in(const char *parent)
{
    char *path = path_join(parent, "saescope-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    test_directory = path;
}

int set_up_directory(void **state)
{
    const char *parent = getenv("TMPDIR");
    (void)state;
    make_directory_in(parent && *parent ? parent : "/tmp");
    return 0;
}

int tear_down_directory(void **state)
{
    (void)state;
    int status = test_directory ? remove_tree(test_directory, NULL) : STATUS_OK;
    free((void *)(uintptr_t)test_directory);
    test_directory = NULL;
    return status;
}

char *test_path(const char *name)
{
    return path_join(test_directory, name);
}

char *write_test_file(const char *name, const void *data, size_t n)
{
    struct error err = {0};
    char *path = test_path(name);
    assert_ok(file_write_atomic(path, data, n, &err));
    return path;
}

char *data_path(const char *name)
{
    const char *root = getenv("SAESCOPE_TESTDATA");
    assert_non_null(root);
    return path_join(root, name);
}

char *data_path_in(const char *folder, const char *name)
{
    char *path = data_path(folder), *full = path_join(path, name);
    free(path);
    return full;
}

json *parse_json(const char *text)
{
    struct error err = {0};
    json *v = json_parse(text, strlen(text), "test", &err);
    if (!v)
        fail_msg("%s", err.message);
    return v;
}

json **read_json_lines(const char *path, size_t *n)
{
    struct error err = {0};
    struct strbuf file = STRBUF_INIT;
    json **lines = NULL;
    char *rest = NULL;
    assert_ok(file_read(path, 1 << 20, &file, &err));
    *n = 0;
    for (char *line = strtok_r(file.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        lines = xreallocarray(lines, *n + 1, sizeof *lines);
        lines[(*n)++] = parse_json(line);
    }
    strbuf_free(&file);
    return lines;
}

void free_json_lines(json **lines, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_free(lines[i]);
    free(lines);
}

int asks_before_cancel;

enum monitor_request cancel_later(struct monitor *m)
{
    (void)m;
    return asks_before_cancel-- > 0 ? MONITOR_GO_ON : MONITOR_CANCEL;
}

int looks_before_cancel;

int cancelled_later(struct monitor *m)
{
    (void)m;
    return looks_before_cancel-- <= 0;
}
