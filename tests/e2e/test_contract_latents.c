/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the commands about latents and meta-latents print. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "contract_store.h"
#include "program.h"
#include "saescope/base/memory.h"

#define LATENTS                                                                                              \
    "{sae:s,total:i,matched:i,latents:[{latent:i,label:s?,fired:i?,density:n?,max:n?,mean:n?,meta_latents:"  \
    "i?}]}"

static void assert_sorted(const json *latents, const char *key, int reversed)
{
    int dead = 0;
    for (size_t i = 0; i < json_length(latents); i++) {
        const json *now = json_at(latents, i), *last = i ? json_at(latents, i - 1) : NULL;
        if (integer_of(now, "fired") == 0)
            dead = 1;
        else
            assert_false(dead); /* dead ones last */
        if (!last || dead)
            continue;
        double a = number_of(last, key), b = number_of(now, key);
        assert_true(reversed ? a <= b : a >= b);
        if (a == b)
            assert_true(integer_of(last, "latent") < integer_of(now, "latent")); /* also when turned round */
    }
}

static void test_latents(void **state)
{
    (void)state;
    json *all = PROGRAM_JSON("latents", "s", "--limit", "0");
    assert_shape(all, LATENTS);
    const json *list = json_get(all, "latents");
    assert_int_equal(integer_of(all, "total"), WIDTH);
    assert_int_equal(integer_of(all, "matched"), WIDTH);
    assert_int_equal(json_length(list), WIDTH);
    size_t frequent = 0;
    for (size_t i = 0; i < WIDTH; i++) {
        const json *l = json_at(list, i);
        assert_int_equal(integer_of(l, "latent"), i);
        assert_true(number_of(l, "max") >= number_of(l, "mean"));
        frequent += number_of(l, "density") > 0.1;
    }
    json_free(all);

    static const char *const keys[] = {"fired", "density", "max", "mean", "meta_latents"};
    for (size_t k = 0; k < ARRAY_LENGTH(keys); k++)
        for (int reversed = 0; reversed < 2; reversed++) {
            json *s = PROGRAM_JSON("latents", "s", "--limit", "0", "--sort", keys[k],
                                   reversed ? "--reverse" : NULL);
            assert_int_equal(json_length(json_get(s, "latents")), WIDTH);
            assert_sorted(json_get(s, "latents"), keys[k], reversed);
            json_free(s);
        }

    json *some = PROGRAM_JSON("latents", "s", "--filter", "density > 0.1", "--limit", "2");
    assert_int_equal(integer_of(some, "matched"), frequent);
    assert_true(json_length(json_get(some, "latents")) <= 2);
    json_free(some);
}

/* A latent that fires, the strongest one. */
static char *firing(const char *sae)
{
    json *l = PROGRAM_JSON("latents", sae, "--sort", "fired", "--limit", "1");
    char *address = xasprintf("%s/%lld", sae, integer_of(json_at(json_get(l, "latents"), 0), "latent"));
    json_free(l);
    return address;
}

#define CONTEXTS                                                                                             \
    "contexts:[{context:i,position:i,offset:i,activation:n,interval:i?,ids:[i]+,tokens:[s]+,activations:[n]" \
    "+}]"
#define LOGITS "logits:{positive:[{id:i,token:s,value:n}]+,negative:[{id:i,token:s,value:n}]+}"

static void assert_contexts(const json *contexts, double max)
{
    int top = 0;
    for (size_t i = 0; i < json_length(contexts); i++) {
        const json *c = json_at(contexts, i), *values = json_get(c, "activations");
        size_t at = (size_t)(integer_of(c, "position") - integer_of(c, "offset"));
        assert_true(at < json_length(values));
        assert_int_equal(json_length(json_get(c, "ids")), json_length(values));
        assert_int_equal(json_length(json_get(c, "tokens")), json_length(values));
        assert_true(json_number(json_at(values, at), 0) == number_of(c, "activation"));
        if (json_is_null(json_get(c, "interval")))
            top++;
        else
            assert_in_range(integer_of(c, "interval"), 0, 4);
    }
    assert_in_range(top, 1, 20);
    assert_true(number_of(json_at(contexts, 0), "activation") == max);
}

