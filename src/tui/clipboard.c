/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The clipboard of the terminal, which may be on another machine than the program: OSC 52 asks the terminal
 * to set it (xterm's ctlseqs, "Operating System Commands"). It gives no answer, so that nobody knows whether
 * it did.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "saescope/base/display.h"
#include "saescope/tui/app.h"

void clipboard_sequence(struct strbuf *out, const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)text;
    strbuf_adds(out, "\033]52;c;");
    for (size_t n = strlen(text); n > 0; p += n > 3 ? 3 : n, n -= n > 3 ? 3 : n) {
        unsigned v = (unsigned)p[0] << 16 | (n > 1 ? (unsigned)p[1] << 8 : 0) | (n > 2 ? (unsigned)p[2] : 0);
        strbuf_addc(out, digits[v >> 18]);
        strbuf_addc(out, digits[v >> 12 & 63]);
        strbuf_addc(out, n > 1 ? digits[v >> 6 & 63] : '=');
        strbuf_addc(out, n > 2 ? digits[v & 63] : '=');
    }
    strbuf_adds(out, "\033\\");
}

void app_copy(struct app *a, const char *text)
{
    char *shown = displayable_string(text);
    if (settings_switch(app_settings(a), "clipboard")) {
        screen_clipboard(text);
        app_message(a, 0, "to clipboard: %s", shown);
    } else {
        app_message(a, 0, "%s (`set clipboard on` copies it)", shown);
    }
    free(shown);
}
