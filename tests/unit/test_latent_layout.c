/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The layout of a latent's page, for every size of the screen. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "saescope/tui/latent_page.h"

#define PLACES 7

static struct latent_layout layout(int height, int width, int is_meta, int has_meta,
                                   struct canvas places[PLACES])
{
    struct canvas all = {1, 2, height, width};
    struct latent_layout l;
    latent_layout(&all, is_meta, has_meta, &l);
    const struct canvas list[PLACES] = {l.header, l.members,   l.components, l.histogram,
                                        l.logits, l.relatives, l.contexts};
    memcpy(places, list, sizeof list);
    return l;
}

/* Panes lie within the screen and cover every cell at most once; how many are covered. */
static int covered(int height, int width, const struct canvas places[PLACES])
{
    static unsigned char cells[130 * 260];
    int n = 0;
    memset(cells, 0, sizeof cells);
    for (int i = 0; i < PLACES; i++) {
        const struct canvas *p = &places[i];
        if (p->height == 0)
            continue;
        assert_true(p->y >= 1 && p->x >= 2 && p->width > 0);
        assert_true(p->y + p->height <= 1 + height && p->x + p->width <= 2 + width);
        for (int y = p->y - 1; y < p->y - 1 + p->height; y++)
            for (int x = p->x - 2; x < p->x - 2 + p->width; x++) {
                assert_int_equal(cells[y * 260 + x], 0);
                cells[y * 260 + x] = 1;
                n++;
            }
    }
    return n;
}

static void test_any_size(void **state)
{
    (void)state;
    struct canvas places[PLACES];
    for (int height = 0; height <= 130; height++)
        for (int width = 1; width <= 260; width += height % 3 + 1)
            for (int kind = 0; kind < 4; kind++) {
                layout(height, width, kind & 1, kind >> 1, places);
                int n = covered(height, width, places);
                if (height >= 20)
                    assert_int_equal(n, height * width); /* nothing is left empty */
            }
}

/* 24 lines less the status and bottom lines: everything that matters has room. */
static void test_small_terminal(void **state)
{
    (void)state;
    struct canvas places[PLACES];
    struct latent_layout l = layout(22, 80, 0, 1, places);
    assert_int_equal(l.header.height, 2);
    assert_true(l.components.height >= 6 && l.components.width >= 44);
    assert_true(l.histogram.height >= 5 && l.histogram.width >= 24);
    assert_int_equal(l.components.y, l.histogram.y);
    assert_int_equal(l.logits.height, 2);
    assert_int_equal(l.relatives.height, 1);
    assert_false(l.boxed_relatives);
    assert_true(l.contexts.height >= 10 && l.contexts.width == 80);
    l = layout(22, 80, 1, 0, places);
    assert_int_equal(l.contexts.height, 0); /* a meta-latent has members, no contexts */
    assert_true(l.members.height >= 10 && l.members.width == 80);
    assert_int_equal(l.components.height, 0); /* nor meta-latents, as long as its SAE has no meta-SAE */
    assert_true(l.relatives.height >= 6 && l.boxed_relatives);
    l = layout(22, 80, 1, 1, places);
    assert_int_equal(l.contexts.height, 0);
    assert_true(l.members.height >= 10 && l.members.width == 40);
    assert_true(l.components.height >= 10 && l.components.width == 40);
    assert_int_equal(l.components.y, l.members.y);
}

/* As small as a terminal may be: a meta-latent's members have rows, and each pane that Tab goes to is there.
 */
static void test_smallest_terminal(void **state)
{
    (void)state;
    struct canvas places[PLACES];
    for (int has_meta = 0; has_meta < 2; has_meta++) {
        struct latent_layout l = layout(8, 40, 1, has_meta, places);
        assert_int_equal(covered(8, 40, places), 8 * 40);
        assert_int_equal(l.histogram.height, 0);
        assert_true(l.relatives.height == 1 && !l.boxed_relatives);
        assert_int_equal(l.members.height, 5);
        assert_int_equal(l.components.height, has_meta ? 5 : 0);
    }
}

static void test_wide_terminal(void **state)
{
    (void)state;
    struct canvas places[PLACES];
    struct latent_layout l = layout(38, LATENT_WIDE, 0, 1, places);
    assert_int_equal(l.header.height, 1);
    assert_true(l.boxed_logits && l.boxed_relatives);
    assert_int_equal(l.histogram.y, l.components.y);
    assert_int_equal(l.logits.y, l.components.y);
    assert_int_equal(l.relatives.y, l.logits.y + l.logits.height);
    assert_int_equal(l.relatives.y + l.relatives.height, l.components.y + l.components.height);
    assert_int_equal(l.contexts.width, LATENT_WIDE);
    assert_true(l.contexts.height > l.components.height);
    l = layout(38, LATENT_WIDE - 1, 0, 1, places);
    assert_int_equal(l.header.height, 2);
    assert_false(l.boxed_logits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_size),
        cmocka_unit_test(test_small_terminal),
        cmocka_unit_test(test_smallest_terminal),
        cmocka_unit_test(test_wide_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
