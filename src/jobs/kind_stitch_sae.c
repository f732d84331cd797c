/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Job "stitch sae": "stitch", "step", "name", "replace". The SAE at a step of a stitch's path, in the store.
 */
#include "config.h"

#include "saescope/analysis/stitch_parts.h"
#include "saescope/base/fileio.h"
#include "saescope/jobs/kinds.h"

/* When the stitch is there already; else it is looked at when it is made. */
static int check_step(struct store *s, const char *stitch, const json *parameters, struct error *err)
{
    json *manifest = job_peek(s, ARTIFACT_STITCH, stitch);
    long long step = json_get_integer(parameters, "step", -1),
              last = json_get_integer(manifest, "n_steps", step);
    json_free(manifest);
    if (step < 0)
        return error_set(err, STATUS_USAGE, "--step is missing");
    return step <= last
               ? STATUS_OK
               : error_set(err, STATUS_REFUSED, "there is no step %lld: the path of %s has steps 0 to %lld",
                           step, stitch, last);
}

static int plan(struct store *s, const json *parameters, json *needs, json *makes, struct error *err)
{
    const char *stitch, *name;
    int status = job_need(parameters, "stitch", "the stitch's name", &stitch, err);
    if (status == STATUS_OK)
        status = job_need(parameters, "name", "--save", &name, err);
    if (status == STATUS_OK)
        status = check_step(s, stitch, parameters, err);
    if (status == STATUS_OK)
        status = job_plan_name(s, ARTIFACT_SAE, name, json_get_boolean(parameters, "replace", 0), makes, err);
    if (status == STATUS_OK)
        json_append(needs, json_new_string(stitch));
    return status;
}

static int run(struct store *s, uint64_t job, const json *parameters, struct monitor *m, json **result,
               struct error *err)
{
    artifact_id stitch = 0, id = 0;
    double start = clock_seconds();
    int published = 0,
        status = job_find(s, ARTIFACT_STITCH, json_get_string(parameters, "stitch", ""), &stitch, err);
    if (status == STATUS_OK)
        status = job_claim(s, job, ARTIFACT_SAE, json_get_string(parameters, "name", ""),
                           json_get_boolean(parameters, "replace", 0), &id, &published, err);
    if (status != STATUS_OK)
        return status;
    if (!published)
        status = stitch_save_sae(s, stitch, (size_t)json_get_integer(parameters, "step", 0), id, m, err);
    if (status != STATUS_OK) {
        store_abandon(s, id);
        return status;
    }
    *result = job_made(s, id, NULL, clock_seconds() - start, err);
    return *result ? STATUS_OK : error_code(err);
}

const struct job_kind kind_stitch_sae = {"stitch sae", 0, plan, run};
