/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the program prints and how it ends, command by command, on a small store that it makes itself. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "program.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/base/strbuf.h"

enum { DOCUMENTS = 400, WIDTH = 64, META_WIDTH = 16 };

#define HOOK "blocks.2.hook_resid_pre"
#define MADE "{name:s,kind:s,bytes:i,seconds:n}"

/* What the commands that made the store printed. */
static json *made_model, *made_text, *made_sae, *made_meta, *made_index, *made_meta_index;

static int set_up(void **state)
{
    (void)state;
    program_set_up();
    program_write_corpus("text.txt", DOCUMENTS);
    char *model = shipped_file("wordnet-lm"), *text = program_path("text.txt");
    made_model = PROGRAM_JSON("import", "model", model, "--name", "lm");
    made_text = PROGRAM_JSON("import", "text", text, "--name", "t", "--model", "lm");
    made_sae =
        PROGRAM_JSON("train", "sae", "s", "--model", "lm", "--hook", HOOK, "--text", "t", "--width", "64",
                     "--k", "8", "--steps", "40", "--batch", "256", "--warmup", "5", "--seed", "3");
    made_meta =
        PROGRAM_JSON("train", "meta", "m", "--sae", "s", "--width", "16", "--k", "2", "--steps", "40");
    made_index = PROGRAM_JSON("index", "s", "--text", "t");
    made_meta_index = PROGRAM_JSON("index", "m");
    free(model);
    free(text);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json *const all[] = {made_model, made_text, made_sae, made_meta, made_index, made_meta_index};
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++)
        json_free(all[i]);
    program_tear_down();
    return 0;
}

/* ---- Store. ---- */

static void test_makers(void **state)
{
    (void)state;
    static const char trained[] =
        "{name:s,steps:i,tokens:i,loss:n,l0:n,explained_variance:n,dead:i,seconds:n,"
        "tokens_per_second:n}";
    assert_shape(made_model, MADE);
    assert_shape(made_text, MADE);
    assert_shape(made_index, MADE);
    assert_shape(made_meta_index, MADE);
    assert_shape(made_sae, trained);
    assert_shape(made_meta, trained);
    assert_is(made_model, "kind", "model");
    assert_is(made_text, "kind", "text");
    assert_is(made_index, "kind", "index");
    assert_int_equal(integer_of(made_sae, "steps"), 40);
    assert_int_equal(integer_of(made_sae, "tokens"), 40 * 256);
    json *two =
        PROGRAM_JSON("train", "sae", "two-a", "two-b", "--model", "lm", "--hook", "blocks.1.hook_mlp_out",
                     "--text", "t", "--width", "16,32", "--k", "4", "--steps", "2", "--batch", "64");
    assert_shape(two, "{saes:[{name:s,steps:i,tokens:i,loss:n,l0:n,explained_variance:n,dead:i,seconds:n,"
                      "tokens_per_second:n}]+}");
    assert_int_equal(json_length(json_get(two, "saes")), 2);
    assert_is(json_at(json_get(two, "saes"), 1), "name", "two-b");
    json_free(two);
    PROGRAM_DONE("remove", "two-a", "--yes");
    PROGRAM_DONE("remove", "two-b", "--yes");
}

#define SAE_FIELDS "name:s,kind:s,architecture:s,d_in:i,d_sae:i,model:s?,hook:s?,base:s?,indexed_tokens:i"

static void test_list(void **state)
{
    (void)state;
    json *all = PROGRAM_JSON("list"), *saes = PROGRAM_JSON("list", "saes");
    assert_shape(all,
                 "{models:[{name:s,family:s,layers:i,d_model:i,vocabulary_size:i}]+,"
                 "texts:[{name:s,model:s,tokens:i,documents:i}]+,saes:[{" SAE_FIELDS "}]+,stitches:[x]}");
    const json *text = json_at(json_get(all, "texts"), 0), *m = json_at(json_get(all, "saes"), 0),
               *s = json_at(json_get(all, "saes"), 1), *model = json_at(json_get(all, "models"), 0);
    assert_int_equal(integer_of(text, "documents"), DOCUMENTS);
    assert_int_equal(integer_of(model, "layers"), 4);
    assert_int_equal(integer_of(model, "vocabulary_size"), 8192);
    assert_is(s, "name", "s");
    assert_is(s, "kind", "sae");
    assert_is(s, "hook", HOOK);
    assert_is(s, "model", "lm");
    assert_null(json_get_string(s, "base", NULL));
    assert_int_equal(integer_of(s, "d_in"), 256);
    assert_int_equal(integer_of(s, "d_sae"), WIDTH);
    assert_true(integer_of(s, "indexed_tokens") > 0);
    assert_true(integer_of(s, "indexed_tokens") <= integer_of(text, "tokens"));
    assert_is(m, "kind", "meta");
    assert_is(m, "base", "s");
    assert_shape(saes, "{saes:[{" SAE_FIELDS "}]+}");
    assert_int_equal(json_length(saes), 1);
    json_free(all);
    json_free(saes);
}

