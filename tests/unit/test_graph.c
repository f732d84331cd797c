/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Graphs around latents, against activations and cosines that are computed here one by one; and their
 * documents. */
#include "config.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/analysis/graph.h"
#include "saescope/base/blas.h"
#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/sae/bases.h"
#include "tests/support/support.h"

#define D    12
#define BASE 60
#define META 14

static artifact_id base_id, meta_id;
static struct sae *base, *meta, *upper, *small, *tiny;

static struct sae *random_sae(const char *architecture, size_t n, uint64_t seed)
{
    struct sae *x = new_sae(architecture, D, n);
    struct rng rng;
    rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n * D; i++) {
        x->owned_W_enc[i] = (float)rng_normal(&rng);
        x->owned_W_dec[i] = (float)rng_normal(&rng);
    }
    for (size_t i = 0; x->threshold && i < n; i++)
        x->threshold[i] = 0.1F + 0.05F * (float)i;
    return x;
}

static const char *const hook = "blocks.2.hook_resid_pre", *const other_hook = "blocks.1.hook_resid_pre";

static int set_up(void **state)
{
    struct error err = {0};
    static const struct label labels[] = {{3, LABEL_USER, "a </text> \"label\" \\ & more", 26},
                                          {4, LABEL_AUTO, "\x1b[31mred\xff\0hidden", 16}};
    set_up_store(state);
    artifact_id model = import_demo_model(test_store, "lm");
    base = random_sae("standard", BASE, 1);
    memset(base->owned_W_dec + 7 * D, 0, D * sizeof(float));
    meta = random_sae("jumprelu", META, 2);
    upper = random_sae("jumprelu", 5, 3);
    small = random_sae("standard", 20, 4);
    tiny = random_sae("standard", 8, 5);
    base_id = save_sae(test_store, "base", base, sae_manifest(hook, model, 0));
    meta_id = save_sae(test_store, "meta", meta, sae_manifest(NULL, model, base_id));
    save_sae(test_store, "upper", upper, sae_manifest(NULL, model, meta_id));
    const artifact_id both[] = {save_sae(test_store, "small", small, sae_manifest(hook, model, 0)),
                                save_sae(test_store, "tiny", tiny, sae_manifest(hook, model, 0))};
    json *joint = sae_manifest(NULL, model, both[0]);
    json_set(joint, "references", meta_bases_references(both, 2));
    save_sae(test_store, "joint", meta, joint);
    save_sae(test_store, "elsewhere", tiny, sae_manifest(other_hook, model, 0));
    save_sae(test_store, "as-wide", base, sae_manifest(hook, model, 0));
    assert_ok(store_put_labels(test_store, base_id, labels, 2, &err));
    return 0;
}

static int tear_down(void **state)
{
    struct sae *all[] = {base, meta, upper, small, tiny};
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++)
        sae_free(all[i]);
    return tear_down_store(state);
}

/* ---- By hand. ---- */