static void test_show(void **state)
{
    (void)state;
    char *address = firing("s");
    json *p = PROGRAM_JSON("show", address, "--window", "4");
    assert_shape(p, "{sae:s,latent:i,label:s?,tokens:i,fired:i,density:n,max:n,mean:n,histogram:{edges:[n]+,"
                    "counts:[i]+}," CONTEXTS "," LOGITS
                    ",meta:{sae:s,explained_variance:n,components:[{latent:i,activation:n,label:s?}]},"
                    "neighbors:[{sae:s,latent:i,cosine:n,label:s?}]+}");
    const json *counts = json_get(json_get(p, "histogram"), "counts");
    long long sum = 0;
    assert_int_equal(json_length(json_get(json_get(p, "histogram"), "edges")), 51);
    assert_int_equal(json_length(counts), 50);
    for (size_t i = 0; i < 50; i++)
        sum += json_integer(json_at(counts, i), 0);
    assert_int_equal(sum, integer_of(p, "fired"));
    assert_true(fabs(number_of(p, "density") * (double)integer_of(p, "tokens") - (double)sum) < 1e-3);
    assert_contexts(json_get(p, "contexts"), number_of(p, "max"));
    assert_true(json_length(json_get(json_at(json_get(p, "contexts"), 0), "ids")) <= 9);
    assert_int_equal(json_length(json_get(json_get(p, "logits"), "positive")), 10);
    assert_int_equal(json_length(json_get(p, "neighbors")), 10);

    json *c = PROGRAM_JSON("contexts", address, "--window", "full"), *l = PROGRAM_JSON("logits", address);
    assert_shape(c, "{sae:s,latent:i," CONTEXTS "}");
    assert_contexts(json_get(c, "contexts"), number_of(p, "max"));
    assert_int_equal(json_length(json_get(json_at(json_get(c, "contexts"), 0), "ids")), 128);
    assert_shape(l, "{sae:s,latent:i," LOGITS "}");
    json_free(p);
    json_free(c);
    json_free(l);
    free(address);
}

