/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The path of a stitch, from the token spool. Tokens are independent: each walks its own active pairs in the
 * order of their steps and adds what they change to the steps' sums, whose running sums are the curves.
 * Tokens are dealt to a fixed number of lanes, each with sums of its own that are added in the order of
 * lanes: memory is bounded by the steps, and the result does not depend on the threads.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/stitch_order.h"
#include "saescope/base/blas.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/parallel.h"
#include "saescope/sae/vector.h"

enum {
    LANES = 16,
    LANE_TOKENS = 16, /* of a lane in a slice */
    SLICE = LANES * LANE_TOKENS,
    SLICE_ROWS = 8192, /* decoder rows */
    BLOCK_ROWS = 64
};

/* What a step changes, over a lane's tokens. */
struct step_sums {
    double sse, cross; /* Σ‖e‖², Σ σ e·g */
    int64_t active;
};

/* Decoder rows: ‖d‖² and d·g. */
struct row_facts {
    double square, cross;
};

struct lane {
    struct step_sums *sums;  /* [n_steps + 1] */
    double scale_square;     /* Σσ² */
    float *e, *moved, *next; /* [d_in] */
    uint64_t *pairs;         /* of a token: step · 2³² + number, large ones first */
};

struct walk {
    const struct stitch_path_input *in;
    const struct step_order *order;
    size_t d, first, n; /* tokens of the slice */
    float *g;           /* [d_in]: b_large − b_small */
    struct row_facts *large, *small;
    struct lane lanes[LANES];
    void (*token)(const struct walk *w, struct lane *lane, const struct token_rows *rows, size_t r);
};

/* ---- One token. ---- */