static double dot(const float *a, const float *b)
{
    double sum = 0;
    for (size_t i = 0; i < D; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static double norm(const float *a)
{
    return sqrt(dot(a, a));
}

/* What meta-latent j of m is on the decoder row of a latent of b; 0 when it does not fire. */
static double activation(const struct sae *b, size_t latent, const struct sae *m, size_t j)
{
    const float *row = b->owned_W_dec + latent * D;
    double length = norm(row), p = length > 0 ? dot(row, m->owned_W_enc + j * D) / length : 0;
    return p > (double)m->threshold[j] ? p : 0;
}

/* The place of value x among those of the others. */
static size_t rank(const double *values, size_t n, size_t left_out, double x)
{
    size_t before = 0;
    for (size_t i = 0; i < n; i++)
        before += i != left_out && values[i] > x + 1e-6;
    return before;
}

static size_t count_firing(const double *values, size_t n, size_t left_out)
{
    size_t firing = 0;
    for (size_t i = 0; i < n; i++)
        firing += i != left_out && values[i] > 0;
    return firing;
}

/* The edges are the strongest of `values`, in order. */
static void check_edges(const struct latent_graph *g, const struct graph_edge *edges, size_t n, size_t most,
                        const double *values, size_t n_values, size_t left_out)
{
    size_t firing = count_firing(values, n_values, left_out);
    assert_int_equal(n, firing < most ? firing : most);
    for (size_t i = 0; i < n; i++) {
        size_t latent = g->nodes[edges[i].to].latent;
        assert_int_not_equal(latent, left_out);
        assert_true(fabs((double)edges[i].weight - values[latent]) < 1e-4);
        assert_int_equal(rank(values, n_values, left_out, values[latent]), i);
        assert_false(edges[i].is_cosine);
    }
}

static void check_relatives(const struct latent_graph *g, const float *direction)
{
    const struct sae *others[] = {small, tiny};
    const char *names[] = {"small", "tiny"};
    size_t n;
    const struct graph_edge *edges = graph_relatives(g, &n);
    assert_int_equal(n, 2);
    assert_true(edges[0].weight >= edges[1].weight);
    for (size_t i = 0; i < n; i++) {
        const struct graph_node *node = &g->nodes[edges[i].to];
        size_t which = strcmp(node->sae.name, names[0]) != 0;
        double best = -2, is = -2;
        assert_string_equal(node->sae.name, names[which]);
        assert_true(edges[i].is_cosine && edges[i].from == 0 && node->role == GRAPH_RELATIVE);
        for (size_t j = 0; j < others[which]->d_sae; j++) {
            const float *row = others[which]->owned_W_dec + j * D;
            double cosine = norm(direction) > 0 ? dot(row, direction) / norm(row) / norm(direction) : 0;
            best = fmax(best, cosine);
            is = j == node->latent ? cosine : is;
        }
        assert_true(fabs(is - best) < 1e-5);
        assert_true(fabs((double)edges[i].weight - best) < 1e-5);
    }
    assert_string_not_equal(g->nodes[edges[0].to].sae.name, g->nodes[edges[1].to].sae.name);
}

/* ---- Around latents and meta-latents. ---- */

static void make(struct store_txn *t, const char *address, const struct graph_options *o,
                 struct latent_graph *g)
{
    struct error err = {0};
    struct address at;
    assert_ok(address_parse(t, address, NULL, &at, &err));
    assert_ok(latent_graph_make(t, &at, o, NULL, g, &err));
}

static void check_nodes(const struct latent_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        int reached = i == 0;
        for (size_t e = 0; e < g->n_edges; e++)
            reached |= g->edges[e].to == i;
        assert_true(reached);
        for (size_t j = 0; j < i; j++)
            assert_false(g->nodes[i].sae.id == g->nodes[j].sae.id &&
                         g->nodes[i].latent == g->nodes[j].latent);
    }
}

static void test_around_latents(void **state)
{
    static const struct graph_options o = {.parts = 4, .behind = 3, .relatives = 5};
    struct store_txn *t = begin_reading(test_store);
    (void)state;
    for (size_t latent = 0; latent < BASE; latent++) {
        struct latent_graph g;
        double values[META], members[BASE];
        char *address = xasprintf("base/%zu", latent);
        size_t n;
        make(t, address, &o, &g);
        for (size_t j = 0; j < META; j++)
            values[j] = activation(base, latent, meta, j);
        const struct graph_edge *parts = graph_edges(&g, 0, &n);
        check_edges(&g, parts, n, o.parts, values, META, SIZE_MAX);
        assert_int_equal(g.n_parts, n);
        assert_string_equal(g.meta, "meta");
        for (size_t i = 0; i < g.n_parts; i++) {
            for (size_t b = 0; b < BASE; b++)
                members[b] = activation(base, b, meta, g.nodes[1 + i].latent);
            const struct graph_edge *behind = graph_edges(&g, 1 + i, &n);
            check_edges(&g, behind, n, o.behind, members, BASE, latent);
            assert_int_equal(g.nodes[1 + i].role, GRAPH_PART);
        }
        check_relatives(&g, base->owned_W_dec + latent * D);
        check_nodes(&g);
        assert_true(latent == 7 || isfinite(g.explained_variance));
        latent_graph_free(&g);
        free(address);
    }
    store_end(t);
}

static void test_around_meta_latents(void **state)
{
    static const struct graph_options o = {.parts = 5, .behind = 2, .relatives = 5};
    struct store_txn *t = begin_reading(test_store);
    (void)state;
    for (size_t latent = 0; latent < META; latent++) {
        struct latent_graph g;
        double members[BASE], values[META];
        char *address = xasprintf("meta/%zu", latent);
        size_t n;
        make(t, address, &o, &g);
        for (size_t b = 0; b < BASE; b++)
            members[b] = activation(base, b, meta, latent);
        const struct graph_edge *parts = graph_edges(&g, 0, &n);
        check_edges(&g, parts, n, o.parts, members, BASE, SIZE_MAX);
        assert_true(g.of_meta && isnan(g.explained_variance));
        for (size_t i = 0; i < g.n_parts; i++) {
            for (size_t j = 0; j < META; j++)
                values[j] = activation(base, g.nodes[1 + i].latent, meta, j);
            const struct graph_edge *behind = graph_edges(&g, 1 + i, &n);
            check_edges(&g, behind, n, o.behind, values, META, latent);
            assert_int_equal(g.nodes[1 + i].sae.id, base_id);
        }
        check_relatives(&g, meta->owned_W_dec + latent * D);
        check_nodes(&g);
        latent_graph_free(&g);
        free(address);
    }
    store_end(t);
}

static void test_other_meta_saes(void **state)
{
    struct error err = {0};
    struct graph_options o = {.parts = 5, .behind = 2, .relatives = 1};
    struct store_txn *t = begin_reading(test_store);
    struct latent_graph g;
    struct address at;
    double values[5];
    size_t n;
    (void)state;
    /* A meta-latent in terms of a meta-SAE of its meta-SAE. */
    o.meta = find_artifact(test_store, ARTIFACT_SAE, "upper");
    make(t, "meta/2", &o, &g);
    for (size_t j = 0; j < 5; j++)
        values[j] = activation(meta, 2, upper, j);
    const struct graph_edge *parts = graph_edges(&g, 0, &n);
    check_edges(&g, parts, n, 5, values, 5, SIZE_MAX);
    assert_false(g.of_meta);
    assert_int_equal(g.n_relatives, 1); /* of the SAE at the bottom */
    latent_graph_free(&g);
    assert_ok(address_parse(t, "base/2", NULL, &at, &err));
    assert_int_equal(latent_graph_make(t, &at, &o, NULL, &g, &err), STATUS_REFUSED);
    assert_says("upper is no meta-SAE of base");
    o.meta = base_id;
    assert_int_equal(latent_graph_make(t, &at, &o, NULL, &g, &err), STATUS_REFUSED);
    store_end(t);
}

/* A meta-SAE on two SAEs: members of both. */
static void test_joint_meta(void **state)
{
    static const struct graph_options o = {.parts = 6, .behind = 2, .relatives = 5};
    struct store_txn *t = begin_reading(test_store);
    struct latent_graph g;
    struct strbuf b = STRBUF_INIT;
    double values[20 + 8], others[META];
    size_t n, n_small = 0;
    (void)state;
    make(t, "joint/1", &o, &g);
    for (size_t i = 0; i < 28; i++)
        values[i] = i < 20 ? activation(small, i, meta, 1) : activation(tiny, i - 20, meta, 1);
    const struct graph_edge *parts = graph_edges(&g, 0, &n);
    assert_int_equal(n, o.parts);
    for (size_t i = 0; i < n; i++) {
        const struct graph_node *node = &g.nodes[parts[i].to];
        int is_small = strcmp(node->sae.name, "small") == 0;
        double value = values[is_small ? node->latent : 20 + node->latent];
        assert_true(is_small || strcmp(node->sae.name, "tiny") == 0);
        assert_true(fabs((double)parts[i].weight - value) < 1e-4);
        assert_int_equal(rank(values, 28, SIZE_MAX, value), i);
        assert_true(graph_needs_name(&g, parts[i].to));
        n_small += (size_t)is_small;
        for (size_t j = 0; j < META; j++)
            others[j] = activation(is_small ? small : tiny, node->latent, meta, j);
        size_t n_behind;
        const struct graph_edge *behind = graph_edges(&g, parts[i].to, &n_behind);
        check_edges(&g, behind, n_behind, o.behind, others, META, 1);
    }
    assert_true(n_small > 0 && n_small < n);
    assert_int_equal(g.n_relatives, 1); /* "tiny", which has fewer latents than the wider of the two */
    graph_title(&g, &b);
    assert_string_equal(b.data, "joint/1 and its members");
    strbuf_free(&b);
    latent_graph_free(&g);
    store_end(t);
}

static void test_without_parts(void **state)
{
    static const struct graph_options o = {.parts = 5, .behind = 2, .relatives = 0};
    struct store_txn *t = begin_reading(test_store);
    struct latent_graph g;
    struct strbuf b = STRBUF_INIT;
    (void)state;
    make(t, "base/7", &o, &g); /* a row of zeros */
    assert_int_equal(g.n_nodes, 1);
    graph_svg(&g, &b);
    check_xml(strbuf_string(&b), NULL, NULL);
    latent_graph_free(&g);
    make(t, "elsewhere/1", &o, &g);
    assert_int_equal(g.n_nodes, 1);
    assert_string_equal(g.meta, "");
    strbuf_reset(&b);
    graph_title(&g, &b);
    assert_string_equal(b.data, "elsewhere/1, which has no meta-SAE");
    latent_graph_free(&g);
    strbuf_free(&b);
    store_end(t);
}

static void test_cancelled(void **state)
{
    static const struct graph_options o = {.parts = 5, .behind = 2, .relatives = 2};
    struct monitor m = {.ask = cancel_later};
    struct error err = {0};
    struct store_txn *t = begin_reading(test_store);
    struct address at;
    struct latent_graph g;
    (void)state;
    static const char *const addresses[] = {"meta/0", "base/1"};
    for (size_t i = 0; i < ARRAY_LENGTH(addresses); i++) {
        assert_ok(address_parse(t, addresses[i], NULL, &at, &err));
        asks_before_cancel = INT_MAX;
        assert_ok(latent_graph_make(t, &at, &o, &m, &g, &err));
        latent_graph_free(&g);
        int all = INT_MAX - asks_before_cancel; /* that a whole graph asks */
        assert_true(all > 2);
        for (int asks = 0; asks < all; asks++) {
            asks_before_cancel = asks;
            assert_int_equal(latent_graph_make(t, &at, &o, &m, &g, &err), STATUS_FAILED);
            assert_says("cancelled");
        }
    }
    store_end(t);
}

/* ---- Documents. ---- */

#define LABELS_MAX 4096
struct rectangle {
    double left, top, right, bottom;
};
struct seen {
    struct rectangle texts[LABELS_MAX], boxes[LABELS_MAX];
    size_t n_texts, n_boxes;
    double width, height;
    int found; /* the hostile label */
};

static double number(const struct xml_element *e, const char *name)
{
    double x = NAN;
    assert_non_null(xml_attribute(e, name));
    assert_int_equal(parse_double(xml_attribute(e, name), &x), 0);
    return x;
}

static void see(const struct xml_element *e, void *arg)
{
    struct seen *seen = arg;
    if (strcmp(e->name, "svg") == 0) {
        seen->width = number(e, "width");
        seen->height = number(e, "height");
    } else if (strcmp(e->name, "text") == 0) {
        double x = number(e, "x"), y = number(e, "y"), size = number(e, "font-size");
        double width =
            0.6 * size * (double)display_width(e->text, strlen(e->text)); /* a font of fixed width */
        const char *anchor = xml_attribute(e, "text-anchor");
        double left = strcmp(anchor, "start") == 0 ? x
                      : strcmp(anchor, "end") == 0 ? x - width
                                                   : x - width / 2;
        seen->texts[seen->n_texts++] =
            (struct rectangle){left, y - 0.8 * size, left + width, y + 0.25 * size};
        seen->found |= strstr(e->text, "a </text> \"label\" \\ & more") != NULL;
    } else if (strcmp(e->name, "rect") == 0) {
        double x = number(e, "x"), y = number(e, "y");
        seen->boxes[seen->n_boxes++] =
            (struct rectangle){x, y, x + number(e, "width"), y + number(e, "height")};
    }
}

static void check_apart(const struct rectangle *all, size_t n, const struct seen *seen, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        const struct rectangle *a = &all[i];
        if (a->left < 0 || a->top < 0 || a->right > seen->width || a->bottom > seen->height)
            fail_msg("%s %zu lies outside", what, i);
        for (size_t j = 0; j < i; j++) {
            const struct rectangle *b = &all[j];
            if (a->left < b->right && b->left < a->right && a->top < b->bottom && b->top < a->bottom)
                fail_msg("%s %zu and %zu overlap", what, i, j);
        }
    }
}

