/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Places of a model under the names that training libraries use. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"

struct place {
    const char *name, *output, *input; /* in TransformerLens' notation; input NULL: not named there */
    int of_model; /* what comes after the module may differ from model to model */
};

/* After "layers.5" or "h.5". */
static const struct place modules[] = {
    {"", "hook_resid_post", "hook_resid_pre", 0},
    {".mlp", "hook_mlp_out", NULL, 1},
    {".attn", "hook_attn_out", NULL, 1},
    {".self_attn", "hook_attn_out", NULL, 1},
    {".attention", "hook_attn_out", NULL, 1},
};

/* Before "_layer_5". */
static const struct place points[] = {
    {"resid_pre", "hook_resid_pre", "hook_resid_pre", 0},
    {"resid_mid", "hook_resid_mid", "hook_resid_mid", 0},
    {"resid_post", "hook_resid_post", "hook_resid_pre", 0},
    {"resid_out", "hook_resid_post", "hook_resid_pre", 0},
    {"mlp_out", "hook_mlp_out", NULL, 1},
    {"mlp", "hook_mlp_out", NULL, 1},
    {"attn_out", "hook_attn_out", NULL, 1},
    {"attn", "hook_attn_out", NULL, 1},
    {"attention_out", "hook_attn_out", NULL, 1},
};

static int set_place(struct importing *im, const struct place *p, long long layer, const char *module, int input)
{
    if (input && !p->input)
        return 0;
    import_hook_at(im, input ? p->input : p->output, layer);
    free(im->module);
    im->module = p->of_model ? xstrdup(module) : NULL;
    return 1;
}

static const struct place *find_place(const struct place *list, size_t length, const char *name, size_t n)
{
    for (size_t i = 0; i < length; i++)
        if (strlen(list[i].name) == n && memcmp(list[i].name, name, n) == 0)
            return &list[i];
    return NULL;
}

/* Digits up to `*end`, or -1. */
static long long read_layer(const char *s, const char **end)
{
    size_t n = strspn(s, "0123456789");
    *end = s + n;
    return n > 0 && n < 9 ? strtoll(s, NULL, 10) : -1;
}

int import_module(struct importing *im, const char *module, int input)
{
    static const char *const roots[] = {"model.", "transformer.", "gpt_neox."};
    static const char *const lists[] = {"layers.", "layers_", "h."};
    const char *name = module, *end, *mark = strstr(module, "_layer");
    const struct place *p;
    if (strcmp(module, "embed_tokens") == 0 || strcmp(module, "wte") == 0) {
        import_hook(im, "hook_embed");
        return 1;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(roots); i++)
        if (strncmp(name, roots[i], strlen(roots[i])) == 0) {
            name += strlen(roots[i]);
            break;
        }
    for (size_t i = 0; i < ARRAY_LENGTH(lists); i++) {
        size_t n = strlen(lists[i]);
        long long layer = strncmp(name, lists[i], n) == 0 ? read_layer(name + n, &end) : -1;
        if (layer >= 0 && (p = find_place(modules, ARRAY_LENGTH(modules), end, strlen(end))))
            return set_place(im, p, layer, module, input);
    }
    if (!mark || !(p = find_place(points, ARRAY_LENGTH(points), module, (size_t)(mark - module))))
        return 0;
    mark += strlen("_layer");
    long long layer = read_layer(mark + (*mark == '_'), &end);
    return layer >= 0 && !*end ? set_place(im, p, layer, module, input) : 0;
}
