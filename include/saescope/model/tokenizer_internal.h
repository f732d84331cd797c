/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the tokenizer's parts share. tokenizer_files.c and tokenizer_json.c fill the compiled tokenizer from its files,
 * tokenizer_store.c from the store; tokenizer.c checks it; tokenizer_added.c, tokenizer_pieces.c and bpe.c use it, in this
 * order: added tokens are found, the text between is normalized and cut into pieces by the steps, and a piece's
 * characters or bytes are merged.
 */
#ifndef SAESCOPE_MODEL_TOKENIZER_INTERNAL_H
#define SAESCOPE_MODEL_TOKENIZER_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "saescope/base/json.h"
#include "saescope/model/tokenizer.h"

#define TOKENIZER_SIZE_MAX  ((size_t)1 << 22) /* ids */
#define TOKENIZER_FILE_MAX  ((size_t)256 << 20)
#define TOKENIZER_STEPS_MAX 32
#define TOKENS_ACROSS_MAX   64

/* ---- Steps from text to pieces. ---- */

enum step_kind {
    STEP_NFC,
    STEP_REPLACE, /* every `from` by `text` */
    STEP_PREPEND, /* `text` before the text between two added tokens */
    STEP_PREFIX,  /* `text` before a piece that does not start with it; PREFIX_FIRST: only at the whole text's start */
    STEP_PREFIX_FIRST,
    STEP_SPLIT, /* cuts where `from`, a pattern, matches */
    STEP_KINDS
};
/* What becomes of a match and of what lies between two. */
enum split_behaviour {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_WITH_PREVIOUS,
    SPLIT_WITH_NEXT,
    SPLIT_CONTIGUOUS,
    SPLIT_BEHAVIOURS
};
/* How a split's pattern is to be read. */
enum pattern_syntax {
    PATTERN_LITERAL,
    PATTERN_ONIGURUMA, /* as tokenizer.json has it */
    PATTERN_GPT2,      /* ByteLevel's own */
    PATTERN_SYNTAXES
};

struct step {
    enum step_kind kind;
    char *from, *text;
    size_t n_from, n_text;
    enum pattern_syntax syntax;
    enum split_behaviour behaviour;
    int inverted; /* matches are what lies between the pattern's */
    pcre2_code *code; /* made by tokenizer_prepare */
    int jit;
};
extern const char *const step_names[STEP_KINDS], *const split_names[SPLIT_BEHAVIOURS],
    *const syntax_names[PATTERN_SYNTAXES];

/* The pattern of a split, in PCRE2's terms; STATUS_REFUSED saying what it cannot say. */
int step_compile(struct step *s, struct error *err);
/* What is known of a split: that it always cuts before a blank (or a newline) that follows what is none, whatever comes
 * after it; or that it does nothing at blanks. `mark` is what stands for a blank, or NULL. */
enum cutting { CUTTING_UNKNOWN, CUTTING_HARMLESS, CUTTING_BLANKS, CUTTING_NEWLINES };
enum cutting step_cutting(const struct step *s, const char *mark);

/* ---- Added tokens: looked for in the text before anything else. ---- */

enum added_flags {
    ADDED_SPECIAL = 1,
    ADDED_STRIPS_LEFT = 2,
    ADDED_STRIPS_RIGHT = 4,
    ADDED_WHOLE_WORD = 8,
    ADDED_NORMALIZED = 16, /* looked for in the normalized text */
    ADDED_IN_MODEL = 32    /* the model's vocabulary has it too */
};
struct added_token {
    uint32_t id, flags;
    char *text; /* what is looked for; NULL: the token's bytes */
    size_t n;
};

/* Those that are looked for together, ordered by their text. */
struct added_set {
    const struct added_token **tokens;
    size_t n;
    size_t first[257]; /* tokens [first[b], first[b + 1]) start with the byte b */
};
struct added_match {
    size_t start, stop; /* with the blanks that it takes in */
    uint32_t id;
};
/*
 * The next added token in text at or after *at, which moves behind it; blanks before `from` are not taken in. 0 when there is
 * none. specials: whether special ones count.
 */
int added_next(const struct added_set *set, const uint8_t *text, size_t n, size_t *at, size_t from, int specials,
               struct added_match *out);

struct merge_slot {
    uint32_t left, right, rank, result; /* rank TOKEN_NONE: free */
};

struct tokenizer {
    size_t size;       /* ids are below it */
    uint8_t *bytes;    /* of all tokens, as decoding gives them */
    uint32_t *offsets; /* [size + 1] into bytes */
    uint8_t *special;  /* [size] */
    int of_bytes;      /* merges begin with bytes, else with characters */
    uint32_t byte_token[256]; /* TOKEN_NONE where there is none */
    uint32_t *characters;     /* [n_characters, 2]: code point, id; ascending */
    size_t n_characters;
    uint32_t unknown; /* for characters without a token, or TOKEN_NONE */
    int fuses_unknown;
    int whole_pieces_first; /* a piece that is a token is not merged */
    uint32_t *merges;       /* [n_merges, 3]: left, right, result; the row is the rank */
    size_t n_merges;
    struct added_token *added;
    size_t n_added;
    struct step *steps; /* the first n_normalizers are done before normalized added tokens are looked for */
    size_t n_steps, n_normalizers;
    char *blank_mark; /* what tokens have for a blank ("\u2581"), or NULL */
    uint32_t bos, eos;