/* A meta-SAE on two SAEs: both are its bases, and members say whose they are unless --sae asks for one's. */
static void test_joint_meta(void **state)
{
    (void)state;
    PROGRAM_DONE("train", "sae", "s2", "--model", "lm", "--hook", HOOK, "--text", "t", "--width", "32", "--k", "4",
                 "--steps", "20", "--batch", "256");
    json *made = PROGRAM_JSON("train", "meta", "joint", "--sae", "s,s2", "--width", "12", "--k", "2", "--steps", "40");
    assert_is(made, "name", "joint");
    json *info = PROGRAM_JSON("info", "joint");
    assert_shape(info, "{" SAE_FIELDS ",bases:[s]+,training:{base:s,bases:[s]+,preset:s?,rows:i,raw_rows:b,"
                       "permute_columns:b,alive:b,alive_density:n?,weight:s}}");
    assert_is(info, "base", "s");
    assert_string_equal(json_string(json_at(json_get(info, "bases"), 1), ""), "s2");
    assert_int_equal(integer_of(json_get(info, "training"), "rows"), WIDTH + 32);
    json *list = PROGRAM_JSON("list", "saes");
    for (size_t i = 0; i < json_length(json_get(list, "saes")); i++) {
        const json *sae = json_at(json_get(list, "saes"), i);
        int joint = strcmp(json_get_string(sae, "name", ""), "joint") == 0;
        assert_int_equal(json_length(json_get(sae, "bases")), joint ? 2 : 0);
    }
    char *address = firing("joint");
    json *all = PROGRAM_JSON("members", address), *a = PROGRAM_JSON("members", address, "--sae", "s"),
         *b = PROGRAM_JSON("members", address, "--sae", "s2");
    assert_shape(all, "{meta:s,latent:i,density:n,members:[{sae:s,latent:i,activation:n,label:s?}]+}");
    assert_shape(a, "{meta:s,latent:i,density:n,members:[{latent:i,activation:n,label:s?}]}");
    size_t n = json_length(json_get(all, "members"));
    assert_int_equal(json_length(json_get(a, "members")) + json_length(json_get(b, "members")), n);
    assert_true(fabs(number_of(all, "density") * (WIDTH + 32) - (double)n) < 1e-6);
    assert_null(json_get(json_at(json_get(a, "members"), 0), "sae"));
    /* A member of either is decomposed by it. */
    const json *first = json_at(json_get(all, "members"), 0);
    char *member = xasprintf("%s/%lld", json_get_string(first, "sae", ""), integer_of(first, "latent"));
    json *d = PROGRAM_JSON("decompose", member, "--meta", "joint");
    int found = 0;
    for (size_t i = 0; i < json_length(json_get(d, "components")); i++) {
        const json *x = json_at(json_get(d, "components"), i);
        if (integer_of(x, "latent") == integer_of(all, "latent"))
            found = fabs(number_of(x, "activation") - number_of(first, "activation")) < 1e-5;
    }
    assert_true(found);
    json *e = PROGRAM_JSON("evaluate", "joint");
    assert_int_equal(integer_of(e, "tokens"), WIDTH + 32);
    json *l = PROGRAM_JSON("latents", "s2", "--limit", "1");
    assert_true(json_is_number(json_get(json_at(json_get(l, "latents"), 0), "meta_latents")));
    PROGRAM_REFUSES(3, SAYS("s2 has no index"), "train", "meta", "x", "--sae", "s,s2", "--width", "8", "--alive");
    PROGRAM_REFUSES(3, SAYS("s2 has no index"), "train", "meta", "x", "--sae", "s2", "--width", "8", "--weight",
                    "frequency");
    PROGRAM_REFUSES(3, SAYS("joint", "needed"), "remove", "s2", "--yes");
    json *removed = PROGRAM_JSON("remove", "s2", "--cascade", "--yes");
    assert_true(integer_of(removed, "removed") >= 3); /* with the meta-SAE and its index */
    json *v = PROGRAM_JSON("verify");
    assert_true(json_get_boolean(v, "ok", 0));
    json *const done[] = {made, info, list, all, a, b, d, e, l, removed, v};
    for (size_t i = 0; i < ARRAY_LENGTH(done); i++)
        json_free(done[i]);
    free(address);
    free(member);
}

/* A meta-SAE of a meta-SAE, on fewer rows that are drawn by frequency. */
static void test_meta_of_meta(void **state)
{
    (void)state;
    json *made = PROGRAM_JSON("train", "meta", "mm", "--sae", "m", "--width", "4", "--k", "1", "--steps", "30", "--alive",
                              "--weight", "frequency");
    json *info = PROGRAM_JSON("info", "mm"), *d = PROGRAM_JSON("decompose", "m/0", "--meta", "mm");
    assert_is(info, "base", "m");
    assert_is(info, "model", "lm");
    assert_is(json_get(info, "training"), "weight", "frequency");
    assert_true(json_get_boolean(json_get(info, "training"), "alive", 0));
    assert_is(d, "sae", "m");
    assert_is(d, "meta", "mm");
    json *logits = PROGRAM_JSON("logits", "mm/1"), *members = PROGRAM_JSON("members", "mm/1");
    assert_shape(logits, "{sae:s,latent:i," LOGITS "}");
    assert_is(members, "meta", "mm");
    PROGRAM_DONE("remove", "mm", "--yes");
    json *const done[] = {made, info, d, logits, members};
    for (size_t i = 0; i < ARRAY_LENGTH(done); i++)
        json_free(done[i]);
}

