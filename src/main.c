/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Options and nothing else. */
#include "config.h"

int main(void)
{
    return 0;
}
