/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pictures: what is written for each shape, and that any text leaves the document well-formed. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/base/svg.h"
#include "tests/support/support.h"

/* The lines of a document between its head and its end. */
static char *body(struct strbuf *document)
{
    check_xml(strbuf_string(document), NULL, NULL);
    const char *start = strstr(document->data, "</title>\n"), *end = strstr(document->data, "</svg>\n");
    assert_non_null(start);
    assert_non_null(end);
    start += strlen("</title>\n");
    char *lines = xstrndup(start, (size_t)(end - start));
    strbuf_free(document);
    return lines;
}

static void expect_body(struct strbuf *document, const char *wanted)
{
    svg_end(document);
    char *is = body(document);
    assert_string_equal(is, wanted);
    free(is);
}

static void test_head(void **state)
{
    struct strbuf b = STRBUF_INIT;
    (void)state;
    svg_begin(&b, 640, 480.5, "a <title> & more\x1b");
    svg_end(&b);
    check_xml(strbuf_string(&b), NULL, NULL);
    assert_non_null(strstr(b.data, " width=\"640\" height=\"480.5\" viewBox=\"0 0 640 480.5\""));
    assert_non_null(strstr(b.data, "<title>a &lt;title&gt; &amp; more\\x1B</title>"));
    strbuf_free(&b);
}

static void test_shapes(void **state)
{
    static const struct svg_style line = {.stroke = SVG_GREY},
                                  dotted = {.stroke = SVG_BLUE, .width = 2, .dotted = 1},
                                  filled = {.fill = SVG_RED, .opacity = 0.5};
    struct strbuf b = STRBUF_INIT;
    (void)state;
    svg_begin(&b, 1, 1, "");
    svg_line(&b, 0, 1.5, -2.25, 1.0 / 3, &line);
    svg_line(&b, -0.001, 1e300, -1e300, 1, &dotted);
    svg_circle(&b, 1, 2, -3, &filled);
    svg_rect(&b, 1, 2, 3, 4, &(struct svg_style){.fill = SVG_WHITE, .corner = 2.5});
    svg_rect(&b, 1, 2, -3, 4, &filled);
    expect_body(&b, "<line x1=\"0\" y1=\"1.5\" x2=\"-2.25\" y2=\"0.33\" fill=\"none\" stroke=\"#757575\" "
                    "stroke-linecap=\"round\" stroke-width=\"1\"/>\n"
                    "<line x1=\"0\" y1=\"1000000\" x2=\"-1000000\" y2=\"1\" fill=\"none\" stroke=\"#1f75d8\" "
                    "stroke-linecap=\"round\" stroke-width=\"2\" stroke-dasharray=\"0 6\"/>\n"
                    "<circle cx=\"1\" cy=\"2\" r=\"0\" fill=\"#d53b50\" opacity=\"0.5\"/>\n"
                    "<rect x=\"1\" y=\"2\" width=\"3\" height=\"4\" rx=\"2.5\" fill=\"#ffffff\"/>\n"
                    "<rect x=\"1\" y=\"2\" width=\"0\" height=\"4\" fill=\"#d53b50\" opacity=\"0.5\"/>\n");
}

static void test_what_is_not_finite_is_left_out(void **state)
{
    static const struct svg_style style = {.stroke = SVG_GREY};
    static const struct svg_text_style text = {.color = SVG_GREY, .size = 10};
    static const double gaps[] = {0, 0, 1, 1, NAN, 2, 3, 3, 4, INFINITY};
    struct strbuf b = STRBUF_INIT;
    (void)state;
    svg_begin(&b, 1, 1, "");
    svg_line(&b, 0, NAN, 0, 0, &style);
    svg_circle(&b, 0, 0, INFINITY, &style);
    svg_rect(&b, 0, 0, NAN, 0, &style);
    svg_text(&b, NAN, 0, &text, "x", 1);
    svg_polyline(&b, gaps, 0, &style);
    svg_polyline(&b, gaps, 5, &style);
    expect_body(&b, "<polyline points=\"0,0 1,1\" stroke-linejoin=\"round\" fill=\"none\" stroke=\"#757575\" "
                    "stroke-linecap=\"round\" stroke-width=\"1\"/>\n"
                    "<polyline points=\"3,3\" stroke-linejoin=\"round\" fill=\"none\" stroke=\"#757575\" "
                    "stroke-linecap=\"round\" stroke-width=\"1\"/>\n");
}

