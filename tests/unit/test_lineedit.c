/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The line that is fed byte by byte: editing, UTF-8, pasting, history, completion, ways to leave it. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/command/lineedit.h"

static void start(const char *initial)
{
    lineedit_open(":", initial, LINEEDIT_ANSWERS, NULL, NULL);
}

static enum lineedit_state feed(const char *bytes)
{
    return lineedit_feed(bytes, strlen(bytes));
}

static void assert_line(const char *expected)
{
    char *line = lineedit_take();
    assert_string_equal(line, expected);
    free(line);
}

static void typing_and_moving(void **state)
{
    (void)state;
    start("ab");
    assert_string_equal(lineedit_prompt(), ":");
    assert_string_equal(lineedit_text(), "ab");
    assert_int_equal(lineedit_cursor(), 3);
    assert_int_equal(feed("c\033[D\033[DX"), LINEEDIT_EDITING); /* left, left */
    assert_string_equal(lineedit_text(), "aXbc");
    assert_int_equal(lineedit_cursor(), 3);
    assert_int_equal(feed("\001Y\005\177"), LINEEDIT_EDITING); /* home, end, backspace */
    assert_string_equal(lineedit_text(), "YaXb");
    assert_int_equal(feed("\rleft over"), LINEEDIT_DONE);
    assert_false(lineedit_is_open());
    assert_line("YaXb");
}

static void characters_come_in_pieces(void **state)
{
    (void)state;
    start("");
    assert_int_equal(feed("th\xc3"), LINEEDIT_EDITING);
    assert_string_equal(lineedit_text(), "th");
    feed("\xa9me \xe4\xbd");
    feed("\x9c");
    assert_string_equal(lineedit_text(), "théme 作");
    assert_int_equal(lineedit_cursor(), 1 + 6 + 2);
    feed("\033[D\033[D");
    assert_int_equal(lineedit_cursor(), 1 + 5);
    feed("\005\177\xff\xe4x"); /* the wide one goes; invalid bytes are dropped */
    assert_string_equal(lineedit_text(), "théme x");
    assert_int_equal(feed("\n"), LINEEDIT_DONE);
    assert_line("théme x");
}

static void pasted_text_is_one_piece(void **state)
{
    (void)state;
    start("");
    assert_int_equal(feed("a\033[20"), LINEEDIT_EDITING);
    assert_true(lineedit_escape_pending());
    assert_int_equal(feed("0~one\ntwo\r\nq\003\t\033[2"), LINEEDIT_EDITING);
    assert_false(lineedit_escape_pending());
    assert_int_equal(feed("01~z"), LINEEDIT_EDITING);
    assert_string_equal(lineedit_text(), "aone two  q z");
    assert_int_equal(feed("\r"), LINEEDIT_DONE);
    assert_line("aone two  q z");
}

static void pasted_text_byte_by_byte(void **state)
{
    static const char typed[] = "a\033[200~one\033[20\033[201\033[201~z\rno more";
    enum lineedit_state now = LINEEDIT_EDITING;
    size_t n = 0;
    (void)state;
    start("");
    while (now == LINEEDIT_EDITING && typed[n])
        now = lineedit_feed(&typed[n++], 1);
    assert_int_equal(now, LINEEDIT_DONE);
    assert_string_equal(typed + n, "no more");
    assert_line("aone[20[201z");
}

static void ways_to_leave(void **state)
{
    static const char *const keys[] = {"\003", "\007"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        start("text");
        assert_int_equal(feed(keys[i]), LINEEDIT_CANCELLED);
        assert_false(lineedit_is_open());
    }
    start("");
    assert_int_equal(feed("\004"), LINEEDIT_CANCELLED);
    start("x");
    assert_int_equal(feed("\177"), LINEEDIT_EDITING);
    assert_int_equal(feed("\177"), LINEEDIT_CANCELLED);
    start("abc");
    assert_int_equal(feed("\033"), LINEEDIT_EDITING);
    assert_true(lineedit_escape_pending());
    assert_int_equal(lineedit_timeout(), LINEEDIT_CANCELLED);
    assert_false(lineedit_is_open());
    /* With something behind it, ESC begins a key. */
    start("one two");
    assert_int_equal(feed("\033b"), LINEEDIT_EDITING); /* a word back */
    assert_false(lineedit_escape_pending());
    assert_int_equal(lineedit_timeout(), LINEEDIT_EDITING);
    assert_int_equal(lineedit_cursor(), 1 + 4);
    lineedit_close();
}

