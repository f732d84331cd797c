/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where the nodes of a drawn graph are, for any size of the screen and any number of them; the tree's order.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "saescope/base/memory.h"
#include "saescope/tui/graph_view.h"

/* Items lie in rows of their own, below the title and above the last row, and the wanted one is there. */
static void check_column(const struct graph_column *c, size_t n, size_t seen, int height)
{
    int rows = height - 4;
    assert_int_equal(c->n, n < (size_t)rows ? n : (size_t)rows);
    if (n == 0)
        return;
    assert_true(c->step >= 1 && c->step <= 3);
    assert_true(c->y >= 2 && c->y + ((int)c->n - 1) * c->step < height - 2);
    assert_true(c->first + c->n <= n);
    assert_true(seen >= c->first && seen < c->first + c->n);
    assert_true(c->width >= 16);
}

static void check(int height, int width, int middle, struct graph_side left, struct graph_side right)
{
    struct graph_layout l;
    graph_layout(height, width, middle, &left, &right, &l);
    check_column(&l.left, left.n, left.seen, height);
    check_column(&l.right, right.n, right.seen, height);
    /* Room that one side does not need is not kept from the other. */
    assert_true(l.left.width >= left.need ||
                l.right.width <= (right.need > l.left.width ? right.need : l.left.width + 1));
    assert_true(l.right.width >= right.need ||
                l.left.width <= (left.need > l.right.width ? left.need : l.right.width));
    /* From left to right: text, blank, link, trunk, line, middle, line, trunk, link, blank, text. */
    assert_true(l.left.x >= 0);
    assert_int_equal(l.left.x + l.left.width + 1 + GRAPH_LINK, l.left_trunk);
    assert_int_equal(l.left_trunk + 2, l.middle_x);
    assert_int_equal(l.middle_x + l.middle_width + 1, l.right_trunk);
    assert_int_equal(l.right_trunk + 1 + GRAPH_LINK + 1, l.right.x);
    assert_int_equal(l.right.x + l.right.width, width);
    assert_true(l.middle_width >= 5 && l.middle_width <= width / 4);
    assert_true(l.middle_y >= 2 && l.middle_y < height - 2);
}

static void test_any_size(void **state)
{
    static const size_t numbers[] = {0, 1, 2, 5, 10, 30, 200};
    (void)state;
    for (int height = 8; height <= 70; height += 3)
        for (int width = GRAPH_WIDE; width <= 260; width += 7)
            for (size_t i = 0; i < ARRAY_LENGTH(numbers); i++)
                for (size_t j = 0; j < ARRAY_LENGTH(numbers); j++) {
                    size_t left = numbers[i], right = numbers[j];
                    check(height, width, width % 90, (struct graph_side){left, left / 2, 20},
                          (struct graph_side){right, right ? right - 1 : 0, 90});
                    check(height, width, 5, (struct graph_side){left, left ? left - 1 : 0, 70},
                          (struct graph_side){right, 0, 16});
                    check(height, width, 5, (struct graph_side){left, 0, 170},
                          (struct graph_side){right, 0, 160});
                }
}

static void test_room_is_used(void **state)
{
    struct graph_layout l;
    (void)state;
    graph_layout(40, 120, 20, &(struct graph_side){7, 0, 10}, &(struct graph_side){5, 0, 10}, &l);
    assert_int_equal(l.left.step, 3);
    assert_int_equal(l.right.step, 3);
    graph_layout(22, 120, 20, &(struct graph_side){7, 0, 60}, &(struct graph_side){12, 0, 18}, &l);
    assert_int_equal(l.left.width, 60); /* of 82 */
    assert_int_equal(l.right.width, 22);
    assert_int_equal(l.left.step, 2);
    assert_int_equal(l.right.step, 1);
    assert_int_equal(l.left.y, 4); /* 13 of 18 rows, in the middle of them */
    assert_int_equal(l.middle_y, 10);
}

/* Two parts, of which the first has two behind it and the second one of those; a relative. */
static void test_tree_order(void **state)
{
    struct graph_edge edges[] = {{0, 1, 0, 0.5F}, {0, 2, 0, 0.4F}, {1, 3, 0, 0.9F},
                                 {1, 4, 0, 0.8F}, {2, 4, 0, 0.7F}, {0, 5, 1, 0.3F}};
    struct graph_state s = {
        .graph = {.edges = edges, .n_nodes = 6, .n_edges = 6, .n_parts = 2, .n_relatives = 1}};
    static const size_t wanted[] = {0, 1, 3, 4, 2, 5, 6};
    size_t order[7];
    (void)state;
    graph_order(&s.graph, order);
    assert_memory_equal(order, wanted, sizeof order);
    assert_int_equal(graph_left_count(&s), 3);
    assert_int_equal(graph_left(&s, 0), 1);
    assert_int_equal(graph_left(&s, 1), 2);
    assert_int_equal(graph_left(&s, 2), 6);
    assert_int_equal(graph_right_count(&s), 2);
    assert_int_equal(graph_right(&s, 1), 4);
    s.part = 1;
    assert_int_equal(graph_right_count(&s), 1);
    assert_int_equal(graph_right(&s, 0), 5);
    s.selected = 5;
    assert_int_equal(graph_selected_node(&s), 4);
    s.selected = 0;
    assert_int_equal(graph_selected_node(&s), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_size),
        cmocka_unit_test(test_room_is_used),
        cmocka_unit_test(test_tree_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
