/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A strict reader of small XML documents. */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "tests/support/support.h"

#define DEPTH_MAX 16

struct reader {
    const char *start, *at;
    size_t depth;
    struct strbuf texts[DEPTH_MAX];
    struct xml_element open[DEPTH_MAX];
    int roots;
    void (*each)(const struct xml_element *e, void *arg);
    void *arg;
};

#define FAULT(r, what) fail_msg("XML at byte %td: %s: %.40s", (r)->at - (r)->start, (what), (r)->at)

static void skip_blanks(struct reader *r)
{
    while (*r->at && strchr(" \t\r\n", *r->at))
        r->at++;
}

static void expect(struct reader *r, const char *text)
{
    if (strncmp(r->at, text, strlen(text)) != 0)
        FAULT(r, text);
    r->at += strlen(text);
}

static char *read_name(struct reader *r)
{
    const char *start = r->at;
    if (!isalpha((unsigned char)*start) && *start != '_')
        FAULT(r, "a name is expected");
    while (isalnum((unsigned char)*r->at) || (*r->at && strchr("_:.-", *r->at)))
        r->at++;
    return xstrndup(start, (size_t)(r->at - start));
}

/* One character or entity of text. */
static void read_character(struct reader *r, struct strbuf *to)
{
    static const char *const entities[][2] = {
        {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"}};
    unsigned char c = (unsigned char)*r->at;
    if (c != '&') {
        if (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
            FAULT(r, "a character that XML does not allow");
        strbuf_addc(to, *r->at++);
        return;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(entities); i++)
        if (strncmp(r->at, entities[i][0], strlen(entities[i][0])) == 0) {
            strbuf_adds(to, entities[i][1]);
            r->at += strlen(entities[i][0]);
            return;
        }
    FAULT(r, "no known entity");
}

static void read_attribute(struct reader *r, struct xml_element *e)
{
    struct strbuf value = STRBUF_INIT;
    char *name = read_name(r);
    if (xml_attribute(e, name))
        FAULT(r, "the attribute is there twice");
    if (e->n_attributes == XML_ATTRIBUTES)
        FAULT(r, "too many attributes for this reader");
    expect(r, "=\"");
    while (*r->at && *r->at != '"') {
        if (*r->at == '<')
            FAULT(r, "< in an attribute");
        read_character(r, &value);
    }
    expect(r, "\"");
    e->attributes[e->n_attributes][0] = name;
    e->attributes[e->n_attributes++][1] = strbuf_detach(&value);
}

static void end_element(struct reader *r)
{
    struct xml_element *e = &r->open[--r->depth];
    e->text = strbuf_string(&r->texts[r->depth]);
    e->depth = r->depth;
    if (r->each)
        r->each(e, r->arg);
    for (size_t i = 0; i < e->n_attributes; i++) {
        free((char *)(uintptr_t)e->attributes[i][0]);
        free((char *)(uintptr_t)e->attributes[i][1]);
    }
    free((char *)(uintptr_t)e->name);
    strbuf_free(&r->texts[r->depth]);
}

static void read_start(struct reader *r)
{
    expect(r, "<");
    if (r->depth == 0 && r->roots++)
        FAULT(r, "a second root");
    if (r->depth == DEPTH_MAX)
        FAULT(r, "too deep for this reader");
    struct xml_element *e = &r->open[r->depth++];
    memset(e, 0, sizeof *e);
    e->name = read_name(r);
    for (const char *before = r->at; skip_blanks(r), r->at > before && *r->at != '>' && *r->at != '/';
         before = r->at)
        read_attribute(r, e);
    if (*r->at == '/') {
        expect(r, "/>");
        end_element(r);
    } else {
        expect(r, ">");
    }
}

static void read_end(struct reader *r)
{
    expect(r, "</");
    char *name = read_name(r);
    if (r->depth == 0 || strcmp(name, r->open[r->depth - 1].name) != 0)
        FAULT(r, "the end of another element");
    free(name);
    expect(r, ">");
    end_element(r);
}

void check_xml(const char *text, void (*each)(const struct xml_element *e, void *arg), void *arg)
{
    struct reader r = {.start = text, .at = text, .each = each, .arg = arg};
    assert_true(utf8_valid(text, strlen(text)));
    expect(&r, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    while (*r.at) {
        if (strncmp(r.at, "</", 2) == 0)
            read_end(&r);
        else if (*r.at == '<')
            read_start(&r);
        else if (r.depth > 0)
            read_character(&r, &r.texts[r.depth - 1]);
        else if (strchr(" \t\r\n", *r.at))
            r.at++;
        else
            FAULT(&r, "text outside the root");
    }
    if (r.depth > 0 || r.roots != 1)
        FAULT(&r, "the document ends early");
}

const char *xml_attribute(const struct xml_element *e, const char *name)
{
    for (size_t i = 0; i < e->n_attributes; i++)
        if (strcmp(e->attributes[i][0], name) == 0)
            return e->attributes[i][1];
    return NULL;
}