/* What is rebuilt is an SAE that can be evaluated, indexed and sent out. */
static void test_rebuild(void **state)
{
    (void)state;
    json *made = PROGRAM_JSON("rebuild", "s", "--meta", "m", "--save", "rebuilt"),
         *less = PROGRAM_JSON("rebuild", "s", "--meta", "m", "--without", "m/2,m/5", "--save", "less"),
         *skipped = PROGRAM_JSON("rebuild", "s", "--meta", "m", "--save", "rebuilt", "--if-absent");
    assert_shape(made, MADE);
    assert_is(made, "kind", "sae");
    assert_shape(skipped, "{name:s,present:b}");
    json *info = PROGRAM_JSON("info", "less"), *base = PROGRAM_JSON("info", "s");
    static const char *const same[] = {"architecture", "hook", "model", "normalize_activations"};
    for (size_t i = 0; i < ARRAY_LENGTH(same); i++)
        assert_is(info, same[i], json_get_string(base, same[i], ""));
    assert_int_equal(integer_of(info, "context_size"), integer_of(base, "context_size"));
    assert_true(number_of(info, "threshold") == number_of(base, "threshold"));
    const json *source = json_get(info, "source");
    assert_is(source, "rebuilt_from", "s");
    assert_is(source, "meta", "m");
    assert_int_equal(json_length(json_get(source, "without")), 2);
    assert_int_equal(json_integer(json_at(json_get(source, "without"), 1), -1), 5);
    /* The same latents fire, and they explain less. */
    json *whole = PROGRAM_JSON("evaluate", "s", "--text", "t", "--tokens", "2000"),
         *part = PROGRAM_JSON("evaluate", "less", "--text", "t", "--tokens", "2000");
    const json *x = json_get(whole, "metrics"), *y = json_get(part, "metrics");
    assert_true(number_of(json_get(x, "sparsity"), "l0") == number_of(json_get(y, "sparsity"), "l0"));
    assert_true(number_of(json_get(x, "reconstruction_quality"), "explained_variance") >
                number_of(json_get(y, "reconstruction_quality"), "explained_variance"));
    PROGRAM_DONE("index", "less", "--text", "t", "--tokens", "2000");
    char *folder = program_path("rebuilt-out");
    PROGRAM_DONE("export", "sae", "less", folder);
    PROGRAM_DONE("remove", "less", "--yes");
    PROGRAM_DONE("remove", "rebuilt", "--yes");
    json *const done[] = {made, less, skipped, info, base, whole, part};
    for (size_t i = 0; i < ARRAY_LENGTH(done); i++)
        json_free(done[i]);
    free(folder);
}

static void test_show_meta_latent(void **state)
{
    (void)state;
    char *address = firing("m");
    json *p = PROGRAM_JSON("show", address), *members = PROGRAM_JSON("members", address);
    assert_shape(p, "{sae:s,latent:i,label:s?,tokens:i,fired:i,density:n,max:n,mean:n,contexts:[x]," LOGITS
                    ",meta:x?,neighbors:[{sae:s,latent:i,cosine:n,label:s?}]+}");
    assert_int_equal(integer_of(p, "tokens"), WIDTH);
    assert_int_equal(json_length(json_get(p, "contexts")), 0);
    assert_is(json_at(json_get(p, "neighbors"), 0), "sae", "s");
    assert_shape(members, "{meta:s,latent:i,density:n,members:[{latent:i,activation:n,label:s?}]+}");
    const json *list = json_get(members, "members");
    assert_int_equal(json_length(list), integer_of(p, "fired"));
    for (size_t i = 1; i < json_length(list); i++)
        assert_true(number_of(json_at(list, i - 1), "activation") >=
                    number_of(json_at(list, i), "activation"));

    /* A member's decomposition has the meta-latent with the same activation. */
    char *member = xasprintf("s/%lld", integer_of(json_at(list, 0), "latent"));
    json *d = PROGRAM_JSON("decompose", member);
    assert_shape(d, "{sae:s,latent:i,meta:s,explained_variance:n,components:[{latent:i,activation:n,cosine:n,"
                    "label:s?,nearest:[{sae:s,latent:i,cosine:n,label:s?}]+}]+}");
    int found = 0;
    for (size_t i = 0; i < json_length(json_get(d, "components")); i++) {
        const json *c = json_at(json_get(d, "components"), i);
        if (integer_of(c, "latent") == integer_of(members, "latent"))
            found = fabs(number_of(c, "activation") - number_of(json_at(list, 0), "activation")) < 1e-5;
    }
    assert_true(found);
    json_free(p);
    json_free(members);
    json_free(d);
    free(member);
    free(address);
}

