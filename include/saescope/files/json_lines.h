/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * JSON lines, plain or gzip, and folders of batches of them (batch-0.jsonl.gz, batch-1.jsonl.gz, ...). A line is parsed when it is
 * asked for; memory is that of one line.
 */
#ifndef SAESCOPE_FILES_JSON_LINES_H
#define SAESCOPE_FILES_JSON_LINES_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/base/json.h"

struct json_lines;

int json_lines_open(const char *path, struct json_lines **out, struct error *err);
void json_lines_close(struct json_lines *l); /* NULL is fine */
/*
 * The next line's object, which the caller frees; *value NULL is the end. Empty lines are skipped. STATUS_REFUSED "PATH:LINE: …"
 * for lines over 64 MiB and for what is no JSON object.
 */
int json_lines_next(struct json_lines *l, json **value, struct error *err);
/* "PATH:LINE" of the last line, displayable. */
const char *json_lines_where(struct json_lines *l);
uint64_t json_lines_position(const struct json_lines *l); /* bytes of the file read so far */

/* Paths of a folder's batches, by their numbers. */
struct batch_files {
    char **paths;
    size_t n;
    uint64_t bytes; /* of all */
};
/*
 * The files batch-N and an ending of `endings` (NULL-terminated; ".jsonl", ".jsonl.gz") of a folder, or one file by its own name.
 * n may be 0. STATUS_REFUSED when it cannot be read, or has two files of one number.
 */
int batch_files_find(const char *path, const char *const *endings, struct batch_files *out, struct error *err);
void batch_files_free(struct batch_files *b);

extern const char *const json_lines_endings[];

#endif
