/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Neuronpedia's names and explanations. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/files/json_lines.h"
#include "saescope/formats/neuronpedia.h"

#define PLAIN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-"

/* ---- Where an SAE is. ---- */

int neuronpedia_check_id(const char *id, struct error *err)
{
    size_t model = strspn(id, PLAIN), source = id[model] == '/' ? strspn(id + model + 1, PLAIN) : 0;
    if (model && source && !id[model + 1 + source])
        return STATUS_OK;
    char *shown = displayable_string(id);
    int status =
        error_set(err, STATUS_REFUSED,
                  "'%s' is no Neuronpedia id: it is MODEL/SOURCE, as in gpt2-small/8-res_fs49152-jb", shown);
    free(shown);
    return status;
}

static char *name_of(struct store_txn *t, artifact_id id)
{
    struct artifact a;
    return xstrdup(id && store_get(t, id, &a, NULL) == STATUS_OK && a.name[0] ? a.name : "unknown");
}

int neuronpedia_place_of(struct store_txn *t, artifact_id sae, struct neuronpedia_place *out,
                         struct error *err)
{
    json *manifest = store_manifest(t, sae, err);
    memset(out, 0, sizeof(*out));
    if (!manifest)
        return err ? err->code : STATUS_STORE;
    const char *id = json_get_string(json_get(manifest, "source"), "neuronpedia_id", NULL);
    if (id && neuronpedia_check_id(id, NULL) == STATUS_OK) {
        const char *slash = strchr(id, '/');
        out->known = 1;
        out->model = xstrndup(id, (size_t)(slash - id));
        out->source = xstrdup(slash + 1);
    } else {
        out->model = name_of(t, (artifact_id)json_get_integer(json_get(manifest, "references"), "model", 0));
        out->source = name_of(t, sae);
    }
    json_free(manifest);
    return STATUS_OK;
}

void neuronpedia_place_free(struct neuronpedia_place *p)
{
    free(p->model);
    free(p->source);
    memset(p, 0, sizeof(*p));
}

/* ---- Rows. ---- */

int neuronpedia_index(const json *row, const char *key, const char *where, size_t d_sae, size_t *latent,
                      struct error *err)
{
    const json *v = json_get(row, key);
    unsigned long long number = 0;
    int good = 0;
    if (json_is_integer(v)) {
        long long n = json_integer(v, -1);
        good = n >= 0;
        number = (unsigned long long)n;
    } else if (json_is_string(v)) {
        const char *text = json_string(v, "");
        good = strlen(text) == json_string_length(v) && parse_u64(text, 0, UINT64_MAX >> 1, &number) == 0;
    }
    if (!good)
        return error_set(err, STATUS_REFUSED, "%s: its %s is no latent's number", where, key);
    if (number >= d_sae)
        return error_set(
            err, STATUS_REFUSED,
            "%s: latent %llu is not in 0 ... %zu: these are another SAE's, or the wrong SAE was named", where,
            number, d_sae - 1);
    *latent = (size_t)number;
    return STATUS_OK;
}

int neuronpedia_same_origin(struct neuronpedia_origin *o, const json *row, const char *where,
                            struct error *err)
{
    const char *model = json_get_string(row, "modelId", ""), *source = json_get_string(row, "layer", "");
    if (!o->model) {
        o->model = xstrdup(model);
        o->source = xstrdup(source);
    }
    if (strcmp(o->model, model) == 0 && strcmp(o->source, source) == 0)
        return STATUS_OK;
    char *first = xasprintf("%s/%s", o->model, o->source), *other = xasprintf("%s/%s", model, source);
    char *shown_first = displayable_string(first), *shown_other = displayable_string(other);
    int status =
        error_set(err, STATUS_REFUSED, "%s: a row of %s, where the rows before are of %s: import them apart",
                  where, shown_other, shown_first);
    free(first);
    free(other);
    free(shown_first);
    free(shown_other);
    return status;
}

void neuronpedia_origin_free(struct neuronpedia_origin *o)
{
    free(o->model);
    free(o->source);
    memset(o, 0, sizeof(*o));
}

/* ---- Explanations. ---- */

struct explanation {
    char *text;
    size_t n;
    char *created; /*  as it is written, for strings of one form sort by time */
};

struct explaining {
    struct explanation *best; /* [d_sae] */
    size_t d_sae;
    struct neuronpedia_origin origin;
};

