/* SPDX-License-Identifier: GPL-3.0-or-later */
/* JSON over jansson: reading strictly, getters with defaults, and writing with 9 significant digits. */
#include "config.h"

#include <jansson.h>

/* jansson's names that ours take over in this file, kept under others. */
static json_t *jansson_integer(long long n)
{
    return json_integer(n);
}

static size_t jansson_string_length(const json_t *v)
{
    return json_string_length(v);
}

#undef json_is_object
#undef json_is_array
#undef json_is_string
#undef json_is_number
#undef json_is_integer
#undef json_is_boolean
#undef json_is_null
#undef json_boolean

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/json.h"
#include "saescope/base/memory.h"

#define JSON_FILE_MAX     ((size_t)512 << 20)
#define EXACT_INTEGER_MAX 9007199254740992.0 /* 2^53: whole float64 numbers up to here are exact */

static json *must(json *v)
{
    if (!v)
        out_of_memory();
    return v;
}

static int has_type(const json *v, json_type type)
{
    return v && json_typeof(v) == type;
}

json *json_parse(const char *text, size_t n, const char *where, struct error *err)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_error_t problem;
    json *v = json_loadb(text, n, flags, &problem);
    /* Configurations hold numbers such as 10^30: then all of this text's numbers are reals. */
    if (!v && json_error_code(&problem) == json_error_numeric_overflow)
        v = json_loadb(text, n, flags | JSON_DECODE_INT_AS_REAL, &problem);
    if (!v) {
        char *shown_where = displayable_string(where), *shown = displayable_string(problem.text);
        error_set(err, STATUS_REFUSED, "%s: line %d: %s", shown_where, problem.line, shown);
        free(shown_where);
        free(shown);
    }
    return v;
}

json *json_parse_file(const char *path, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    json *v = NULL;
    int status = file_read(path, JSON_FILE_MAX, &text, err);
    if (status == STATUS_OK && is_lfs_pointer(strbuf_string(&text), text.length))
        status = error_set(err, STATUS_REFUSED, "%s: " LFS_POINTER, path);
    if (status == STATUS_OK)
        v = json_parse(strbuf_string(&text), text.length, path, err);
    strbuf_free(&text);
    return v;
}

json *json_retain(json *v)
{
    return json_incref(v);
}

void json_free(json *v)
{
    json_decref(v);
}

json *json_new_object(void)
{
    return must(json_object());
}

json *json_new_array(void)
{
    return must(json_array());
}

json *json_new_string(const char *utf8)
{
    return json_new_bytes(utf8, strlen(utf8));
}

json *json_new_bytes(const void *bytes, size_t n)
{
    if (utf8_valid(bytes, n))
        return must(json_stringn_nocheck(n ? bytes : "", n));
    struct strbuf repaired = STRBUF_INIT;
    utf8_replace_invalid(&repaired, bytes, n);
    json *v = must(json_stringn_nocheck(repaired.data, repaired.length));
    strbuf_free(&repaired);
    return v;
}

json *json_new_integer(long long n)
{
    return must(jansson_integer(n));
}

json *json_new_real(double x)
{
    return must(isfinite(x) ? json_real(x) : json_null());
}

json *json_new_boolean(int b)
{
    return b ? json_true() : json_false();
}

json *json_new_null(void)
{
    return json_null();
}

void json_set(json *object, const char *key, json *value)
{
    struct strbuf repaired = STRBUF_INIT;
    if (!utf8_valid(key, strlen(key))) {
        utf8_replace_invalid(&repaired, key, strlen(key));
        key = repaired.data;
    }
    if (json_object_set_new_nocheck(object, key, value))
        out_of_memory();
    strbuf_free(&repaired);
}

void json_append(json *array, json *value)
{
    if (json_array_append_new(array, value))
        out_of_memory();
}

int json_is_object(const json *v)
{
    return has_type(v, JSON_OBJECT);
}

int json_is_array(const json *v)
{
    return has_type(v, JSON_ARRAY);
}

int json_is_string(const json *v)
{
    return has_type(v, JSON_STRING);
}

int json_is_number(const json *v)
{
    return has_type(v, JSON_INTEGER) || has_type(v, JSON_REAL);
}

