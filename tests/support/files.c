/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files and directories for tests. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/memory.h"
#include "support.h"

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

static void write_at(const char *path, const void *data, size_t n)
{
    struct error err = {0};
    char *parent = xstrndup(path, (size_t)(path_base(path) - path));
    assert_ok(make_directories(parent, 0777, &err));
    assert_ok(file_write_atomic(path, data, n, &err));
    free(parent);
}

char *write_test_file(const char *name, const void *data, size_t n)
{
    char *path = test_path(name);
    write_at(path, data, n);
    return path;
}

void put_test_file(const char *name, const char *text)
{
    free(write_test_file(name, text, strlen(text)));
}

void write_file_in(const char *folder, const char *name, const void *data, size_t n)
{
    char *path = path_join(folder, name);
    write_at(path, data, n);
    free(path);
}

void copy_file(const char *from, const char *folder, const char *name)
{
    struct error err = {0};
    struct strbuf bytes = STRBUF_INIT;
    assert_ok(file_read(from, SIZE_MAX >> 1, &bytes, &err));
    write_file_in(folder, name, bytes.data, bytes.length);
    strbuf_free(&bytes);
}

void replace_in_file(const char *folder, const char *name, const char *from, const char *to)
{
    struct error err = {0};
    struct strbuf was = STRBUF_INIT, is = STRBUF_INIT;
    char *path = path_join(folder, name);
    assert_ok(file_read(path, SIZE_MAX >> 1, &was, &err));
    const char *at = was.length ? memmem(was.data, was.length, from, strlen(from)) : NULL;
    if (!at)
        fail_msg("\"%s\" is not in %s", from, path);
    size_t before = (size_t)(at - was.data);
    strbuf_add(&is, was.data, before);
    strbuf_adds(&is, to);
    strbuf_add(&is, at + strlen(from), was.length - before - strlen(from));
    write_at(path, is.data, is.length);
    strbuf_free(&was);
    strbuf_free(&is);
    free(path);
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

char *family_path(const char *family, const char *file)
{
    char *folder = path_join("families", family), *path = data_path_in(folder, file);
    free(folder);
    return path;
}

char *copy_family(const char *family, const char *const *files)
{
    struct error err = {0};
    char *folder = test_path("family");
    assert_ok(remove_tree(folder, &err));
    assert_ok(make_directories(folder, 0700, &err));
    for (; *files; files++) {
        char *from = family_path(family, *files);
        copy_file(from, folder, *files);
        free(from);
    }
    return folder;
}