static void compare_text(const struct xml_element *e, void *arg)
{
    if (strcmp(e->name, "text") == 0)
        assert_string_equal(e->text, arg);
}

/* What a reader of the document gets is the displayable form of the bytes. */
static void expect_text(const void *bytes, size_t n)
{
    static const struct svg_text_style style = {.color = SVG_GREY, .size = 12, .bold = 1};
    struct strbuf b = STRBUF_INIT, shown = STRBUF_INIT;
    displayable(&shown, bytes, n);
    svg_begin(&b, 1, 1, "");
    svg_text(&b, 0, 0, &style, bytes, n);
    svg_end(&b);
    check_xml(strbuf_string(&b), compare_text, shown.data);
    assert_float_equal(svg_text_width(&style, bytes, n),
                       12 * 0.62 * (double)display_width(shown.data, shown.length), 1e-9);
    strbuf_free(&shown);
    strbuf_free(&b);
}

static void test_any_text(void **state)
{
    static const char *const texts[] = {"",
                                        "</text><script>alert(1)</script>",
                                        "a & b &amp; \"c\" 'd' ]]>",
                                        "\x1b[31mred\x1b[0m",
                                        "\xff\xfe\xc3",
                                        "\xe4\xbd\x9c\xe8\x80\x85",
                                        "\xe2\x80\xae right to left",
                                        "  blanks  "};
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++)
        expect_text(texts[i], strlen(texts[i]));
    for (uint64_t seed = 0; seed < 200; seed++) {
        unsigned char bytes[64];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (unsigned char)hash_mix(seed, i, 0, 0);
        expect_text(bytes, sizeof bytes);
    }
}

static void test_text_is_cut(void **state)
{
    static const struct svg_text_style style = {
        .color = SVG_TEAL, .anchor = SVG_END, .size = 10, .columns = 5};
    struct strbuf b = STRBUF_INIT;
    (void)state;
    svg_begin(&b, 1, 1, "");
    svg_text(&b, 3, 4, &style, "12345", 5);
    svg_text(&b, 3, 4, &style, "123456", 6);
    svg_text(&b, 3, 4, &style, "\xe4\xbd\x9c\xe8\x80\x85\xe4\xbd\x9c", 9); /* of two columns each */
    expect_body(&b, "<text x=\"3\" y=\"4\" font-size=\"10\" text-anchor=\"end\" fill=\"#0f8383\" "
                    "xml:space=\"preserve\">12345</text>\n"
                    "<text x=\"3\" y=\"4\" font-size=\"10\" text-anchor=\"end\" fill=\"#0f8383\" "
                    "xml:space=\"preserve\">1234\xe2\x80\xa6</text>\n"
                    "<text x=\"3\" y=\"4\" font-size=\"10\" text-anchor=\"end\" fill=\"#0f8383\" "
                    "xml:space=\"preserve\">\xe4\xbd\x9c\xe8\x80\x85\xe2\x80\xa6</text>\n");
    assert_float_equal(svg_text_width(&style, "123456", 6), 5 * 6.2, 1e-9);
}

/* WCAG 2.1, relative luminance and contrast ratio. */
static double luminance(const char *color)
{
    static const double weights[] = {0.2126, 0.7152, 0.0722};
    double sum = 0;
    for (size_t i = 0; i < 3; i++) {
        char digits[3] = {color[1 + 2 * i], color[2 + 2 * i], '\0'};
        double c = (double)strtol(digits, NULL, 16) / 255;
        sum += weights[i] * (c <= 0.03928 ? c / 12.92 : pow((c + 0.055) / 1.055, 2.4));
    }
    return sum;
}

static void test_colors_show_on_white_and_black(void **state)
{
    (void)state;
    for (enum svg_color i = SVG_NONE + 1; i < SVG_WHITE; i++) {
        double l = luminance(svg_color_values[i]);
        assert_int_equal(strlen(svg_color_values[i]), 7);
        assert_true((luminance(svg_color_values[SVG_WHITE]) + 0.05) / (l + 0.05) >= 4.5);
        assert_true((l + 0.05) / 0.05 >= 4.5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_what_is_not_finite_is_left_out),
        cmocka_unit_test(test_any_text),
        cmocka_unit_test(test_text_is_cut),
        cmocka_unit_test(test_colors_show_on_white_and_black),
    };
    locale_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
