/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The program's own options: what main reads, what completion and manual list. */
#ifndef SAESCOPE_COMMAND_OPTIONS_H
#define SAESCOPE_COMMAND_OPTIONS_H

#include "saescope/command/command.h"

struct program_option {
    char letter; /* 0: none */
    struct option_spec spec; /* name NULL: letter only */
};
extern const struct program_option program_options[]; /* ends with neither letter nor name */

/* What the program does beside running commands: explore, demo, shell. */
struct program_mode {
    const char *name, *usage, *summary;
};
extern const struct program_mode program_modes[]; /* ends with name NULL */

struct program_input { /* -c TEXT or -f FILE */
    int is_file;
    const char *text;
};

struct program_arguments {
    const char *store, *color, *config, *log, *seed, *threads;
    int json, tsv, quiet, yes, batch, read_only, exclusive, keep_going, help, version;
    struct program_input *inputs;
    size_t n_inputs;
    char **words; /* the command and its words, without the program's options */
    size_t n_words;
    /* For tests and for building the manual. */
    const char *docs, *tui_script, *size;
};

/* argv to arguments; strings are argv's. Options of the program may also follow the command. */
int program_arguments_parse(int argc, char **argv, struct program_arguments *out, struct error *err);
void program_arguments_free(struct program_arguments *a);

/*
 * Skips the program's options at the start of `words`; returns how many words they take. *store: of -S, if given. *awaits: the
 * option whose value would be the next word, or NULL.
 */
size_t program_options_skip(char **words, size_t n, const char **store, const struct option_spec **awaits);

#endif