/* By sparse regression onto its own SAE and onto a narrower one. */
static void test_decompose_onto(void **state)
{
    (void)state;
    static const char shape[] = "{sae:s,latent:i,meta:x,onto:s,atoms:i,non_negative:b,explained_variance:n,"
                                "residual_norm:n,components:[{latent:i,activation:n,cosine:n,label:s?,"
                                "nearest:[{sae:s,latent:i,cosine:n,label:s?}]}]+}";
    json_free(PROGRAM_JSON("train", "sae", "narrow", "--model", "lm", "--hook", HOOK, "--text", "t", "--width", "32",
                           "--k", "4", "--steps", "5", "--batch", "64"));
    json *own = PROGRAM_JSON("decompose", "s/5", "--onto", "s", "--atoms", "3", "--nearest", "0");
    json *other = PROGRAM_JSON("decompose", "s/5", "--onto", "narrow", "--non-negative");
    assert_shape(own, shape);
    assert_shape(other, shape);
    assert_true(json_is_null(json_get(own, "meta")));
    const json *list = json_get(own, "components");
    assert_int_equal(json_length(list), 3);
    for (size_t i = 0; i < json_length(list); i++) {
        assert_int_not_equal(integer_of(json_at(list, i), "latent"), 5);
        assert_int_equal(json_length(json_get(json_at(list, i), "nearest")), 0);
    }
    list = json_get(other, "components");
    assert_in_range(json_length(list), 1, 4);
    for (size_t i = 0; i < json_length(list); i++) {
        const json *c = json_at(list, i), *nearest = json_get(c, "nearest");
        assert_true(number_of(c, "activation") > 0);
        /* In its own SAE first, then in narrower ones; never the component itself. */
        assert_int_equal(json_length(nearest), 2);
        assert_is(json_at(nearest, 0), "sae", "s");
        assert_is(json_at(nearest, 1), "sae", "narrow");
        assert_int_not_equal(integer_of(json_at(nearest, 0), "latent"), 5);
        assert_int_not_equal(integer_of(json_at(nearest, 1), "latent"), integer_of(c, "latent"));
    }
    json_free(own);
    json_free(other);
    PROGRAM_DONE("remove", "narrow", "--yes");
}

#define BASELINE "{baseline:s,sae:s?,explained_variance:n,mse:n,l0:n}"

/* A report's cross-entropies are those of `evaluate`, of the base and of the base rebuilt. */
static void check_losses(const json *r)
{
    const json *c = json_get(r, "cross_entropy");
    json_free(PROGRAM_JSON("rebuild", "s", "--meta", "m", "--save", "rebuilt"));
    json_free(PROGRAM_JSON("rebuild", "s", "--meta", "m", "--without", "m/3", "--save", "lesser"));
    static const char *const saes[] = {"s", "rebuilt", "lesser"};
    const double losses[] = {number_of(c, "sae"), number_of(c, "rebuilt"),
                             number_of(json_at(json_get(c, "without"), 0), "cross_entropy")};
    for (size_t i = 0; i < ARRAY_LENGTH(saes); i++) {
        json *e = PROGRAM_JSON("evaluate", saes[i], "--text", "t", "--tokens", "500");
        const json *group = json_get(json_get(e, "metrics"), "model_performance_preservation");
        assert_true(fabs(number_of(group, "ce_loss_with_sae") - losses[i]) < 1e-5);
        assert_true(fabs(number_of(group, "ce_loss_without_sae") - number_of(c, "model")) < 1e-5);
        assert_true(fabs(number_of(group, "ce_loss_with_ablation") - number_of(c, "zero_ablation")) < 1e-5);
        assert_int_equal(integer_of(e, "tokens"), integer_of(c, "tokens"));
        json_free(e);
    }
    PROGRAM_DONE("remove", "rebuilt", "--yes");
    PROGRAM_DONE("remove", "lesser", "--yes");
}

