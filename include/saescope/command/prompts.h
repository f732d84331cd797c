/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Prompts with answers that are compared by their log-probabilities. A table of prompts is a file with a
 * prompt a line, a tab, and its answers separated by commas; blanks before a prompt or an answer belong to
 * it, as in " Tokyo is in\t Japan, France". Empty lines and lines that begin with # are skipped.
 */
#ifndef SAESCOPE_COMMAND_PROMPTS_H
#define SAESCOPE_COMMAND_PROMPTS_H

#include <stddef.h>
#include "saescope/analysis/steer.h"

struct answer {
    char *text;
    struct token_list tokens;
};

struct prompt {
    char *text;
    struct token_list tokens; /* BOS included */
    struct answer *answers;
    size_t n_answers;
};
void prompt_free(struct prompt *p);
/* answers: comma-separated, or NULL. STATUS_REFUSED for an empty prompt or answer, and for what is longer
 * than the model takes. */
int prompt_read(const struct model *m, int prepend_bos, const char *text, const char *answers,
                struct prompt *out, struct error *err);

/* log P(answer | prompt) of each answer, to log_probs[n_answers]; *active (may be NULL): steering_active of
 * the prompt. */
int prompt_log_probs(struct steering *s, const struct prompt *p, int steered, double *log_probs,
                     size_t *active, struct error *err);

struct prompt_table {
    struct prompt *prompts;
    size_t n;
};
void prompt_table_free(struct prompt_table *t);
/* Errors name the file's line. `path` may be "-". */
int prompt_table_read(const struct model *m, int prepend_bos, const char *path, struct prompt_table *out,
                      struct error *err);

#endif
