/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stores that cannot be used, and no room for what is to go in: a clear message, the right status. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "bad_input_store.h"
#include "program.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/store/internal.h"

static void test_no_stores(void **state)
{
    (void)state;
    char *home = program_path("home-of-things"), *model = shipped_file("wordnet-lm"),
         *file = program_path("text.txt");
    program_write_file("home-of-things/letter.txt", "dear", 4);
    PROGRAM_REFUSES(4, SAYS("home-of-things", "no saescope store"), "-S", home, "list");
    PROGRAM_REFUSES(4, SAYS("home-of-things", "no saescope store"), "-S", home, "import", "model", model,
                    "--name", "lm");
    PROGRAM_REFUSES(4, SAYS("text.txt", "no directory"), "-S", file, "list");
    program_write_file("home-of-things/data.mdb", "no database, but a long enough text", 35);
    PROGRAM_REFUSES(4, SAYS("home-of-things"), "-S", home, "list");
    char *letter = program_read_file("home-of-things/letter.txt", NULL);
    assert_string_equal(letter, "dear");
    char *data = program_read_file("home-of-things/data.mdb", NULL);
    assert_string_equal(data, "no database, but a long enough text");
    free(letter);
    free(data);
    free(home);
    free(model);
    free(file);
}

static void test_newer_store(void **state)
{
    (void)state;
    struct format_record newer = {FORMAT_MAGIC, STORE_FORMAT_VERSION + 1};
    struct key key = key_string("format");
    char *path = program_path("newer"), *model = shipped_file("wordnet-lm");
    struct store_options o = {.path = path, .create = 1};
    struct store *s;
    struct store_txn t;
    assert_int_equal(store_open(&o, &s, NULL), 0);
    assert_int_equal(write_begin(s, &t, NULL), 0);
    assert_int_equal(table_put(&t, TABLE_META, &key, &newer, sizeof newer), 0);
    assert_int_equal(write_commit(&t, NULL), 0);
    store_close(s);
    PROGRAM_REFUSES(4, SAYS("newer"), "-S", path, "list");
    PROGRAM_REFUSES(4, SAYS("newer"), "-S", path, "import", "model", model, "--name", "lm");
    free(path);
    free(model);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* As program_refuses, with files that may not grow over `bytes`, as on a full disk. */
static void refused_without_room(rlim_t bytes, const char *says, const char *const *words)
{
    limit_files(bytes);
    struct result r = program_run(NULL, words);
    limit_files(RLIM_INFINITY);
    if (r.status != 4 || r.n_out > 0 || !strstr(r.err, says))
        print_error("room for %llu -> %d: %s%s\n", (unsigned long long)bytes, r.status, r.err, r.out);
    assert_int_equal(r.status, 4);
    assert_int_equal(r.n_out, 0);
    assert_non_null(strstr(r.err, says));
    result_free(&r);
}
#define WITHOUT_ROOM(bytes, says, ...)                                                                       \
    refused_without_room(bytes, says, (const char *const[]){"--quiet", __VA_ARGS__, NULL})

static void test_full_disk(void **state)
{
    (void)state;
    char *fresh = program_path("fresh"), *model = shipped_file("wordnet-lm"),
         *data = program_path("store/data.mdb"), *folder = program_path("good"),
         *text = program_path("text.txt");
    struct stat st;
    WITHOUT_ROOM(4096, "room", "-S", fresh, "import", "model", model, "--name", "lm"); /* at open */
    assert_false(path_exists(fresh));
    assert_int_equal(stat(data, &st), 0);
    const rlim_t size = (rlim_t)st.st_size;
    WITHOUT_ROOM(size, "full", "import", "model", model, "--name", "bad"); /* at a tensor's blocks */
    WITHOUT_ROOM(8192, "full", "import", "sae", folder, "--name", "bad", "--model", "lm");
    WITHOUT_ROOM(8192, "full", "import", "text", text, "--name", "bad", "--model", "lm");
    WITHOUT_ROOM(4096, "full", "label", "s/1", "no room for this"); /* at its only commit */
    WITHOUT_ROOM(4096, "full", "rename", "s", "other");
    free(fresh);
    free(model);
    free(data);
    free(folder);
    free(text);
}

static void test_full_map(void **state)
{
    (void)state;
    char *setting = xstrdup(getenv("SAESCOPE_MAPSIZE") ? getenv("SAESCOPE_MAPSIZE") : ""),
         *model = shipped_file("wordnet-lm");
    char *path = program_path("small");
    setenv("SAESCOPE_MAPSIZE", "8388608", 1);
    PROGRAM_REFUSES(4, SAYS("SAESCOPE_MAPSIZE"), "-S", path, "import", "model", model, "--name", "lm");
    json *nothing = PROGRAM_JSON("-S", path, "list", "models");
    assert_int_equal(json_length(json_get(nothing, "models")), 0);
    json_free(nothing);
    setenv("SAESCOPE_MAPSIZE", "much", 1);
    PROGRAM_REFUSES(4, SAYS("SAESCOPE_MAPSIZE"), "list");
    if (*setting)
        setenv("SAESCOPE_MAPSIZE", setting, 1);
    else
        unsetenv("SAESCOPE_MAPSIZE");
    free(setting);
    free(model);
    free(path);
}

static void test_read_only(void **state)
{
    (void)state;
    PROGRAM_REFUSES(4, SAYS("read"), "--read-only", "label", "s/1", "x");
    PROGRAM_REFUSES(4, SAYS("read"), "--read-only", "rename", "s", "x");
    PROGRAM_REFUSES(4, SAYS("read"), "--read-only", "remove", "m", "--yes");
    PROGRAM_REFUSES(4, SAYS("read"), "--read-only", "index", "s", "--text", "t");
    json *list = PROGRAM_JSON("--read-only", "list", "saes");
    assert_int_equal(json_length(json_get(list, "saes")), 2);
    json_free(list);
}

/* A store whose pages were changed from outside: verify says where, and a query that meets it does not crash.
 */
static void test_damaged_store(void **state)
{
    (void)state;
    char *copy = program_path("damaged"), *model = shipped_file("wordnet-lm");
    PROGRAM_DONE("compact", "--to", copy);
    size_t n, n_weights;
    char *data = program_read_file("damaged/data.mdb", &n),
         *weights = program_read_file("good/sae_weights.safetensors", &n_weights);
    uint64_t length;
    memcpy(&length, weights, sizeof length);
    char *block = memmem(data, n, weights + 8 + length, 4096); /* W_dec's rows */
    assert_non_null(block);
    block[100] = (char)(block[100] ^ 0x55);
    program_write_file("damaged/data.mdb", data, n);
    struct result r = PROGRAM("-S", copy, "verify", "--json");
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.out, "\"ok\":false"));
    assert_non_null(strstr(r.out, "W_dec"));
    result_free(&r);
    r = PROGRAM("-S", copy, "neighbors", "s/1");
    assert_in_range(r.status, 0, 4);
    result_free(&r);
    free(data);
    free(weights);
    free(copy);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_no_stores),
        CASE(test_newer_store),
        CASE(test_full_disk),
        CASE(test_full_map),
        CASE(test_read_only),
        CASE(test_damaged_store),
    };
    return cmocka_run_group_tests_name("bad stores", tests, bad_input_set_up, bad_input_tear_down);
}
