/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Errors, memory, strings, random numbers, monitors. */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "saescope/base/error.h"
#include "saescope/base/memory.h"
#include "saescope/base/fileio.h"
#include "saescope/base/monitor.h"
#include "saescope/base/random.h"
#include "saescope/base/strbuf.h"

static void test_error_set(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(error_set(&err, STATUS_REFUSED, "%s has %d rows", "W_dec", 3), STATUS_REFUSED);
    assert_int_equal(err.code, STATUS_REFUSED);
    assert_string_equal(err.message, "W_dec has 3 rows");
    assert_int_equal(error_prefix(&err, "file %d", 7), STATUS_REFUSED);
    assert_string_equal(err.message, "file 7: W_dec has 3 rows");
    error_set(&err, STATUS_FAILED, "again: %s", err.message);
    assert_string_equal(err.message, "again: file 7: W_dec has 3 rows");
    assert_int_equal(error_system(&err, STATUS_STORE, ENOENT, "open %s", "x"), STATUS_STORE);
    assert_string_equal(err.message, "open x: No such file or directory");
    assert_int_equal(error_set(NULL, STATUS_USAGE, "nobody reads %s", "this"), STATUS_USAGE);
    error_clear(&err);
    assert_int_equal(err.code, STATUS_OK);
    assert_string_equal(err.message, "");
}

/* A message that is too long ends with a whole character, whatever the character's place. */
static void test_error_cut(void **state)
{
    (void)state;
    static const char *const characters[] = {"x", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    char text[3 * ERROR_MESSAGE_MAX];
    for (size_t length = 1; length <= 4; length++) {
        for (size_t offset = 0; offset < 4; offset++) {
            memset(text, 'a', offset);
            size_t n = offset;
            for (; n + length < sizeof text; n += length)
                memcpy(text + n, characters[length - 1], length);
            text[n] = '\0';
            struct error err;
            error_set(&err, STATUS_FAILED, "%s", text);
            size_t kept = strlen(err.message);
            assert_true(kept >= ERROR_MESSAGE_MAX - 4 && kept < ERROR_MESSAGE_MAX);
            assert_int_equal((kept - offset) % length, 0);
            assert_memory_equal(err.message, text, kept);
        }
    }
}

static void test_array_alloc(void **state)
{
    (void)state;
    struct error err = {0};
    unsigned char *p = array_zeroed(1000, 3, "rows", &err);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(p[i], 0);
    free(p);
    free(array_alloc(0, 8, "nothing", &err));
    assert_int_equal(err.code, STATUS_OK);
    assert_null(array_alloc(SIZE_MAX / 4, 8, "the moon", &err));
    assert_int_equal(err.code, STATUS_FAILED);
    assert_memory_equal(err.message, "not enough memory for the moon (", 32);
    size_t product;
    assert_int_equal(size_multiply(1u << 20, 1u << 20, &product), 0);
    assert_true(product == (size_t)1 << 40);
    assert_int_not_equal(size_multiply((size_t)1 << 33, (size_t)1 << 31, &product), 0);
}

static int hook_pipe;

static void tell_hook(void)
{
    if (write(hook_pipe, "h", 1) != 1)
        _exit(99);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    int said[2], hooked[2], status;
    char buf[64] = "";
    assert_int_equal(pipe(said), 0);
    assert_int_equal(pipe(hooked), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(said[1], STDERR_FILENO);
        hook_pipe = hooked[1];
        memory_set_die_hook(tell_hook);
        xreallocarray(NULL, SIZE_MAX / 2, 3);
        _exit(77);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), STATUS_FAILED);
    assert_int_equal(read(hooked[0], buf, 1), 1);
    assert_int_equal(read(said[0], buf, sizeof buf - 1), (int)strlen("saescope: not enough memory\n"));
    assert_memory_equal(buf, "saescope: not enough memory\n", 28);
    for (int i = 0; i < 2; i++) {
        close(said[i]);
        close(hooked[i]);
    }
}

static void test_xfunctions(void **state)
{
    (void)state;
    char *a = xstrdup("latent"), *b = xstrndup("latent", 3), *c = xasprintf("%s/%d", "gpt2", 5);
    assert_string_equal(a, "latent");
    assert_string_equal(b, "lat");
    assert_string_equal(c, "gpt2/5");
    a = xrealloc(a, 1000);
    assert_string_equal(a, "latent");
    free(a);
    free(b);
    free(c);
    free(xmalloc(0));
    free(xcalloc(0, 8));
}