int json_is_integer(const json *v)
{
    if (has_type(v, JSON_INTEGER))
        return 1;
    double x = has_type(v, JSON_REAL) ? json_real_value(v) : 0.5;
    return fabs(x) <= EXACT_INTEGER_MAX && x == rint(x);
}

int json_is_boolean(const json *v)
{
    return has_type(v, JSON_TRUE) || has_type(v, JSON_FALSE);
}

int json_is_null(const json *v)
{
    return !v || json_typeof(v) == JSON_NULL;
}

size_t json_length(const json *array_or_object)
{
    return json_is_array(array_or_object) ? json_array_size(array_or_object)
                                          : json_object_size(array_or_object);
}

json *json_at(const json *array, size_t i)
{
    return json_array_get(array, i);
}

json *json_get(const json *object, const char *key)
{
    return json_object_get(object, key);
}

/* jansson's iterators want the object writable, and do not write. */
static json *writable(const json *v)
{
    union {
        const json *read_only;
        json *writable;
    } u = {v};
    return u.writable;
}

static void *member_at(const json *object, size_t i)
{
    json *o = writable(object);
    void *iter = json_object_iter(o);
    for (; iter && i > 0; i--)
        iter = json_object_iter_next(o, iter);
    return iter;
}

const char *json_key_at(const json *object, size_t i)
{
    void *iter = member_at(object, i);
    return iter ? json_object_iter_key(iter) : NULL;
}

json *json_value_at(const json *object, size_t i)
{
    void *iter = member_at(object, i);
    return iter ? json_object_iter_value(iter) : NULL;
}

int json_next(json *object, void **iter, const char **key, json **value)
{
    *iter = *iter ? json_object_iter_next(object, *iter) : json_object_iter(object);
    if (!*iter)
        return 0;
    *key = json_object_iter_key(*iter);
    *value = json_object_iter_value(*iter);
    return 1;
}

const char *json_string(const json *v, const char *fallback)
{
    return json_is_string(v) ? json_string_value(v) : fallback;
}

size_t json_string_length(const json *v)
{
    return jansson_string_length(v);
}

long long json_integer(const json *v, long long fallback)
{
    if (has_type(v, JSON_INTEGER))
        return json_integer_value(v);
    return json_is_integer(v) ? (long long)json_real_value(v) : fallback;
}

double json_number(const json *v, double fallback)
{
    return json_is_number(v) ? json_number_value(v) : fallback;
}

int json_boolean(const json *v, int fallback)
{
    return json_is_boolean(v) ? json_typeof(v) == JSON_TRUE : fallback;
}

const char *json_get_string(const json *object, const char *key, const char *fallback)
{
    return json_string(json_get(object, key), fallback);
}

long long json_get_integer(const json *object, const char *key, long long fallback)
{
    return json_integer(json_get(object, key), fallback);
}

double json_get_number(const json *object, const char *key, double fallback)
{
    return json_number(json_get(object, key), fallback);
}

int json_get_boolean(const json *object, const char *key, int fallback)
{
    return json_boolean(json_get(object, key), fallback);
}

/* "WHERE: "KEY" PROBLEM" */
static int member_refused(struct error *err, const char *where, const char *key, const char *problem)
{
    char *shown = displayable_string(where);
    error_set(err, STATUS_REFUSED, "%s: \"%s\" %s", shown, key, problem);
    free(shown);
    return STATUS_REFUSED;
}

int json_need_string(const json *object, const char *key, const char *where, const char **out,
                     struct error *err)
{
    const json *v = json_get(object, key);
    if (!v)
        return member_refused(err, where, key, "is missing");
    if (!json_is_string(v))
        return member_refused(err, where, key, "is not a string");
    *out = json_string_value(v);
    return STATUS_OK;
}

int json_need_size(const json *object, const char *key, const char *where, size_t max, size_t *out,
                   struct error *err)
{
    const json *v = json_get(object, key);
    if (!v)
        return member_refused(err, where, key, "is missing");
    long long n = json_integer(v, -1);
    if (n < 0 || (unsigned long long)n > max) {
        char problem[64];
        snprintf(problem, sizeof problem, "is not a whole number from 0 to %zu", max);
        return member_refused(err, where, key, problem);
    }
    *out = (size_t)n;
    return STATUS_OK;
}

