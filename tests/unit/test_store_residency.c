/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening and listing a store with a large SAE reads no page of any tensor. */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "saescope/base/fileio.h"
#include "saescope/store/internal.h"
#include "saescope/store/store.h"
#include "tests/support/support.h"

static struct error err;

static void put_rows(struct store *s, artifact_id id, const char *name, size_t rows, size_t columns)
{
    float *row = calloc(columns, sizeof *row);
    size_t shape[2] = {rows, columns};
    struct tensor_writer *w;

    for (size_t i = 0; i < columns; i++)
        row[i] = (float)i + 1;
    assert_ok(store_tensor_begin(s, id, name, DTYPE_F32, columns > 1 ? 2 : 1, shape, &w, &err));
    for (size_t i = 0; i < rows; i++)
        assert_ok(store_tensor_append(w, row, 1, &err));
    assert_ok(store_tensor_finish(w, &err));
    free(row);
}

static artifact_id fill(size_t d_sae, size_t d_in)
{
    struct store *s = open_store("store");
    artifact_id id;

    assert_ok(store_create(s, ARTIFACT_SAE, "large", 0, &id, &err));
    put_rows(s, id, "b_dec", d_in, 1);
    put_rows(s, id, "W_dec", d_sae, d_in);
    put_rows(s, id, "b_enc", d_sae, 1);
    put_rows(s, id, "threshold", 1, 1);
    assert_ok(store_publish(s, id, json_new_object(), &err));
    store_close(s);
    return id;
}

/* Resident pages of data.mdb as a map of this test's own sees them: the page cache's. */
static unsigned char *residency(size_t *pages)
{
    char *path = test_path("store/data.mdb");
    int fd = open(path, O_RDONLY);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct stat st;
    void *map;
    unsigned char *vector;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    *pages = ((size_t)st.st_size + page - 1) / page;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    vector = calloc(*pages, 1);
    assert_int_equal(mincore(map, (size_t)st.st_size, vector), 0);
    munmap(map, (size_t)st.st_size);
    close(fd);
    free(path);
    return vector;
}

static int evict(void)
{
    char *path = test_path("store/data.mdb");
    int fd = open(path, O_RDWR), resident = 0;
    size_t pages;
    unsigned char *vector;

    assert_int_equal(fsync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
    free(path);
    vector = residency(&pages);
    for (size_t i = 0; i < pages; i++)
        resident += vector[i] & 1;
    free(vector);
    return resident;
}

/* Pages of the file that hold blocks: their offsets, from LMDB's own addresses in the map. */
static size_t resident_block_pages(struct store *s, const unsigned char *vector, size_t pages, size_t *blocks)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), resident = 0;
    struct store_txn *t;
    struct walk w;
    MDB_envinfo info;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1024], *start = NULL;

    while (fgets(line, sizeof line, maps))
        if (strstr(line, "/store/data.mdb") && !start)
            start = (char *)(uintptr_t)strtoull(line, NULL, 16);
    fclose(maps);
    assert_non_null(start);
    mdb_env_info(s->env, &info);
    *blocks = 0;
    assert_ok(store_begin(s, &t, &err));
    assert_int_equal(walk_begin(t, TABLE_BLOCKS, NULL, &w), 0);
    while (!walk_next(&w)) {
        size_t first = (size_t)((char *)w.value.mv_data - start) / page;
        size_t last = (size_t)((char *)w.value.mv_data + w.value.mv_size - 1 - start) / page;
        assert_true(last < pages);
        for (size_t i = first; i <= last; i++)
            resident += vector[i] & 1;
        ++*blocks;
    }
    walk_end(&w);
    store_end(t);
    return resident;
}

static void test_opening_reads_no_tensor(void **state)
{
    size_t d_sae = 98304, d_in = 768, pages, blocks;
    unsigned char *vector;
    struct artifact *list;
    struct store_tensor x;
    struct store_txn *t;
    struct statvfs fs;
    const void *row;
    struct store *s;
    artifact_id id;
    size_t n;

    (void)state;
    if (statvfs(test_directory, &fs) || (double)fs.f_bavail * (double)fs.f_frsize < 2e9)
        d_sae = 16384;
    id = fill(d_sae, d_in);
    if (evict() > 0)
        SKIP_TEST("the file system keeps its pages in memory");
    s = open_store("store");
    assert_ok(store_begin(s, &t, &err));
    assert_ok(store_list(t, 0, &list, &n, &err));
    assert_int_equal(n, 1);
    assert_int_equal(list[0].id, id);
    free(list);
    json_free(store_manifest(t, id, &err));
    assert_true(store_bytes(t, id) > d_sae * d_in * 4);
    assert_ok(store_tensor_open(t, id, "W_dec", &x, &err));
    assert_int_equal(x.shape[0], d_sae);
    vector = residency(&pages);
    assert_int_equal(resident_block_pages(s, vector, pages, &blocks), 0);
    assert_int_equal(blocks, x.n_blocks + 3);
    free(vector);

    /* One row reads its own pages and the header's, and no more. */
    assert_ok(store_tensor_row(t, &x, d_sae / 2 + 100, &row, &err));
    assert_true(((const float *)row)[d_in - 1] == (float)d_in);
    vector = residency(&pages);
    n = resident_block_pages(s, vector, pages, &blocks);
    assert_true(n >= 2 && n <= 4);
    free(vector);
    store_end(t);
    store_close(s);
}

/* A folder of the build directory: /tmp may be in memory, where nothing can be evicted. */
static int set_up(void **state)
{
    (void)state;
    make_directory_in(".");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opening_reads_no_tensor),
    };

    return cmocka_run_group_tests_name("store_residency", tests, set_up, tear_down_directory);
}