    /* Made by tokenizer_prepare. */
    struct merge_slot *merge_table; /* open addressing by (left, right) */
    size_t merge_mask;
    uint32_t *token_table; /* open addressing by bytes; with whole_pieces_first */
    size_t token_mask;
    struct added_set raw, normalized;
    /* Whether no token that merges make has a blank behind what is none, but for a few: `across`. */
    int words_apart;
    uint32_t across[TOKENS_ACROSS_MAX];
    size_t n_across;
    uint8_t before_blank[256]; /* whether the byte stands before such a blank */
    int cuts_before_blanks, cuts_before_newlines, added_runs_of_blanks; /* for tokenizer_may_cut */
};

/* Checks everything that the arrays hold, naming `where`, and makes what encoding needs. */
int tokenizer_prepare(struct tokenizer *tok, const char *where, struct error *err);
/* The parts of it in tokenizer_added.c. */
int tokenizer_prepare_added(struct tokenizer *tok, struct error *err);

/* A zeroed step at the end of the list; text and from are owned by it. */
struct step *tokenizer_add_step(struct tokenizer *tok, enum step_kind kind, const char *from, const char *text);

/* Normalizer, pre-tokenizer and the model's switches of a tokenizer.json; what is unknown is refused by name. */
int tokenizer_read_pipeline(struct tokenizer *tok, const json *file, const char *where, struct error *err);

/* NULL when the two are never merged. */
const struct merge_slot *tokenizer_find_merge(const struct tokenizer *tok, uint32_t left, uint32_t right);
/* The token with these bytes, TOKEN_NONE when there is none; with whole_pieces_first only. */
uint32_t tokenizer_find_token(const struct tokenizer *tok, const uint8_t *bytes, size_t n);
/* The token of a character, or TOKEN_NONE. */
uint32_t tokenizer_find_character(const struct tokenizer *tok, uint32_t c);

/*
 * Whether a merge may reach over the start of bytes[at], a blank or its mark behind what is none; whatever may stand before the
 * text and after it. With words_apart only.
 */
int tokenizer_merges_across(const struct tokenizer *tok, const uint8_t *bytes, size_t n, size_t at);

/* ---- Characters. ---- */

/* Bytes of the character that starts at p (Unicode's table of well-formed sequences), or 0. */
size_t character_length(const uint8_t *p, size_t n);
/* The code point of a well-formed one. */
uint32_t character_at(const uint8_t *p, size_t length);
/* Bytes of the white space character (Unicode's White_Space) after (before, not before `from`) `at`, or 0. */
size_t blank_after(const uint8_t *bytes, size_t n, size_t at);
size_t blank_before(const uint8_t *bytes, size_t from, size_t at);

/* ---- Encoding. ---- */

/* A part of the text that becomes tokens by itself. */
struct piece {
    const uint8_t *bytes; /* normalized; valid until the function returns */
    size_t n;
    uint32_t added; /* an added token's id, or TOKEN_NONE: to be merged */
};
typedef int (*piece_function)(void *arg, const struct piece *piece, struct error *err);

/* Where text stands. */
enum place {
    PLACE_FIRST = 1,    /* at the text's start */
    PLACE_CONTINUES = 2 /* not after an added token or at the text's start */
};

/* Memory for cutting; one a thread. */
struct cutter;
struct cutter *cutter_new(const struct tokenizer *tok);
void cutter_free(struct cutter *c);
/* What the normalizers make of valid text at a text's start. */
int cutter_normalize(struct cutter *c, const char *text, size_t n, struct strbuf *out, struct error *err);
/* Calls `piece` for what text between two (not normalized) added tokens is cut into, in order. Bytes that are no valid
 * UTF-8 are pieces of their own. */
int cutter_run(struct cutter *c, const uint8_t *bytes, size_t n, unsigned place, int specials, piece_function piece,
               void *arg, struct error *err);

/*
 * As encoder_encode, of text that goes on where other text ended (`continues`): nothing is put before it. Cut where
 * tokenizer_may_cut says, the parts' tokens are the whole's.
 */
int encoder_encode_part(struct encoder *e, const void *bytes, size_t n, int specials, int continues,
                        struct token_list *out, struct error *err);

/*
 * Whether text may be cut before bytes[at] (0 < at < n) so that both parts' tokens are the whole's: there a
 * blank follows what is none, and no piece and no added token reaches across.
 */
int tokenizer_may_cut(const struct tokenizer *tok, const uint8_t *bytes, size_t n, size_t at);

#endif
