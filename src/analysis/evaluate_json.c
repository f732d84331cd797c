/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An evaluation as JSON: SAEBench's core groups and names, and a few more members. */
#include "config.h"

#include <math.h>

#include "saescope/analysis/evaluate.h"
#include "saescope/base/memory.h"

struct metric {
    const char *name;
    double value;
};

static json *group(const struct metric *members, size_t n)
{
    json *object = json_new_object();
    for (size_t i = 0; i < n; i++)
        json_set(object, members[i].name, json_new_real(members[i].value));
    return object;
}

static void add_model_groups(json *metrics, const struct evaluation *e)
{
    const struct metric behavior[] = {
        {"kl_div_score", e->kl_div_score},
        {"kl_div_with_ablation", e->kl_zero},
        {"kl_div_with_mean_ablation", e->kl_mean},
        {"kl_div_with_sae", e->kl_sae},
    };
    const struct metric performance[] = {
        {"ce_loss_score", e->ce_loss_score},   {"ce_loss_score_from_mean", e->ce_recovered_from_mean},
        {"ce_loss_with_ablation", e->ce_zero}, {"ce_loss_with_mean_ablation", e->ce_mean},
        {"ce_loss_with_sae", e->ce_sae},       {"ce_loss_without_sae", e->ce_original},
    };
    json_set(metrics, "model_behavior_preservation", group(behavior, ARRAY_LENGTH(behavior)));
    json_set(metrics, "model_performance_preservation", group(performance, ARRAY_LENGTH(performance)));
}

json *evaluation_metrics(const struct evaluation *e)
{
    const struct metric quality[] = {
        {"explained_variance", e->explained_variance},
        {"explained_variance_legacy", e->explained_variance_legacy},
        {"mse", e->mse},
        {"cossim", e->cossim},
    };
    const struct metric shrinkage[] = {
        {"l2_norm_in", e->l2_norm_in},
        {"l2_norm_out", e->l2_norm_out},
        {"l2_ratio", e->l2_ratio},
        {"relative_reconstruction_bias", e->relative_reconstruction_bias},
    };
    const struct metric sparsity[] = {{"l0", e->l0}, {"l1", e->l1}};
    const struct metric misc[] = {
        {"freq_over_1_percent", e->freq_over_1_percent},
        {"freq_over_10_percent", e->freq_over_10_percent},
        {"normalized_freq_over_1_percent", e->normalized_freq_over_1_percent},
        {"normalized_freq_over_10_percent", e->normalized_freq_over_10_percent},
        {"average_max_encoder_cosine_sim", e->average_max_encoder_cosine_sim},
        {"average_max_decoder_cosine_sim", e->average_max_decoder_cosine_sim},
        {"frac_alive", e->frac_alive},
        {"dead_fraction", e->dead_fraction},
        {"density_mean", e->density_mean},
    };
    json *metrics = json_new_object();
    int with_model = !isnan(e->ce_original);
    if (with_model || e->cached) /* of cached activations: nulls */
        add_model_groups(metrics, e);
    json_set(metrics, "reconstruction_quality", group(quality, ARRAY_LENGTH(quality)));
    json_set(metrics, "shrinkage", group(shrinkage, ARRAY_LENGTH(shrinkage)));
    json_set(metrics, "sparsity", group(sparsity, ARRAY_LENGTH(sparsity)));
    json *tokens = json_new_object();
    json_set(tokens, "total_tokens_eval_reconstruction",
             json_new_integer(with_model ? (long long)e->token_stats : 0));
    json_set(tokens, "total_tokens_eval_sparsity_variance", json_new_integer((long long)e->token_stats));
    json_set(metrics, "token_stats", tokens);
    json_set(metrics, "misc_metrics", group(misc, ARRAY_LENGTH(misc)));
    return metrics;
}