static void test_info(void **state)
{
    (void)state;
    json *s = PROGRAM_JSON("info", "s"), *t = PROGRAM_JSON("info", "t"), *m = PROGRAM_JSON("info", "m");
    static const char shape[] =
        "{" SAE_FIELDS
        ",k:i?,threshold:n?,apply_b_dec_to_input:b,normalize_activations:s,center_activations:b,"
        "context_size:i?,prepend_bos:b,dtype:s,bytes:i,source:x,training:{architecture:s,width:i,k:i,lr:n,"
        "batch:i,steps:i,"
        "warmup:i,aux_k:i,aux_coefficient:n,dead_after:i,seed:i,tokens:i,loss:n,l0:n,explained_variance:n,"
        "dead:i}}";
    assert_shape(s, shape);
    assert_shape(m, shape);
    assert_int_equal(integer_of(s, "k"), 8);
    assert_int_equal(integer_of(s, "context_size"), 128);
    assert_int_equal(integer_of(json_get(s, "training"), "seed"), 3);
    assert_int_equal(integer_of(json_get(s, "training"), "steps"), 40);
    assert_true(number_of(json_get(s, "training"), "loss") == number_of(made_sae, "loss"));
    assert_true(number_of(json_get(s, "training"), "l0") == number_of(made_sae, "l0"));
    assert_shape(t, "{name:s,kind:s,model:s,tokens:i,documents:i,bytes:i}");
    json_free(s);
    json_free(t);
    json_free(m);
}

static void test_verify_and_jobs(void **state)
{
    (void)state;
    json *v = PROGRAM_JSON("verify"), *j = PROGRAM_JSON("jobs");
    assert_shape(v, "{ok:b,problems:[{name:s?,tensor:s?,block:i,message:s}]}");
    assert_true(json_get_boolean(v, "ok", 0));
    assert_shape(j, "{jobs:[{id:i,kind:s,state:s,progress:n,step:i,steps:i,loss:n?,message:s}]+}");
    const json *jobs = json_get(j, "jobs");
    for (size_t i = 0; i < json_length(jobs); i++)
        assert_is(json_at(jobs, i), "state", "done");
    for (size_t i = 0; i < json_length(jobs); i++) {
        const json *job = json_at(jobs, i);
        if (strcmp(json_get_string(job, "title", ""), "train sae s") != 0)
            continue;
        assert_int_equal(integer_of(job, "step"), 40);
        assert_int_equal(integer_of(job, "steps"), 40);
        assert_true(fabs(number_of(job, "loss") - number_of(made_sae, "loss")) < 1e-6);
    }
    json_free(v);
    json_free(j);
}

static void test_rename_and_label(void **state)
{
    (void)state;
    json *r = PROGRAM_JSON("rename", "s", "renamed"), *m = PROGRAM_JSON("info", "m");
    assert_is(r, "name", "renamed");
    assert_is(m, "base", "renamed");
    json_free(r);
    json_free(m);
    PROGRAM_DONE("rename", "renamed", "s");

    json *before = PROGRAM_JSON("label", "s/3"), *set = PROGRAM_JSON("label", "s/3", "mine\tand \"more\"");
    assert_shape(set, "{sae:s,latent:i,label:s}");
    assert_is(set, "label", "mine\tand \"more\"");
    json *after = PROGRAM_JSON("label", "s/3", "--remove");
    assert_string_equal(json_get_string(after, "label", ""), json_get_string(before, "label", ""));
    json_free(before);
    json_free(set);
    json_free(after);
}

