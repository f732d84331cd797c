/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names of hooks: TransformerLens' POINT and blocks.LAYER.POINT, and what others call the same places. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/model/family.h"

static const char *const point_names[HOOK_POINTS] = {
    [HOOK_EMBED] = "hook_embed",
    [HOOK_POS_EMBED] = "hook_pos_embed",
    [HOOK_RESID_PRE] = "hook_resid_pre",
    [HOOK_NORM1] = "ln1.hook_normalized",
    [HOOK_Z] = "attn.hook_z",
    [HOOK_ATTN_OUT] = "hook_attn_out",
    [HOOK_RESID_MID] = "hook_resid_mid",
    [HOOK_NORM2] = "ln2.hook_normalized",
    [HOOK_MLP_POST] = "mlp.hook_post",
    [HOOK_MLP_OUT] = "hook_mlp_out",
    [HOOK_RESID_POST] = "hook_resid_post",
};

static int has_point(const struct model_config *config, enum hook_point point)
{
    if (point == HOOK_POS_EMBED)
        return family_has(model_family_find(config->family), ROLE_POSITIONS);
    return point != HOOK_RESID_MID || !(config->features & MODEL_PARALLEL);
}

static void hook_set(struct hook *hook, enum hook_point point, size_t layer)
{
    memset(hook, 0, sizeof *hook);
    hook->point = point;
    hook->layer = point < MODEL_HOOK_POINTS ? 0 : layer;
    if (point < MODEL_HOOK_POINTS)
        snprintf(hook->name, sizeof hook->name, "%s", point_names[point]);
    else
        snprintf(hook->name, sizeof hook->name, "blocks.%zu.%s", layer, point_names[point]);
}

char **hook_names(const struct model_config *config)
{
    char **names = xcalloc(config->layers * HOOK_POINTS + 1, sizeof *names);
    size_t n = 0;
    for (size_t layer = 0; layer < config->layers; layer++) {
        for (int point = layer ? MODEL_HOOK_POINTS : 0; point < HOOK_POINTS; point++) {
            struct hook hook;
            if (!has_point(config, (enum hook_point)point))
                continue;
            hook_set(&hook, (enum hook_point)point, layer);
            names[n++] = xstrdup(hook.name);
        }
    }
    return names;
}

/* The hook that a wrong name most likely means; always one. */
static void nearest_hook(const struct model_config *config, const char *name, struct hook *out)
{
    /* Layer and point are judged apart, so that blocks.12.… of a model of 4 layers becomes its last layer. */
    const char *digits = strpbrk(name, "0123456789"), *point = digits ? strchr(digits, '.') : NULL;
    const char *candidates[HOOK_POINTS + 1] = {0};
    size_t n = 0;
    for (int i = 0; i < HOOK_POINTS; i++) {
        if (has_point(config, (enum hook_point)i))
            candidates[n++] = point_names[i];
    }
    int no_point = digits && !digits[strspn(digits, "0123456789")]; /* layers.12: a layer's output */
    point = point ? point + 1 : strrchr(name, '.') ? strrchr(name, '.') + 1 : name;
    const char *near = nearest_word(point, candidates);
    enum hook_point found = no_point ? HOOK_RESID_POST : HOOK_RESID_PRE;
    for (int i = 0; i < HOOK_POINTS; i++) {
        const char *last = strrchr(point_names[i], '.');
        if ((near && !strcmp(near, point_names[i])) || (last && !strcmp(last + 1, point)))
            found = (enum hook_point)i;
    }
    unsigned long layer = digits ? strtoul(digits, NULL, 10) : 0;
    hook_set(out, found, layer < config->layers ? layer : config->layers - 1);
}

/* A layer's number, without sign, blank or leading zero, below `layers`; *end is what follows it. */
static int read_layer(const char *s, size_t layers, size_t *layer, const char **end)
{
    char *rest;
    if (*s < '0' || *s > '9' || (*s == '0' && s[1] >= '0' && s[1] <= '9'))
        return 0;
    *layer = strtoul(s, &rest, 10);
    *end = rest;
    return *layer < layers;
}

struct other_name {
    const char *name;
    enum hook_point point;
};

static int find_other(const char *name, size_t n, const struct other_name *list, size_t length,
                      enum hook_point *out)
{
    for (size_t i = 0; i < length; i++) {
        if (strlen(list[i].name) == n && !memcmp(list[i].name, name, n)) {
            *out = list[i].point;
            return 1;
        }
    }
    return 0;
}

/* dictionary_learning's folders and submodule names: resid_post_layer_5, mlp_out_layer5. */
static int layer_suffix_hook(const struct model_config *config, const char *name, struct hook *out)
{
    static const struct other_name points[] = {
        {"resid_pre", HOOK_RESID_PRE},  {"resid_mid", HOOK_RESID_MID}, {"resid_post", HOOK_RESID_POST},
        {"resid_out", HOOK_RESID_POST}, {"mlp_out", HOOK_MLP_OUT},     {"mlp", HOOK_MLP_OUT},
        {"attn_out", HOOK_ATTN_OUT},    {"attn", HOOK_ATTN_OUT},       {"attention_out", HOOK_ATTN_OUT},
    };
    const char *mark = strstr(name, "_layer"), *end;
    enum hook_point point;
    size_t layer;
    if (!mark || !find_other(name, (size_t)(mark - name), points, ARRAY_LENGTH(points), &point))
        return 0;
    mark += strlen("_layer");
    if (!read_layer(*mark == '_' ? mark + 1 : mark, config->layers, &layer, &end) || *end)
        return 0;
    hook_set(out, point, layer);
    return 1;
}

