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

/* Histogram, logits and relatives side by side; the members have the rest. */
static void wide_meta(const struct canvas *c, struct latent_layout *l)
{
    int width = c->width, rest = c->height - 1;
    int top = clamp(rest * 2 / 5, 8, 14), bars = clamp(width / 4, 26, 44), words = (width - bars) / 2;
    l->histogram = place(c, 1, 0, top, bars);
    l->logits = place(c, 1, bars, top, words);
    l->relatives = place(c, 1, bars + words, top, width - bars - words);
    l->components = place(c, 1 + top, 0, rest - top, width);
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

static void narrow_meta(const struct canvas *c, struct latent_layout *l)
{
    int low = c->height < LOW, top = low ? 4 : clamp(c->height / 3, 5, 12), left = c->width / 2, y = 2;
    l->histogram = place(c, y, 0, top, left);
    l->relatives = place(c, y, left, top, c->width - left);
    l->boxed_relatives = 1;
    y += top;
    l->logits = place(c, y, 0, low ? 0 : 2, c->width);
    y += l->logits.height;
    l->components = place(c, y, 0, c->height - y, c->width);
}

void latent_layout(const struct canvas *c, int is_meta, struct latent_layout *out)
{
    memset(out, 0, sizeof *out);
    int wide = c->width >= LATENT_WIDE && c->height >= 20;
    out->header = place(c, 0, 0, wide ? 1 : 2, c->width);
    if (wide && is_meta)
        wide_meta(c, out);
    else if (wide)
        wide_latent(c, out);
    else if (is_meta)
        narrow_meta(c, out);
    else
        narrow_latent(c, out);
}