static void test_report(void **state)
{
    (void)state;
    json_free(PROGRAM_JSON("train", "sae", "narrow", "--model", "lm", "--hook", HOOK, "--text", "t", "--width", "32",
                           "--k", "4", "--steps", "5", "--batch", "64"));
    json *r = PROGRAM_JSON("report", "m", "--text", "t", "--tokens", "500", "--without", "m/3");
    json *e = PROGRAM_JSON("evaluate", "m");
    assert_shape(r, "{meta:s,base:s,bases:i,rows:i,width:i,k:i,explained_variance:n,explained_variance_batchtopk:n,"
                    "mse:n,l0:n,dead_fraction:n,meta_structure:{decoder_fraction_variance_explained:n,"
                    "train_time_seconds:n?,final_reconstruction_mse:n},baselines:[" BASELINE "]+,"
                    "by_density:[{from:n,to:n,latents:i,meta_latents:n,explained_variance:n}]+,"
                    "max_cosine:[{from:s,against:s,mean:n,median:n,above:[{cosine:n,fraction:n}]+,"
                    "histogram:{edges:[n]+,counts:[i]+}}]+,"
                    "graph:[{sae:s,latents:i,edges:i,edges_of_sae:i,common:i,share:n?,chance:n?,cosine:n?}]+,"
                    "cross_entropy:{text:s,tokens:i,model:n,sae:n,rebuilt:n,without:[{latent:i,cross_entropy:n}]+,"
                    "zero_ablation:n},note:s?}");
    const json *quality = json_get(json_get(e, "metrics"), "reconstruction_quality");
    assert_true(number_of(r, "explained_variance") == number_of(quality, "explained_variance"));
    assert_true(number_of(r, "explained_variance_batchtopk") == number_of(quality, "explained_variance_batchtopk"));
    assert_int_equal(json_length(json_get(r, "baselines")), 6);
    assert_is(json_at(json_get(r, "baselines"), 1), "sae", "narrow");
    check_losses(r);
    json_free(r);
    json_free(e);
    r = PROGRAM_JSON("report", "m", "--quick");
    assert_int_equal(json_length(json_get(r, "baselines")), 2);
    assert_true(json_is_null(json_get(r, "cross_entropy")));
    json_free(r);
    struct result text = PROGRAM("report", "m", "--quick");
    assert_int_equal(text.status, 0);
    assert_non_null(strstr(text.out, "\nrandom_decoder"));
    assert_non_null(strstr(text.out, "\nlargest cosine of"));
    result_free(&text);
    PROGRAM_DONE("remove", "narrow", "--yes");
}

static void test_relatives(void **state)
{
    (void)state;
    json *n = PROGRAM_JSON("neighbors", "s/5"), *c = PROGRAM_JSON("compare", "s", "s");
    assert_shape(n, "{sae:s,latent:i,in:s,neighbors:[{latent:i,cosine:n,label:s?}]+}");
    assert_is(n, "in", "s");
    const json *list = json_get(n, "neighbors"), *latents = json_get(c, "latents");
    for (size_t i = 0; i < json_length(list); i++) {
        assert_int_not_equal(integer_of(json_at(list, i), "latent"), 5);
        if (i)
            assert_true(number_of(json_at(list, i - 1), "cosine") >= number_of(json_at(list, i), "cosine"));
    }
    assert_shape(c, "{a:s,b:s,latents:[{latent:i,nearest:i,cosine:n}]+}");
    assert_int_equal(json_length(latents), WIDTH);
    assert_int_equal(integer_of(json_at(latents, 5), "nearest"), integer_of(json_at(list, 0), "latent"));
    assert_true(fabs(number_of(json_at(latents, 5), "cosine") - number_of(json_at(list, 0), "cosine")) <
                1e-5);
    json_free(n);
    json_free(c);
}

#define FAMILY                                                                                               \
    "{sae:s,latent:i,truncated:b,saes:[{sae:s,width:i,meta:s?,stitch:s?}]+,"                                 \
    "nodes:[{sae:s,latent:i,label:s?,width:i,meta:[{latent:i,share:n,label:s?}]}]+,"                         \
    "edges:[{from:s,to:s,cosine:n,share:n?}]}"