/* ---- Latents. ---- */

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

/* ---- Texts. ---- */

static void test_encode(void **state)
{
    (void)state;
    static const char shape[] =
        "{sae:s,truncated:b,tokens:[{position:i,id:i,text:s,l0:i,latents:[{latent:i,activation:n}]}]+}";
    json *e = PROGRAM_JSON("encode", "s", "a kind of d\xc3\xa9"),
         *bos = PROGRAM_JSON("encode", "s", "a", "--bos");
    assert_shape(e, shape);
    const json *tokens = json_get(e, "tokens");
    struct strbuf bytes = STRBUF_INIT;
    for (size_t i = 0; i < json_length(tokens); i++) {
        const json *t = json_at(tokens, i), *latents = json_get(t, "latents");
        assert_int_equal(integer_of(t, "position"), i);
        assert_int_equal(json_length(latents), integer_of(t, "l0"));
        for (size_t k = 1; k < json_length(latents); k++)
            assert_true(number_of(json_at(latents, k - 1), "activation") >=
                        number_of(json_at(latents, k), "activation"));
        strbuf_adds(&bytes, json_get_string(t, "bytes", ""));
    }
    assert_int_equal(json_length(json_get(json_at(tokens, 0), "latents")), 0); /* BOS */
    assert_string_equal(strbuf_string(&bytes), "c3a9");                        /* the cut character's */
    assert_false(json_get_boolean(e, "truncated", 1));
    assert_true(integer_of(json_at(json_get(bos, "tokens"), 0), "l0") > 0);
    json_free(e);
    json_free(bos);
    strbuf_free(&bytes);

    struct strbuf longer = STRBUF_INIT;
    for (int i = 0; i < 300; i++)
        strbuf_adds(&longer, " kind");
    json *cut = PROGRAM_JSON("encode", "s", strbuf_string(&longer));
    assert_true(json_get_boolean(cut, "truncated", 0));
    assert_int_equal(json_length(json_get(cut, "tokens")), 128);
    json_free(cut);
    strbuf_free(&longer);
}

static void test_tokenize(void **state)
{
    (void)state;
    program_write_file("piece.txt", " kind of\n\xff", 10);
    char *path = program_path("piece.txt");
    json *t = PROGRAM_JSON("tokenize", "lm", "--file", path);
    assert_shape(t, "{model:s,tokens:[{id:i,text:s}]+}");
    const json *tokens = json_get(t, "tokens"), *last = json_at(tokens, json_length(tokens) - 1);
    assert_is(json_at(tokens, 0), "text", " kind");
    assert_is(last, "text", "\xef\xbf\xbd");
    assert_is(last, "bytes", "ff");
    json_free(t);
    free(path);
}

static void test_evaluate(void **state)
{
    (void)state;
    json *e = PROGRAM_JSON("evaluate", "s", "--text", "t", "--tokens", "2000"),
         *meta = PROGRAM_JSON("evaluate", "m");
    assert_shape(
        e,
        "{sae:s,text:s,tokens:i,metrics:{"
        "model_behavior_preservation:{kl_div_score:n,kl_div_with_ablation:n,kl_div_with_sae:n},"
        "model_performance_preservation:{ce_loss_score:n,ce_loss_with_ablation:n,ce_loss_with_sae:n,"
        "ce_loss_without_sae:n},"
        "reconstruction_quality:{explained_variance:n,explained_variance_legacy:n,mse:n,cossim:n},"
        "shrinkage:{l2_norm_in:n,l2_norm_out:n,l2_ratio:n,relative_reconstruction_bias:n},"
        "sparsity:{l0:n,l1:n},"
        "token_stats:{total_tokens_eval_reconstruction:i,total_tokens_eval_sparsity_variance:i},"
        "misc_metrics:{freq_over_1_percent:n,freq_over_10_percent:n,normalized_freq_over_1_percent:n,"
        "normalized_freq_over_10_percent:n,average_max_encoder_cosine_sim:n,average_max_decoder_cosine_sim:n,"
        "frac_alive:n}}}");
    assert_true(integer_of(e, "tokens") >= 2000);
    assert_shape(meta, "{sae:s,tokens:i,metrics:{reconstruction_quality:{explained_variance:n}}}");
    json_free(e);
    json_free(meta);
}

