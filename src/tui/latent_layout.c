/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where the panes of a latent's page are, for any size of the screen. Pure: sizes in, rectangles out. */
#include "config.h"

#include <string.h>

#include "saescope/tui/latent_page.h"

static int clamp(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

/* A rectangle of `all`, cut to it; nothing when it has no room. */
static struct canvas place(const struct canvas *all, int y, int x, int height, int width)
{
    struct canvas c = {0};
    y = clamp(y, 0, all->height);
    x = clamp(x, 0, all->width);
    height = clamp(height, 0, all->height - y);
    width = clamp(width, 0, all->width - x);
    if (height > 0 && width > 0)
        c = (struct canvas){all->y + y, all->x + x, height, width};
    return c;
}

/* Components on the left; histogram and logits over relatives on the right; contexts below. */
static void wide_latent(const struct canvas *c, struct latent_layout *l)
{
    int width = c->width, rest = c->height - 1;
    int top = clamp(rest * 2 / 5, 8, 20), upper = top / 2;
    int left = width * 2 / 5, bars = clamp(width / 5, 26, 44);
    l->components = place(c, 1, 0, top, left);
    l->histogram = place(c, 1, left, upper, bars);
    l->logits = place(c, 1, left + bars, upper, width - left - bars);
    l->relatives = place(c, 1 + upper, left, top - upper, width - left);
    l->contexts = place(c, 1 + top, 0, rest - top, width);
    l->boxed_logits = l->boxed_relatives = 1;
}

/* The members have the rest of a meta-latent's page, beside its own meta-latents when it has some. */
static void place_members(const struct canvas *c, int y, int has_meta, struct latent_layout *l)
{
    int own = has_meta ? c->width / 2 : 0;
    l->members = place(c, y, 0, c->height - y, c->width - own);
    l->components = place(c, y, c->width - own, c->height - y, own);
}

/* Histogram, logits and relatives side by side over the members. */
static void wide_meta(const struct canvas *c, int has_meta, struct latent_layout *l)
{
    int width = c->width, rest = c->height - 1;
    int top = clamp(rest * 2 / 5, 8, 14), bars = clamp(width / 4, 26, 44), words = (width - bars) / 2;
    l->histogram = place(c, 1, 0, top, bars);
    l->logits = place(c, 1, bars, top, words);
    l->relatives = place(c, 1, bars + words, top, width - bars - words);
    place_members(c, 1 + top, has_meta, l);
    l->boxed_logits = l->boxed_relatives = 1;
}

#define LOW 16 /* rows below which there is no room for logits */

/* Two lines of header, components beside the histogram, two lines of logits, one of relatives (a box when
 * there is height for it), contexts. */
static void narrow_latent(const struct canvas *c, struct latent_layout *l)
{
    int roomy = c->height >= 32, low = c->height < LOW, y = 2;
    int top = low ? 4 : clamp((c->height + 4) / 4, 5, 12), left = c->width - clamp(c->width * 3 / 8, 20, 40);
    l->components = place(c, y, 0, top, left);
    l->histogram = place(c, y, left, top, c->width - left);
    y += top;
    l->logits = place(c, y, 0, low ? 0 : 2, c->width);
    y += l->logits.height;
    l->boxed_relatives = roomy;
    l->relatives = place(c, y, 0, roomy ? clamp(c->height / 6, 5, 8) : 1, c->width);
    y += l->relatives.height;
    l->contexts = place(c, y, 0, c->height - y, c->width);
}

/* Two lines of header, histogram and relatives side by side (on a low screen relatives alone, on one line),
 * two lines of logits, the members. */
static void narrow_meta(const struct canvas *c, int has_meta, struct latent_layout *l)
{
    int low = c->height < LOW, top = low ? 1 : clamp(c->height / 3, 5, 12), left = low ? 0 : c->width / 2,
        y = 2;
    l->histogram = place(c, y, 0, top, left);
    l->relatives = place(c, y, left, top, c->width - left);
    l->boxed_relatives = !low;
    y += top;
    l->logits = place(c, y, 0, low ? 0 : 2, c->width);
    y += l->logits.height;
    place_members(c, y, has_meta, l);
}

void latent_layout(const struct canvas *c, int is_meta, int has_meta, struct latent_layout *out)
{
    memset(out, 0, sizeof *out);
    int wide = c->width >= LATENT_WIDE && c->height >= 20;
    out->header = place(c, 0, 0, wide ? 1 : 2, c->width);
    if (wide && is_meta)
        wide_meta(c, has_meta, out);
    else if (wide)
        wide_latent(c, out);
    else if (is_meta)
        narrow_meta(c, has_meta, out);
    else
        narrow_latent(c, out);
}
