/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Prompts with answers, from options and from files. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/prompts.h"

#define FILE_MAX ((size_t)1 << 20)

void prompt_free(struct prompt *p)
{
    for (size_t i = 0; i < p->n_answers; i++) {
        free(p->answers[i].text);
        token_list_free(&p->answers[i].tokens);
    }
    free(p->answers);
    free(p->text);
    token_list_free(&p->tokens);
    memset(p, 0, sizeof *p);
}

static int read_answer(const struct model *m, const char *text, size_t n, struct prompt *out,
                       struct error *err)
{
    size_t most = model_get_config(m)->context_length;
    if (strspn(text, " ") >= n)
        return error_set(err, STATUS_REFUSED,
                         "answer %zu is empty: answers are separated by commas, as in \" Japan, France\"",
                         out->n_answers + 1);
    out->answers = xreallocarray(out->answers, out->n_answers + 1, sizeof *out->answers);
    struct answer *a = &out->answers[out->n_answers++];
    *a = (struct answer){.text = xstrndup(text, n)};
    int status = prompt_tokens(m, 0, text, n, &a->tokens, err);
    if (!status && out->tokens.n + a->tokens.n - 1 > most)
        status = error_set(err, STATUS_REFUSED, "prompt and answer %zu have %zu tokens, %s takes %zu",
                           out->n_answers, out->tokens.n + a->tokens.n, model_name(m), most);
    return status;
}

int prompt_read(const struct model *m, int prepend_bos, const char *text, const char *answers,
                struct prompt *out, struct error *err)
{
    size_t most = model_get_config(m)->context_length;
    memset(out, 0, sizeof *out);
    int status = *text ? STATUS_OK : error_set(err, STATUS_REFUSED, "the prompt is empty");
    out->text = xstrdup(text);
    if (!status)
        status = prompt_tokens(m, prepend_bos, text, strlen(text), &out->tokens, err);
    if (!status && out->tokens.n > most)
        status = error_set(err, STATUS_REFUSED, "the prompt has %zu tokens%s, %s takes %zu", out->tokens.n,
                           prepend_bos ? " with BOS" : "", model_name(m), most);
    while (!status && answers) {
        size_t n = strcspn(answers, ",");
        status = read_answer(m, answers, n, out, err);
        answers = answers[n] ? answers + n + 1 : NULL;
    }
    if (status)
        prompt_free(out);
    return status;
}

int prompt_log_probs(struct steering *s, const struct prompt *p, int steered, double *log_probs,
                     size_t *active, struct error *err)
{
    size_t v = model_get_config(steering_model(s))->vocabulary_size;
    if (p->n_answers == 0)
        return STATUS_OK;
    double *next = array_alloc(v, sizeof *next, "log-probabilities", err);
    int status = next ? steering_next(s, p->tokens.ids, p->tokens.n, steered, next, err) : STATUS_FAILED;
    if (!status && active)
        *active = steering_active(s);
    for (size_t i = 0; i < p->n_answers && !status; i++) {
        const struct token_list *answer = &p->answers[i].tokens;
        log_probs[i] = next[answer->ids[0]];
        if (answer->n > 1)
            status = steering_answer(s, p->tokens.ids, p->tokens.n, answer->ids, answer->n, steered,
                                     &log_probs[i], err);
    }
    free(next);
    return status;
}

/* ---- Tables. ---- */

void prompt_table_free(struct prompt_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        prompt_free(&t->prompts[i]);
    free(t->prompts);
    memset(t, 0, sizeof *t);
}

/* `line` is NUL-terminated and changed. */
static int read_line(const struct model *m, int prepend_bos, char *line, struct prompt_table *out,
                     struct error *err)
{
    size_t n = strlen(line);
    if (n > 0 && line[n - 1] == '\r')
        line[n - 1] = '\0';
    if (line[0] == '#' || line[0] == '\0')
        return STATUS_OK;
    char *tab = strchr(line, '\t');
    if (!tab)
        return error_set(err, STATUS_REFUSED, "there is no tab between prompt and answers");
    *tab = '\0';
    out->prompts = xreallocarray(out->prompts, out->n + 1, sizeof *out->prompts);
    int status = prompt_read(m, prepend_bos, line, tab + 1, &out->prompts[out->n], err);
    out->n += status == STATUS_OK;
    return status;
}

int prompt_table_read(const struct model *m, int prepend_bos, const char *path, struct prompt_table *out,
                      struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    memset(out, 0, sizeof *out);
    int status = file_read(path, FILE_MAX, &text, err), line = 0;
    if (!status && strlen(strbuf_string(&text)) != text.length)
        status = error_set(err, STATUS_REFUSED, "%s: is no text: it has NUL bytes", path);
    for (char *at = text.data, *end; at && *at && !status; at = end) {
        end = at + strcspn(at, "\n");
        if (*end)
            *end++ = '\0';
        line++;
        status = read_line(m, prepend_bos, at, out, err);
        if (status)
            error_prefix(err, "%s:%d", path, line);
    }
    if (!status && out->n == 0)
        status = error_set(err, STATUS_REFUSED, "%s: there are no prompts", path);
    strbuf_free(&text);
    if (status)
        prompt_table_free(out);
    return status;
}
