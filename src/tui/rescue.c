/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Crashes, abort(), exit() from a library and want of memory give the terminal back with functions that are
 * safe in signal handlers. Standard output and error point to a file in memory while the screen is up.
 */
#include "config.h"

#include <curses.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/tui/rescue.h"
#include "saescope/tui/screen.h"

#define KEPT_MAX  ((off_t)1 << 20) /* bytes of others' output */
#define SHOWN_MAX 16384

static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGQUIT};
static struct sigaction before[ARRAY_LENGTH(fatal)];
static struct termios terminal;
static char leave[256]; /* what brings the terminal's own screen back */
static size_t n_leave;
static volatile sig_atomic_t active;
static int kept = -1, saved_output = -1, saved_error = -1;
static off_t seen;
static void *stack_memory;

static void keep_capability(const char *name)
{
    const char *s = tigetstr(name);
    if (!s || s == (const char *)-1 || n_leave + strlen(s) >= sizeof leave)
        return;
    memcpy(leave + n_leave, s, strlen(s));
    n_leave += strlen(s);
}

static void restore(void)
{
    if (!active)
        return;
    active = 0;
    dup2(saved_output, STDOUT_FILENO);
    dup2(saved_error, STDERR_FILENO);
    ssize_t written = write(STDOUT_FILENO, leave, n_leave);
    (void)written;
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
}

static void crashed(int number, siginfo_t *info, void *context)
{
    (void)context;
    restore();
    for (size_t i = 0; i < ARRAY_LENGTH(fatal); i++)
        if (fatal[i] == number)
            sigaction(number, &before[i], NULL);
    /* A fault happens again on return, now with the handler that was there before; a sent signal does not. */
    if (info->si_code <= 0)
        raise(number);
}

static void redirect(void)
{
    kept = kept >= 0 ? kept : memfd_create("saescope-stray", MFD_CLOEXEC);
    saved_output = dup(STDOUT_FILENO);
    saved_error = dup(STDERR_FILENO);
    if (kept < 0)
        return;
    fflush(stdout);
    fflush(stderr);
    dup2(kept, STDOUT_FILENO);
    if (isatty(STDERR_FILENO))
        dup2(kept, STDERR_FILENO);
}

void rescue_save_terminal(void)
{
    tcgetattr(STDIN_FILENO, &terminal);
}

void rescue_start(void)
{
    static int registered;
    struct sigaction action = {.sa_sigaction = crashed, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    n_leave = 0;
    keep_capability("sgr0");
    keep_capability("cnorm");
    keep_capability("rmcup");
    keep_capability("rmkx");
    static const char pastes_off[] = "\033[?2004l\r\n";
    memcpy(leave + n_leave, pastes_off,
           n_leave + sizeof pastes_off <= sizeof leave ? sizeof pastes_off - 1 : 0);
    n_leave += n_leave + sizeof pastes_off <= sizeof leave ? sizeof pastes_off - 1 : 0;
    if (!stack_memory) {
        stack_t stack = {.ss_size = 65536};
        stack_memory = stack.ss_sp = xmalloc(stack.ss_size);
        sigaltstack(&stack, NULL);
    }
    redirect();
    active = 1;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_LENGTH(fatal); i++)
        sigaction(fatal[i], &action, &before[i]);
    memory_set_die_hook(restore);
    if (!registered)
        atexit(restore);
    registered = 1;
}

/* Text of others from `from` on, made displayable line by line. */
static void stray_since(off_t from, struct strbuf *out)
{
    char bytes[4096];
    ssize_t n;
    while ((n = pread(kept, bytes, sizeof bytes, from)) > 0) {
        const char *p = bytes, *end = bytes + n;
        while (p < end) {
            const char *line = memchr(p, '\n', (size_t)(end - p));
            displayable(out, p, (size_t)((line ? line : end) - p));
            if (line)
                strbuf_addc(out, '\n');
            p = line ? line + 1 : end;
        }
        from += n;
    }
}

void screen_stray_text(struct strbuf *out)
{
    off_t size = kept >= 0 ? lseek(kept, 0, SEEK_END) : 0;
    if (size <= seen)
        return;
    stray_since(seen, out);
    seen = size;
    if (size > KEPT_MAX && ftruncate(kept, 0) == 0)
        seen = lseek(kept, 0, SEEK_SET);
}

void rescue_stop(void)
{
    if (!active)
        return;
    fflush(stdout);
    fflush(stderr);
    active = 0;
    dup2(saved_output, STDOUT_FILENO);
    dup2(saved_error, STDERR_FILENO);
    close(saved_output);
    close(saved_error);
    for (size_t i = 0; i < ARRAY_LENGTH(fatal); i++)
        sigaction(fatal[i], &before[i], NULL);
    memory_set_die_hook(NULL);
    off_t size = kept >= 0 ? lseek(kept, 0, SEEK_END) : 0;
    if (size > 0) {
        struct strbuf text = STRBUF_INIT;
        stray_since(size > SHOWN_MAX ? size - SHOWN_MAX : 0, &text);
        fputs(strbuf_string(&text), stderr);
        strbuf_free(&text);
        if (ftruncate(kept, 0) != 0)
            close(kept), kept = -1;
        lseek(kept, 0, SEEK_SET);
        seen = 0;
    }
}