static void control_characters_are_shown(void **state)
{
    (void)state;
    start("a\033[31m\tb");
    assert_null(strpbrk(lineedit_text(), "\033\t"));
    lineedit_close();
}

/* ---- Completion. ---- */

static char **fruits(void *arg, const char *line, size_t point, size_t *begin)
{
    static const char *const all[] = {"apple ", "apricot ", "banana ", NULL};
    char **found = xcalloc(4, sizeof *found);
    size_t n = 0;
    (void)arg;
    *begin = point;
    while (*begin > 0 && line[*begin - 1] != ' ')
        --*begin;
    for (size_t i = 0; all[i]; i++)
        if (strncmp(all[i], line + *begin, point - *begin) == 0)
            found[n++] = xstrdup(all[i]);
    return found;
}

static void words_are_completed(void **state)
{
    size_t n;
    (void)state;
    lineedit_open(":", "eat ", LINEEDIT_ANSWERS, fruits, NULL);
    feed("b\t");
    assert_string_equal(lineedit_text(), "eat banana ");
    assert_null(lineedit_candidates(&n));
    feed("a\t");
    assert_string_equal(lineedit_text(), "eat banana ap");
    char *const *shown = lineedit_candidates(&n);
    assert_int_equal(n, 2);
    assert_string_equal(shown[0], "apple");
    assert_string_equal(shown[1], "apricot");
    feed("p");
    assert_null(lineedit_candidates(&n));
    feed("\t\r");
    assert_line("eat banana apple ");
}

/* ---- History. ---- */

static void enter(const char *text, enum lineedit_history history)
{
    lineedit_open(":", "", history, NULL, NULL);
    feed(text);
    assert_int_equal(feed("\r"), LINEEDIT_DONE);
    assert_line(text);
}

static void history_is_kept_apart_and_saved(void **state)
{
    char directory[] = "/tmp/saescope-test-XXXXXX";
    struct strbuf text = STRBUF_INIT;
    struct stat st;
    (void)state;
    assert_non_null(mkdtemp(directory));
    char *path = path_join(directory, "history");
    lineedit_history_load(path);
    enter("list", LINEEDIT_COMMANDS);
    enter("jobs théme", LINEEDIT_COMMANDS);
    enter("jobs théme", LINEEDIT_COMMANDS); /* once is enough */
    enter("needle", LINEEDIT_SEARCHES);
    enter("secret", LINEEDIT_ANSWERS);
    lineedit_open(":", "", LINEEDIT_COMMANDS, NULL, NULL);
    feed("\020"); /* previous */
    assert_string_equal(lineedit_text(), "jobs théme");
    feed("\020");
    assert_string_equal(lineedit_text(), "list");
    lineedit_close();
    lineedit_open("/", "", LINEEDIT_SEARCHES, NULL, NULL);
    feed("\020\020");
    assert_string_equal(lineedit_text(), "needle");
    lineedit_close();
    /* A search for a character of several bytes. */
    lineedit_open(":", "", LINEEDIT_COMMANDS, NULL, NULL);
    feed("\022\xc3\xa9");
    assert_string_equal(lineedit_text(), "jobs théme");
    assert_non_null(strstr(lineedit_prompt(), "é"));
    assert_int_equal(feed("\007"), LINEEDIT_EDITING); /* leaves the search, not the line */
    assert_string_equal(lineedit_text(), "");
    lineedit_close();
    lineedit_history_save();
    assert_int_equal(file_read(path, 4096, &text, NULL), 0);
    assert_string_equal(strbuf_string(&text), "list\njobs théme\n");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    lineedit_history_load(path);
    lineedit_open(":", "", LINEEDIT_COMMANDS, NULL, NULL);
    feed("\020\020\r");
    assert_line("list");
    strbuf_free(&text);
    assert_int_equal(remove_tree(directory, NULL), 0);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(typing_and_moving),   cmocka_unit_test(characters_come_in_pieces),
        cmocka_unit_test(pasted_text_is_one_piece),
        cmocka_unit_test(pasted_text_byte_by_byte), cmocka_unit_test(ways_to_leave),
        cmocka_unit_test(control_characters_are_shown), cmocka_unit_test(words_are_completed),
        cmocka_unit_test(history_is_kept_apart_and_saved),
    };
    setenv("INPUTRC", "/dev/null", 1);
    setenv("TERM", "dumb", 1);
    locale_start();
    return cmocka_run_group_tests_name("lineedit", tests, NULL, NULL);
}
