/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pickle machine's opcodes. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/files/pickle_machine.h"

/* ---- Arguments in the pickle's bytes, little-endian. ---- */

static int take(struct pickle *p, size_t n, const unsigned char **out)
{
    *out = p->at;
    if ((size_t)(p->end - p->at) < n)
        return pickle_refuse(p, "it ends in the middle (is the file truncated?)");
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
        return pickle_refuse(p, "a line has no end");
    p->at = newline + 1;
    *out = xstrndup((const char *)line, (size_t)(newline - line));
    return STATUS_OK;
}

/* A string or bytes whose length is a number of `width` bytes. */
static int read_text(struct pickle *p, enum pickle_type type, size_t width)
{
    uint64_t length;
    const unsigned char *bytes = p->at;
    struct pickle_value *v;
    int code = take_number(p, width, &length);
    if (!code && length > (uint64_t)(p->end - p->at))
        code = pickle_refuse(p, "a string is longer than the pickle");
    if (!code)
        code = take(p, (size_t)length, &bytes);
    if (!code)
        code = pickle_push_new(p, type, &v);
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
        code = pickle_push_new(p, PICKLE_INT, &v);
    if (!code)
        v->integer = width == 4 ? (int32_t)(uint32_t)n : (long long)n;
    return code;
}

/* Two's complement of any length. */
static int read_long(struct pickle *p, size_t width)
{
    uint64_t length;
    const unsigned char *bytes = p->at;
    struct pickle_value *v;
    int code = take_number(p, width, &length);
    if (!code && length > (uint64_t)(p->end - p->at))
        code = pickle_refuse(p, "a number is longer than the pickle");
    if (!code)
        code = take(p, (size_t)length, &bytes);
    if (!code)
        code = pickle_push_new(p, length > 8 ? PICKLE_REAL : PICKLE_INT, &v);
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
    const unsigned char *bytes = p->at;
    struct pickle_value *v;
    int code = take(p, 8, &bytes);
    if (!code)
        code = pickle_push_new(p, PICKLE_REAL, &v);
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
    int code = pickle_push_new(p, PICKLE_BOOL, &v);
    if (!code)
        v->integer = b;
    return code;
}

static int recall(struct pickle *p, size_t width)
{
    uint64_t number;
    int code = take_number(p, width, &number);
    if (code)
        return code;
    if (number >= p->memo.capacity || !p->memo.items[number])
        return pickle_refuse(p, "it recalls what it did not memorise");
    pickle_push(p, p->memo.items[number]);
    return STATUS_OK;
}

static int memorise_at(struct pickle *p, size_t width)
{
    uint64_t number;
    int code = take_number(p, width, &number);
    return code ? code : pickle_memorise(p, number);
}

/* ---- Containers. ---- */

static int append_items(struct pickle *p, enum pickle_type type, struct pickle_value **items, size_t n)
{
    struct pickle_value *list;
    int code = pickle_top(p, &list);
    if (code)
        return code;
    if (list->type != type)
        return pickle_refuse(p, type == PICKLE_DICT ? "it sets members of what is no dictionary"
                                                    : "it appends to what is no list");
    if (type == PICKLE_DICT && n % 2)
        return pickle_refuse(p, "a dictionary's key has no value");
    for (size_t i = 0; i < n; i++)
        pickle_append(list, items[i]);
    return STATUS_OK;
}

static int append_marked(struct pickle *p, enum pickle_type type)
{
    struct pickle_value **items;
    size_t n;
    int code = pickle_pop_mark(p, &items, &n);
    return code ? code : append_items(p, type, items, n);
}

static int append_last(struct pickle *p, enum pickle_type type)
{
    struct pickle_value *items[2];
    size_t n = type == PICKLE_DICT ? 2 : 1;
    int code = STATUS_OK;
    for (size_t i = n; i-- > 0 && !code;)
        code = pickle_pop(p, &items[i]);
    return code ? code : append_items(p, type, items, n);
}

