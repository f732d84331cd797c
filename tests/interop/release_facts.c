/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What short names stand for, for tests/interop/releases.py: reads names, one a line, and writes a line for
 * each, with tabs between: name, "model", "sae" or the reason why there is none, repository, folder, models,
 * hook, neuronpedia, center, scale, normalize. With the argument "names": all names that the shipped file
 * lists.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/formats/releases.h"

static void write_name(void *arg, const char *name, int partial)
{
    (void)arg;
    printf("%s%s\n", name, partial ? "{*}" : "");
}

static const char *or_none(const char *s)
{
    return s ? s : "";
}

static void write_facts(const char *name)
{
    struct error err = {0};
    struct release r;
    if (release_find(name, &r, &err) != STATUS_OK) {
        printf("%s\t%s\n", name, err.message);
        return;
    }
    printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%.17g\t%s\n", name, r.is_model ? "model" : "sae",
           r.source.repository, r.source.folder, or_none(r.models), or_none(r.hook), or_none(r.neuronpedia),
           r.center, r.scale, or_none(r.normalize));
    release_free(&r);
}

int main(int argc, char **argv)
{
    char line[4096];
    if (argc > 1 && strcmp(argv[1], "names") == 0) {
        struct error err = {0};
        if (release_names(write_name, NULL, &err) != STATUS_OK) {
            fprintf(stderr, "%s\n", err.message);
            return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
    }
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        write_facts(line);
    }
    return EXIT_SUCCESS;
}
