/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What --version prints. */
#ifndef SAESCOPE_COMMAND_VERSION_H
#define SAESCOPE_COMMAND_VERSION_H

#include <stdio.h>

void version_print(FILE *f, const char *curses_version);

#endif
