/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A stitch as a picture: its latents' cosines against their changes of error, beside the path. */
#ifndef SAESCOPE_ANALYSIS_STITCH_SVG_H
#define SAESCOPE_ANALYSIS_STITCH_SVG_H

#include "saescope/analysis/stitch.h"
#include "saescope/base/strbuf.h"

/* Appends an SVG document. Latents of one class that fall on the same point of the picture are drawn once. */
void stitch_svg(const struct stitch_facts *f, const struct stitch_latents *l, const struct stitch_path *p,
                struct strbuf *out);

#endif
