/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include <stdlib.h>

#include "contract_store.h"
#include "saescope/base/fileio.h"

int contract_set_up(void **state)
{
    static struct made made;
    program_set_up();
    program_write_corpus("text.txt", DOCUMENTS);
    char *model = shipped_file("wordnet-lm"), *text = program_path("text.txt");
    made.model = PROGRAM_JSON("import", "model", model, "--name", "lm");
    made.text = PROGRAM_JSON("import", "text", text, "--name", "t", "--model", "lm");
    made.sae =
        PROGRAM_JSON("train", "sae", "s", "--model", "lm", "--hook", HOOK, "--text", "t", "--width", "64",
                     "--k", "8", "--steps", "40", "--batch", "256", "--warmup", "5", "--seed", "3");
    made.meta =
        PROGRAM_JSON("train", "meta", "m", "--sae", "s", "--width", "16", "--k", "2", "--steps", "40");
    made.index = PROGRAM_JSON("index", "s", "--text", "t");
    made.meta_index = PROGRAM_JSON("index", "m");
    free(model);
    free(text);
    *state = &made;
    return 0;
}

int contract_tear_down(void **state)
{
    struct made *made = *state;
    json_free(made->model);
    json_free(made->text);
    json_free(made->sae);
    json_free(made->meta);
    json_free(made->index);
    json_free(made->meta_index);
    program_tear_down();
    return 0;
}
