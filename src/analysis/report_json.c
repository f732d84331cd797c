/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A report as JSON. */
#include "config.h"

#include "saescope/analysis/report.h"

static json *name_or_null(const char *name)
{
    return *name ? json_new_string(name) : json_new_null();
}

static json *count(uint64_t n)
{
    return json_new_integer((long long)n);
}

/* SAEBench's meta-structure evaluation, under its names: sae_bench/evals/meta_structure/main.py keeps the k
 * largest of a row on average over batches of 4,096, as in training. */
static json *meta_structure(const struct report *r)
{
    double explained = r->explained_variance, mse = r->mse;
    if (r->k) {
        explained = r->explained_variance_batchtopk;
        mse *= (1 - explained) / (1 - r->explained_variance);
    }
    json *o = json_new_object();
    json_set(o, "decoder_fraction_variance_explained", json_new_real(explained));
    json_set(o, "train_time_seconds", json_new_real(r->train_seconds));
    json_set(o, "final_reconstruction_mse", json_new_real(mse));
    return o;
}

static json *baselines(const struct report *r)
{
    json *list = json_new_array();
    for (size_t i = 0; i < r->n_baselines; i++) {
        const struct report_baseline *b = &r->baselines[i];
        json *o = json_new_object();
        json_set(o, "baseline", json_new_string(report_baseline_names[b->kind]));
        json_set(o, "sae", name_or_null(b->name));
        json_set(o, "explained_variance", json_new_real(b->explained_variance));
        json_set(o, "mse", json_new_real(b->mse));
        json_set(o, "l0", json_new_real(b->l0));
        json_append(list, o);
    }
    return list;
}

static json *densities(const struct report *r)
{
    json *list = json_new_array();
    for (size_t i = 0; i < r->n_densities; i++) {
        const struct report_density *part = &r->densities[i];
        json *o = json_new_object();
        json_set(o, "from", json_new_real(part->from));
        json_set(o, "to", json_new_real(part->to));
        json_set(o, "latents", count(part->latents));
        json_set(o, "meta_latents", json_new_real(part->meta_latents));
        json_set(o, "explained_variance", json_new_real(part->explained_variance));
        json_append(list, o);
    }
    return list;
}

static json *histogram(const struct report_cosines *c)
{
    json *o = json_new_object(), *edges = json_new_array(), *counts = json_new_array();
    for (int i = 0; i <= REPORT_COSINE_BINS; i++)
        json_append(edges, json_new_real((i - REPORT_COSINE_BINS / 2) / (REPORT_COSINE_BINS / 2.0)));
    for (int i = 0; i < REPORT_COSINE_BINS; i++)
        json_append(counts, count(c->counts[i]));
    json_set(o, "edges", edges);
    json_set(o, "counts", counts);
    return o;
}

static json *cosines(const struct report *r)
{
    json *list = json_new_array();
    for (size_t i = 0; i < r->n_cosines; i++) {
        const struct report_cosines *c = &r->cosines[i];
        json *o = json_new_object(), *above = json_new_array();
        for (int j = 0; j < REPORT_COSINE_CUTS; j++) {
            json *cut = json_new_object();
            json_set(cut, "cosine", json_new_real(report_cosine_cuts[j]));
            json_set(cut, "fraction", json_new_real(c->above[j]));
            json_append(above, cut);
        }
        json_set(o, "from", json_new_string(c->from));
        json_set(o, "against", json_new_string(c->against));
        json_set(o, "mean", json_new_real(c->mean));
        json_set(o, "median", json_new_real(c->median));
        json_set(o, "above", above);
        json_set(o, "histogram", histogram(c));
        json_append(list, o);
    }
    return list;
}

static json *graphs(const struct report *r)
{
    json *list = json_new_array();
    for (size_t i = 0; i < r->n_graphs; i++) {
        const struct report_graph *g = &r->graphs[i];
        json *o = json_new_object();
        json_set(o, "sae", json_new_string(g->name));
        json_set(o, "latents", count(r->graph_rows));
        json_set(o, "edges", count(g->edges));
        json_set(o, "edges_of_sae", count(g->others));
        json_set(o, "common", count(g->common));
        json_set(o, "share", json_new_real(g->share));
        json_set(o, "chance", json_new_real(g->chance));
        json_set(o, "cosine", json_new_real(g->cosine));
        json_append(list, o);
    }
    return list;
}

static json *losses(const struct report *r)
{
    if (!*r->text)
        return json_new_null();
    json *o = json_new_object(), *without = json_new_array();
    for (size_t i = 0; i < r->n_without; i++) {
        json *one = json_new_object();
        json_set(one, "latent", count(r->without[i].latent));
        json_set(one, "cross_entropy", json_new_real(r->without[i].cross_entropy));
        json_append(without, one);
    }
    json_set(o, "text", json_new_string(r->text));
    json_set(o, "tokens", count(r->tokens));
    json_set(o, "model", json_new_real(r->ce_model));
    json_set(o, "sae", json_new_real(r->ce_sae));
    json_set(o, "rebuilt", json_new_real(r->ce_rebuilt));
    json_set(o, "without", without);
    json_set(o, "zero_ablation", json_new_real(r->ce_zero));
    return o;
}

json *report_json(const struct report *r)
{
    json *o = json_new_object();
    json_set(o, "meta", json_new_string(r->meta));
    json_set(o, "base", json_new_string(r->base));
    json_set(o, "bases", count(r->n_bases));
    json_set(o, "rows", count(r->rows));
    json_set(o, "width", count(r->width));
    json_set(o, "k", r->k ? count(r->k) : json_new_null());
    json_set(o, "explained_variance", json_new_real(r->explained_variance));
    json_set(o, "explained_variance_batchtopk", json_new_real(r->explained_variance_batchtopk));
    json_set(o, "mse", json_new_real(r->mse));
    json_set(o, "l0", json_new_real(r->l0));
    json_set(o, "dead_fraction", json_new_real(r->dead_fraction));
    json_set(o, "meta_structure", meta_structure(r));
    json_set(o, "baselines", baselines(r));
    json_set(o, "by_density", densities(r));
    json_set(o, "max_cosine", cosines(r));
    json_set(o, "graph", graphs(r));
    json_set(o, "cross_entropy", losses(r));
    json_set(o, "note", r->note ? json_new_string(r->note) : json_new_null());
    return o;
}
