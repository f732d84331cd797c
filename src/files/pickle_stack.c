/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pickle machine's values, stack and memo. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/files/pickle_machine.h"

#define VALUES_MAX ((size_t)4 << 20)
#define MEMO_MAX   ((size_t)4 << 20)

/* ---- Values. ---- */

int pickle_refuse(const struct pickle *p, const char *what)
{
    error_set(p->err, STATUS_REFUSED, "%s: byte %zu of the pickle: %s", p->where, (size_t)(p->at - p->start),
              what);
    return STATUS_REFUSED;
}

int pickle_new(struct pickle *p, enum pickle_type type, struct pickle_value **out)
{
    if (p->n_values == VALUES_MAX)
        return pickle_refuse(p, "it has more than 4 million values");
    if (!p->chunks || p->chunks->n == VALUES_IN_CHUNK) {
        struct chunk *chunk = xmalloc(sizeof *chunk);
        chunk->n = 0;
        chunk->next = p->chunks;
        p->chunks = chunk;
    }
    p->n_values++;
    *out = &p->chunks->values[p->chunks->n++];
    memset(*out, 0, sizeof **out);
    (*out)->type = type;
    return STATUS_OK;
}

static void free_value(struct pickle_value *v)
{
    union {
        const char *read_only;
        void *owned;
    } bytes;
    switch (v->type) {
    case PICKLE_STRING:
    case PICKLE_BYTES:
        bytes.read_only = v->text.bytes;
        if (v->owned)
            free(bytes.owned);
        break;
    case PICKLE_LIST:
    case PICKLE_TUPLE:
    case PICKLE_DICT:
        free(v->list.items);
        break;
    case PICKLE_OBJECT:
        free(v->object.data);
        break;
    default:
        break;
    }
}

void pickle_free(struct pickle *p)
{
    if (!p)
        return;
    while (p->chunks) {
        struct chunk *chunk = p->chunks;
        p->chunks = chunk->next;
        for (size_t i = 0; i < chunk->n; i++)
            free_value(&chunk->values[i]);
        free(chunk);
    }
    free(p->stack.items);
    free(p->memo.items);
    free(p->marks);
    free(p);
}

void pickle_append(struct pickle_value *list, struct pickle_value *item)
{
    if (list->list.n == list->list.capacity) {
        list->list.capacity = list->list.capacity ? 2 * list->list.capacity : 4;
        list->list.items =
            xreallocarray(list->list.items, list->list.capacity, sizeof(struct pickle_value *));
    }
    list->list.items[list->list.n++] = item;
}

int pickle_copy_items(struct pickle *p, struct pickle_value *to, const struct pickle_value *from)
{
    if (from->list.n > VALUES_MAX - p->n_copied)
        return pickle_refuse(p, "it copies lists too often");
    p->n_copied += from->list.n;
    for (size_t i = 0; i < from->list.n; i++)
        pickle_append(to, from->list.items[i]);
    return STATUS_OK;
}

int pickle_text_is(const struct pickle_value *v, const char *text)
{
    return v->type == PICKLE_STRING && v->text.length == strlen(text) &&
           !memcmp(v->text.bytes, text, v->text.length);
}

/* ---- The stack. Below the last mark nothing is touched. ---- */

static size_t floor_of_stack(const struct pickle *p)
{
    return p->n_marks ? p->marks[p->n_marks - 1] : 0;
}

void pickle_push(struct pickle *p, struct pickle_value *v)
{
    if (p->stack.n == p->stack.capacity) {
        p->stack.capacity = p->stack.capacity ? 2 * p->stack.capacity : 64;
        p->stack.items = xreallocarray(p->stack.items, p->stack.capacity, sizeof *p->stack.items);
    }
    p->stack.items[p->stack.n++] = v;
}

int pickle_push_new(struct pickle *p, enum pickle_type type, struct pickle_value **out)
{
    int code = pickle_new(p, type, out);
    if (!code)
        pickle_push(p, *out);
    return code;
}

int pickle_pop(struct pickle *p, struct pickle_value **out)
{
    if (p->stack.n <= floor_of_stack(p))
        return pickle_refuse(p, "it takes more values than it made");
    *out = p->stack.items[--p->stack.n];
    return STATUS_OK;
}

int pickle_top(struct pickle *p, struct pickle_value **out)
{
    if (p->stack.n <= floor_of_stack(p))
        return pickle_refuse(p, "it takes more values than it made");
    *out = p->stack.items[p->stack.n - 1];
    return STATUS_OK;
}

int pickle_push_mark(struct pickle *p)
{
    if (p->n_marks == p->marks_capacity) {
        p->marks_capacity = p->marks_capacity ? 2 * p->marks_capacity : 16;
        p->marks = xreallocarray(p->marks, p->marks_capacity, sizeof *p->marks);
    }
    p->marks[p->n_marks++] = p->stack.n;
    return STATUS_OK;
}

/* The values above the last mark, which is taken away with them; they stay valid until the next push. */
int pickle_pop_mark(struct pickle *p, struct pickle_value ***items, size_t *n)
{
    if (!p->n_marks)
        return pickle_refuse(p, "a mark is missing");
    size_t mark = p->marks[--p->n_marks];
    *items = p->stack.items ? p->stack.items + mark : NULL;
    *n = p->stack.n - mark;
    p->stack.n = mark;
    return STATUS_OK;
}

/* ---- The memo. ---- */

int pickle_memorise(struct pickle *p, uint64_t number)
{
    struct pickle_value *v;
    int code = pickle_top(p, &v);
    if (code)
        return code;
    if (number >= MEMO_MAX)
        return pickle_refuse(p, "a memo's number is over 4 million");
    if (number >= p->memo.capacity) {
        size_t capacity = p->memo.capacity ? p->memo.capacity : 64;
        while (capacity <= number)
            capacity *= 2;
        p->memo.items = xreallocarray(p->memo.items, capacity, sizeof *p->memo.items);
        memset(p->memo.items + p->memo.capacity, 0, (capacity - p->memo.capacity) * sizeof *p->memo.items);
        p->memo.capacity = capacity;
    }
    p->memo.n += !p->memo.items[number];
    p->memo.items[number] = v;
    return STATUS_OK;
}