/* A graph with so many nodes, behind some of which are others' too. */
static void invent(struct latent_graph *g, size_t parts, size_t behind, size_t relatives, size_t label)
{
    struct artifact sae = {.id = 1, .name = "an-sae-with-a-name"};
    size_t n = 1 + parts + parts * behind + relatives, e = 0;
    *g = (struct latent_graph){
        .n_nodes = n, .n_edges = n - 1 + (parts > 1), .n_parts = parts, .n_relatives = relatives};
    g->nodes = xcalloc(n, sizeof *g->nodes);
    g->edges = xcalloc(n + 1, sizeof *g->edges);
    memcpy(g->meta, "meta", 5);
    for (size_t i = 0; i < n; i++) {
        enum graph_role role = i == 0                      ? GRAPH_CENTER
                               : i <= parts                ? GRAPH_PART
                               : i <= parts * (1 + behind) ? GRAPH_BEHIND
                                                           : GRAPH_RELATIVE;
        g->nodes[i] =
            (struct graph_node){.role = role, .sae = sae, .latent = i * 1000, .n_label = i % 7 ? label : 0};
        if (g->nodes[i].n_label) {
            g->nodes[i].label = xcalloc(label + 1, 1);
            memset(g->nodes[i].label, 'm', label);
        }
    }
    for (size_t i = 0; i < parts; i++)
        g->edges[e++] = (struct graph_edge){0, 1 + i, 0, 1 / (1 + (float)i)};
    for (size_t i = 0; i < parts * behind; i++)
        g->edges[e++] = (struct graph_edge){1 + i / behind, 1 + parts + i, 0, 0.5F};
    if (parts > 1)
        g->edges[e++] =
            (struct graph_edge){parts, parts + 1, 0, behind ? 0.1F : 0}; /* also the first part's */
    for (size_t i = 0; i < relatives; i++)
        g->edges[e++] = (struct graph_edge){0, 1 + parts + parts * behind + i, 1, 0.9F};
}