/* ---- Files. ---- */

static void test_exchange(void **state)
{
    (void)state;
    char *folder = program_path("folder"), *labels = program_path("labels.tsv");
    PROGRAM_DONE("export", "sae", "s", folder);
    json *in = PROGRAM_JSON("import", "sae", folder, "--name", "again", "--model", "lm"),
         *again = PROGRAM_JSON("info", "again"), *s = PROGRAM_JSON("info", "s");
    assert_shape(in, MADE);
    static const char *const same[] = {"architecture", "hook", "model"};
    for (size_t i = 0; i < ARRAY_LENGTH(same); i++)
        assert_is(again, same[i], json_get_string(s, same[i], ""));
    assert_true(fabs(number_of(again, "threshold") - number_of(s, "threshold")) < 1e-6);
    json_free(in);
    json_free(again);
    json_free(s);

    PROGRAM_DONE("label", "s/1", "one\ttab");
    PROGRAM_DONE("export", "labels", "s", labels);
    char *text = program_read_file("labels.tsv", NULL);
    assert_ptr_equal(strstr(text, "latent\tlabel\n"), text);
    assert_non_null(strstr(text, "\n1\tone\\ttab\n"));
    free(text);
    PROGRAM_DONE("import", "labels", labels, "--sae", "again");
    json *label = PROGRAM_JSON("label", "again/1");
    assert_is(label, "label", "one\ttab");
    json_free(label);
    PROGRAM_DONE("label", "s/1", "--remove");
    PROGRAM_DONE("remove", "again", "--yes");
    free(folder);
    free(labels);
}

/* An index goes out and comes back to an SAE whose model is not in the store: the page is the same. */
static void check_same_page(const char *latent, const char *other)
{
    json *a = PROGRAM_JSON("show", latent, "--window", "full"),
         *b = PROGRAM_JSON("show", other, "--window", "full");
    static const char *const same[] = {"tokens", "fired", "density", "max", "mean", "histogram"};
    for (size_t i = 0; i < ARRAY_LENGTH(same); i++) {
        struct strbuf x = STRBUF_INIT, y = STRBUF_INIT;
        json_dump(json_get(a, same[i]), &x);
        json_dump(json_get(b, same[i]), &y);
        assert_string_equal(x.data, y.data);
        strbuf_free(&x);
        strbuf_free(&y);
    }
    const json *contexts = json_get(a, "contexts"), *others = json_get(b, "contexts");
    assert_true(json_length(contexts) > 0);
    assert_int_equal(json_length(contexts), json_length(others));
    for (size_t i = 0; i < json_length(contexts); i++) {
        const json *x = json_at(contexts, i), *y = json_at(others, i);
        assert_int_equal(integer_of(x, "context"), integer_of(y, "context"));
        assert_int_equal(integer_of(x, "position"), integer_of(y, "position"));
        assert_true(number_of(x, "activation") == number_of(y, "activation"));
        assert_int_equal(json_length(json_get(x, "tokens")), json_length(json_get(y, "tokens")));
        assert_int_equal(json_length(json_get(y, "ids")), json_length(json_get(y, "tokens")));
        assert_true(json_is_null(json_at(json_get(y, "ids"), 0)));
    }
    assert_shape(b, "{logits:{positive:[{token:s,value:n}]+,negative:[{token:s,value:n}]+}}");
    json_free(a);
    json_free(b);
}

