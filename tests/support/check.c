/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Checks, JSON and monitors for tests. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

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
