/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Calls on a monitor that may be missing. */
#include "config.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "saescope/base/fileio.h"
#include "saescope/base/monitor.h"

void progress_init(struct progress *p)
{
    *p = (struct progress){.rate = NAN, .loss = NAN, .l0 = NAN, .explained_variance = NAN, .dead = NAN};
}

void progress_add_steps(struct strbuf *b, const struct progress *p)
{
    if (!p->steps)
        return;
    if (p->unit && strcmp(p->unit, "MB/s") == 0) {
        strbuf_add_bytes(b, p->step);
        strbuf_adds(b, " of ");
        strbuf_add_bytes(b, p->steps);
    } else {
        strbuf_addf(b, "step %llu/%llu", (unsigned long long)p->step, (unsigned long long)p->steps);
    }
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

int monitor_cancelled(struct monitor *m)
{
    return m && m->cancelled && m->cancelled(m);
}

int monitor_check(struct monitor *m, struct error *err)
{
    if (monitor_ask(m) == MONITOR_GO_ON)
        return STATUS_OK;
    return error_set(err, STATUS_FAILED, "cancelled");
}

void monitor_step_rate(struct monitor *m, const char *phase, uint64_t step, uint64_t steps, double rate,
                       const char *unit)
{
    struct progress p;
    progress_init(&p);
    p.phase = phase;
    p.step = step;
    p.steps = steps;
    p.rate = rate;
    p.unit = unit;
    monitor_report(m, &p);
}

void monitor_step(struct monitor *m, const char *phase, uint64_t step, uint64_t steps)
{
    monitor_step_rate(m, phase, step, steps, NAN, NULL);
}

int monitor_go_on(struct monitor *m, const char *phase, uint64_t step, uint64_t steps, struct error *err)
{
    monitor_step(m, phase, step, steps);
    return monitor_check(m, err);
}

double rate_since(double start, double amount)
{
    double seconds = clock_seconds() - start;
    return seconds > 0 ? amount / seconds : NAN;
}