static void test_index_exchange(void **state)
{
    (void)state;
    char *folder = program_path("exported"), *bare = program_path("bare"),
         *dashboard = program_path("dashboard");
    json *made = PROGRAM_JSON("export", "index", "s", folder, "--batch", "10");
    assert_shape(made, "{name:s,kind:s,format:s,directory:s,latents:i,contexts:i,files:i,bytes:i,seconds:n}");
    json_free(made);
    PROGRAM_REFUSES(3, SAYS("has batches already", "--replace"), "export", "index", "s", folder);
    PROGRAM_REFUSES(2, SAYS("--gzip"), "export", "index", "s", dashboard, "--format", "saedashboard",
                    "--gzip");
    PROGRAM_DONE("export", "index", "s", dashboard, "--format", "saedashboard");
    PROGRAM_DONE("export", "sae", "s", bare);
    PROGRAM_REFUSES(3, SAYS("import sae"), "import", "index", folder, "--sae", "bare");
    PROGRAM_DONE("import", "sae", bare, "--name", "bare", "--neuronpedia-id", "gpt2-small/8-res-jb");
    made = PROGRAM_JSON("import", "index", folder, "--sae", "bare");
    assert_shape(made, "{name:s,kind:s,latents:i,contexts:i,tokens:i,seconds:n}");
    json_free(made);
    check_same_page("s/1", "bare/1");
    PROGRAM_REFUSES(3, SAYS("has an index already", "--replace"), "import", "index", dashboard, "--sae",
                    "bare");
    PROGRAM_DONE("import", "index", dashboard, "--sae", "bare", "--replace");

    json *labels = PROGRAM_JSON("import", "labels", folder, "--sae", "bare");
    assert_is(labels, "format", "neuronpedia");
    assert_true(integer_of(labels, "labels") > 0);
    json_free(labels);
    char *file = program_path("labels.jsonl");
    PROGRAM_DONE("export", "labels", "bare", file);
    char *text = program_read_file("labels.jsonl", NULL);
    assert_non_null(strstr(text, "{\"modelId\":\"gpt2-small\",\"layer\":\"8-res-jb\",\"index\":\""));
    free(text);
    free(file);

    json *place = PROGRAM_JSON("open", "bare/7");
    assert_shape(place, "{sae:s,latent:i,url:s}");
    assert_is(place, "url", "https://neuronpedia.org/gpt2-small/8-res-jb/7");
    json_free(place);
    PROGRAM_REFUSES(3, SAYS("no neuronpedia_id"), "open", "s/7");
    PROGRAM_REFUSES(3, SAYS("MODEL/SOURCE"), "import", "sae", bare, "--name", "other", "--neuronpedia-id",
                    "x");
    PROGRAM_DONE("remove", "bare", "--yes");
    free(folder);
    free(bare);
    free(dashboard);
}

/* 60 rows in contexts of 20, made of one repeated row; the third number is 1. */
static void test_import_activations(void **state)
{
    enum { ROWS = 60 };
    (void)state;
    json *info = PROGRAM_JSON("info", "s");
    size_t d = (size_t)integer_of(info, "d_in");
    const char *hook = json_get_string(info, "hook", "");
    struct strbuf b = STRBUF_INIT, header = STRBUF_INIT;
    strbuf_addf(&header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %zu), }", ROWS, d);
    while ((11 + header.length) % 64)
        strbuf_addc(&header, ' ');
    strbuf_addc(&header, '\n');
    strbuf_add(&b, "\x93NUMPY\x01\x00", 8);
    strbuf_addc(&b, (char)header.length);
    strbuf_addc(&b, '\0');
    strbuf_add(&b, header.data, header.length);
    for (size_t i = 0; i < ROWS * d; i++)
        strbuf_add(&b, i % d == 2 ? "\0\0\x80\x3f" : "\0\0\0\0", 4);
    program_write_file("rows.npy", b.data, b.length);
    char *path = program_path("rows.npy");
    json *made = PROGRAM_JSON("import", "activations", path, "--name", "cache", "--model", "lm", "--hook",
                              hook, "--context-size", "20");
    assert_shape(made, "{name:s,kind:s,bytes:i,seconds:n}");
    json_free(made);
    PROGRAM_DONE("index", "s", "--text", "cache");
    json *e = PROGRAM_JSON("evaluate", "s", "--text", "cache"), *c = PROGRAM_JSON("contexts", "s/1");
    assert_int_equal(integer_of(e, "tokens"), ROWS);
    assert_shape(json_get(e, "metrics"),
                 "{model_performance_preservation:{ce_loss_score:n?,ce_loss_with_sae:n?},"
                 "reconstruction_quality:{mse:n},sparsity:{l0:n}}");
    assert_true(json_is_null(
        json_get(json_get(json_get(e, "metrics"), "model_performance_preservation"), "ce_loss_with_sae")));
    assert_int_equal(json_length(json_get(c, "contexts")), 0);
    json_free(e);
    json_free(c);
    PROGRAM_DONE("index", "s", "--text", "t");
    PROGRAM_DONE("train", "sae", "cached-sae", "--model", "lm", "--hook", hook, "--text", "cache", "--width",
                 "8", "--steps", "2", "--batch", "16", "--k", "2");
    PROGRAM_REFUSES(3, SAYS("cache holds activations of"), "train", "sae", "no", "--model", "lm", "--hook",
                    "blocks.0.hook_mlp_out", "--text", "cache", "--width", "8", "--k", "2");
    PROGRAM_DONE("remove", "cached-sae", "--yes");
    PROGRAM_DONE("remove", "cache", "--yes");
    strbuf_free(&b);
    strbuf_free(&header);
    json_free(info);
    free(path);
}

