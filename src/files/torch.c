/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * PyTorch checkpoints of 1.6 and later: a zip file with ROOT/data.pkl, a pickle, and ROOT/data/KEY, the bytes
 * of each storage. (torch/serialization.py)
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/strbuf.h"
#include "saescope/files/torch_objects.h"

#define DEPTH_MAX  100
#define BUDGET_MAX ((size_t)2 << 20)

/* ---- The pickle's values as JSON, and its tensors listed. ---- */

struct walker {
    struct tensor_file *tf;
    struct strbuf name; /* keys and positions that lead to the value */
    size_t depth;
    size_t spent; /* containers may be shared, so that few bytes could become very many values */
    int in_key;
    struct error *err;
};

static json *refuse_walk(struct walker *w, const char *what)
{
    tensor_file_refuse(w->tf, NULL, w->err, "the checkpoint's values %s", what);
    return NULL;
}

/* A value costs 1, and 1 more for every 32 bytes that are copied for it. */
static int spend(struct walker *w, size_t bytes)
{
    w->spent += 1 + bytes / 32;
    return w->spent > BUDGET_MAX ? -1 : 0;
}

static json *walk(struct walker *w, const struct pickle_value *v);

static json *walk_tensor(struct walker *w, const struct torch_tensor *t)
{
    const char *name = w->name.length ? strbuf_string(&w->name) : FILE_TENSOR_ALONE;
    if (w->in_key)
        return refuse_walk(w, "have a tensor as a key");
    if (spend(w, w->name.length))
        return refuse_walk(w, "are too many");
    struct file_tensor *out = tensor_file_add(w->tf, name);
    const char *own_name = out->name;
    *out = t->view;
    out->name = own_name;
    if (t->unreadable[0])
        tensor_file_unreadable(w->tf, xstrdup(t->unreadable));
    json *reference = json_new_object();
    json_set(reference, "tensor", json_new_string(name));
    return reference;
}

static json *walk_object(struct walker *w, const struct pickle_value *v)
{
    const struct torch_dtype *dtype = v->object.data;
    switch (v->object.kind) {
    case TORCH_TENSOR:
        return walk_tensor(w, v->object.data);
    case TORCH_DTYPE:
        return json_new_string(dtype->name);
    default:
        return json_new_null();
    }
}

/* The value below one more key. */
static json *walk_member(struct walker *w, const struct pickle_value *v, const char *key)
{
    size_t length = w->name.length;
    if (spend(w, strlen(key)))
        return refuse_walk(w, "are too many");
    if (length)
        strbuf_addc(&w->name, '.');
    strbuf_adds(&w->name, key);
    json *out = walk(w, v);
    w->name.length = length;
    if (w->name.data)
        w->name.data[length] = '\0';
    return out;
}

static json *walk_list(struct walker *w, const struct pickle_value *v)
{
    json *out = json_new_array();
    for (size_t i = 0; i < v->list.n; i++) {
        char key[32];
        snprintf(key, sizeof key, "%zu", i);
        json *item = walk_member(w, v->list.items[i], key);
        if (!item) {
            json_free(out);
            return NULL;
        }
        json_append(out, item);
    }
    return out;
}

/* A key as text: what is no string as JSON. */
static int key_text(struct walker *w, const struct pickle_value *v, struct strbuf *out)
{
    if (v->type == PICKLE_STRING) {
        if (memchr(v->text.bytes, 0, v->text.length)) {
            refuse_walk(w, "have a key with a zero byte");
            return -1;
        }
        utf8_replace_invalid(out, v->text.bytes, v->text.length);
        return 0;
    }
    w->in_key++;
    json *key = walk(w, v);
    w->in_key--;
    if (!key)
        return -1;
    json_dump(key, out);
    json_free(key);
    return 0;
}

static json *walk_dict(struct walker *w, const struct pickle_value *v)
{
    json *out = json_new_object();
    struct strbuf key = STRBUF_INIT;
    for (size_t i = 0; i + 1 < v->list.n && out; i += 2) {
        json *item = NULL;
        strbuf_reset(&key);
        if (!key_text(w, v->list.items[i], &key)) {
            const char *text = strbuf_string(&key);
            item = json_get(out, text) ? refuse_walk(w, "have a key twice")
                                       : walk_member(w, v->list.items[i + 1], text);
        }
        if (item) {
            json_set(out, strbuf_string(&key), item);
        } else {
            json_free(out);
            out = NULL;
        }
    }
    strbuf_free(&key);
    return out;
}

