/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Runs a target on the files of its corpus, tests/fuzz/corpus/NAME, and says so in TAP: fuzz_NAME [DIRECTORY]
 */
#include "config.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "tests/fuzz/fuzz.h"

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Programs are called fuzz_NAME. */
static char *own_corpus(const char *program)
{
    const char *data = getenv("SAESCOPE_TESTDATA"), *name = strchr(path_base(program), '_');
    return xasprintf("%s/../fuzz/corpus/%s", data ? data : "tests/data", name ? name + 1 : "");
}

int main(int argc, char **argv)
{
    char *directory = argc > 1 ? xstrdup(argv[1]) : own_corpus(argv[0]);
    struct dirent **entries = NULL;
    int n = scandir(directory, &entries, is_shown, by_name);
    if (n <= 0) {
        printf("1..1\nnot ok 1 - no corpus in %s\n", directory);
        return 1;
    }
    printf("1..%d\n", n);
    int failed = 0;
    for (int i = 0; i < n; i++) {
        char *path = path_join(directory, entries[i]->d_name);
        struct strbuf bytes = STRBUF_INIT;
        struct error err;
        int code = file_read(path, (size_t)64 << 20, &bytes, &err);
        if (!code) {
            /* Just as long as it is, so that reading beyond it is seen. */
            uint8_t *input = xmalloc(bytes.length + (bytes.length == 0));
            memcpy(input, strbuf_string(&bytes), bytes.length);
            LLVMFuzzerTestOneInput(input, bytes.length);
            free(input);
        }
        printf("%s %d - %s\n", code ? "not ok" : "ok", i + 1, entries[i]->d_name);
        fflush(stdout);
        failed |= code;
        strbuf_free(&bytes);
        free(path);
        free(entries[i]);
    }
    free(entries);
    free(directory);
    return failed != 0;
}
