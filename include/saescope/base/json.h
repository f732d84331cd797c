/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * JSON values (a thin face over jansson, which only base/json.c includes). Values are reference counted: json_new_* and
 * json_parse return a new reference that the caller frees with json_free; the getters return borrowed references;
 * the setters take over the reference given. Duplicate keys are refused when parsing; nesting is bounded.
 */
#ifndef SAESCOPE_BASE_JSON_H
#define SAESCOPE_BASE_JSON_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/base/error.h"
#include "saescope/base/strbuf.h"

/* jansson exports functions of these names, and calls them itself: ours have others for the linker. */
#define json_string saescope_json_string
#define json_string_length saescope_json_string_length
#define json_integer saescope_json_integer

struct json_t; /* jansson's own type, opaque here */
typedef struct json_t json;

json *json_parse(const char *text, size_t n, const char *where, struct error *err); /* NULL + STATUS_REFUSED */
json *json_parse_file(const char *path, struct error *err);
json *json_retain(json *v);
void json_free(json *v);

json *json_new_object(void);
json *json_new_array(void);
json *json_new_string(const char *utf8);                 /* invalid UTF-8 is replaced */
json *json_new_bytes(const void *bytes, size_t n);       /* the same of n bytes */
json *json_new_integer(long long n);
json *json_new_real(double x);                           /* NaN and infinities become null */
json *json_new_boolean(int b);
json *json_new_null(void);
void json_set(json *object, const char *key, json *value);
void json_append(json *array, json *value);

int json_is_object(const json *v);
int json_is_array(const json *v);
int json_is_string(const json *v);
int json_is_number(const json *v);
int json_is_integer(const json *v);
int json_is_boolean(const json *v);
int json_is_null(const json *v); /* also of NULL */

size_t json_length(const json *array_or_object);
json *json_at(const json *array, size_t i);
json *json_get(const json *object, const char *key); /* NULL when absent */
/* Members in the file's order: index 0 … json_length-1. */
const char *json_key_at(const json *object, size_t i);
json *json_value_at(const json *object, size_t i);
/* Walks members without indexes: start with *iter = NULL; returns 0 at the end. */
int json_next(json *object, void **iter, const char **key, json **value);

/* Values with a default when absent, null or of another type. */
const char *json_string(const json *v, const char *fallback);
size_t json_string_length(const json *v);
long long json_integer(const json *v, long long fallback);
double json_number(const json *v, double fallback);
int json_boolean(const json *v, int fallback);
const char *json_get_string(const json *object, const char *key, const char *fallback);
long long json_get_integer(const json *object, const char *key, long long fallback);
double json_get_number(const json *object, const char *key, double fallback);
int json_get_boolean(const json *object, const char *key, int fallback);

/* Members that must be there: STATUS_REFUSED naming `where` and the key otherwise. */
int json_need_string(const json *object, const char *key, const char *where, const char **out, struct error *err);
int json_need_size(const json *object, const char *key, const char *where, size_t max, size_t *out, struct error *err);

/* One line, 9 significant digits for reals, members in insertion order. */
void json_dump(const json *v, struct strbuf *out);
void json_dump_pretty(const json *v, struct strbuf *out);

/* Pieces for writers that stream rows: a string with its quotes; a number or null. */
void json_dump_string(struct strbuf *out, const void *bytes, size_t n);
void json_dump_real(struct strbuf *out, double x);

const char *json_library_version(void);

#endif
