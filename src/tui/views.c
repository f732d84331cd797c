/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of views. */
#include "config.h"

#include "saescope/tui/view.h"

extern const struct view_ops store_view, latents_view, latent_view, meta_view, graph_view, family_view,
    stitch_view, encode_view, jobs_view, output_view, messages_view, help_view;

const struct view_ops *const views[] = {
    &store_view,  &latents_view, &latent_view,   &meta_view, &graph_view,  &family_view, &stitch_view,
    &encode_view, &jobs_view,    &messages_view, &help_view, &output_view, NULL,
};