static void test_existing_names(void **state)
{
    (void)state;
    char *text = program_path("text.txt");
    PROGRAM_REFUSES(3, SAYS("t", "--replace"), "import", "text", text, "--name", "t", "--model", "lm");
    json *skipped = PROGRAM_JSON("import", "text", text, "--name", "t", "--model", "lm", "--if-absent");
    assert_is(skipped, "name", "t");
    json_free(skipped);
    PROGRAM_DONE("import", "text", text, "--name", "u", "--model", "lm");
    PROGRAM_DONE("import", "text", text, "--name", "u", "--model", "lm", "--replace");
    PROGRAM_REFUSES(3, SAYS("lm", "--cascade"), "remove", "lm", "--yes");
    PROGRAM_REFUSES(1, SAYS("--yes"), "--batch", "remove", "u");
    json *removed = PROGRAM_JSON("remove", "u", "--yes");
    assert_is(removed, "name", "u");
    json_free(removed);
    free(text);
}

/* ---- Output and input. ---- */

static void assert_output(struct result r, int status, const char *out)
{
    if (r.status != status || strcmp(r.out, out) != 0)
        print_error("-> %d: %s%s\n", r.status, r.err, r.out);
    assert_int_equal(r.status, status);
    assert_string_equal(r.out, out);
    result_free(&r);
}

static void test_tsv(void **state)
{
    (void)state;
    assert_output(PROGRAM("--tsv", "list", "texts"), 0,
                  "name\tmodel\ttokens\tdocuments\nt\tlm\t12642\t400\n");
    assert_output(PROGRAM("list", "stitches", "--tsv"), 0, "name\tsmall\tlarge\n");
    PROGRAM_DONE("label", "s/2", "a\tb\\c\nd\re\x1b[0m\x7f");
    assert_output(PROGRAM("latents", "s", "--tsv", "--filter", "latent = 2", "--columns", "latent,label"), 0,
                  "latent\tlabel\n2\ta\\tb\\\\c\\nd\\re\\x1b[0m\\x7f\n");
    PROGRAM_DONE("label", "s/2", "--remove");
}

static char *first_line(struct result r)
{
    assert_int_equal(r.status, 0);
    char *line = xstrndup(r.out, strcspn(r.out, "\n"));
    result_free(&r);
    return line;
}