static int make_marked(struct pickle *p, enum pickle_type type)
{
    struct pickle_value **items, *v;
    size_t n;
    int code = pickle_pop_mark(p, &items, &n);
    if (!code)
        code = pickle_new(p, type, &v);
    if (!code && type == PICKLE_DICT && n % 2)
        code = pickle_refuse(p, "a dictionary's key has no value");
    if (code)
        return code;
    for (size_t i = 0; i < n; i++)
        pickle_append(v, items[i]);
    pickle_push(p, v);
    return STATUS_OK;
}

static int make_tuple(struct pickle *p, size_t n)
{
    struct pickle_value *items[3], *v;
    int code = STATUS_OK;
    for (size_t i = n; i-- > 0 && !code;)
        code = pickle_pop(p, &items[i]);
    if (!code)
        code = pickle_push_new(p, PICKLE_TUPLE, &v);
    for (size_t i = 0; i < n && !code; i++)
        pickle_append(v, items[i]);
    return code;
}

/* ---- What the user makes or refuses. ---- */

static int make_global(struct pickle *p, const char *module, const char *name)
{
    struct pickle_value *v;
    int code = pickle_push_new(p, PICKLE_NONE, &v);
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
    int code = pickle_pop(p, &name);
    if (!code)
        code = pickle_pop(p, &module);
    if (code)
        return code;
    if (module->type != PICKLE_STRING || name->type != PICKLE_STRING)
        return pickle_refuse(p, "a global's name is no string");
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
    int code = pickle_pop(p, &id);
    if (!code)
        code = pickle_push_new(p, PICKLE_NONE, &v);
    return code ? code : p->user->persistent(p->user->arg, id, v, p->err);
}

static int call(struct pickle *p)
{
    struct pickle_value *callee, *arguments, *v;
    int code = pickle_pop(p, &arguments);
    if (!code)
        code = pickle_pop(p, &callee);
    if (!code && (callee->type != PICKLE_GLOBAL || arguments->type != PICKLE_TUPLE))
        code = pickle_refuse(p, "it calls what cannot be called");
    if (!code)
        code = pickle_push_new(p, PICKLE_NONE, &v);
    return code ? code : p->user->call(p->user->arg, p, callee, arguments, v, p->err);
}

static int set_state(struct pickle *p)
{
    struct pickle_value *object, *state;
    int code = pickle_pop(p, &state);
    if (!code)
        code = pickle_top(p, &object);
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
        return pickle_pop_mark(p, &items, &n);
    return pickle_pop(p, &v);
}

static int duplicate(struct pickle *p)
{
    struct pickle_value *v;
    int code = pickle_top(p, &v);
    if (!code)
        pickle_push(p, v);
    return code;
}

static int step_plain(struct pickle *p, int opcode, int *known)
{
    struct pickle_value *v;
    switch (opcode) {
    case NONE:
        return pickle_push_new(p, PICKLE_NONE, &v);
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
        return pickle_push_mark(p);
    case EMPTY_LIST:
    case EMPTY_SET:
        return pickle_push_new(p, PICKLE_LIST, &v);
    case EMPTY_TUPLE:
        return pickle_push_new(p, PICKLE_TUPLE, &v);
    case EMPTY_DICT:
        return pickle_push_new(p, PICKLE_DICT, &v);
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
        return pickle_memorise(p, p->memo.n);
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
        return pickle_refuse(p, "it is no pickle of protocols 2 to 5");
    p->at += 2;
    for (;;) {
        if (p->at == p->end)
            return pickle_refuse(p, "it ends without a value (is the file truncated?)");
        int opcode = *p->at++;
        if (opcode == STOP) {
            int code = p->n_marks ? pickle_refuse(p, "it ends within a container") : pickle_pop(p, &v);
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
    int code = n > PICKLE_MAX ? pickle_refuse(p, "it is over 32 MiB") : run(p, root);
    if (code) {
        pickle_free(p);
        p = NULL;
    }
    *out = p;
    return code;
}
