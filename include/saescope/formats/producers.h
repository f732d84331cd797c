/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The formats, for src/formats/formats.c: others find them in its table. */
#ifndef SAESCOPE_FORMATS_PRODUCERS_H
#define SAESCOPE_FORMATS_PRODUCERS_H

#include "saescope/formats/formats.h"

extern const struct sae_format saelens_format;

#endif
