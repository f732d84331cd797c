/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command table and a command's life: line or argv -> struct invocation -> command->run(ctx, inv, out, err). A handler
 * never prints, draws or reads the terminal. The table is read by the command line, keys, the `:` prompt, the shell, scripts,
 * completion, help, the palette, the manual and the bash completion.
 */
#ifndef SAESCOPE_COMMAND_COMMAND_H
#define SAESCOPE_COMMAND_COMMAND_H

#include <stddef.h>
#include <stdint.h>
#include "saescope/command/settings.h"
#include "saescope/command/writer.h"
#include "saescope/jobs/jobs.h"
#include "saescope/store/store.h"

enum command_cost {
    COST_INSTANT, /* settings, cached rows; on the UI thread */
    COST_QUERY,   /* reads records or tensors; in the TUI on the query thread */
    COST_JOB      /* foreground in scripts and on the command line, queued in the shell and the TUI */
};

enum command_group { GROUP_STORE, GROUP_EXCHANGE, GROUP_COMPUTE, GROUP_EXPLORE, GROUP_JOBS, GROUP_SESSION, COMMAND_GROUPS };
extern const char *const command_group_titles[COMMAND_GROUPS];

/* What a word is: for checking and completion. */
enum word_type {
    WORD_NAME_NEW,   /* a name that will be made */
    WORD_ARTIFACT,   /* any artifact's name */
    WORD_MODEL,
    WORD_TEXT_NAME,  /* a text in the store */
    WORD_SAE,        /* SAE or meta-SAE */
    WORD_META,       /* meta-SAE */
    WORD_STITCH,
    WORD_ADDRESS,    /* SAE/NUMBER */
    WORD_HOOK,
    WORD_FILE,
    WORD_DIRECTORY,
    WORD_JOB,        /* a job's number */
    WORD_KIND,       /* models, texts, saes, stitches */
    WORD_COMMAND,
    WORD_SETTING,
    WORD_KEY,        /* a latent table's column */
    WORD_FORMAT,     /* a producer's format that is read */
    WORD_FORMAT_WRITTEN,
    WORD_RELEASE,    /* an address on the Hub or a short name of what is there */
    WORD_ARCHITECTURE,
    WORD_COUNT,      /* a whole number ≥ 0 */
    WORD_NUMBER,     /* a real number */
    WORD_WORD,       /* free text, one word */
    WORD_FLAG        /* options only: takes no value */
};

struct argument_spec {
    const char *name; /* "SAE", "DIR"; printed in usage */
    enum word_type type;
    int optional;
    int repeated; /* one or more (last argument only) */
};

struct option_spec {
    const char *name; /* without dashes */
    enum word_type type;
    const char *value; /* "N", "M"; NULL for flags */
    const char *help;
    const char *choices; /* "none|average|layer_norm", or NULL */
    int required;
    int list; /* comma-separated values allowed */
};

struct context;
struct invocation;

struct command {
    const char *name; /* one or two words: "list", "import model" */
    enum command_group group;
    const char *summary;                       /* one line, lower case, no full stop */
    const char *description;                   /* a paragraph for help and manual, or NULL */
    const struct argument_spec *arguments;     /* ends with name NULL; NULL: none */
    const struct option_spec *options;         /* ends with name NULL; NULL: none */
    enum command_cost cost;
    int needs_store; /* 0: none; 1: reads; 2: writes (a missing store is made) */
    /* In the TUI: the view that shows this, instead of a text, when it is typed with its arguments alone (and options, where
     * the view reads them); NULL: none. */
    const char *view;
    int view_reads_options;
    size_t raw_after; /* after so many arguments all words are arguments, also those with dashes; 0: options everywhere */
    int (*run)(struct context *ctx, const struct invocation *inv, struct writer *out, struct error *err);
};
extern const struct command *const commands[]; /* NULL-terminated, in the order of help */
const struct command *command_find(const char *name); /* exact, "import model" */

/* A parsed command with checked words. Strings live as long as it. */
struct invocation {
    const struct command *command;
    size_t n_arguments;
    char **arguments;
    struct given_option {
        const struct option_spec *spec;
        char *value; /* NULL for flags */
    } *options;
    size_t n_options;
    int json, tsv;        /* --json, --tsv after the command */
    int wait, background; /* --wait, --background, --detach */
    int detach;
    int quiet, yes;       /* --quiet, --yes after the command */
    char *pipe;           /* text after '|', or NULL */
    int line;             /* of the input it was read from; 0: none */
};
const char *invocation_argument(const struct invocation *inv, size_t i); /* NULL when absent */
const char *invocation_option(const struct invocation *inv, const char *name); /* NULL when absent */
int invocation_flag(const struct invocation *inv, const char *name);
/* Typed values; the words were checked when parsed, so these cannot fail. */
uint64_t invocation_count(const struct invocation *inv, const char *option, uint64_t fallback);
double invocation_number(const struct invocation *inv, const char *option, double fallback);
void invocation_free(struct invocation *inv);

