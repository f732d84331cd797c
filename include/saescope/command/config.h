/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Configuration files: the system's, then the user's; set, bind and source in the command language. */
#ifndef SAESCOPE_COMMAND_CONFIG_H
#define SAESCOPE_COMMAND_CONFIG_H

#include "saescope/command/command.h"

/*
 * Runs $sysconfdir/saescope/config, then `named` (--config; it must be there), else $SAESCOPE_CONFIG (the same), else
 * $XDG_CONFIG_HOME/saescope/config. Problems go to the front end's notify; the first one's status is returned.
 */
int config_load(struct context *ctx, const char *named);

#endif
