/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Places of a model under the names that training libraries use. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/importing.h"
#include "saescope/model/model.h"

void import_hook_at(struct importing *im, const char *point, long long layer)
{
    free(im->hook);
    im->hook = layer >= 0 ? xasprintf("blocks.%lld.%s", layer, point) : NULL;
}

void import_named_after_layer(struct importing *im)
{
    const char *base = path_base(tensor_file_path(im->file)), *mark = strstr(base, NAMED_AFTER_LAYER);
    if (!mark)
        return;
    char *model = xstrndup(base, (size_t)(mark - base));
    import_model_name(im, model);
    import_hook_at(im, "hook_resid_post", place_number(base, NAMED_AFTER_LAYER));
    free(model);
}

void import_module(struct importing *im, const char *module, int input)
{
    struct hook hook;
    char *name = xstrdup(module), *mark = strstr(name, "layers_");
    if (mark) /* folders of some releases */
        mark[strlen("layers")] = '.';
    free(im->module);
    im->module = NULL;
    if (hook_translate(name, &hook)) {
        int adds = hook.point == HOOK_ATTN_OUT || hook.point == HOOK_MLP_OUT;
        if (input && hook.point == HOOK_RESID_POST)
            import_hook_at(im, "hook_resid_pre", (long long)hook.layer);
        else if (!input || !adds)
            import_hook(im, hook.name);
        if ((adds || hook.point == HOOK_EMBED) && !input)
            im->module = xstrdup(name);
    }
    free(name);
}