/* Children are the neighbours in a wider SAE that are near enough; each has the latent for a parent. */
static void test_family(void **state)
{
    (void)state;
    PROGRAM_DONE("train", "sae", "wider", "--model", "lm", "--hook", HOOK, "--text", "t", "--width", "96",
                 "--k", "8", "--steps", "20", "--batch", "256");
    json *f = PROGRAM_JSON("family", "s/5", "--cosine", "0.15"),
         *n = PROGRAM_JSON("neighbors", "s/5", "--in", "wider", "--limit", "96"),
         *one = PROGRAM_JSON("family", "s/5", "--saes", "s");
    assert_shape(f, FAMILY);
    assert_shape(one, FAMILY);
    const json *edges = json_get(f, "edges"), *nodes = json_get(f, "nodes"), *list = json_get(n, "neighbors"),
               *saes = json_get(f, "saes");
    assert_false(json_get_boolean(f, "truncated", 1));
    assert_int_equal(json_length(saes), 2);
    assert_is(json_at(saes, 0), "sae", "s");
    assert_is(json_at(saes, 0), "meta", "m");
    assert_is(json_at(saes, 1), "sae", "wider");
    size_t near = 0;
    while (number_of(json_at(list, near), "cosine") > 0.15)
        near++;
    assert_true(near > 0);
    assert_int_equal(json_length(edges), near);
    assert_int_equal(json_length(nodes), near + 1);
    for (size_t i = 0; i < near; i++) {
        const json *edge = json_at(edges, i);
        char address[40];
        size_t k = 0;
        assert_is(edge, "from", "s/5");
        assert_true(json_is_null(json_get(edge, "share")));
        for (; k < near; k++) {
            snprintf(address, sizeof address, "wider/%lld", integer_of(json_at(list, k), "latent"));
            if (strcmp(address, json_get_string(edge, "to", "")) == 0)
                break;
        }
        assert_true(k < near);
        assert_true(fabs(number_of(edge, "cosine") - number_of(json_at(list, k), "cosine")) < 1e-5);
    }
    double shares = 0;
    const json *meta = json_get(json_at(nodes, 0), "meta");
    for (size_t k = 0; k < json_length(meta); k++)
        shares += number_of(json_at(meta, k), "share");
    assert_true(json_length(meta) == 0 || fabs(shares - 1) < 1e-6);
    assert_int_equal(json_length(json_get(one, "nodes")), 1);
    json_free(f);
    json_free(n);
    json_free(one);
    PROGRAM_REFUSES(2, SAYS("at most 1"), "family", "s/5", "--cosine", "1.5");
    PROGRAM_REFUSES(2, SAYS("from 0.6"), "family", "s/5", "--similarity", "0.3");
    PROGRAM_REFUSES(2, SAYS("room for 1 to"), "family", "s/5", "--limit", "0");
    PROGRAM_REFUSES(3, SAYS("m is a meta-SAE"), "family", "m/1");
    PROGRAM_REFUSES(3, SAYS("no common families"), "family", "s/5", "--saes", "wider,m");
    PROGRAM_REFUSES(3, SAYS("latents 0 to 63"), "family", "s/64");
    PROGRAM_DONE("remove", "wider", "--yes");
}

static void test_search(void **state)
{
    (void)state;
    PROGRAM_DONE("label", "s/7", "Zebra crossing");
    json *s = PROGRAM_JSON("search", "zebra", "--in", "s"), *none = PROGRAM_JSON("search", "zEbra");
    assert_shape(s, "{query:s,results:[{sae:s,latent:i,label:s?,score:n}]+}");
    assert_int_equal(integer_of(json_at(json_get(s, "results"), 0), "latent"), 7);
    assert_int_equal(json_length(json_get(none, "results")), 0); /* capitals: case counts */
    json_free(s);
    json_free(none);
    PROGRAM_DONE("label", "s/7", "--remove");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latents),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_show_meta_latent),
        cmocka_unit_test(test_joint_meta),
        cmocka_unit_test(test_meta_of_meta),
        cmocka_unit_test(test_rebuild),
        cmocka_unit_test(test_relatives),
        cmocka_unit_test(test_family),
        cmocka_unit_test(test_decompose_onto),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_search),
    };
    return cmocka_run_group_tests_name("contract of latents", tests, contract_set_up, contract_tear_down);
}