static int take_explanation(struct explaining *ex, const json *row, const char *where, struct error *err)
{
    const json *text = json_get(row, "description"), *time = json_get(row, "createdAt");
    size_t latent;
    int status = neuronpedia_same_origin(&ex->origin, row, where, err);
    if (!status)
        status = neuronpedia_index(row, "index", where, ex->d_sae, &latent, err);
    if (!status && !json_is_null(text) && !json_is_string(text))
        status = error_set(err, STATUS_REFUSED, "%s: its description is no text", where);
    if (!status && !json_is_null(time) && !json_is_string(time))
        status = error_set(err, STATUS_REFUSED, "%s: its createdAt is no text", where);
    if (status || !json_string_length(text))
        return status;
    const char *created = json_string(time, "");
    struct explanation *e = &ex->best[latent];
    if (e->text && strcmp(created, e->created) <= 0)
        return STATUS_OK;
    free(e->text);
    free(e->created);
    e->n = json_string_length(text);
    e->text = xstrndup(json_string(text, ""), e->n);
    e->created = xstrdup(created);
    return STATUS_OK;
}

static int read_file(struct explaining *ex, const char *path, struct neuronpedia_labels *out,
                     struct error *err)
{
    struct json_lines *lines;
    int status = json_lines_open(path, &lines, err);
    for (json *row = NULL; !status; json_free(row)) {
        status = json_lines_next(lines, &row, err);
        if (status || !row)
            break;
        status = take_explanation(ex, row, json_lines_where(lines), err);
        out->rows++;
    }
    json_lines_close(lines);
    return status;
}

/* What is there becomes the labels; the texts move. */
static int gather(struct explaining *ex, struct neuronpedia_labels *out, struct error *err)
{
    for (size_t i = 0; i < ex->d_sae; i++)
        out->n += ex->best[i].text != NULL;
    out->labels = array_alloc(out->n + 1, sizeof(*out->labels), "labels", err);
    if (!out->labels)
        return STATUS_FAILED;
    for (size_t i = 0, n = 0; i < ex->d_sae; i++)
        if (ex->best[i].text) {
            out->labels[n++] = (struct label){i, LABEL_IMPORTED, ex->best[i].text, ex->best[i].n};
            ex->best[i].text = NULL;
        }
    return STATUS_OK;
}

int neuronpedia_labels_read(const char *path, size_t d_sae, struct neuronpedia_labels *out, struct error *err)
{
    struct explaining ex = {.d_sae = d_sae,
                            .best = array_zeroed(d_sae, sizeof(*ex.best), "explanations", err)};
    struct batch_files files;
    char *inside = path_join(path, "explanations");

    memset(out, 0, sizeof(*out));
    int status =
        ex.best ? batch_files_find(path_is_directory(inside) ? inside : path, json_lines_endings, &files, err)
                : STATUS_FAILED;
    free(inside);
    if (status) {
        free(ex.best);
        return status;
    }
    if (!files.n) {
        char *shown = displayable_string(path);
        status = error_set(err, STATUS_REFUSED, "%s: no batch-N.jsonl or batch-N.jsonl.gz in this directory",
                           shown);
        free(shown);
    }
    for (size_t i = 0; i < files.n && !status; i++)
        status = read_file(&ex, files.paths[i], out, err);
    if (!status)
        status = gather(&ex, out, err);
    out->bytes = files.bytes;
    for (size_t i = 0; i < d_sae; i++) {
        free(ex.best[i].text);
        free(ex.best[i].created);
    }
    free(ex.best);
    neuronpedia_origin_free(&ex.origin);
    batch_files_free(&files);
    return status;
}

void neuronpedia_labels_free(struct neuronpedia_labels *l)
{
    for (size_t i = 0; l->labels && i < l->n; i++) {
        union {
            const char *kept;
            char *owned;
        } text = {l->labels[i].text};
        free(text.owned);
    }
    free(l->labels);
    memset(l, 0, sizeof(*l));
}

void neuronpedia_label_line(struct strbuf *out, const struct neuronpedia_place *place,
                            const struct label *label)
{
    static const char *const types[] = {
        [LABEL_USER] = "user", [LABEL_IMPORTED] = "imported", [LABEL_AUTO] = "auto"};
    strbuf_adds(out, "{\"modelId\":");
    json_dump_string(out, place->model, strlen(place->model));
    strbuf_adds(out, ",\"layer\":");
    json_dump_string(out, place->source, strlen(place->source));
    strbuf_addf(out, ",\"index\":\"%llu\",\"description\":", (unsigned long long)label->latent);
    json_dump_string(out, label->text, label->n);
    strbuf_addf(out,
                ",\"authorId\":null,\"triggeredById\":null,\"typeName\":\"%s\",\"explanationModelName\":null,"
                "\"notes\":null}\n",
                types[label->source]);
}
