/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Cutting the objects out of an array without parsing the file as a whole. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/files/gzip.h"
#include "saescope/files/json_items.h"

#define ITEM_BYTES_MAX ((size_t)256 << 20)
#define PIECE          ((size_t)64 << 10)
#define KEY_MAX        64

enum place { BEFORE, INSIDE, AFTER }; /* of the array */

struct json_items {
    struct gzip_reader *reader;
    char *shown, *key;
    enum place place;
    size_t depth; /* open brackets and braces */
    int in_string, escaped;
    char last[KEY_MAX]; /* the last string at depth 1, its first KEY_MAX - 1 bytes as they are written */
    size_t last_length;
    int after_key; /* a colon followed it */
    size_t number; /* of objects */
    struct strbuf item, where;
    unsigned char *piece; /* [PIECE] */
    size_t at, got;
};

int json_items_open(const char *path, const char *key, struct json_items **out, struct error *err)
{
    struct gzip_reader *reader;
    int status = gzip_reader_open(path, &reader, err);
    *out = NULL;
    if (status)
        return status;
    struct json_items *l = xcalloc(1, sizeof(*l));
    l->reader = reader;
    l->shown = displayable_string(path);
    l->key = xstrdup(key);
    l->piece = xmalloc(PIECE);
    *out = l;
    return STATUS_OK;
}

void json_items_close(struct json_items *l)
{
    if (!l)
        return;
    gzip_reader_close(l->reader);
    strbuf_free(&l->item);
    strbuf_free(&l->where);
    free(l->piece);
    free(l->shown);
    free(l->key);
    free(l);
}

const char *json_items_where(struct json_items *l)
{
    strbuf_reset(&l->where);
    strbuf_addf(&l->where, "%s: item %zu", l->shown, l->number ? l->number - 1 : 0);
    return strbuf_string(&l->where);
}

uint64_t json_items_position(const struct json_items *l)
{
    return gzip_reader_position(l->reader);
}

/* Within a string, and at its ends. Those at depth 1 may be the array's key. */
static void take_in_string(struct json_items *l, unsigned char c)
{
    if (l->escaped)
        l->escaped = 0;
    else if (c == '\\')
        l->escaped = 1;
    else if (c == '"')
        l->in_string = 0;
    if (l->in_string && l->depth == 1 && l->last_length < KEY_MAX - 1)
        l->last[l->last_length++] = (char)c;
}

static int is_key(const struct json_items *l)
{
    return l->after_key && l->last_length == strlen(l->key) && memcmp(l->last, l->key, l->last_length) == 0;
}

static int misplaced(const struct json_items *l, struct error *err)
{
    return error_set(err, STATUS_REFUSED, "%s: no JSON object with a list of objects \"%s\"", l->shown,
                     l->key);
}

/* One byte outside strings. *complete: it ends an object of the array. */
static int take_outside(struct json_items *l, unsigned char c, int *complete, struct error *err)
{
    int opens = c == '{' || c == '[', closes = c == '}' || c == ']';
    if (l->depth == 0 && !strchr(" \t\r\n", c) && (c != '{' || l->place != BEFORE || l->got == 0))
        return misplaced(l, err);
    if (l->place == INSIDE && l->depth == 2 && !strchr(" \t\r\n,{]", c))
        return misplaced(l, err);
    if (c == '"') {
        l->in_string = 1;
        if (l->depth == 1)
            l->last_length = 0;
    }
    if (l->depth == 1 && c == ':')
        l->after_key = 1;
    if (opens) {
        if (l->depth == 1 && c == '[' && l->place == BEFORE && is_key(l))
            l->place = INSIDE;
        l->depth++;
    }
    if (closes) {
        l->depth--;
        *complete = l->place == INSIDE && l->depth == 2;
        if (l->place == INSIDE && l->depth == 1)
            l->place = AFTER;
    }
    if (l->depth == 1 && (c == ',' || closes))
        l->after_key = 0;
    return STATUS_OK;
}

/* Bytes until an object is complete, or the end. */
static int collect(struct json_items *l, int *complete, struct error *err)
{
    int status = STATUS_OK;
    *complete = 0;
    while (!*complete && !status) {
        if (l->at == l->got) {
            l->at = 0;
            status = gzip_reader_read(l->reader, l->piece, PIECE, &l->got, err);
            if (status || !l->got)
                return status;
        }
        unsigned char c = l->piece[l->at++];
        size_t depth = l->depth;
        if (l->in_string)
            take_in_string(l, c);
        else
            status = take_outside(l, c, complete, err);
        if (l->place != INSIDE || (depth == 2 && l->depth != 3))
            continue;
        if (depth >= 2)
            strbuf_addc(&l->item, (char)c);
        if (l->item.length > ITEM_BYTES_MAX)
            return error_set(err, STATUS_REFUSED, "%s: item %zu: over %zu bytes", l->shown, l->number,
                             ITEM_BYTES_MAX);
    }
    return status;
}

int json_items_next(struct json_items *l, json **value, struct error *err)
{
    int complete;
    *value = NULL;
    strbuf_reset(&l->item);
    int status = collect(l, &complete, err);
    if (status)
        return status;
    if (complete) {
        l->number++;
        *value = json_parse(l->item.data, l->item.length, json_items_where(l), err);
        return *value ? STATUS_OK : err ? err->code : STATUS_REFUSED;
    }
    if (l->depth || l->in_string)
        return error_set(err, STATUS_REFUSED, "%s: ends too early", l->shown);
    return l->place == AFTER ? STATUS_OK : misplaced(l, err);
}