void json_dump_real(struct strbuf *out, double x)
{
    if (!isfinite(x)) {
        strbuf_adds(out, "null");
        return;
    }
    size_t start = out->length;
    strbuf_addf(out, "%.9g", x);
    /* A library in the same process may have set a locale with a decimal comma. */
    char *comma = memchr(out->data + start, ',', out->length - start);
    if (comma)
        *comma = '.';
}

void json_dump_string(struct strbuf *out, const void *bytes, size_t n)
{
    struct strbuf repaired = STRBUF_INIT;
    const unsigned char *s = bytes;
    if (!utf8_valid(bytes, n)) {
        utf8_replace_invalid(&repaired, bytes, n);
        s = (const unsigned char *)repaired.data;
        n = repaired.length;
    }
    strbuf_addc(out, '"');
    size_t plain = 0; /* where the run of bytes that need no escape began */
    for (size_t i = 0; i < n; i++) {
        if (s[i] >= 0x20 && s[i] != '"' && s[i] != '\\' && s[i] != 0x7F)
            continue;
        strbuf_add(out, s + plain, i - plain);
        plain = i + 1;
        if (s[i] == '"' || s[i] == '\\')
            strbuf_addf(out, "\\%c", s[i]);
        else if (s[i] == '\n')
            strbuf_adds(out, "\\n");
        else if (s[i] == '\t')
            strbuf_adds(out, "\\t");
        else if (s[i] == '\r')
            strbuf_adds(out, "\\r");
        else
            strbuf_addf(out, "\\u%04x", s[i]);
    }
    if (n > plain)
        strbuf_add(out, s + plain, n - plain);
    strbuf_addc(out, '"');
    strbuf_free(&repaired);
}

#define NOT_PRETTY (-1)

static void new_line(struct strbuf *out, int depth)
{
    if (depth == NOT_PRETTY)
        return;
    strbuf_addc(out, '\n');
    for (int i = 0; i < depth; i++)
        strbuf_adds(out, "  ");
}

/* depth: the indentation of this value's own lines, or NOT_PRETTY. */
static void dump(const json *v, struct strbuf *out, int depth);

static void dump_object(const json *v, struct strbuf *out, int depth)
{
    int inner = depth == NOT_PRETTY ? NOT_PRETTY : depth + 1;
    void *iter = NULL;
    const char *key;
    json *value;
    strbuf_addc(out, '{');
    for (int first = 1; json_next(writable(v), &iter, &key, &value); first = 0) {
        if (!first)
            strbuf_adds(out, inner == NOT_PRETTY ? ", " : ",");
        new_line(out, inner);
        json_dump_string(out, key, strlen(key));
        strbuf_adds(out, ": ");
        dump(value, out, inner);
    }
    if (json_object_size(v))
        new_line(out, depth);
    strbuf_addc(out, '}');
}

static void dump_array(const json *v, struct strbuf *out, int depth)
{
    int inner = depth == NOT_PRETTY ? NOT_PRETTY : depth + 1;
    strbuf_addc(out, '[');
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (i)
            strbuf_adds(out, inner == NOT_PRETTY ? ", " : ",");
        new_line(out, inner);
        dump(json_array_get(v, i), out, inner);
    }
    if (json_array_size(v))
        new_line(out, depth);
    strbuf_addc(out, ']');
}

static void dump(const json *v, struct strbuf *out, int depth)
{
    if (!v) {
        strbuf_adds(out, "null");
        return;
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        dump_object(v, out, depth);
        break;
    case JSON_ARRAY:
        dump_array(v, out, depth);
        break;
    case JSON_STRING:
        json_dump_string(out, json_string_value(v), jansson_string_length(v));
        break;
    case JSON_INTEGER:
        strbuf_addf(out, "%lld", (long long)json_integer_value(v));
        break;
    case JSON_REAL:
        json_dump_real(out, json_real_value(v));
        break;
    case JSON_TRUE:
        strbuf_adds(out, "true");
        break;
    case JSON_FALSE:
        strbuf_adds(out, "false");
        break;
    case JSON_NULL:
        strbuf_adds(out, "null");
        break;
    }
}

void json_dump(const json *v, struct strbuf *out)
{
    dump(v, out, NOT_PRETTY);
}

void json_dump_pretty(const json *v, struct strbuf *out)
{
    dump(v, out, 0);
    strbuf_addc(out, '\n');
}

const char *json_library_version(void)
{
    return JANSSON_VERSION;
}