/* Modules of transformers, whose output sparsify and dictionary_learning look at: layers.5, h.5.mlp, wte. */
static int module_hook(const struct model_config *config, const char *name, struct hook *out)
{
    static const char *const roots[] = {"model.", "transformer.", "gpt_neox."};
    static const struct other_name modules[] = {
        {"", HOOK_RESID_POST},         {".mlp", HOOK_MLP_OUT},        {".attn", HOOK_ATTN_OUT},
        {".self_attn", HOOK_ATTN_OUT}, {".attention", HOOK_ATTN_OUT},
    };
    static const struct other_name embeddings[] = {
        {"embed_tokens", HOOK_EMBED}, {"wte", HOOK_EMBED}, {"embed_in", HOOK_EMBED}, {"wpe", HOOK_POS_EMBED}};
    const char *end;
    enum hook_point point;
    size_t layer;
    for (size_t i = 0; i < ARRAY_LENGTH(roots); i++) {
        if (!strncmp(name, roots[i], strlen(roots[i]))) {
            name += strlen(roots[i]);
            break;
        }
    }
    if (find_other(name, strlen(name), embeddings, ARRAY_LENGTH(embeddings), &point)) {
        hook_set(out, point, 0);
        return 1;
    }
    size_t list = !strncmp(name, "layers.", 7) ? 7 : !strncmp(name, "h.", 2) ? 2 : 0;
    if (!list || !read_layer(name + list, config->layers, &layer, &end) ||
        !find_other(end, strlen(end), modules, ARRAY_LENGTH(modules), &point))
        return 0;
    hook_set(out, point, layer);
    return 1;
}

static int transformer_lens_hook(const struct model_config *config, const char *name, struct hook *out)
{
    const char prefix[] = "blocks.", *end;
    size_t layer;
    for (int point = 0; point < MODEL_HOOK_POINTS; point++) {
        if (!strcmp(name, point_names[point])) {
            hook_set(out, (enum hook_point)point, 0);
            return 1;
        }
    }
    if (strncmp(name, prefix, sizeof prefix - 1) != 0 ||
        !read_layer(name + sizeof prefix - 1, config->layers, &layer, &end) || *end != '.')
        return 0;
    for (int point = MODEL_HOOK_POINTS; point < HOOK_POINTS; point++) {
        if (!strcmp(end + 1, point_names[point])) {
            hook_set(out, (enum hook_point)point, layer);
            return 1;
        }
    }
    return 0;
}

int hook_translate(const char *name, struct hook *out)
{
    static const struct model_config any = {.layers = 1000000};
    return transformer_lens_hook(&any, name, out) || module_hook(&any, name, out) ||
           layer_suffix_hook(&any, name, out);
}

int hook_parse(const struct model_config *config, const char *name, struct hook *out, struct error *err)
{
    int lens = transformer_lens_hook(config, name, out);
    int found = lens || module_hook(config, name, out) || layer_suffix_hook(config, name, out);
    int adds = out->point == HOOK_ATTN_OUT || out->point == HOOK_MLP_OUT;
    char *shown = displayable_string(name);
    int code = STATUS_OK;
    if (!found) {
        struct hook near;
        nearest_hook(config, name, &near);
        code = error_set(err, STATUS_REFUSED, "no hook %s (the model has %zu layers): did you mean %s?",
                         shown, config->layers, near.name);
    } else if (!has_point(config, out->point))
        code = error_set(err, STATUS_REFUSED, "no hook %s: %s", shown,
                         out->point == HOOK_POS_EMBED
                             ? "the model has no embeddings of positions"
                             : "the model's blocks add attention and MLP at once, with nothing between them");
    else if (!lens && adds && family_has(model_family_find(config->family), ROLE_POST_NORM1))
        code = error_set(
            err, STATUS_REFUSED,
            "no hook %s: that module's output goes through a norm before it is added to the residual "
            "stream, and %s is after it",
            shown, out->name);
    else if (!lens && out->point == HOOK_EMBED && config->embed_scale != 1)
        code =
            error_set(err, STATUS_REFUSED,
                      "no hook %s: the model multiplies that module's output by %g, and %s is what it gets",
                      shown, config->embed_scale, out->name);
    free(shown);
    if (code)
        memset(out, 0, sizeof *out);
    return code;
}

size_t hook_width(const struct model_config *config, const struct hook *hook)
{
    return hook->point == HOOK_Z          ? config->heads * config->d_head
           : hook->point == HOOK_MLP_POST ? config->d_mlp
                                          : config->d_model;
}

int hook_is_whole(const struct hook *hook)
{
    return hook->point == HOOK_RESID_PRE || hook->point == HOOK_RESID_POST;
}

int hook_is_centred(const struct model_config *config, const struct hook *hook)
{
    return config->layer_norm && hook->point != HOOK_Z && hook->point != HOOK_MLP_POST &&
           hook->point != HOOK_NORM1 && hook->point != HOOK_NORM2;
}
