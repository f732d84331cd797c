/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Error messages: formatting, cutting at a character's end, prefixes. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "saescope/base/error.h"

/* Formats into buf; what does not fit is cut before the UTF-8 character it would have split. */
__attribute__((format(printf, 3, 0))) static void format_cut(char *buf, size_t size, const char *format,
                                                             va_list args)
{
    int wanted = vsnprintf(buf, size, format, args);
    if (wanted < 0) {
        buf[0] = '\0';
        return;
    }
    if ((size_t)wanted < size)
        return;
    size_t end = size - 1, start = end;
    while (start > 0 && end - start < 3 && ((unsigned char)buf[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)buf[start - 1];
    size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (length > 1 && end - (start - 1) < length)
        buf[start - 1] = '\0';
}

__attribute__((format(printf, 3, 4))) static void format_into(char *buf, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    format_cut(buf, size, format, args);
    va_end(args);
}

int error_set(struct error *err, int code, const char *format, ...)
{
    if (!err)
        return code;
    /* Built aside, since an argument may be the old message. */
    char message[ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    format_cut(message, sizeof message, format, args);
    va_end(args);
    err->code = code;
    memcpy(err->message, message, sizeof message);
    return code;
}

int error_system(struct error *err, int code, int errno_value, const char *format, ...)
{
    if (!err)
        return code;
    char message[ERROR_MESSAGE_MAX], reason[256];
    va_list args;
    va_start(args, format);
    format_cut(message, sizeof message, format, args);
    va_end(args);
    const char *text = strerror_r(errno_value, reason, sizeof reason);
    err->code = code;
    format_into(err->message, sizeof err->message, "%s: %s", message, text);
    return code;
}

int error_prefix(struct error *err, const char *format, ...)
{
    if (!err)
        return STATUS_FAILED;
    char prefix[ERROR_MESSAGE_MAX], rest[ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    format_cut(prefix, sizeof prefix, format, args);
    va_end(args);
    memcpy(rest, err->message, sizeof rest);
    format_into(err->message, sizeof err->message, "%s: %s", prefix, rest);
    return err->code;
}

void error_clear(struct error *err)
{
    if (!err)
        return;
    err->code = STATUS_OK;
    err->message[0] = '\0';
}
