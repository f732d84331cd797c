/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pickle machine: a stack of values, marks on it, and a memo. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/files/pickle.h"

#define VALUES_MAX      ((size_t)4 << 20)
#define MEMO_MAX        ((size_t)4 << 20)
#define VALUES_IN_CHUNK 512

struct chunk {
    struct chunk *next;
    size_t n;
    struct pickle_value values[VALUES_IN_CHUNK];
};

struct values {
    struct pickle_value **items;
    size_t n, capacity;
};

struct pickle {
    const unsigned char *at, *end, *start;
    const char *where;
    const struct pickle_user *user;
    struct error *err;
    struct chunk *chunks;
    size_t n_values, n_copied; /* items of lists that calls copied */
    struct values stack, memo;
    size_t *marks; /* heights of the stack */
    size_t n_marks, marks_capacity;
};

/* ---- Values. ---- */

static int refuse(const struct pickle *p, const char *what)
{
    error_set(p->err, STATUS_REFUSED, "%s: byte %zu of the pickle: %s", p->where, (size_t)(p->at - p->start),
              what);
    return STATUS_REFUSED;
}

static int new_value(struct pickle *p, enum pickle_type type, struct pickle_value **out)
{
    if (p->n_values == VALUES_MAX)
        return refuse(p, "it has more than 4 million values");
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

static void append(struct pickle_value *list, struct pickle_value *item)
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
        return refuse(p, "it copies lists too often");
    p->n_copied += from->list.n;
    for (size_t i = 0; i < from->list.n; i++)
        append(to, from->list.items[i]);
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

static void push(struct pickle *p, struct pickle_value *v)
{
    if (p->stack.n == p->stack.capacity) {
        p->stack.capacity = p->stack.capacity ? 2 * p->stack.capacity : 64;
        p->stack.items = xreallocarray(p->stack.items, p->stack.capacity, sizeof *p->stack.items);
    }
    p->stack.items[p->stack.n++] = v;
}

static int push_new(struct pickle *p, enum pickle_type type, struct pickle_value **out)
{
    int code = new_value(p, type, out);
    if (!code)
        push(p, *out);
    return code;
}

static int pop(struct pickle *p, struct pickle_value **out)
{
    if (p->stack.n <= floor_of_stack(p))
        return refuse(p, "it takes more values than it made");
    *out = p->stack.items[--p->stack.n];
    return STATUS_OK;
}

static int top(struct pickle *p, struct pickle_value **out)
{
    if (p->stack.n <= floor_of_stack(p))
        return refuse(p, "it takes more values than it made");
    *out = p->stack.items[p->stack.n - 1];
    return STATUS_OK;
}

static int push_mark(struct pickle *p)
{
    if (p->n_marks == p->marks_capacity) {
        p->marks_capacity = p->marks_capacity ? 2 * p->marks_capacity : 16;
        p->marks = xreallocarray(p->marks, p->marks_capacity, sizeof *p->marks);
    }
    p->marks[p->n_marks++] = p->stack.n;
    return STATUS_OK;
}

/* The values above the last mark, which is taken away with them; they stay valid until the next push. */
static int pop_mark(struct pickle *p, struct pickle_value ***items, size_t *n)
{
    if (!p->n_marks)
        return refuse(p, "a mark is missing");
    size_t mark = p->marks[--p->n_marks];
    *items = p->stack.items + mark;
    *n = p->stack.n - mark;
    p->stack.n = mark;
    return STATUS_OK;
}

/* ---- Arguments in the pickle's bytes, little-endian. ---- */

static int take(struct pickle *p, size_t n, const unsigned char **out)
{
    if ((size_t)(p->end - p->at) < n)
        return refuse(p, "it ends in the middle (is the file truncated?)");
    *out = p->at;
    p->at += n;
    return STATUS_OK;
}

static int take_number(struct pickle *p, size_t bytes, uint64_t *out)
{
    const unsigned char *at;
    int code = take(p, bytes, &at);
    *out = 0;
    for (size_t i = bytes; i-- > 0 && !code;)
        *out = *out << 8 | at[i];
    return code;
}

static int take_line(struct pickle *p, char **out)
{
    const unsigned char *line = p->at, *newline = memchr(p->at, '\n', (size_t)(p->end - p->at));
    if (!newline)
        return refuse(p, "a line has no end");
    p->at = newline + 1;
    *out = xstrndup((const char *)line, (size_t)(newline - line));
    return STATUS_OK;
}

/* A string or bytes whose length is a number of `width` bytes. */
static int read_text(struct pickle *p, enum pickle_type type, size_t width)
{
    uint64_t length;
    const unsigned char *bytes;
    struct pickle_value *v;
    int code = take_number(p, width, &length);
    if (!code && length > (uint64_t)(p->end - p->at))
        code = refuse(p, "a string is longer than the pickle");
    if (!code)
        code = take(p, (size_t)length, &bytes);
    if (!code)
        code = push_new(p, type, &v);
    if (!code) {
        v->text.bytes = (const char *)bytes;
        v->text.length = (size_t)length;
    }
    return code;
}

static int read_integer(struct pickle *p, size_t width)
{
    uint64_t n;
    struct pickle_value *v;
    int code = take_number(p, width, &n);
    if (!code)
        code = push_new(p, PICKLE_INT, &v);
    if (!code)
        v->integer = width == 4 ? (int32_t)(uint32_t)n : (long long)n;
    return code;
}

/* Two's complement of any length. */
static int read_long(struct pickle *p, size_t width)
{
    uint64_t length;
    const unsigned char *bytes;
    struct pickle_value *v;
    int code = take_number(p, width, &length);
    if (!code && length > (uint64_t)(p->end - p->at))
        code = refuse(p, "a number is longer than the pickle");
    if (!code)
        code = take(p, (size_t)length, &bytes);
    if (!code)
        code = push_new(p, length > 8 ? PICKLE_REAL : PICKLE_INT, &v);
    if (code)
        return code;
    int negative = length && bytes[length - 1] & 0x80;
    if (length > 8) {
        double x = negative ? -1 : 0;
        for (size_t i = (size_t)length; i-- > 0;)
            x = 256 * x + bytes[i];
        v->real = x;
    } else {
        uint64_t n = negative ? UINT64_MAX : 0;
        for (size_t i = (size_t)length; i-- > 0;)
            n = n << 8 | bytes[i];
        v->integer = (long long)n;
    }
    return STATUS_OK;
}

static int read_float(struct pickle *p)
{
    const unsigned char *bytes;
    struct pickle_value *v;
    int code = take(p, 8, &bytes);
    if (!code)
        code = push_new(p, PICKLE_REAL, &v);
    if (code)
        return code;
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n = n << 8 | bytes[i];
    memcpy(&v->real, &n, sizeof n);
    return STATUS_OK;
}

static int push_bool(struct pickle *p, int b)
{
    struct pickle_value *v;
    int code = push_new(p, PICKLE_BOOL, &v);
    if (!code)
        v->integer = b;
    return code;
}

/* ---- The memo. ---- */

static int memorise(struct pickle *p, uint64_t number)
{
    struct pickle_value *v;
    int code = top(p, &v);
    if (code)
        return code;
    if (number >= MEMO_MAX)
        return refuse(p, "a memo's number is over 4 million");
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

static int recall(struct pickle *p, size_t width)
{
    uint64_t number;
    int code = take_number(p, width, &number);
    if (code)
        return code;
    if (number >= p->memo.capacity || !p->memo.items[number])
        return refuse(p, "it recalls what it did not memorise");
    push(p, p->memo.items[number]);
    return STATUS_OK;
}

static int memorise_at(struct pickle *p, size_t width)
{
    uint64_t number;
    int code = take_number(p, width, &number);
    return code ? code : memorise(p, number);
}

/* ---- Containers. ---- */

static int append_items(struct pickle *p, enum pickle_type type, struct pickle_value **items, size_t n)
{
    struct pickle_value *list;
    int code = top(p, &list);
    if (code)
        return code;
    if (list->type != type)
        return refuse(p, type == PICKLE_DICT ? "it sets members of what is no dictionary"
                                             : "it appends to what is no list");
    if (type == PICKLE_DICT && n % 2)
        return refuse(p, "a dictionary's key has no value");
    for (size_t i = 0; i < n; i++)
        append(list, items[i]);
    return STATUS_OK;
}

static int append_marked(struct pickle *p, enum pickle_type type)
{
    struct pickle_value **items;
    size_t n;
    int code = pop_mark(p, &items, &n);
    return code ? code : append_items(p, type, items, n);
}

static int append_last(struct pickle *p, enum pickle_type type)
{
    struct pickle_value *items[2];
    size_t n = type == PICKLE_DICT ? 2 : 1;
    int code = STATUS_OK;
    for (size_t i = n; i-- > 0 && !code;)
        code = pop(p, &items[i]);
    return code ? code : append_items(p, type, items, n);
}

static int make_marked(struct pickle *p, enum pickle_type type)
{
    struct pickle_value **items, *v;
    size_t n;
    int code = pop_mark(p, &items, &n);
    if (!code)
        code = new_value(p, type, &v);
    if (!code && type == PICKLE_DICT && n % 2)
        code = refuse(p, "a dictionary's key has no value");
    if (code)
        return code;
    for (size_t i = 0; i < n; i++)
        append(v, items[i]);
    push(p, v);
    return STATUS_OK;
}

static int make_tuple(struct pickle *p, size_t n)
{
    struct pickle_value *items[3], *v;
    int code = STATUS_OK;
    for (size_t i = n; i-- > 0 && !code;)
        code = pop(p, &items[i]);
    if (!code)
        code = push_new(p, PICKLE_TUPLE, &v);
    for (size_t i = 0; i < n && !code; i++)
        append(v, items[i]);
    return code;
}

/* ---- What the user makes or refuses. ---- */

static int make_global(struct pickle *p, const char *module, const char *name)
{
    struct pickle_value *v;
    int code = push_new(p, PICKLE_NONE, &v);
    return code ? code : p->user->global(p->user->arg, module, name, v, p->err);
}

static int read_global(struct pickle *p)
{
    char *module = NULL, *name = NULL;
    int code = take_line(p, &module);
    if (!code)
        code = take_line(p, &name);
    if (!code)
        code = make_global(p, module, name);
    free(module);
    free(name);
    return code;
}

static int stack_global(struct pickle *p)
{
    struct pickle_value *module, *name;
    int code = pop(p, &name);
    if (!code)
        code = pop(p, &module);
    if (code)
        return code;
    if (module->type != PICKLE_STRING || name->type != PICKLE_STRING)
        return refuse(p, "a global's name is no string");
    char *m = xstrndup(module->text.bytes, module->text.length);
    char *n = xstrndup(name->text.bytes, name->text.length);
    code = make_global(p, m, n);
    free(m);
    free(n);
    return code;
}

static int persistent(struct pickle *p)
{
    struct pickle_value *id, *v;
    int code = pop(p, &id);
    if (!code)
        code = push_new(p, PICKLE_NONE, &v);
    return code ? code : p->user->persistent(p->user->arg, id, v, p->err);
}

static int call(struct pickle *p)
{
    struct pickle_value *callee, *arguments, *v;
    int code = pop(p, &arguments);
    if (!code)
        code = pop(p, &callee);
    if (!code && (callee->type != PICKLE_GLOBAL || arguments->type != PICKLE_TUPLE))
        code = refuse(p, "it calls what cannot be called");
    if (!code)
        code = push_new(p, PICKLE_NONE, &v);
    return code ? code : p->user->call(p->user->arg, p, callee, arguments, v, p->err);
}

static int set_state(struct pickle *p)
{
    struct pickle_value *object, *state;
    int code = pop(p, &state);
    if (!code)
        code = top(p, &object);
    return code ? code : p->user->set_state(p->user->arg, object, state, p->err);
}

/* ---- Opcodes, by Python's names. ---- */

enum opcode {
    MARK = '(',
    STOP = '.',
    POP = '0',
    POP_MARK = '1',
    DUP = '2',
    BINBYTES = 'B',
    SHORT_BINBYTES = 'C',
    BINFLOAT = 'G',
    BININT = 'J',
    BININT1 = 'K',
    BININT2 = 'M',
    NONE = 'N',
    BINPERSID = 'Q',
    REDUCE = 'R',
    BINSTRING = 'T',
    SHORT_BINSTRING = 'U',
    BINUNICODE = 'X',
    EMPTY_LIST = ']',
    APPEND = 'a',
    BUILD = 'b',
    GLOBAL = 'c',
    DICT = 'd',
    APPENDS = 'e',
    BINGET = 'h',
    LONG_BINGET = 'j',
    LIST = 'l',
    BINPUT = 'q',
    LONG_BINPUT = 'r',
    SETITEM = 's',
    TUPLE = 't',
    SETITEMS = 'u',
    EMPTY_DICT = '}',
    EMPTY_TUPLE = ')',
    PROTO = 0x80,
    NEWOBJ = 0x81,
    TUPLE1 = 0x85,
    TUPLE2 = 0x86,
    TUPLE3 = 0x87,
    NEWTRUE = 0x88,
    NEWFALSE = 0x89,
    LONG1 = 0x8a,
    LONG4 = 0x8b,
    SHORT_BINUNICODE = 0x8c,
    BINUNICODE8 = 0x8d,
    BINBYTES8 = 0x8e,
    EMPTY_SET = 0x8f,
    ADDITEMS = 0x90,
    FROZENSET = 0x91,
    STACK_GLOBAL = 0x93,
    MEMOIZE = 0x94,
    FRAME = 0x95,
    BYTEARRAY8 = 0x96
};

static int pop_values(struct pickle *p, int opcode)
{
    struct pickle_value *v, **items;
    size_t n;
    /* POP takes a mark as well, when that is on top. */
    if (opcode == POP_MARK || (p->n_marks && p->marks[p->n_marks - 1] == p->stack.n))
        return pop_mark(p, &items, &n);
    return pop(p, &v);
}

static int duplicate(struct pickle *p)
{
    struct pickle_value *v;
    int code = top(p, &v);
    if (!code)
        push(p, v);
    return code;
}

static int step_plain(struct pickle *p, int opcode, int *known)
{
    struct pickle_value *v;
    switch (opcode) {
    case NONE:
        return push_new(p, PICKLE_NONE, &v);
    case NEWTRUE:
    case NEWFALSE:
        return push_bool(p, opcode == NEWTRUE);
    case BININT:
        return read_integer(p, 4);
    case BININT1:
        return read_integer(p, 1);
    case BININT2:
        return read_integer(p, 2);
    case LONG1:
        return read_long(p, 1);
    case LONG4:
        return read_long(p, 4);
    case BINFLOAT:
        return read_float(p);
    case SHORT_BINUNICODE:
    case SHORT_BINSTRING:
        return read_text(p, PICKLE_STRING, 1);
    case BINUNICODE:
    case BINSTRING:
        return read_text(p, PICKLE_STRING, 4);
    case BINUNICODE8:
        return read_text(p, PICKLE_STRING, 8);
    case SHORT_BINBYTES:
        return read_text(p, PICKLE_BYTES, 1);
    case BINBYTES:
        return read_text(p, PICKLE_BYTES, 4);
    case BINBYTES8:
    case BYTEARRAY8:
        return read_text(p, PICKLE_BYTES, 8);
    }
    *known = 0;
    return STATUS_OK;
}

static int step_containers(struct pickle *p, int opcode, int *known)
{
    struct pickle_value *v;
    switch (opcode) {
    case MARK:
        return push_mark(p);
    case EMPTY_LIST:
    case EMPTY_SET:
        return push_new(p, PICKLE_LIST, &v);
    case EMPTY_TUPLE:
        return push_new(p, PICKLE_TUPLE, &v);
    case EMPTY_DICT:
        return push_new(p, PICKLE_DICT, &v);
    case LIST:
    case FROZENSET:
        return make_marked(p, PICKLE_LIST);
    case TUPLE:
        return make_marked(p, PICKLE_TUPLE);
    case DICT:
        return make_marked(p, PICKLE_DICT);
    case TUPLE1:
    case TUPLE2:
    case TUPLE3:
        return make_tuple(p, (size_t)(opcode - TUPLE1 + 1));
    case APPEND:
        return append_last(p, PICKLE_LIST);
    case APPENDS:
    case ADDITEMS:
        return append_marked(p, PICKLE_LIST);
    case SETITEM:
        return append_last(p, PICKLE_DICT);
    case SETITEMS:
        return append_marked(p, PICKLE_DICT);
    }
    *known = 0;
    return STATUS_OK;
}

static int step_machine(struct pickle *p, int opcode, int *known)
{
    const unsigned char *frame;
    switch (opcode) {
    case POP:
    case POP_MARK:
        return pop_values(p, opcode);
    case DUP:
        return duplicate(p);
    case BINPUT:
        return memorise_at(p, 1);
    case LONG_BINPUT:
        return memorise_at(p, 4);
    case MEMOIZE:
        return memorise(p, p->memo.n);
    case BINGET:
        return recall(p, 1);
    case LONG_BINGET:
        return recall(p, 4);
    case GLOBAL:
        return read_global(p);
    case STACK_GLOBAL:
        return stack_global(p);
    case BINPERSID:
        return persistent(p);
    case REDUCE:
    case NEWOBJ:
        return call(p);
    case BUILD:
        return set_state(p);
    case FRAME:
        return take(p, 8, &frame); /* how much to read ahead: all is there already */
    }
    *known = 0;
    return STATUS_OK;
}

static int run(struct pickle *p, const struct pickle_value **root)
{
    struct pickle_value *v;
    if (p->end - p->at < 2 || p->at[0] != PROTO || p->at[1] < 2 || p->at[1] > 5)
        return refuse(p, "it is no pickle of protocols 2 to 5");
    p->at += 2;
    for (;;) {
        if (p->at == p->end)
            return refuse(p, "it ends without a value (is the file truncated?)");
        int opcode = *p->at++;
        if (opcode == STOP) {
            int code = p->n_marks ? refuse(p, "it ends within a container") : pop(p, &v);
            *root = code ? NULL : v;
            return code;
        }
        int plain = 1, containers = 1, machine = 1;
        int code = step_plain(p, opcode, &plain);
        if (!plain)
            code = step_containers(p, opcode, &containers);
        if (!plain && !containers)
            code = step_machine(p, opcode, &machine);
        if (!plain && !containers && !machine)
            return error_set(p->err, STATUS_REFUSED, "%s: byte %zu of the pickle: opcode 0x%02x is not read",
                             p->where, (size_t)(p->at - p->start) - 1, (unsigned)opcode);
        if (code)
            return code;
    }
}

int pickle_read(const unsigned char *bytes, size_t n, const char *where, const struct pickle_user *user,
                struct pickle **out, const struct pickle_value **root, struct error *err)
{
    struct pickle *p = xcalloc(1, sizeof *p);
    p->at = p->start = bytes;
    p->end = bytes + n;
    p->where = where;
    p->user = user;
    p->err = err;
    int code = n > PICKLE_MAX ? refuse(p, "it is over 32 MiB") : run(p, root);
    if (code) {
        pickle_free(p);
        p = NULL;
    }
    *out = p;
    return code;
}
