/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Screens of latents, meta-latents, tested texts, families and graphs. */
#include "config.h"

#include "family_store.h"
#include "meta_store.h"
#include "shared_store.h"

#include "saescope/base/blas.h"
#include "saescope/base/parallel.h"

static const struct screen screens[] = {
    {"latents-80", "big", 80, 24, NULL, NULL, ""},
    {"latents-sorted", "big", 100, 16, NULL, NULL, "keys ]]r\n"},
    {"latents-dead-last", "big", 80, 16, NULL, NULL, "keys ]\nwait\nkeys G\n"},
    {"latents-filtered", "big", 80, 16, NULL, NULL, "keys fmax>5 and density<0.015<Enter>\n"},
    {"latents-filter-wrong", "big", 80, 12, NULL, NULL, "keys fmaxi>5<Enter>\n"},
    {"latents-searched", "big", 80, 24, NULL, NULL, "keys /physic<Enter>\nwait\nkeys nn\n"},
    {"latents-not-found", "big", 80, 12, NULL, NULL, "keys /nothing<Enter>\n"},
    {"latents-jump", "big", 80, 12, NULL, NULL, "keys 40<Enter>\n"},
    {"latents-columns", "big", 80, 12, "columns", "latent,label,fired,nonsense", "keys G\n"},
    {"latents-not-indexed", "small", 80, 12, NULL, NULL, ""},
    {"latents-meta", "big", 80, 16, NULL, NULL, "keys m\n"},
    {"latents-compared", "big", 80, 16, NULL, NULL, "keys =small<Enter>\nwait\nkeys ]\n"},
    {"latents-compared-no-more", "big", 80, 12, NULL, NULL, "keys =small<Enter>\nwait\nkeys =<Enter>\n"},
    {"latents-compared-wrong", "big", 80, 12, NULL, NULL, "keys =smal<Enter>\n"},
    {"latents-ascii", "big", 80, 12, "ascii", "on", "keys ]\n"},
    {"latent-80", "big/3", 80, 24, NULL, NULL, ""},
    {"latent-120", "big/40", 120, 40, NULL, NULL, "keys <Tab>j\n"},
    {"latent-mono", "big/3", 80, 24, "color", "never", ""},
    {"latent-ascii", "big/3", 80, 24, "ascii", "on", ""},
    {"latent-hostile", "big/10", 120, 30, "window", "100", ""},
    {"latent-dead", "big/7", 80, 24, NULL, NULL, ""},
    {"latent-not-indexed", "small/2", 80, 24, NULL, NULL, ""},
    {"latent-intervals", "big/12", 120, 36, NULL, NULL, "keys ijj\n"},
    {"latent-window", "big/3", 120, 36, NULL, NULL, "keys www\n"},
    {"latent-context", "big/10", 80, 24, NULL, NULL, "keys jj<Enter>\n"},
    {"latent-context-mono", "big/10", 80, 24, "color", "never", "keys jj<Enter>\n"},
    {"latent-next", "big/3", 80, 24, NULL, NULL, "keys 2JK\n"},
    {"latent-unknown", "big/3", 80, 12, NULL, NULL, "keys 99<Enter>\n"},
    {"latent-typed", "big", 80, 12, NULL, NULL,
     "keys :explore big/3<Enter>\nwait\nkeys :big/5<Enter>\nwait\nkeys <lt>\n"},
    {"latent-typed-wrong", "big", 80, 12, NULL, NULL, "keys :bug/3<Enter>\n"},
    {"latent-small", "big/3", 40, 10, NULL, NULL, ""},
    {"meta-80", "big-meta/1", 80, 24, NULL, NULL, ""},
    {"meta-120", "big-meta/1", 120, 30, NULL, NULL, ""},
    {"meta-followed", "big/41", 80, 24, NULL, NULL, "keys <Tab>j<Enter>\nwait\nkeys <Down>\n"},
    {"meta-back", "big/41", 80, 24, NULL, NULL,
     "keys <Tab>j<Enter>\nwait\nkeys <Down><Enter>\nwait\nkeys <lt><lt>\n"},
    {"meta-forth", "big/41", 80, 24, NULL, NULL,
     "keys <Tab>j<Enter>\nwait\nkeys <Down><Enter>\nwait\nkeys <lt><lt>>\n"},
    {"meta-joint-80", "both-meta/1", 80, 24, NULL, NULL, ""},
    {"meta-joint-120", "both-meta/1", 120, 30, NULL, NULL, "keys jjj\n"},
    {"meta-joint-followed", "both-meta/1", 80, 24, NULL, NULL, "keys G<Enter>\n"},
    {"meta-of-meta-80", "left-meta/3", 80, 24, NULL, NULL, ""},
    {"meta-of-meta-120", "left-meta/3", 120, 30, NULL, NULL, "keys <Tab>j\n"},
    {"meta-of-meta-ascii", "left-meta/3", 80, 24, "ascii", "on", "keys <Tab>\n"},
    {"meta-of-meta-small", "left-meta/3", 40, 10, NULL, NULL, "keys <Tab>j\n"},
    {"meta-of-meta-followed", "left-meta/3", 80, 24, NULL, NULL, "keys <Tab>j<Enter>\n"},
    {"meta-of-meta-down", "left-meta/3", 120, 30, NULL, NULL,
     "keys <Tab>j<Enter>\nwait\nkeys j<Enter>\nwait\nkeys <Enter>\n"},
    {"meta-of-meta-back", "left-meta/3", 120, 30, NULL, NULL,
     "keys <Tab>j<Enter>\nwait\nkeys j<Enter>\nwait\nkeys <Enter>\nwait\nkeys <lt><lt><lt>\n"},
    {"steer-asked-top", "left-meta-meta/1", 80, 12, NULL, NULL, "keys s2\n"},
    {"steer-asked", "big/3", 80, 12, NULL, NULL, "keys s\n"},
    {"steer-asked-meta", "big-meta/1", 80, 12, NULL, NULL, "keys s5\n"},
    {"latent-neuronpedia", "small/2", 80, 24, NULL, NULL, "keys o\n"},
    {"latent-neuronpedia-off", "small/2", 80, 12, "clipboard", "off", "keys o\n"},
    {"latent-neuronpedia-piped", "small/2", 80, 12, NULL, NULL, "keys :open small/2 | tr a-z A-Z<Enter>\n"},
    {"latent-neuronpedia-none", "big/3", 80, 12, NULL, NULL, "keys o\n"},
    {"label-asked", "big/3", 80, 12, NULL, NULL, "keys L\n"},
    {"meta-searched", "both-meta/1", 80, 24, NULL, NULL, "keys /right<Enter>n\n"},
    {"latent-components-searched", "big/41", 80, 24, NULL, NULL, "keys <Tab>/number 40<Enter>\n"},
    {"output-search", "big", 80, 12, NULL, NULL, "keys :search physic<Enter>\nwait\nkeys jy\n"},
    {"output-opened", "big", 80, 12, NULL, NULL, "keys :search physic<Enter>\nwait\nkeys j<Enter>\n"},
    {"output-address-opened", "big", 80, 12, NULL, NULL,
     "keys :decompose big/41<Enter>\nwait\nkeys <Enter>\n"},
    {"output-name-opened", "big", 80, 12, NULL, NULL, "keys :list saes<Enter>\nwait\nkeys jj<Enter>\n"},
    {"output-names-nothing", "big", 80, 12, NULL, NULL, "keys :list saes<Enter>\nwait\nkeys <Enter>\n"},
    {"help-latent", "big/3", 80, 24, NULL, NULL, "keys ?\n"},
    {"help-latent-resized", "big/3", 60, 24, NULL, NULL, "keys ?G\nsize 120x24\n"},
    {"encode-80", "big", 80, 24, NULL, NULL,
     "keys tA physicist was born.<Enter>\nwait\nkeys <Right><Right><Tab>j\n"},
    {"encode-120", "big", 120, 24, NULL, NULL, "keys tA physicist was born.<Enter>\nwait\nkeys jj\n"},
    {"encode-latent", "big", 80, 24, NULL, NULL, "keys tA physicist.<Enter>\nwait\nkeys 2<Enter><Enter>\n"},
    {"encode-meta", "big-meta", 80, 12, NULL, NULL, "keys tA physicist.<Enter>\n"},
    {"encode-meta-top", "left-meta-meta", 80, 12, NULL, NULL, "keys tA physicist.<Enter>\n"},
    {"latent-family", "big/3", 120, 24, NULL, NULL, "keys F\n"},
    {"family-80", "f-8/0", 80, 24, NULL, NULL, "keys F\n"},
    {"family-120", "f-8/0", 120, 40, NULL, NULL, "keys F\nwait\nkeys <Right>\n"},
    {"family-ascii-80", "f-8/0", 80, 24, "ascii", "on", "keys F\nwait\nkeys jj\n"},
    {"family-ascii-120", "f-8/0", 120, 24, "ascii", "on", "keys F\nwait\nkeys l\n"},
    {"family-other-parents", "f-40/14", 120, 24, NULL, NULL, "keys F\nwait\nkeys <Left><Down>\n"},
    {"family-back-again", "f-8/0", 120, 24, NULL, NULL, "keys F\nwait\nkeys lj2lhh\n"},
    {"family-mono", "f-20/3", 120, 24, "color", "never", "keys F\n"},
    {"family-options", "f-8/0", 120, 24, NULL, NULL,
     "keys :family f-8/0 --limit 4 --saes f-8,f-40<Enter>\nwait\nkeys -\n"},
    {"family-shares", "f-8/0", 120, 24, NULL, NULL, "keys F\nwait\nkeys ]]\nwait\nkeys ++\n"},
    {"family-searched", "f-8/0", 80, 24, NULL, NULL, "keys F\nwait\nkeys /PHYS<Enter>n\n"},
    {"family-followed", "f-8/0", 120, 24, NULL, NULL,
     "keys F\nwait\nkeys <Right><Down>F\nwait\nkeys <Left>\nwait\nkeys <lt>\n"},
    {"family-jump", "f-8/0", 80, 24, NULL, NULL, "keys F\nwait\nkeys <Right>12<Enter>\n"},
    {"family-jump-away", "f-8/0", 80, 14, NULL, NULL, "keys F\nwait\nkeys 6<Enter>\n"},
    {"family-copied", "f-8/0", 80, 12, NULL, NULL, "keys F\nwait\nkeys Gy\n"},
    {"family-copied-off", "f-8/0", 80, 12, "clipboard", "off", "keys F\nwait\nkeys Gy\n"},
    {"family-small", "f-8/0", 40, 10, NULL, NULL, "keys F\nwait\nkeys G\n"},
    {"family-narrow-columns", "f-40/1", 100, 24, NULL, NULL, "keys F\n"},
    {"family-piped", "f-8/0", 80, 12, NULL, NULL, "keys :family f-8/0 | wc -l | tr -d ' '<Enter>\n"},
    {"family-of-meta", "f-8/0", 80, 12, NULL, NULL, "keys :family big-meta/1<Enter>\n"},
    {"graph-80", "big/40", 80, 24, NULL, NULL, "keys v\nwait\n"},
    {"graph-120", "big/40", 120, 40, NULL, NULL, "keys v\n"},
    {"graph-ascii", "big/40", 120, 24, "ascii", "on", "keys v\nwait\nkeys <Down>\n"},
    {"graph-tree-ascii", "big/40", 80, 24, "ascii", "on", "keys v\n"},
    {"graph-mono", "big/10", 120, 24, "color", "never", "keys v\nwait\nkeys <Left><Right><Right>\n"},
    {"graph-small", "big/40", 40, 10, NULL, NULL, "keys v\nwait\nkeys jj\n"},
    {"graph-walked", "big/40", 120, 24, NULL, NULL, "keys v\nwait\nkeys <Down><Right><Right>\n"},
    {"graph-middle", "big/40", 120, 24, NULL, NULL, "keys v\nwait\nkeys <Down><Enter>\n"},
    {"graph-back", "big/40", 120, 24, NULL, NULL,
     "keys v\nwait\nkeys <Down><Enter>\nwait\nkeys l<Enter>\nwait\nkeys <lt><lt>\n"},
    {"graph-restored", "big/40", 120, 24, NULL, NULL,
     "keys v\nwait\nkeys <Down><Right><Right>o\nwait\nkeys 1<Enter>\nwait\nkeys 2<Enter>\nwait\nkeys "
     "3<Enter>\n"
     "wait\nkeys 4<Enter>\nwait\nkeys 5<Enter>\nwait\nkeys 6<Enter>\nwait\nkeys 8<Enter>\nwait\nkeys "
     "9<Enter>\n"
     "wait\nkeys <lt><lt><lt><lt><lt><lt><lt><lt><lt>\n"},
    {"graph-page", "big/40", 80, 24, NULL, NULL, "keys v\nwait\nkeys jo\n"},
    {"graph-tree-walked", "big/40", 80, 24, NULL, NULL, "keys v\nwait\nkeys Gkkhl\n"},
    {"graph-searched", "big/40", 120, 24, NULL, NULL, "keys v\nwait\nkeys /number 41<Enter>\n"},
    {"graph-meta", "big-meta/1", 120, 24, NULL, NULL, "keys v\n"},
    {"graph-alone", "small/2", 120, 24, NULL, NULL, "keys v\n"},
    {"graph-unknown", "big/40", 80, 12, NULL, NULL, "keys v\nwait\nkeys 99<Enter>\n"},
    {"graph-export", "big/40", 80, 24, NULL, NULL, "keys v\nwait\nkeys e\n"},
    {"graph-exported", "big/40", 80, 24, NULL, NULL, "keys v\nwait\nkeys e<Enter>\n"},
    {"graph-command", "big/40", 80, 24, NULL, NULL, "keys :graph big/41<Enter>\n"},
    /* Last, since it changes the store. */
    {"label-set", "big/5", 80, 12, NULL, NULL,
     "keys La label with 'quotes'<Enter>\nwait\nkeys J\nwait\nkeys K\n"},
    {"graph-relabelled", "big/40", 80, 24, NULL, NULL,
     "keys v\nwait\nkeys j:label big/1 'said anew'<Enter>\nwait\n"},
};

static int setup(void **state)
{
    (void)state;
    blas_start();
    parallel_start(1);
    if (enter_directory() != 0)
        return -1;
    latent_store_make("store");
    family_store_make("store");
    meta_store_make("store");
    return 0;
}

static int teardown(void **state)
{
    parallel_stop();
    return leave_directory(state);
}

int main(void)
{
    return run_screens("latent screens", screens, ARRAY_LENGTH(screens), setup, teardown);
}