static void test_strbuf(void **state)
{
    (void)state;
    struct strbuf b = STRBUF_INIT;
    assert_string_equal(strbuf_string(&b), "");
    char *empty = strbuf_detach(&b);
    assert_string_equal(empty, "");
    free(empty);
    strbuf_add(&b, "a\0b", 3);
    assert_int_equal(b.length, 3);
    assert_memory_equal(b.data, "a\0b", 4);
    strbuf_reset(&b);
    assert_string_equal(strbuf_string(&b), "");
    for (int i = 0; i < 1000; i++)
        strbuf_addf(&b, "%03d,", i);
    assert_int_equal(b.length, 4000);
    assert_memory_equal(b.data + 4 * 567, "567,", 4);
    strbuf_reset(&b);
    char wide[1000];
    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    strbuf_addf(&b, "<%s>", wide);
    assert_int_equal(b.length, 1001);
    assert_int_equal(b.data[1000], '>');
    strbuf_addc(&b, '!');
    strbuf_adds(&b, "?");
    char *s = strbuf_detach(&b);
    assert_string_equal(s + 1000, ">!?");
    assert_null(b.data);
    free(s);
    strbuf_free(&b);
}

static void check_text(struct strbuf *b, const char *wanted)
{
    assert_string_equal(strbuf_string(b), wanted);
    strbuf_reset(b);
}

static void test_numbers_to_text(void **state)
{
    (void)state;
    struct strbuf b = STRBUF_INIT;
    static const struct {
        long long n;
        const char *text;
    } grouped[] = {{0, "0"},
                   {999, "999"},
                   {1000, "1,000"},
                   {-1000, "-1,000"},
                   {1498112, "1,498,112"},
                   {-123456, "-123,456"},
                   {INT64_MIN, "-9,223,372,036,854,775,808"}};
    for (size_t i = 0; i < ARRAY_LENGTH(grouped); i++) {
        strbuf_add_grouped(&b, grouped[i].n);
        check_text(&b, grouped[i].text);
    }
    static const struct {
        unsigned long long n;
        const char *text;
    } sizes[] = {{0, "0 B"},         {999, "999 B"},      {1000, "1.0 kB"}, {999949, "999.9 kB"},
                 {999950, "1.0 MB"}, {8400000, "8.4 MB"}, {1024, "1.0 kB"}, {UINT64_MAX, "18.4 EB"}};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        strbuf_add_bytes(&b, sizes[i].n);
        check_text(&b, sizes[i].text);
    }
    static const struct {
        double seconds;
        const char *text;
    } durations[] = {{0, "0:00"},     {41.9, "0:41"},    {59.999, "0:59"},
                     {3599, "59:59"}, {3723, "1:02:03"}, {360000, "100:00:00"},
                     {-1, "-:--"},    {NAN, "-:--"},     {INFINITY, "-:--"}};
    for (size_t i = 0; i < ARRAY_LENGTH(durations); i++) {
        strbuf_add_duration(&b, durations[i].seconds);
        check_text(&b, durations[i].text);
    }
    strbuf_free(&b);
}

static void test_parse_u64(void **state)
{
    (void)state;
    unsigned long long n = 7;
    assert_int_equal(parse_u64("0", 0, 10, &n), 0);
    assert_true(n == 0);
    assert_int_equal(parse_u64("18446744073709551615", 0, UINT64_MAX, &n), 0);
    assert_true(n == UINT64_MAX);
    assert_int_equal(parse_u64("007", 0, 10, &n), 0);
    assert_true(n == 7);
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "1x", "0x1", "11", "18446744073709551616", "99999999999999999999999"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        assert_int_equal(parse_u64(bad[i], 0, 10, &n), -1);
    assert_int_equal(parse_u64("4", 5, 10, &n), -1);
    assert_int_equal(parse_u64(NULL, 0, 10, &n), -1);
    assert_true(n == 7);
}

static void test_parse_double(void **state)
{
    (void)state;
    double x = 5.0;
    assert_int_equal(parse_double("-2.5e-3", &x), 0);
    assert_true(x == -2.5e-3);
    assert_int_equal(parse_double("8", &x), 0);
    assert_true(x == 8.0);
    static const char *const bad[] = {"", " 1", "1 ", "1,5", "nan", "inf", "1e999", "x", "1.5x", "-", "."};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        assert_int_equal(parse_double(bad[i], &x), -1);
    assert_true(x == 8.0);
}

