/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The graph around a latent: its strongest meta-latents, behind each the latents in which that meta-latent is strongest
 * (the latent itself left out), and the nearest latent of each smaller SAE of the same hook. Around a meta-latent: its
 * strongest members (of all its SAEs, when it has several), and behind each the member's other meta-latents.
 */
#ifndef SAESCOPE_ANALYSIS_GRAPH_H
#define SAESCOPE_ANALYSIS_GRAPH_H

#include <stddef.h>
#include "saescope/analysis/latent.h"

enum graph_role { GRAPH_CENTER, GRAPH_PART, GRAPH_BEHIND, GRAPH_RELATIVE };
extern const char *const graph_role_names[]; /* "center", "part", "behind", "relative" */

struct graph_node {
    enum graph_role role;
    struct artifact sae;
    size_t latent;
    char *label; /* its bytes, owned; NULL: it has none */
    size_t n_label;
};
struct graph_edge {
    size_t from, to; /* nodes; from is nearer to the middle */
    int is_cosine;   /* between decoder rows; else the meta-latent's activation on the latent's decoder row */
    float weight;
};

#define GRAPH_PARTS_DEFAULT     6
#define GRAPH_BEHIND_DEFAULT    5
#define GRAPH_RELATIVES_DEFAULT 4
#define GRAPH_MAX               100 /* of each */
struct graph_options {
    artifact_id meta; /* 0: meta_sae_of the latent; a meta-latent's members are around it */
    size_t parts, behind, relatives; /* the most of them; behind: of each part */
};

/*
 * Node 0 is the middle, then come the parts; each latent is one node, also where it is behind several parts. Edges: the
 * middle's to the parts, those of each part in turn, the middle's to the relatives; each lot strongest first.
 */
struct latent_graph {
    struct graph_node *nodes;
    struct graph_edge *edges;
    size_t n_nodes, n_edges;
    size_t n_parts, n_relatives;
    int of_meta; /* the middle is a meta-latent, the parts its members */
    char meta[NAME_MAX_BYTES + 1]; /* the meta-SAE; empty: there is none, and so no parts */
    double explained_variance;     /* of the middle by the meta-SAE; NaN when of_meta or without one */
};
/* STATUS_REFUSED: options.meta has another base. */
int latent_graph_make(struct store_txn *t, const struct address *at, const struct graph_options *o, struct monitor *m,
                      struct latent_graph *out, struct error *err);
void latent_graph_free(struct latent_graph *g);
int latent_graph_label(struct latent_graph *g, struct store_txn *t, struct error *err); /* reads the labels again */
/* A node's edges to what is behind it; of the middle: to the parts. */
const struct graph_edge *graph_edges(const struct latent_graph *g, size_t node, size_t *n);
const struct graph_edge *graph_relatives(const struct latent_graph *g, size_t *n); /* the middle's */
/* Whether a node's number alone does not say whose latent it is: of relatives, and of members from several SAEs. */
int graph_needs_name(const struct latent_graph *g, size_t node);
/* The most that an edge of activations weighs; at least 0. */
float graph_strongest(const struct latent_graph *g);

/* ---- As documents. Labels may hold any bytes. ---- */

/* For Graphviz: an undirected graph, drawn by twopi unless told otherwise. */
void graph_dot(const struct latent_graph *g, struct strbuf *out);
/* A picture: parts around the middle, what is behind them further out, every label in a row of its own. */
void graph_svg(const struct latent_graph *g, struct strbuf *out);
/* "wn-4096/1183 and its meta-latents in wn-4096-meta, explained variance 0.61" */
void graph_title(const struct latent_graph *g, struct strbuf *out);

#endif
