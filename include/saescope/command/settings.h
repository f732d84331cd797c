/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Settings: one table (name, type, default, what must redraw). `set`, the configuration file, `$name` in commands and the
 * manual read it.
 */
#ifndef SAESCOPE_COMMAND_SETTINGS_H
#define SAESCOPE_COMMAND_SETTINGS_H

#include <stddef.h>
#include "saescope/base/error.h"

enum setting_type { SETTING_TEXT, SETTING_COUNT, SETTING_NUMBER, SETTING_SWITCH, SETTING_CHOICE };

struct setting_spec {
    const char *name;
    enum setting_type type;
    const char *fallback; /* default, as text */
    const char *choices;  /* "auto|always|never" */
    const char *topic;    /* what must be drawn again: "latents", "latent", "screen", "jobs", or NULL */
    const char *help;
};
extern const struct setting_spec settings_table[]; /* ends with name NULL */

struct settings;
struct settings *settings_new(void);
void settings_free(struct settings *s);
/* STATUS_USAGE with the nearest name or the valid choices. */
int settings_set(struct settings *s, const char *name, const char *value, struct error *err);
const char *settings_text(const struct settings *s, const char *name); /* NULL: no such setting */
long long settings_count(const struct settings *s, const char *name);
double settings_number(const struct settings *s, const char *name);
int settings_switch(const struct settings *s, const char *name);
/* Counts up with every change of a setting of that topic. */
unsigned settings_changes(const struct settings *s, const char *topic);

#endif