static void test_nearest_word(void **state)
{
    (void)state;
    static const char *const words[] = {"train",  "stitch",  "index", "import",
                                        "export", "latents", "ls",    NULL};
    assert_string_equal(nearest_word("trian", words), "train");
    assert_string_equal(nearest_word("stich", words), "stitch");
    assert_string_equal(nearest_word("imprt", words), "import");
    assert_string_equal(nearest_word("exprot", words), "export");
    assert_string_equal(nearest_word("lstents", words), "latents");
    assert_string_equal(nearest_word("index", words), "index");
    assert_string_equal(nearest_word("sl", words), "ls");
    assert_null(nearest_word("quux", words));
    assert_null(nearest_word("q", (const char *const[]){"x", "y", NULL})); /* nothing in common */
    assert_null(nearest_word("trxyn", words)); /* two edits, one allowed */
    assert_null(nearest_word("", words));
    char longest[200];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_null(nearest_word(longest, words));
    const char *const only_long[] = {longest, NULL};
    assert_null(nearest_word("aaaa", only_long));
}

/* Published values: of splitmix64 from 1234567, of xoshiro256** from {1, 2, 3, 4}, of XXH3-64 of nothing. */
static void test_random_reference(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 1234567, 0);
    assert_true(r.s[0] == 6457827717110365317u);
    assert_true(r.s[1] == 3203168211198807973u);
    assert_true(r.s[2] == 9817491932198370423u);
    assert_true(r.s[3] == 4593380528125082431u);
    r = (struct rng){{1, 2, 3, 4}};
    static const uint64_t outputs[] = {11520, 0, 1509978240, 1215971899390074240u};
    for (size_t i = 0; i < ARRAY_LENGTH(outputs); i++)
        assert_true(rng_next(&r) == outputs[i]);
    assert_true(hash64("", 0, 0) == 0x2D06800538D394C2u);
    assert_true(hash64("abc", 3, 1) != hash64("abc", 3, 2));
}

static void test_random_streams(void **state)
{
    (void)state;
    struct rng a, b;
    rng_seed(&a, 42, 1);
    rng_seed(&b, 42, 1);
    for (int i = 0; i < 100; i++)
        assert_true(rng_next(&a) == rng_next(&b));
    rng_seed(&b, 42, 2);
    assert_true(rng_next(&a) != rng_next(&b));
    rng_seed(&a, 42, 0);
    rng_seed(&b, 43, 0);
    assert_true(rng_next(&a) != rng_next(&b));
    assert_true(hash_mix(1, 2, 3, 4) == hash_mix(1, 2, 3, 4));
    assert_true(hash_mix(1, 2, 3, 4) != hash_mix(2, 1, 3, 4));
    assert_true(hash_mix(0, 0, 0, 1) != hash_mix(0, 0, 1, 0));
}

/* Moments of n = 200,000 draws lie within five standard errors. */
static void test_random_moments(void **state)
{
    (void)state;
    enum { N = 200000 };
    struct rng r;
    rng_seed(&r, 7, 7);
    double uniform = 0, normal = 0, normal2 = 0, normal4 = 0, poisson = 0, poisson2 = 0;
    unsigned counts[7] = {0}, zeros = 0;
    for (int i = 0; i < N; i++) {
        double u = rng_uniform(&r), z = rng_normal(&r), p = rng_poisson1(&r);
        assert_true(u >= 0.0 && u < 1.0);
        uniform += u;
        normal += z;
        normal2 += z * z;
        normal4 += z * z * z * z;
        poisson += p;
        poisson2 += p * p;
        zeros += p == 0.0;
        uint64_t below = rng_below(&r, 7);
        assert_true(below < 7);
        counts[below]++;
    }
    double se = 5.0 / sqrt((double)N);
    assert_true(fabs(uniform / N - 0.5) < se * sqrt(1.0 / 12.0));
    assert_true(fabs(normal / N) < se);
    assert_true(fabs(normal2 / N - 1.0) < se * sqrt(2.0));
    assert_true(fabs(normal4 / N - 3.0) < se * sqrt(96.0));
    assert_true(fabs(poisson / N - 1.0) < se);
    assert_true(fabs(poisson2 / N - 2.0) < se * sqrt(11.0)); /* Var(X²) = 15 - 4 */
    assert_true(fabs(zeros / (double)N - exp(-1.0)) < se * 0.5);
    for (int i = 0; i < 7; i++)
        assert_true(fabs(counts[i] / (double)N - 1.0 / 7.0) < se * sqrt(6.0 / 49.0));
    assert_true(rng_below(&r, 0) == 0 && rng_below(&r, 1) == 0);
}

static void test_shuffle(void **state)
{
    (void)state;
    enum { N = 6, TURNS = 60000 };
    struct rng r;
    rng_seed(&r, 3, 0);
    unsigned places[N][N] = {{0}};
    for (int t = 0; t < TURNS; t++) {
        uint32_t x[N], seen = 0;
        for (uint32_t i = 0; i < N; i++)
            x[i] = i;
        rng_shuffle(&r, x, N);
        for (int i = 0; i < N; i++) {
            seen |= 1u << x[i];
            places[i][x[i]]++;
        }
        assert_int_equal(seen, (1u << N) - 1);
    }
    /* Each number is as often in each place: five standard deviations of a binomial. */
    double p = 1.0 / N, sd = sqrt(TURNS * p * (1.0 - p));
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++)
            assert_true(fabs(places[i][j] - TURNS * p) < 5.0 * sd);
    }
    rng_shuffle(&r, NULL, 0);
}