static void test_labels_do_not_overlap(void **state)
{
    static const size_t sizes[][4] = {{0, 0, 0, 0},     {1, 0, 0, 9},   {1, 5, 0, 9},  {2, 1, 1, 200},
                                      {6, 5, 4, 30},    {6, 5, 4, 200}, {7, 3, 0, 12}, {12, 20, 4, 44},
                                      {100, 0, 100, 5}, {3, 100, 1, 1}, {0, 0, 7, 60}, {1, 100, 2, 99}};
    static struct seen seen;
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct strbuf b = STRBUF_INIT;
        struct latent_graph g;
        invent(&g, sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3]);
        if (sizes[i][1] == 0 && sizes[i][0] > 1)
            g.n_edges--,
                memmove(&g.edges[sizes[i][0]], &g.edges[sizes[i][0] + 1], sizes[i][2] * sizeof *g.edges);
        graph_svg(&g, &b);
        memset(&seen, 0, sizeof seen);
        check_xml(strbuf_string(&b), see, &seen);
        assert_int_equal(seen.n_texts, g.n_nodes + 1 + (g.n_relatives > 0));
        assert_int_equal(seen.n_boxes, 1 + g.n_parts + g.n_relatives);
        check_apart(seen.texts, seen.n_texts, &seen, "label");
        check_apart(seen.boxes, seen.n_boxes, &seen, "box");
        latent_graph_free(&g);
        strbuf_free(&b);
    }
}

