/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Screens of a stitch with exact values. */
#include "config.h"

#include "shared_store.h"
#include "stitch_store.h"

static const struct screen screens[] = {
    {"stitch-80", "st", 80, 24, NULL, NULL, ""},
    {"stitch-120", "st", 120, 40, NULL, NULL, "keys 12<Right>jj\n"},
    {"stitch-200", "st", 200, 60, NULL, NULL, "keys p]]]<Tab><Tab><Tab>\n"},
    {"stitch-ascii", "st", 80, 24, "ascii", "on", "keys ]]\n"},
    {"stitch-ascii-ev", "st", 120, 40, "ascii", "on", "keys p]]\n"},
    {"stitch-mono", "st", 120, 40, "color", "never", "keys 5<Right>\n"},
    {"stitch-threshold", "st", 80, 24, NULL, NULL, "keys 20-+++\n"},
    {"stitch-best", "st", 80, 24, NULL, NULL, "keys 0\n"},
    {"stitch-own", "st", 80, 24, NULL, NULL, "keys 0=\n"},
    {"stitch-threshold-ends", "st", 80, 24, NULL, NULL, "keys 9999+9999-\n"},
    {"stitch-ev-l0", "st", 80, 24, NULL, NULL, "keys p<End>\n"},
    {"stitch-swap", "st", 80, 24, NULL, NULL, "keys ]]<Right><Tab><Tab><Tab>j\n"},
    {"stitch-remove", "st", 80, 24, NULL, NULL, "keys <End>[<Left><Right><S-Tab>\n"},
    {"stitch-to-step", "st", 80, 24, NULL, NULL, "keys <Tab>jjw\n"},
    {"stitch-home", "st", 80, 24, NULL, NULL, "keys <End>17<Home>\n"},
    {"stitch-sorted", "st", 80, 24, NULL, NULL, "keys ooor\n"},
    {"stitch-searched", "st", 80, 24, NULL, NULL, "keys /physics<Enter>\nwait\nkeys n\n"},
    {"stitch-not-found", "st", 80, 24, NULL, NULL, "keys /nothing<Enter>\n"},
    {"stitch-jump", "st", 80, 24, NULL, NULL, "keys 33<Enter>\n"},
    {"stitch-jump-far", "st", 80, 24, NULL, NULL, "keys 40<Enter>\n"},
    {"stitch-save-asks", "st", 80, 12, NULL, NULL, "keys 3<Right>s\n"},
    {"stitch-export-asks", "st", 80, 12, NULL, NULL, "keys e\n"},
    {"stitch-exported", "st", 80, 12, NULL, NULL, "keys eshape.svg<Enter>\n"},
    {"stitch-export-refused", "st", 80, 12, NULL, NULL, "keys eshape<Enter>\n"},
    {"stitch-narrow", "st", 60, 24, NULL, NULL, ""},
    {"stitch-narrow-scatter", "st", 60, 24, NULL, NULL, "keys pp\n"},
    {"stitch-small", "st", 40, 10, NULL, NULL, ""},
    {"stitch-copied", "st", 80, 12, NULL, NULL, "keys jy\n"},
    {"stitch-back", "st", 80, 24, NULL, NULL, "keys 15<Right>10-orj<Tab><Tab><Tab>&\nwait\nkeys <lt>\n"},
    {"stitch-from-store", NULL, 80, 24, NULL, NULL, "keys G<Enter>\n"},
    {"stitch-latents", "tiny-40", 80, 24, NULL, NULL, "keys ]\n"},
    {"stitch-latents-filtered", "tiny-40", 80, 24, "ascii", "on", "keys fcosine>0.5 and cosine<0.7<Enter>\n"},
    {"stitch-latents-none", "tiny-12", 80, 12, NULL, NULL, "keys fcosine>0.5<Enter>\n"},
    {"stitch-help", "st", 80, 24, NULL, NULL, "keys ?\n"},
};

static int setup(void **state)
{
    struct made_stitch made;
    (void)state;
    if (enter_directory() != 0)
        return -1;
    stitch_store_make("store", &made);
    return 0;
}

int main(void)
{
    return run_screens("stitch screens", screens, ARRAY_LENGTH(screens), setup, leave_directory);
}