static int reports;

static void count_report(struct monitor *m, const struct progress *p)
{
    (void)m;
    reports += p->step == 3;
}

static enum monitor_request answer;

static enum monitor_request give_answer(struct monitor *m)
{
    (void)m;
    return answer;
}

static void test_progress_in_words(void **state)
{
    static const struct {
        uint64_t step, steps;
        const char *unit, *words;
    } cases[] = {
        {458, 732, "tok/s", "step 458/732"},
        {3, 4, NULL, "step 3/4"},
        {6100000, 11000326, "MB/s", "6.1 MB of 11.0 MB"},
        {5, 0, "MB/s", ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct strbuf b = STRBUF_INIT;
        struct progress p = {.step = cases[i].step, .steps = cases[i].steps, .unit = cases[i].unit};
        progress_add_steps(&b, &p);
        assert_string_equal(strbuf_string(&b), cases[i].words);
        strbuf_free(&b);
    }
}

static void test_monitor(void **state)
{
    (void)state;
    struct progress p;
    progress_init(&p);
    assert_true(p.step == 0 && p.steps == 0 && !p.unit && !p.phase);
    assert_true(isnan(p.rate) && isnan(p.loss) && isnan(p.l0) && isnan(p.explained_variance) &&
                isnan(p.dead));
    monitor_report(NULL, &p);
    assert_int_equal(monitor_ask(NULL), MONITOR_GO_ON);
    struct monitor m = {.report = count_report, .ask = give_answer};
    p.step = 3;
    monitor_report(&m, &p);
    assert_int_equal(reports, 1);
    struct error err = {0};
    assert_int_equal(monitor_check(&m, &err), STATUS_OK);
    answer = MONITOR_CANCEL;
    assert_int_equal(monitor_check(&m, &err), STATUS_FAILED);
    assert_string_equal(err.message, "cancelled");
    answer = MONITOR_CHECKPOINT;
    assert_int_equal(monitor_ask(&m), MONITOR_CHECKPOINT);
    assert_int_equal(monitor_check(&m, NULL), STATUS_FAILED);
}

static struct progress last_report;

static void keep_report(struct monitor *m, const struct progress *p)
{
    (void)m;
    last_report = *p;
}

static void test_monitor_steps(void **state)
{
    (void)state;
    struct error err = {0};
    struct monitor m = {.report = keep_report, .ask = give_answer};
    monitor_step(NULL, "reading", 3, 7);
    monitor_step(&m, "reading", 3, 7);
    assert_string_equal(last_report.phase, "reading");
    assert_true(last_report.step == 3 && last_report.steps == 7 && !last_report.unit);
    assert_true(isnan(last_report.rate) && isnan(last_report.loss));
    monitor_step_rate(&m, "writing", 4, 0, 2.5, "rows/s");
    assert_string_equal(last_report.phase, "writing");
    assert_string_equal(last_report.unit, "rows/s");
    assert_true(last_report.step == 4 && last_report.steps == 0 && last_report.rate == 2.5);
    answer = MONITOR_GO_ON;
    assert_int_equal(monitor_go_on(&m, "checking", 5, 9, &err), STATUS_OK);
    answer = MONITOR_CANCEL; /* told of all the same */
    assert_int_equal(monitor_go_on(&m, "checking", 6, 9, &err), STATUS_FAILED);
    assert_string_equal(err.message, "cancelled");
    assert_true(last_report.step == 6 && last_report.steps == 9);

    double start = clock_seconds();
    assert_true(isnan(rate_since(start + 1000, 1))); /* no time has passed */
    double rate = rate_since(start - 1000, 5000);
    assert_true(rate > 4 && rate <= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_set),         cmocka_unit_test(test_error_cut),
        cmocka_unit_test(test_array_alloc),       cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_xfunctions),        cmocka_unit_test(test_strbuf),
        cmocka_unit_test(test_numbers_to_text),   cmocka_unit_test(test_parse_u64),
        cmocka_unit_test(test_parse_double),      cmocka_unit_test(test_nearest_word),
        cmocka_unit_test(test_random_reference),  cmocka_unit_test(test_random_streams),
        cmocka_unit_test(test_random_moments),    cmocka_unit_test(test_shuffle),
        cmocka_unit_test(test_progress_in_words), cmocka_unit_test(test_monitor),
        cmocka_unit_test(test_monitor_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
