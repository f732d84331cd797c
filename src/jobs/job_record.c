/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Job records in the store: planning, what a job waits for, how it ended. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/jobs/internal.h"

#define NEW_SECONDS 3 /* between a record and its owner */

static const char *const state_names[] = {"queued",    "waiting", "running",     "paused", "cancelling",
                                          "cancelled", "failed",  "interrupted", "done"};

const char *job_state_name(enum job_state state)
{
    return state_names[state];
}

int job_state_final(enum job_state state)
{
    return state == JOB_CANCELLED || state == JOB_FAILED || state == JOB_DONE;
}

const struct job_kind *job_kind_find(const char *name, struct error *err)
{
    for (size_t i = 0; job_kinds[i]; i++)
        if (!strcmp(job_kinds[i]->name, name))
            return job_kinds[i];
    char *shown = displayable_string(name);
    error_set(err, STATUS_USAGE, "no kind of job is called %s", shown);
    free(shown);
    return NULL;
}

json *job_record_read(struct store *s, uint64_t id, struct error *err)
{
    struct store_txn *t;
    if (store_begin(s, &t, err))
        return NULL;
    json *record = store_job(t, id, err);
    store_end(t);
    return record;
}

int job_record_set(struct store *s, uint64_t id, const char *key, json *value, struct error *err)
{
    json *record = job_record_read(s, id, err);
    if (!record) {
        json_free(value);
        return error_code(err);
    }
    json_set(record, key, value);
    int status = store_job_put(s, id, record, err);
    json_free(record);
    return status;
}

int job_record_final(const json *record, enum job_state *state)
{
    const char *name = json_get_string(record, "state", "");
    for (size_t i = 0; i < ARRAY_LENGTH(state_names); i++)
        if (!strcmp(name, state_names[i]) && job_state_final((enum job_state)i)) {
            if (state)
                *state = (enum job_state)i;
            return 1;
        }
    return 0;
}

/* "train sae wn-256 wn-1024": the kind and the names that the parameters start with. */
static char *title_of(const char *kind, const json *parameters)
{
    static const char *const members[] = {"names", "name", "saes", "sae", "meta", "from"};
    struct strbuf title = STRBUF_INIT;
    strbuf_adds(&title, kind);
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        json *v = json_get(parameters, members[i]);
        if (json_is_null(v))
            continue;
        size_t n = json_is_array(v) ? json_length(v) : 1;
        for (size_t j = 0; j < n; j++) {
            const char *name = json_string(json_is_array(v) ? json_at(v, j) : v, "");
            strbuf_addc(&title, ' ');
            displayable(&title, name, strlen(name));
        }
        break;
    }
    return strbuf_detach(&title);
}

static int array_has(const json *array, const char *name)
{
    for (size_t i = 0; i < json_length(array); i++)
        if (!strcmp(json_string(json_at(array, i), ""), name))
            return 1;
    return 0;
}

/* The newest unfinished job that makes `name`: its id, or 0. Interrupted ones count: they may be taken up
 * again. */
static uint64_t maker_of(struct store_txn *t, const uint64_t *ids, size_t n, const char *name)
{
    uint64_t maker = 0;
    for (size_t i = n; i-- > 0 && !maker;) {
        json *record = store_job(t, ids[i], NULL);
        if (record && !job_record_final(record, NULL) && array_has(json_get(record, "makes"), name))
            maker = ids[i];
        json_free(record);
    }
    return maker;
}

static int is_interrupted(struct store *s, uint64_t id)
{
    struct job_status status;
    return job_status_read(s, id, &status, NULL) == STATUS_OK && status.state == JOB_INTERRUPTED;
}