/* What a label of Graphviz says: `text` points behind its opening quote; returns what follows the closing
 * one. */
static const char *read_label(const char *text, struct strbuf *label)
{
    for (; *text && *text != '"'; text++)
        if (*text == '\\') {
            text++;
            assert_true(*text == '"' || *text == '\\' || *text == 'n');
            strbuf_addc(label, *text == 'n' ? '\n' : *text);
        } else if (*text == '&') {
            assert_int_equal(strncmp(text, "&amp;", 5), 0);
            strbuf_addc(label, '&');
            text += 4;
        } else {
            assert_true((unsigned char)*text >= ' ');
            strbuf_addc(label, *text);
        }
    assert_int_equal(*text, '"');
    return text + 1;
}

/* The label of the line that begins with `start`. */
static char *dot_label(const char *document, const char *start)
{
    struct strbuf label = STRBUF_INIT;
    const char *line = strstr(document, start);
    assert_non_null(line);
    const char *text = strstr(line, "label=\"");
    assert_non_null(text);
    assert_true(strchr(",]", *read_label(text + strlen("label=\""), &label)) != NULL);
    return strbuf_detach(&label);
}

static void test_documents_of_hostile_labels(void **state)
{
    static const struct graph_options o = {.parts = META, .behind = BASE, .relatives = 2};
    static struct seen seen;
    struct store_txn *t = begin_reading(test_store);
    struct latent_graph g;
    struct strbuf b = STRBUF_INIT, title = STRBUF_INIT;
    (void)state;
    make(t, "base/3", &o, &g);
    assert_int_equal(g.nodes[0].n_label, 26);
    graph_svg(&g, &b);
    check_xml(strbuf_string(&b), see, &seen);
    assert_true(seen.found);
    check_apart(seen.texts, seen.n_texts, &seen, "label");
    strbuf_reset(&b);
    graph_dot(&g, &b);
    char *label = dot_label(b.data, "  n0 [");
    assert_string_equal(label, "base/3\na </text> \"label\" \\ & more");
    free(label);
    for (size_t i = 0; i < g.n_nodes; i++)
        if (g.nodes[i].sae.id == base_id && g.nodes[i].latent == 4) {
            char *start = xasprintf("  n%zu [", i);
            label = dot_label(b.data, start);
            assert_string_equal(label, "base/4\n\\x1B[31mred\\xFF\\x00hidden");
            free(label);
            free(start);
            seen.found++;
        }
    assert_int_equal(seen.found, 2);
    graph_title(&g, &title);
    assert_int_equal(strncmp(title.data, "base/3 and its meta-latents in meta, explained variance ", 56), 0);
    latent_graph_free(&g);
    strbuf_free(&b);
    strbuf_free(&title);
    store_end(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_around_latents),        cmocka_unit_test(test_around_meta_latents),
        cmocka_unit_test(test_other_meta_saes),       cmocka_unit_test(test_joint_meta),
        cmocka_unit_test(test_without_parts),         cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_labels_do_not_overlap), cmocka_unit_test(test_documents_of_hostile_labels),
    };
    locale_start();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
