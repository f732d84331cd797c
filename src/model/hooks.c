/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names of hooks in TransformerLens' notation: blocks.LAYER.hook_POINT. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"
#include "saescope/model/model.h"

static const char *const point_names[HOOK_POINTS] = {
    [HOOK_RESID_PRE] = "hook_resid_pre",   [HOOK_RESID_MID] = "hook_resid_mid",
    [HOOK_RESID_POST] = "hook_resid_post", [HOOK_ATTN_OUT] = "hook_attn_out",
    [HOOK_MLP_OUT] = "hook_mlp_out",
};

static void hook_set(struct hook *hook, enum hook_point point, size_t layer)
{
    memset(hook, 0, sizeof *hook);
    hook->point = point;
    hook->layer = layer;
    snprintf(hook->name, sizeof hook->name, "blocks.%zu.%s", layer, point_names[point]);
}

char **hook_names(const struct model_config *config)
{
    char **names = xcalloc(config->layers * HOOK_POINTS + 1, sizeof *names);
    size_t n = 0;
    for (size_t layer = 0; layer < config->layers; layer++) {
        for (int point = 0; point < HOOK_POINTS; point++) {
            struct hook hook;
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
    const char *point = strrchr(name, '.');
    const char *candidates[HOOK_POINTS + 1] = {0};
    memcpy(candidates, point_names, sizeof point_names);
    const char *near = nearest_word(point ? point + 1 : name, candidates);
    enum hook_point found = HOOK_RESID_PRE;
    for (int i = 0; i < HOOK_POINTS; i++) {
        if (near && !strcmp(near, point_names[i]))
            found = (enum hook_point)i;
    }
    const char *digits = strpbrk(name, "0123456789");
    unsigned long layer = digits ? strtoul(digits, NULL, 10) : 0;
    hook_set(out, found, layer < config->layers ? layer : config->layers - 1);
}

int hook_parse(const struct model_config *config, const char *name, struct hook *out, struct error *err)
{
    const char prefix[] = "blocks.";
    if (!strncmp(name, prefix, sizeof prefix - 1)) {
        size_t layer = strtoul(name + sizeof prefix - 1, NULL, 10);
        for (int point = 0; point < HOOK_POINTS && layer < config->layers; point++) {
            /* Written back and compared: no sign, blank or leading zero is let through. */
            hook_set(out, (enum hook_point)point, layer);
            if (!strcmp(out->name, name))
                return STATUS_OK;
        }
    }
    struct hook near;
    nearest_hook(config, name, &near);
    char *shown = displayable_string(name);
    int code = error_set(err, STATUS_REFUSED, "no hook %s (the model has %zu layers): did you mean %s?",
                         shown, config->layers, near.name);
    free(shown);
    memset(out, 0, sizeof *out);
    return code;
}

size_t hook_width(const struct model_config *config, const struct hook *hook)
{
    (void)hook; /* all of them lie on the residual stream or are added to it */
    return config->d_model;
}