/* Jobs that make what this one needs. What nobody makes must be there. */
static int find_makers(struct store *s, const json *needs, const json *makes, json *after, struct error *err)
{
    struct store_txn *t;
    uint64_t *ids = NULL;
    size_t n = 0;
    int status = store_begin(s, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_jobs(t, &ids, &n, err);
    for (size_t i = 0; status == STATUS_OK && i < json_length(needs); i++) {
        const char *name = json_string(json_at(needs, i), "");
        uint64_t maker = maker_of(t, ids, n, name);
        struct artifact found;
        if (!maker) {
            status = store_find(t, 0, name, &found, err);
            continue;
        }
        json *entry = json_new_object();
        json_set(entry, "job", json_new_integer((long long)maker));
        json_set(entry, "name", json_new_string(name));
        json_append(after, entry);
    }
    for (size_t i = 0; status == STATUS_OK && i < json_length(makes); i++) {
        const char *name = json_string(json_at(makes, i), "");
        uint64_t maker = maker_of(t, ids, n, name);
        if (maker)
            status = error_set(err, STATUS_REFUSED, "job %llu is making %s already",
                               (unsigned long long)maker, name);
    }
    free(ids);
    store_end(t);
    for (size_t i = 0; status == STATUS_OK && i < json_length(after); i++) {
        uint64_t maker = (uint64_t)json_get_integer(json_at(after, i), "job", 0);
        if (is_interrupted(s, maker))
            status =
                error_set(err, STATUS_REFUSED,
                          "needs %s, which job %llu was making when it was interrupted: resume %llu first",
                          json_get_string(json_at(after, i), "name", ""), (unsigned long long)maker,
                          (unsigned long long)maker);
    }
    return status;
}

int job_record_new(struct store *s, const char *kind_name, json *parameters, uint64_t *id, struct job_file *f,
                   struct error *err)
{
    const struct job_kind *kind = job_kind_find(kind_name, err);
    if (!kind) {
        json_free(parameters);
        return error_code(err);
    }
    json *needs = json_new_array(), *makes = json_new_array(), *after = json_new_array();
    int status = kind->plan(s, parameters, needs, makes, err);
    if (status == STATUS_OK)
        status = find_makers(s, needs, makes, after, err);
    char *title = title_of(kind_name, parameters);
    json *record = json_new_object();
    json_set(record, "kind", json_new_string(kind_name));
    json_set(record, "title", json_new_string(title));
    json_set(record, "state", json_new_string("queued"));
    json_set(record, "submitted", json_new_integer((long long)time(NULL)));
    json_set(record, "parameters", parameters);
    json_set(record, "needs", needs);
    json_set(record, "makes", makes);
    json_set(record, "after", after);
    free(title);
    if (status == STATUS_OK)
        status = store_job_create(s, record, id, err); /* takes the record over */
    else
        json_free(record);
    if (status != STATUS_OK)
        return status;
    status = job_file_open(s, *id, 1, f, err);
    if (status == STATUS_OK)
        job_file_lock(f, JOB_LOCK_OWNER);
    else
        job_record_finish(s, *id, JOB_FAILED, status, err ? err->message : "no room for its file", NULL,
                          NULL);
    return status;
}

int job_record_finish(struct store *s, uint64_t id, enum job_state state, int code, const char *message,
                      json *result, struct error *err)
{
    json *record = job_record_read(s, id, err);
    if (!record) {
        json_free(result);
        return error_code(err);
    }
    json_set(record, "state", json_new_string(job_state_name(state)));
    json_set(record, "code", json_new_integer(code));
    json_set(record, "message", json_new_string(message));
    json_set(record, "result", result ? result : json_new_null());
    int status = store_job_put(s, id, record, err);
    json_free(record);
    if (status != STATUS_OK)
        return status;
    job_remove_work(s, id, NULL);
    if (state != JOB_DONE)
        store_sweep(s, NULL); /* frees the names that it had claimed */
    return STATUS_OK;
}

int job_remove_work(struct store *s, uint64_t id, struct error *err)
{
    char *dir = store_work_directory(s, id, err);
    if (!dir)
        return error_code(err);
    int status = remove_tree(dir, err);
    free(dir);
    return status;
}

int job_record_ready(struct store *s, const json *record, char *message, size_t n, struct error *err)
{
    const json *after = json_get(record, "after");
    for (size_t i = 0; i < json_length(after); i++) {
        uint64_t id = (uint64_t)json_get_integer(json_at(after, i), "job", 0);
        const char *name = json_get_string(json_at(after, i), "name", NULL);
        struct job_status other;
        int known = job_status_read(s, id, &other, NULL) == STATUS_OK;
        if (known && other.state == JOB_DONE)
            continue;
        if (known && !job_state_final(other.state) && other.state != JOB_INTERRUPTED) {
            snprintf(message, n, "waiting for job %llu", (unsigned long long)id);
            return 0;
        }
        if (name) {
            error_set(err, STATUS_REFUSED, "needs %s, which job %llu did not make (%s)", name,
                      (unsigned long long)id, known ? job_state_name(other.state) : "it is gone");
            return -1;
        }
    }
    return 1;
}

/* ---- Status. ---- */
#define INTERNED_MAX 64

/* Units and phases are few strings of the program's own; in a status they look static. */
static const char *intern(const char *s)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static char *known[INTERNED_MAX];
    static size_t n_known;
    const char *found = NULL;
    if (!*s)
        return NULL;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < n_known && !found; i++)
        if (!strcmp(known[i], s))
            found = known[i];
    if (!found && n_known < INTERNED_MAX)
        found = known[n_known++] = displayable_string(s);
    pthread_mutex_unlock(&mutex);
    return found;
}

/* Cut at the end of a character. */
static void copy_displayable(char *to, size_t size, const char *from)
{
    struct strbuf shown = STRBUF_INIT;
    displayable(&shown, from, strlen(from));
    size_t n = shown.length < size - 1 ? shown.length : size - 1;
    if (n < shown.length)
        while (n > 0 && ((unsigned char)shown.data[n] & 0xc0) == 0x80)
            n--;
    memcpy(to, strbuf_string(&shown), n);
    to[n] = '\0';
    strbuf_free(&shown);
}

