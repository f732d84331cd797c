/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The objects of one array of a JSON file, one at a time: {"a": …, "features": [{…}, {…}], …}. Only the object that is asked for
 * is parsed; of the rest no more is looked at than where strings, brackets and braces begin and end.
 */
#ifndef SAESCOPE_FILES_JSON_ITEMS_H
#define SAESCOPE_FILES_JSON_ITEMS_H

#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/base/json.h"

struct json_items;

/* `key`: of the root object's member; at most 63 bytes. The file may be gzip. */
int json_items_open(const char *path, const char *key, struct json_items **out, struct error *err);
void json_items_close(struct json_items *l); /* NULL is fine */
/*
 * The next object, which the caller frees; *value NULL is the end. STATUS_REFUSED "PATH: item N: …" for objects over 256 MiB and
 * what is no JSON, "PATH: …" when the file has no such array, or ends too early.
 */
int json_items_next(struct json_items *l, json **value, struct error *err);
/* "PATH: item N" of the last object (from 0), displayable. */
const char *json_items_where(struct json_items *l);
uint64_t json_items_position(const struct json_items *l);

#endif
