/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Calls on a monitor that may be missing. */
#include "config.h"

#include <math.h>
#include <stddef.h>

#include "saescope/base/monitor.h"

void progress_init(struct progress *p)
{
    *p = (struct progress){.rate = NAN, .loss = NAN, .l0 = NAN, .explained_variance = NAN, .dead = NAN};
}

void monitor_report(struct monitor *m, const struct progress *p)
{
    if (m && m->report)
        m->report(m, p);
}

enum monitor_request monitor_ask(struct monitor *m)
{
    return m && m->ask ? m->ask(m) : MONITOR_GO_ON;
}

int monitor_check(struct monitor *m, struct error *err)
{
    if (monitor_ask(m) == MONITOR_GO_ON)
        return STATUS_OK;
    return error_set(err, STATUS_FAILED, "cancelled");
}