static void test_tsv_of_everything(void **state)
{
    (void)state;
    static const struct {
        const char *words[6], *header;
    } cases[] = {
        {{"latents", "s"}, "latent\tfired\tdensity\tmax\tmean\tmeta_latents\tev\tlabel"},
        {{"contexts", "s/1"}, "context\tposition\toffset\tactivation\tinterval\ttext"},
        {{"logits", "s/1"}, "end\tid\ttoken\tvalue"},
        {{"show", "s/1"}, "sae\tlatent\tlabel\ttokens\tfired\tdensity\tmax\tmean"},
        {{"encode", "s", "a kind"}, "position\tid\ttext\tlatent\tactivation"},
        {{"tokenize", "lm", "a kind"}, "id\ttext"},
        {{"decompose", "s/1"}, "latent\tactivation\tcosine\tlabel"},
        {{"report", "m", "--quick"}, "baseline\tsae\texplained_variance\tmse\tl0"},
        {{"members", "m/1"}, "latent\tactivation\tlabel"},
        {{"neighbors", "s/1"}, "latent\tcosine\tlabel"},
        {{"compare", "s", "s"}, "latent\tnearest\tcosine"},
        {{"family", "s/1"}, "from\tto\tcosine\tshare"},
        {{"search", "kind"}, "sae\tlatent\tscore\tlabel"},
        {{"verify"}, "name\ttensor\tblock\tmessage"},
        {{"label", "s/1"}, "sae\tlatent\tlabel"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const char *words[8] = {"--tsv"};
        memcpy(words + 1, cases[i].words, sizeof cases[i].words);
        char *line = first_line(program_run(NULL, words));
        assert_string_equal(line, cases[i].header);
        free(line);
    }
    /* Bytes that are no character come back from their escapes. */
    assert_output(PROGRAM("tokenize", "lm", "d\xc3\xa9", "--tsv"), 0,
                  "id\ttext\n67\td\n127\t\\xc3\n102\t\\xa9\n");
}

static void test_text_is_displayable(void **state)
{
    (void)state;
    PROGRAM_DONE("label", "s/2", "\x1b[31mred\xe2\x80\xae");
    struct result r = PROGRAM("latents", "s", "--filter", "latent = 2");
    assert_int_equal(r.status, 0);
    assert_null(strchr(r.out, '\x1b'));
    assert_null(strstr(r.out, "\xe2\x80\xae"));
    assert_non_null(strstr(r.out, "\\x1B[31mred<U+202E>"));
    result_free(&r);
    PROGRAM_DONE("label", "s/2", "--remove");
}

static void test_statuses(void **state)
{
    (void)state;
    PROGRAM_REFUSES(2, SAYS("did you mean `latents`"), "latens", "s");
    PROGRAM_REFUSES(2, SAYS("did you mean --limit"), "latents", "s", "--limt", "3");
    PROGRAM_REFUSES(2, SAYS("--limit"), "latents", "s", "--limit", "many");
    PROGRAM_REFUSES(2, SAYS("quote it"), "encode", "s", "two", "words");
    PROGRAM_REFUSES(2, SAYS("did you mean density"), "latents", "s", "--sort", "densty");
    PROGRAM_REFUSES(2, SAYS("filter"), "latents", "s", "--filter", "density >");
    PROGRAM_REFUSES(2, SAYS("SAE/NUMBER"), "show", "s");
    PROGRAM_REFUSES(2, SAYS("import"), "import");
    PROGRAM_REFUSES(2, SAYS("--name"), "import", "model", "x");
    PROGRAM_REFUSES(3, SAYS("0 to 63"), "show", "s/64");
    PROGRAM_REFUSES(3, SAYS("ss"), "latents", "ss");
    PROGRAM_REFUSES(3, SAYS("no job"), "cancel", "999");
    PROGRAM_REFUSES(3, SAYS("blocks.3.hook_resid_pre"), "train", "sae", "x", "--model", "lm", "--hook",
                    "blocks.3.hook_resid_pr", "--text", "t", "--width", "16");
    PROGRAM_REFUSES(3, SAYS("blocks.9"), "train", "sae", "x", "--model", "lm", "--hook",
                    "blocks.9.hook_resid_pre", "--text", "t", "--width", "16");
    PROGRAM_REFUSES(2, SAYS("terminal"), "explore");
}

#define EMPTY "{\"stitches\":[]}\n"

static void test_scripts(void **state)
{
    (void)state;
    assert_output(PROGRAM("--json", "-c", "list stitches; # a comment\nlist stitches"), 0, EMPTY EMPTY);
    assert_output(PROGRAM("-c", "list stitches --json"), 0, EMPTY);
    assert_output(PROGRAM("list", "stitches", "--json", "--quiet"), 0, EMPTY);
    assert_output(PROGRAM("-c", "list stitches --json | wc -l | tr -d ' '"), 0, "1\n");
    assert_output(PROGRAM_FED("list stitches\nlist stitches\n", "--json", "shell"), 0, EMPTY EMPTY);
    /* The first error stops, or with --keep-going gives the status at the end. */
    assert_output(PROGRAM("--json", "-c", "show s/64; list stitches"), 3, "");
    assert_output(PROGRAM("--json", "--keep-going", "-c", "list stitches; show s/64; nothing; list stitches"),
                  3, EMPTY EMPTY);
    assert_output(PROGRAM_FED("nothing\nlist stitches\n", "--json", "--keep-going", "shell"), 2, EMPTY);
    assert_output(PROGRAM_FED("nothing\nlist stitches\n", "--json", "shell"), 2, "");
}

static void test_script_files(void **state)
{
    (void)state;
    static const char script[] = "# paths are relative to this file\n"
                                 "import text piece.txt --name piece \\\n  --model lm --quiet\n"
                                 "set sae s\nlabel /4 'its label'\nsource inner.saescope\nshow s/64\n";
    static const char inner[] = "list stitches --json\n";
    program_write_file("scripts/a.saescope", script, strlen(script));
    program_write_file("scripts/inner.saescope", inner, strlen(inner));
    program_write_file("scripts/piece.txt", "one\r\n\ntwo\n", 10);
    char *path = program_path("scripts/a.saescope");
    struct result r = PROGRAM("-f", path, "--json");
    assert_int_equal(r.status, 3);
    assert_non_null(strstr(r.out, "\n" EMPTY));
    assert_non_null(strstr(r.err, "a.saescope:7: "));
    result_free(&r);
    json *piece = PROGRAM_JSON("info", "piece"), *label = PROGRAM_JSON("label", "s/4");
    assert_int_equal(integer_of(piece, "documents"), 2);
    assert_is(label, "label", "its label");
    json_free(piece);
    json_free(label);
    PROGRAM_DONE("label", "s/4", "--remove");
    PROGRAM_DONE("remove", "piece", "--yes");
    PROGRAM_REFUSES(3, SAYS("missing.saescope"), "-f", "missing.saescope");
    free(path);
}

/* Tokens instead of text: BOS and EOS (8191) end documents. */
static void test_token_files(void **state)
{
    (void)state;
    static const char narrow[] = "\xFF\x1F\5\0\6\0\xFF\x1F\7\0",
                      wide[] = "\5\0\0\0\xFF\x1F\0\0\7\0\0\0\x8\0\0\0";
    char *path = program_path("ids.bin");
    program_write_file("ids.bin", narrow, sizeof(narrow) - 1);
    PROGRAM_DONE("import", "text", path, "--name", "ids", "--model", "lm");
    program_write_file("ids.bin", wide, sizeof(wide) - 1);
    PROGRAM_DONE("import", "text", path, "--name", "wide", "--model", "lm", "--token-type", "u32");
    json *ids = PROGRAM_JSON("info", "ids"), *of_wide = PROGRAM_JSON("info", "wide");
    assert_int_equal(integer_of(ids, "documents"), 2);
    assert_int_equal(integer_of(ids, "tokens"), 3);
    assert_int_equal(integer_of(of_wide, "documents"), 2);
    assert_int_equal(integer_of(of_wide, "tokens"), 3);
    json_free(ids);
    json_free(of_wide);
    PROGRAM_DONE("remove", "ids", "--yes");
    PROGRAM_DONE("remove", "wide", "--yes");
    free(path);
}

/* Text from standard input, and the store that -S names after the command. */
static void test_standard_input(void **state)
{
    (void)state;
    struct result r =
        PROGRAM_FED("some words\nmore\n", "import", "text", "-", "--name", "fed", "--model", "lm", "--quiet");
    assert_int_equal(r.status, 0);
    result_free(&r);
    json *info = PROGRAM_JSON("info", "fed");
    assert_int_equal(integer_of(info, "documents"), 2);
    json_free(info);
    PROGRAM_DONE("remove", "fed", "--yes");
    r = PROGRAM_FED(" kind", "tokenize", "lm", "--file", "-", "--json");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "\"text\":\" kind\""));
    result_free(&r);
    char *none = program_path("no-store");
    PROGRAM_REFUSES(4, SAYS("no-store"), "list", "-S", none);
    assert_false(path_exists(none));
    free(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_makers),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_verify_and_jobs),
        cmocka_unit_test(test_rename_and_label),
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
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_evaluate),
        cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_index_exchange),
        cmocka_unit_test(test_import_activations),
        cmocka_unit_test(test_existing_names),
        cmocka_unit_test(test_tsv),
        cmocka_unit_test(test_tsv_of_everything),
        cmocka_unit_test(test_text_is_displayable),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_script_files),
        cmocka_unit_test(test_token_files),
        cmocka_unit_test(test_standard_input),
    };
    return cmocka_run_group_tests_name("contract", tests, set_up, tear_down);
}
