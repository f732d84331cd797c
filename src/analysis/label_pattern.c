/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Patterns that labels are matched with: PCRE2 with limits, since pattern and label may both be hostile. */
#include "config.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/latent_filter.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"

#define MATCH_LIMIT 200000
#define DEPTH_LIMIT 1000

struct label_pattern {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
};

/* Capitals in \S, \W or \D are no capitals. */
static int has_capitals(const char *pattern, size_t n, int literal)
{
    for (size_t i = 0; i < n; i++) {
        if (pattern[i] == '\\' && !literal)
            i++;
        else if (pattern[i] >= 'A' && pattern[i] <= 'Z')
            return 1;
    }
    return 0;
}

int label_pattern_new(const char *pattern, size_t n, int literal, struct label_pattern **out,
                      struct error *err)
{
    uint32_t options = PCRE2_UTF;
#ifdef PCRE2_MATCH_INVALID_UTF
    options |= PCRE2_MATCH_INVALID_UTF; /* labels are bytes from data */
#endif
    options |= literal ? PCRE2_LITERAL : PCRE2_UCP;
    if (!has_capitals(pattern, n, literal))
        options |= PCRE2_CASELESS;
    int code;
    size_t offset;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, n, options, &code, &offset, NULL);
    if (!compiled) {
        PCRE2_UCHAR message[160];
        pcre2_get_error_message(code, message, sizeof(message));
        return error_set(err, STATUS_USAGE, "the regular expression is wrong at character %zu: %s",
                         offset + 1, (const char *)message);
    }
    /* Without just-in-time compilation it is slower, not wrong. */
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
    struct label_pattern *p = xcalloc(1, sizeof(*p));
    p->code = compiled;
    p->data = pcre2_match_data_create_from_pattern(compiled, NULL);
    p->context = pcre2_match_context_create(NULL);
    if (!p->data || !p->context)
        out_of_memory();
    pcre2_set_match_limit(p->context, MATCH_LIMIT);
    pcre2_set_depth_limit(p->context, DEPTH_LIMIT);
    *out = p;
    return STATUS_OK;
}

void label_pattern_free(struct label_pattern *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->context);
    free(p);
}

int label_pattern_match(struct label_pattern *p, const char *text, size_t n, size_t *start, size_t *end)
{
    int found = pcre2_match(p->code, (PCRE2_SPTR)text, n, 0, 0, p->data, p->context);
    if (found == PCRE2_ERROR_NOMATCH)
        return 0;
    if (found < 0)
        return found == PCRE2_ERROR_MATCHLIMIT || found == PCRE2_ERROR_DEPTHLIMIT ||
                       found == PCRE2_ERROR_JIT_STACKLIMIT
                   ? -1
                   : 0;
    const size_t *span = pcre2_get_ovector_pointer(p->data);
    if (start)
        *start = span[0];
    if (end)
        *end = span[1];
    return 1;
}