static json *walk_plain(struct walker *w, const struct pickle_value *v)
{
    switch (v->type) {
    case PICKLE_BOOL:
        return json_new_boolean(v->integer != 0);
    case PICKLE_INT:
        return json_new_integer(v->integer);
    case PICKLE_REAL:
        return json_new_real(v->real);
    case PICKLE_STRING:
    case PICKLE_BYTES:
        return spend(w, v->text.length) ? refuse_walk(w, "are too many")
                                        : json_new_bytes(v->text.bytes, v->text.length);
    case PICKLE_GLOBAL: {
        char *name = torch_global_name(v);
        json *out = json_new_string(name);
        free(name);
        return out;
    }
    case PICKLE_OBJECT:
        return walk_object(w, v);
    default:
        return json_new_null();
    }
}

static json *walk(struct walker *w, const struct pickle_value *v)
{
    if (w->depth == DEPTH_MAX)
        return refuse_walk(w, "are nested more than 100 deep");
    if (spend(w, 0))
        return refuse_walk(w, "are too many");
    w->depth++;
    json *out = v->type == PICKLE_DICT                              ? walk_dict(w, v)
                : v->type == PICKLE_LIST || v->type == PICKLE_TUPLE ? walk_list(w, v)
                                                                    : walk_plain(w, v);
    w->depth--;
    return out;
}

/* ---- The archive. ---- */

/* Storages are bytes as the writing machine had them; newer files say in which order. */
static int check_byte_order(const struct torch_reader *r, struct error *err)
{
    char order[8] = "";
    size_t got;
    char *name = xasprintf("%sbyteorder", r->root);
    size_t entry = zip_entry_find(r->tf->zip, name);
    free(name);
    if (entry == ZIP_NO_ENTRY)
        return STATUS_OK;
    int code = zip_entry_peek(r->tf->zip, entry, order, sizeof order - 1, &got, err);
    if (!code && strcmp(order, "little") != 0)
        code = tensor_file_refuse(
            r->tf, NULL, err, "the checkpoint was written on a big-endian machine: save it again elsewhere");
    return code;
}

static int read_pickle(struct torch_reader *r, const unsigned char *bytes, size_t n, struct error *err)
{
    struct tensor_file *tf = r->tf;
    struct pickle_user user = torch_pickle_user;
    user.arg = r;
    struct pickle *p;
    const struct pickle_value *root;
    char *where = displayable_string(tf->path);
    int code = pickle_read(bytes, n, where, &user, &p, &root, err);
    free(where);
    if (code)
        return code;
    struct walker w = {.tf = tf, .name = STRBUF_INIT, .err = err};
    tf->values = walk(&w, root);
    strbuf_free(&w.name);
    pickle_free(p);
    return tf->values ? STATUS_OK : STATUS_REFUSED;
}

int torch_open(struct tensor_file *tf, size_t pickle_entry, struct error *err)
{
    const char *name = zip_entry_name(tf->zip, pickle_entry);
    struct torch_reader r = {.tf = tf, .root = xstrndup(name, strlen(name) - strlen("data.pkl"))};
    size_t size = zip_entry_size(tf->zip, pickle_entry);
    unsigned char *bytes = NULL;
    int code = check_byte_order(&r, err);
    if (!code && size > PICKLE_MAX)
        code =
            tensor_file_refuse(tf, NULL, err, "data.pkl has %zu bytes: more than 32 MiB are not read", size);
    if (!code) {
        bytes = array_alloc(size + 1, 1, "the checkpoint's pickle", err);
        r.storage_of_entry =
            array_zeroed(zip_archive_count(tf->zip), sizeof *r.storage_of_entry, "the list of storages", err);
        code =
            bytes && r.storage_of_entry ? zip_entry_read(tf->zip, pickle_entry, bytes, err) : STATUS_FAILED;
    }
    if (!code)
        code = read_pickle(&r, bytes, size, err);
    free(bytes);
    free(r.storage_of_entry);
    free(r.root);
    return code;
}