/* Words (of `saescope COMMAND ARGS`) or a line of the command language to an invocation. STATUS_USAGE otherwise. */
int invocation_from_words(struct context *ctx, char **words, size_t n, struct invocation **out, struct error *err);

/* ---- Who runs commands. ---- */
struct frontend {
    void *arg;
    /* A line of news (job 3 done), shown when and where it suits. */
    void (*notify)(void *arg, int is_error, const char *displayable_text);
    /* Asks yes or no; batch answers no unless --yes. */
    int (*confirm)(void *arg, const char *question);
    /* Progress of a foreground job; NULL: not shown. A NULL status says that it is over. */
    void (*progress)(void *arg, const struct job_status *status);
    /* Non-zero when the user asked to stop what runs (Ctrl-C). */
    int (*stop)(void *arg);
    /* Puts text on the user's clipboard and says so, instead of it being printed; NULL: there is none. */
    void (*copy)(void *arg, const char *text);
};

struct context {
    struct store_options store_options; /* path resolved */
    struct store *store;                /* NULL until context_store */
    struct job_engine *engine;          /* NULL until context_engine */
    struct settings *settings;
    const struct frontend *frontend;
    enum writer_format format; /* --json, --tsv given for all */
    int background_jobs;       /* shell and TUI: jobs are queued unless --wait */
    int quiet, yes;
    const char *directory;     /* paths are relative to this (a script's), or NULL: the working directory */
    uint64_t seed;
    int seed_given;
    int quit;                  /* set by `quit` */
    char *program;             /* path of this program, for detached runners */
    void (*jobs_changed)(void *arg); /* for the engine: a job's state or progress changed (any thread) */
    void *jobs_changed_arg;
    const char *startup_script; /* the TUI sources it when it starts (the demo), or NULL */
    struct keymap *keymap;      /* what `bind` recorded; see keymap.h */

    /* Of the script that is running. */
    int keep_going;   /* --keep-going */
    int allow_pipe;   /* its text was typed or named by the user */
    int configuring;  /* a configuration file: only set, bind and source */
    int source_depth; /* nested `source` */
    FILE *output;     /* of the command that is running */
    int output_closed; /* nobody reads it any more (a closed pipe): end quietly */
    uint64_t *submitted; /* jobs that were queued from here, and whose end nobody was told of */
    size_t n_submitted;
};
/* Opens the store as the command needs it (1 reads, 2 writes). */
int context_store(struct context *ctx, int needs, struct store **out, struct error *err);
int context_engine(struct context *ctx, struct job_engine **out, struct error *err);
char *context_path(const struct context *ctx, const char *path); /* malloc'd; "-" stays */
void context_close(struct context *ctx, int detach);

/* Runs one invocation with its own writer to `f` (or through its pipe), in the format it asks for. */
int command_run(struct context *ctx, const struct invocation *inv, FILE *f, struct error *err);
/*
 * For handlers of COST_JOB: runs in the foreground or queues it as ctx and inv say, and writes the result (or
 * {"job": N, ...} when queued).
 */
int command_run_job(struct context *ctx, const struct invocation *inv, const char *kind, json *parameters,
                    struct writer *out, struct error *err);
/* The same for a result that is more than what the job keeps of it: `write` writes it. */
typedef int job_result_writer(struct context *ctx, const json *result, struct writer *out, struct error *err);
int command_run_job_with(struct context *ctx, const struct invocation *inv, const char *kind, json *parameters,
                         job_result_writer *write, struct writer *out, struct error *err);

/*
 * Runs text in the command language (several lines, `;`, comments, pipes, settings). Stops at the first error unless
 * keep_going; then returns the first failure's status. Errors are prefixed "FILE:LINE: " when `where` is given and go to `error_line`.
 */
struct script_options {
    const char *where; /* file's name, or NULL */
    int keep_going;
    int allow_pipe;    /* only in input typed or named by the user */
    FILE *out;
    void (*error_line)(void *arg, const char *displayable_text);
    void *arg;
};
int script_run(struct context *ctx, const char *text, size_t n, const struct script_options *o);
int script_run_file(struct context *ctx, const char *path, const struct script_options *o);

#endif