void job_status_fill(const json *record, uint64_t id, enum job_state state, const struct job_progress *p,
                     struct job_status *out)
{
    memset(out, 0, sizeof(*out));
    out->id = id;
    out->state = state;
    copy_displayable(out->kind, sizeof(out->kind), json_get_string(record, "kind", ""));
    copy_displayable(out->title, sizeof(out->title), json_get_string(record, "title", ""));
    copy_displayable(out->makes, sizeof(out->makes), json_string(json_at(json_get(record, "makes"), 0), ""));
    int final = job_state_final(state);
    copy_displayable(out->message, sizeof(out->message),
                     final ? json_get_string(record, "message", "") : p->message);
    out->progress = (struct progress){.step = p->step,
                                      .steps = p->steps,
                                      .rate = p->rate,
                                      .unit = intern(p->unit),
                                      .loss = p->loss,
                                      .l0 = p->l0,
                                      .explained_variance = p->explained_variance,
                                      .dead = p->dead,
                                      .phase = intern(p->phase)};
    out->fraction = __builtin_nan("");
    if (state == JOB_DONE)
        out->fraction = 1;
    else if (p->steps)
        out->fraction = p->step < p->steps ? (double)p->step / (double)p->steps : 1;
    out->elapsed = p->elapsed;
    out->left = state == JOB_RUNNING ? p->left : __builtin_nan("");
    if (state == JOB_RUNNING || state == JOB_CANCELLING || state == JOB_PAUSED)
        out->pid = p->pid;
    double since = clock_seconds() - p->updated;
    if (state == JOB_RUNNING && since > 0) {
        out->elapsed += since;
        out->left = out->left > since ? out->left - since : out->left != out->left ? out->left : 0;
    }
    out->n_curve = p->n_curve;
    memcpy(out->curve, p->curve, sizeof(out->curve));
}

/* Whether a job that never had an owner was recorded so short a time ago that it may be about to get one. */
static int just_recorded(const json *record, const struct job_progress *p)
{
    double age = (double)time(NULL) - json_get_number(record, "submitted", 0);
    return p->pid == 0 && age >= 0 && age < NEW_SECONDS;
}

/* The state of an unfinished job from its file. */
static enum job_state state_in_file(const struct job_file *f, const struct job_progress *p)
{
    if (!job_file_locked(f, JOB_LOCK_OWNER)) {
        if (job_file_locked(f, JOB_LOCK_HANDOVER))
            return JOB_QUEUED;
        if (!job_file_locked(f, JOB_LOCK_OWNER)) /* a runner may have taken over between the two */
            return JOB_INTERRUPTED;
    }
    if (job_file_control(f) == JOB_CONTROL_CANCEL)
        return JOB_CANCELLING;
    /* What its last owner left is there until the new one writes. */
    if (p->state == JOB_INTERRUPTED || job_state_final((enum job_state)p->state))
        return JOB_QUEUED;
    return (enum job_state)p->state;
}

int job_status_read(struct store *s, uint64_t id, struct job_status *out, struct error *err)
{
    struct job_progress p;
    enum job_state state = JOB_INTERRUPTED;
    json *record = job_record_read(s, id, err);
    if (!record)
        return error_code(err);
    struct job_file f;
    job_progress_init(&p);
    if (job_file_open(s, id, 0, &f, NULL) == STATUS_OK) {
        job_file_read(&f, &p);
        if (!job_record_final(record, &state))
            state = state_in_file(&f, &p);
        job_file_close(&f);
    }
    /* It may have ended, and its owner may have let go, since the record was read. */
    if (state == JOB_INTERRUPTED || job_state_final(state)) {
        json *again = job_record_read(s, id, NULL);
        if (again) {
            json_free(record);
            record = again;
        }
        if (!job_record_final(record, &state))
            state = just_recorded(record, &p) ? JOB_QUEUED : JOB_INTERRUPTED;
    }
    job_status_fill(record, id, state, &p, out);
    json_free(record);
    return STATUS_OK;
}

int job_status_list(struct store *s, struct job_status **out, size_t *n, struct error *err)
{
    struct store_txn *t;
    uint64_t *ids;
    size_t n_ids;
    *out = NULL;
    *n = 0;
    int status = store_begin(s, &t, err);
    if (status != STATUS_OK)
        return status;
    status = store_jobs(t, &ids, &n_ids, err);
    store_end(t);
    if (status != STATUS_OK)
        return status;
    struct job_status *list = n_ids ? array_alloc(n_ids, sizeof(*list), "the list of jobs", err) : NULL;
    if (n_ids && !list) {
        free(ids);
        return STATUS_FAILED;
    }
    for (size_t i = n_ids; i-- > 0;)
        if (job_status_read(s, ids[i], &list[*n], NULL) == STATUS_OK)
            (*n)++;
    free(ids);
    *out = list;
    return STATUS_OK;
}

int job_result(struct store *s, uint64_t id, json **result, struct error *err)
{
    enum job_state state = JOB_QUEUED;
    json *record = job_record_read(s, id, err);
    if (!record)
        return error_code(err);
    int final = job_record_final(record, &state);
    int status = STATUS_OK;
    if (final && state == JOB_DONE)
        *result = json_retain(json_get(record, "result"));
    else
        status = error_set(err, STATUS_REFUSED, "job %llu is not done", (unsigned long long)id);
    json_free(record);
    return status;
}
