/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Errors. Every function that can fail returns an int: 0 (STATUS_OK) or one of the codes below, which are also the
 * program's exit statuses, and fills the caller's `struct error`. A message says what was wrong, where (file, tensor,
 * line) and what to do; it starts in lower case and has no final full stop. Text from data inside a message goes
 * through displayable() first.
 */
#ifndef SAESCOPE_BASE_ERROR_H
#define SAESCOPE_BASE_ERROR_H

enum status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,  /* it ran and failed: cancelled, diverged, damage found, no memory */
    STATUS_USAGE = 2,   /* unknown command or option, wrong arguments, no usable terminal */
    STATUS_REFUSED = 3, /* input refused: file, name, address, hook or format missing, damaged or not fitting */
    STATUS_STORE = 4    /* the store: none there, newer, damaged, no space, locked */
};

#define ERROR_MESSAGE_MAX 1024

struct error {
    int code; /* enum status */
    char message[ERROR_MESSAGE_MAX];
};

/* Sets code and message (cut at a character's end if too long) and returns `code`. `err` may be NULL. */
int error_set(struct error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As error_set, with ": " and strerror(errno_value) appended. */
int error_system(struct error *err, int code, int errno_value, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "PREFIX: " before the message that is there; returns err->code. */
int error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

void error_clear(struct error *err);

#endif