static int compare_pairs(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* One active pair: it adds coefficient · row to the token's residual. */
struct move {
    size_t step;
    int direction; /* of L0: +1 when a latent comes */
    float coefficient;
    const float *row;
    const struct row_facts *facts;
};

struct token {
    const struct walk *walk;
    const struct token_rows *rows;
    uint64_t first_large, first_small; /* of its pairs, in the rows' arrays */
    size_t n_large, n;                 /* pairs */
    float scale;
    const uint64_t *pairs;
};

static struct token token_begin(const struct walk *w, struct lane *lane, const struct token_rows *rows,
                                size_t r)
{
    struct token t = {
        .walk = w, .rows = rows, .scale = rows->scales ? rows->scales[r] : 1, .pairs = lane->pairs};
    size_t n_small = (size_t)(rows->small_offsets[r + 1] - rows->small_offsets[r]);

    t.first_large = rows->large_offsets[r] - rows->large_offsets[0];
    t.first_small = rows->small_offsets[r] - rows->small_offsets[0];
    t.n_large = (size_t)(rows->large_offsets[r + 1] - rows->large_offsets[r]);
    t.n = t.n_large + n_small;
    for (size_t i = 0; i < t.n_large; i++)
        lane->pairs[i] = (uint64_t)w->order->large[rows->large_latents[t.first_large + i]] << 32 | i;
    for (size_t i = 0; i < n_small; i++)
        lane->pairs[t.n_large + i] =
            (uint64_t)w->order->small[rows->small_latents[t.first_small + i]] << 32 | (t.n_large + i);
    qsort(lane->pairs, t.n, sizeof(*lane->pairs), compare_pairs);
    memcpy(lane->e, rows->residuals + r * w->d, w->d * sizeof(*lane->e));
    return t;
}

/* The i-th pair in the order of steps. */
static struct move move_of(const struct token *t, size_t i)
{
    const struct walk *w = t->walk;
    size_t step = (size_t)(t->pairs[i] >> 32), number = (size_t)(t->pairs[i] & UINT32_MAX);

    if (number < t->n_large) {
        uint64_t at = t->first_large + number;
        uint32_t latent = t->rows->large_latents[at];

        return (struct move){step, 1, -t->scale * t->rows->large_values[at],
                             sae_decoder_row(w->in->large, latent), &w->large[latent]};
    }
    uint64_t at = t->first_small + (number - t->n_large);
    uint32_t latent = t->rows->small_latents[at];

    return (struct move){step, -1, t->scale * t->rows->small_values[at],
                         sae_decoder_row(w->in->small, latent), &w->small[latent]};
}

/* ‖e + c·d‖² − ‖e‖². */
static double change_of(const struct move *m, const float *e, size_t d)
{
    double c = (double)m->coefficient;

    return c * (2 * (double)row_dot(e, m->row, d) + c * m->facts->square);
}

/* All steps one after the other. Changes of one step add up to the whole step's. */
static void walk_token(const struct walk *w, struct lane *lane, const struct token_rows *rows, size_t r)
{
    struct token t = token_begin(w, lane, rows, r);
    double scale = (double)t.scale;

    lane->sums[0].sse += vec_norm2(lane->e, w->d);
    lane->sums[0].cross += scale * (double)row_dot(lane->e, w->g, w->d);
    lane->sums[0].active += (int64_t)(t.n - t.n_large);
    lane->scale_square += scale * scale;
    for (size_t i = 0; i < t.n; i++) {
        struct move m = move_of(&t, i);
        struct step_sums *s = &lane->sums[m.step];

        s->sse += change_of(&m, lane->e, w->d);
        s->cross += scale * (double)m.coefficient * m.facts->cross;
        s->active += m.direction;
        row_add_scaled(m.coefficient, m.row, lane->e, w->d);
    }
}

/* All inserts; each swap from there; all swaps; each removal from there. */
static void measure_token(const struct walk *w, struct lane *lane, const struct token_rows *rows, size_t r)
{
    const struct step_order *o = w->order;
    struct token t = token_begin(w, lane, rows, r);
    struct move m;
    size_t d = w->d, i = 0;

    for (; i < t.n && (m = move_of(&t, i)).step <= o->n_inserts; i++)
        row_add_scaled(m.coefficient, m.row, lane->e, d);
    memcpy(lane->next, lane->e, d * sizeof(*lane->next));
    while (i < t.n && (m = move_of(&t, i)).step <= o->n_inserts + o->n_swaps) {
        size_t step = m.step;

        memset(lane->moved, 0, d * sizeof(*lane->moved));
        for (; i < t.n && (m = move_of(&t, i)).step == step; i++)
            row_add_scaled(m.coefficient, m.row, lane->moved, d);
        lane->sums[step].sse += 2 * (double)row_dot(lane->e, lane->moved, d) + vec_norm2(lane->moved, d);
        row_add_scaled(1, lane->moved, lane->next, d);
    }
    for (; i < t.n; i++) {
        m = move_of(&t, i);
        lane->sums[m.step].sse += change_of(&m, lane->next, d);
    }
}

/* ---- All tokens. ---- */

static void run_lane(size_t block, size_t worker, void *arg)
{
    (void)worker;
    struct walk *w = arg;
    size_t first = block * LANE_TOKENS;
    struct token_rows rows;

    if (first >= w->n)
        return;
    token_spool_rows(w->in->tokens, w->first + first, w->n - first < LANE_TOKENS ? w->n - first : LANE_TOKENS,
                     &rows);
    for (size_t r = 0; r < rows.n; r++)
        w->token(w, &w->lanes[block], &rows, r);
}

/* Runs with both decoders attached; t is NULL when both are on the heap. */
static int attach(const struct stitch_path_input *in, struct store_txn **t, struct error *err)
{
    int status = STATUS_OK;

    *t = NULL;
    if (in->store)
        status = store_begin(in->store, t, err);
    if (!status)
        status = sae_attach(in->small, *t, err);
    return status ? status : sae_attach(in->large, *t, err);
}

/* Every token once; the lanes' sums begin at zero. */
static int run_tokens(struct walk *w, const char *phase, struct monitor *m, struct error *err)
{
    size_t n = token_spool_tokens(w->in->tokens);
    double start = clock_seconds();

    for (int i = 0; i < LANES; i++)
        memset(w->lanes[i].sums, 0, (w->order->n_steps + 1) * sizeof(*w->lanes[i].sums));
    for (w->first = 0; w->first < n; w->first += w->n) {
        struct store_txn *t;
        int status;

        w->n = n - w->first < SLICE ? n - w->first : SLICE;
        status = attach(w->in, &t, err);
        if (!status)
            parallel_for(LANES, run_lane, w);
        store_end(t);
        if (status)
            return status;
        monitor_step_rate(m, phase, w->first + w->n, n, rate_since(start, (double)(w->first + w->n)),
                          "tok/s");
        if ((status = monitor_check(m, err)))
            return status;
    }
    return STATUS_OK;
}

/* The lanes' sums of one step, in their order. */
static struct step_sums sums_of(const struct walk *w, size_t step)
{
    struct step_sums sums = {0};

    for (int i = 0; i < LANES; i++) {
        sums.sse += w->lanes[i].sums[step].sse;
        sums.cross += w->lanes[i].sums[step].cross;
        sums.active += w->lanes[i].sums[step].active;
    }
    return sums;
}

/* ---- What is known of each row. ---- */

struct row_job {
    const struct sae *sae;
    const float *g;
    struct row_facts *facts;
    size_t first, n;
};

static void row_block(size_t block, size_t worker, void *arg)
{
    (void)worker;
    const struct row_job *job = arg;
    size_t first = job->first + block * BLOCK_ROWS, end = job->first + job->n;

    for (size_t i = first; i < end && i < first + BLOCK_ROWS; i++) {
        const float *row = sae_decoder_row(job->sae, i);

        job->facts[i] =
            (struct row_facts){vec_norm2(row, job->sae->d_in), (double)row_dot(row, job->g, job->sae->d_in)};
    }
}

static int measure_rows(const struct walk *w, const struct sae *sae, struct row_facts *facts,
                        struct monitor *m, struct error *err)
{
    int status = STATUS_OK;

    for (size_t first = 0; !status && first < sae->d_sae; first += SLICE_ROWS) {
        struct row_job job = {sae, w->g, facts, first,
                              sae->d_sae - first < SLICE_ROWS ? sae->d_sae - first : SLICE_ROWS};
        struct store_txn *t;

        status = attach(w->in, &t, err);
        if (!status)
            parallel_for((job.n + BLOCK_ROWS - 1) / BLOCK_ROWS, row_block, &job);
        store_end(t);
        if (!status)
            status = monitor_check(m, err);
    }
    return status;
}

/* ---- Set-up. ---- */

/* The most pairs that a token has. */
static size_t most_pairs(const struct token_spool *sp)
{
    size_t most = 0, n = token_spool_tokens(sp);
    struct token_rows rows;

    token_spool_rows(sp, 0, n, &rows);
    for (size_t r = 0; r < n; r++) {
        uint64_t pairs = rows.small_offsets[r + 1] - rows.small_offsets[r] + rows.large_offsets[r + 1] -
                         rows.large_offsets[r];

        most = pairs > most ? (size_t)pairs : most;
    }
    return most;
}

static int allocate_lane(const struct walk *w, struct lane *lane, size_t pairs, struct error *err)
{
    lane->sums = array_alloc(w->order->n_steps + 1, sizeof(*lane->sums), "the path's sums", err);
    lane->e = array_alloc(w->d, sizeof(*lane->e), "a residual", err);
    lane->moved = array_alloc(w->d, sizeof(*lane->moved), "a residual", err);
    lane->next = array_alloc(w->d, sizeof(*lane->next), "a residual", err);
    lane->pairs = array_alloc(pairs + 1, sizeof(*lane->pairs), "a token's latents", err);
    return lane->sums && lane->e && lane->moved && lane->next && lane->pairs ? STATUS_OK : STATUS_FAILED;
}

static void walk_free(struct walk *w)
{
    for (int i = 0; i < LANES; i++) {
        free(w->lanes[i].sums);
        free(w->lanes[i].e);
        free(w->lanes[i].moved);
        free(w->lanes[i].next);
        free(w->lanes[i].pairs);
    }
    free(w->g);
    free(w->large);
    free(w->small);
}

static int walk_new(struct walk *w, struct monitor *m, struct error *err)
{
    const struct stitch_path_input *in = w->in;
    size_t pairs = most_pairs(in->tokens);
    int status = STATUS_OK;

    w->d = in->small->d_in;
    w->g = array_alloc(w->d, sizeof(*w->g), "a bias", err);
    w->large = array_alloc(in->large->d_sae, sizeof(*w->large), "decoder norms", err);
    w->small = array_alloc(in->small->d_sae, sizeof(*w->small), "decoder norms", err);
    if (!w->g || !w->large || !w->small)
        return STATUS_FAILED;
    for (size_t i = 0; i < w->d; i++)
        w->g[i] = in->large->b_dec[i] - in->small->b_dec[i];
    for (int i = 0; i < LANES && !status; i++)
        status = allocate_lane(w, &w->lanes[i], pairs, err);
    if (!status)
        status = measure_rows(w, in->large, w->large, m, err);
    return status ? status : measure_rows(w, in->small, w->small, m, err);
}

static int check_input(const struct stitch_path_input *in, struct error *err)
{
    if (in->small->d_in != in->large->d_in)
        return error_set(err, STATUS_REFUSED, "the SAEs have d_in %zu and %zu: a stitch needs the same",
                         in->small->d_in, in->large->d_in);
    if (token_spool_tokens(in->tokens) == 0)
        return error_set(err, STATUS_REFUSED, "there are no tokens to follow a path over");
    if (in->groups->n_large != in->large->d_sae || in->groups->n_small != in->small->d_sae)
        return error_set(err, STATUS_FAILED, "the partners are those of other SAEs");
    return STATUS_OK;
}

/* ---- The curves. ---- */

static int allocate_path(const struct step_order *o, struct stitch_path *p, struct error *err)
{
    size_t n = o->n_steps + 1;

    p->n_steps = o->n_steps;
    p->n_large = o->groups->n_large;
    p->n_small = o->groups->n_small;
    p->kinds = array_alloc(n, sizeof(*p->kinds), "the path", err);
    p->l0 = array_alloc(n, sizeof(*p->l0), "the path", err);
    p->mse = array_alloc(n, sizeof(*p->mse), "the path", err);
    p->explained_variance = array_alloc(n, sizeof(*p->explained_variance), "the path", err);
    p->cross_entropy = array_alloc(n, sizeof(*p->cross_entropy), "the path", err);
    return p->kinds && p->l0 && p->mse && p->explained_variance && p->cross_entropy ? STATUS_OK
                                                                                    : STATUS_FAILED;
}

double stitch_bias_share(enum stitch_bias bias, size_t step, size_t n_steps)
{
    if (bias == STITCH_BIAS_INTERPOLATED)
        return n_steps ? (double)step / (double)n_steps : 0;
    return bias == STITCH_BIAS_LARGE;
}

/* Running sums over the steps; takes the order's steps over. */
static void fill_path(const struct walk *w, struct step_order *o, struct stitch_path *p)
{
    double tokens = (double)token_spool_tokens(w->in->tokens), g_square = vec_norm2(w->g, w->d), scales = 0;
    struct step_sums at = {0};

    for (int i = 0; i < LANES; i++)
        scales += w->lanes[i].scale_square;
    for (size_t s = 0; s <= o->n_steps; s++) {
        struct step_sums change = sums_of(w, s);
        double share = stitch_bias_share(w->in->bias, s, o->n_steps), sse;

        at.sse += change.sse;
        at.cross += change.cross;
        at.active += change.active;
        sse = at.sse - 2 * share * at.cross + share * share * scales * g_square;
        p->kinds[s] = (uint8_t)step_order_kind(o, s);
        p->l0[s] = (double)at.active / tokens;
        p->mse[s] = sse / (tokens * (double)w->d);
        p->explained_variance[s] = 1 - sse / w->in->centred;
        p->cross_entropy[s] = NAN;
    }
    p->large_step = o->large;
    p->small_step = o->small;
    o->large = o->small = NULL;
}

/* The change of each swap and removal, by the steps as they are: owned. */
static int measure_changes(struct walk *w, double **change, struct monitor *m, struct error *err)
{
    size_t n = w->order->n_steps;
    int status;

    *change = array_alloc(n + 1, sizeof(**change), "changes of error", err);
    if (!*change)
        return STATUS_FAILED;
    w->token = measure_token;
    status = run_tokens(w, "ordering", m, err);
    for (size_t s = 0; s <= n && !status; s++)
        (*change)[s] = sums_of(w, s).sse;
    return status;
}

int stitch_path_compute(const struct stitch_path_input *in, struct monitor *m, struct stitch_path *out,
                        struct error *err)
{
    struct step_order order = {0};
    struct walk w = {.in = in, .order = &order};
    struct step_keys keys = {in->order, in->seed, in->delta, in->max_cosine, NULL};
    double *change = NULL;
    int status = check_input(in, err);

    *out = (struct stitch_path){0};
    if (!status)
        status = step_order_new(in->groups, &order, err);
    if (!status)
        status = walk_new(&w, m, err);
    if (!status && in->order != STITCH_ORDER_RANDOM)
        status = measure_changes(&w, &change, m, err);
    keys.change = change;
    if (!status)
        status = step_order_sort(&order, &keys, err);
    if (!status)
        status = allocate_path(&order, out, err);
    w.token = walk_token;
    if (!status)
        status = run_tokens(&w, "walking the path", m, err);
    if (!status)
        fill_path(&w, &order, out);
    else
        stitch_path_free(out);
    free(change);
    walk_free(&w);
    step_order_free(&order);
    return status;
}
