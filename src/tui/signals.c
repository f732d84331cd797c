/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Signals reach the main loop through a pipe; their handlers are put back when the screen is gone. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "saescope/base/memory.h"
#include "saescope/tui/screen.h"

static const int watched[] = {SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGTSTP, SIGCONT};
static struct sigaction before[ARRAY_LENGTH(watched)];
static int ends[2] = {-1, -1};

static void note(int number)
{
    int saved = errno;
    unsigned char byte = (unsigned char)number;
    /* A full pipe has enough to wake the loop. */
    ssize_t written = write(ends[1], &byte, 1);
    (void)written;
    errno = saved;
}

int signals_start(void)
{
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_LENGTH(watched); i++)
        sigaction(watched[i], &action, &before[i]);
    return ends[0];
}

int signals_next(void)
{
    unsigned char byte;
    return ends[0] >= 0 && read(ends[0], &byte, 1) == 1 ? byte : 0;
}

void signals_stop(void)
{
    if (ends[0] < 0)
        return;
    for (size_t i = 0; i < ARRAY_LENGTH(watched); i++)
        sigaction(watched[i], &before[i], NULL);
    close(ends[0]);
    close(ends[1]);
    ends[0] = ends[1] = -1;
}
