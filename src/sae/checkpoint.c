/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All that a training run is, in one file: a magic word; the options as JSON, which say whose it is; numbers
 * and arrays bit for bit, each followed by its checksum. It is read by the machine that wrote it.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/random.h"
#include "saescope/sae/trainer.h"

static const char magic[16] = "saescope-train-1";

struct numbers { /* of the run */
    uint64_t step;
    double scale, seconds;
};
struct sae_numbers { /* of one SAE */
    double theta, loss;
    uint64_t theta_known;
};

/* One direction of one file: the same walk over the state writes and reads it. */
struct stream {
    FILE *file;
    int writing;
    int failed; /* errno, or -1: too short or a wrong checksum */
};

static void transfer(struct stream *s, void *data, size_t n)
{
    uint64_t sum = s->writing ? hash64(data, n, 0) : 0;
    if (s->failed)
        return;
    errno = 0;
    if (s->writing) {
        if (fwrite(data, 1, n, s->file) != n || fwrite(&sum, 1, sizeof sum, s->file) != sizeof sum)
            s->failed = errno ? errno : EIO;
        return;
    }
    if (fread(data, 1, n, s->file) != n || fread(&sum, 1, sizeof sum, s->file) != sizeof sum ||
        sum != hash64(data, n, 0))
        s->failed = ferror(s->file) && errno ? errno : -1;
}

/* Everything but magic and header. */
static void transfer_state(struct stream *s, struct training_run *run)
{
    struct numbers numbers = {run->step, run->scale, run->seconds};
    transfer(s, &numbers, sizeof numbers);
    run->step = numbers.step;
    run->scale = numbers.scale;
    run->seconds = numbers.seconds;
    for (size_t i = 0; i < run->n; i++) {
        struct trainer *t = run->trainers[i];
        struct sae_numbers own = {t->theta, t->loss, (uint64_t)t->theta_known};
        size_t d = t->d_in * sizeof(float), weights = t->o.width * d;
        transfer(s, &own, sizeof own);
        t->theta = own.theta;
        t->loss = own.loss;
        t->theta_known = own.theta_known != 0;
        t->step = run->step;
        transfer(s, t->sae->owned_W_enc, weights);
        transfer(s, t->m_enc, weights);
        transfer(s, t->v_enc, weights);
        transfer(s, t->sae->owned_W_dec, weights);
        transfer(s, t->m_dec, weights);
        transfer(s, t->v_dec, weights);
        transfer(s, t->sae->b_dec, d);
        transfer(s, t->m_bias, d);
        transfer(s, t->v_bias, d);
        transfer(s, t->silent, t->o.width * sizeof *t->silent);
        if (t->sae->threshold)
            transfer(s, t->sae->threshold, t->o.width * sizeof(float));
    }
}

/* Magic and what the run is. */
static void header_of(const struct training_run *run, struct strbuf *out)
{
    json *header = json_new_object(), *saes = json_new_array();
    json_set(header, "d_in", json_new_integer((long long)run->trainers[0]->d_in));
    for (size_t i = 0; i < run->n; i++)
        json_append(saes, train_options_json(&run->trainers[i]->o));
    json_set(header, "saes", saes);
    strbuf_add(out, magic, sizeof magic);
    json_dump(header, out);
    strbuf_addc(out, '\n');
    json_free(header);
}

/* Makes the rename last. */
static void sync_directory(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

int checkpoint_write(const struct training_run *run, const char *dir, struct error *err)
{
    char *path = path_join(dir, "training.checkpoint"), *beside = path_join(dir, "training.checkpoint.tmp");
    struct strbuf header = STRBUF_INIT;
    struct training_run copy = *run;
    struct stream s = {.file = fopen(beside, "wbe"), .writing = 1};
    header_of(run, &header);
    if (!s.file)
        s.failed = errno;
    if (s.file) {
        transfer(&s, header.data, header.length);
        transfer_state(&s, &copy);
        if (!s.failed && (fflush(s.file) || fsync(fileno(s.file))))
            s.failed = errno;
        if (fclose(s.file) && !s.failed)
            s.failed = errno;
        if (!s.failed && rename(beside, path))
            s.failed = errno;
        if (s.failed)
            unlink(beside);
        else
            sync_directory(dir);
    }
    int status = s.failed ? error_system(err, STATUS_STORE, s.failed, "cannot write the checkpoint %s", path)
                          : STATUS_OK;
    strbuf_free(&header);
    free(path);
    free(beside);
    return status;
}

/* Whether the file begins as this run's does; STATUS_REFUSED otherwise. */
static int check_header(struct stream *s, const struct training_run *run, const char *path, struct error *err)
{
    struct strbuf wanted = STRBUF_INIT;
    header_of(run, &wanted);
    char *found = xmalloc(wanted.length);
    transfer(s, found, wanted.length);
    int same = !s->failed && memcmp(found, wanted.data, wanted.length) == 0;
    free(found);
    strbuf_free(&wanted);
    if (same)
        return STATUS_OK;
    return error_set(err, STATUS_REFUSED,
                     "%s is another run's checkpoint, or damaged: remove it to start anew", path);
}

int checkpoint_read(struct training_run *run, const char *dir, int *found, struct error *err)
{
    char *path = path_join(dir, "training.checkpoint");
    struct stream s = {.file = fopen(path, "rbe")};
    int status = STATUS_OK;
    *found = s.file != NULL;
    if (!s.file && errno != ENOENT)
        status = error_system(err, STATUS_STORE, errno, "cannot read the checkpoint %s", path);
    if (s.file) {
        status = check_header(&s, run, path, err);
        if (!status)
            transfer_state(&s, run);
        if (!status && s.failed)
            status =
                error_set(err, STATUS_REFUSED, "the checkpoint %s is damaged: remove it to start anew", path);
        fclose(s.file);
    }
    free(path);
    return status;
}
