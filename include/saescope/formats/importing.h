/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What readers of SAEs share. A reader looks at the files, names the tensors, and says what has to be folded;
 * weights go from the file's map to the store in blocks of latents, turned round on the way where they are
 * stored [d_in, d_sae], so that memory stays at one block whatever the SAE's size. Everything that is refused
 * says file and tensor.
 *
 *   import_open(im, path, err);
 *   import_lengths(im, "b_dec", "b_enc", err);          d_in and d_sae
 *   import_matrix(im, &im->W_enc, "W_enc", 0, err);     stored [d_in, d_sae] unless the lengths say otherwise
 *   import_vector(im, "threshold", d_sae, 0, &im->sae.threshold, err);
 *   import_quirk(im, "…");                              what info shows
 */
#ifndef SAESCOPE_FORMATS_IMPORTING_H
#define SAESCOPE_FORMATS_IMPORTING_H

#include "saescope/files/tensor_file.h"
#include "saescope/formats/formats.h"
#include "saescope/sae/sae.h"

/* The files that an SAE may be: a folder, or one file of it. */
struct sae_files {
    const char *path;
    int is_directory;
    char *folder; /* the path, or the folder that it is in */
    const char *scratch;
    /* The file of tensors: the path, or the folder's only one; NULL when there is none or it cannot be read.
     */
    struct tensor_file *tensors;
    int opened, chosen;
    struct error error; /* why it cannot */
};

void sae_files_open(struct sae_files *f, const char *path, const char *scratch);
void sae_files_close(struct sae_files *f);
/* Whether the folder has both, and the path is the folder or one of the two. `second` may be NULL. */
int sae_files_have(const struct sae_files *f, const char *name, const char *second);
/* NAME when the folder has it, ../NAME when only the folder above a run's "checkpoints" does; malloc'd, or
 * NULL. */
char *sae_files_config(const struct sae_files *f, const char *name);
char *sae_files_path(const struct sae_files *f, const char *name); /* in the folder; malloc'd */
/* This file of the folder is the one, when the path is the folder and has it. */
void sae_files_choose(struct sae_files *f, const char *name);
/* The file of tensors, opened at the first call; NULL when there is none. */
struct tensor_file *sae_files_tensors(struct sae_files *f);
int sae_files_tensor(struct sae_files *f, const char *name); /* whether it has this tensor */

/* Facts that only paths tell. The path, absolute where it can be, links in the folder resolved; malloc'd. */
char *sae_files_place(const struct sae_files *f);
/* The number after the last `mark` that digits follow ("layer_" in ".../layer_20/width_16k"), or -1. */
long long place_number(const char *place, const char *mark);

struct import_matrix {
    const char *name;        /* in the file */
    struct file_tensor rows; /* [d_sae, d_in], a view of the file */
};

struct importing {
    const struct sae_import *options;
    struct monitor *monitor;
    struct sae_files files;
    struct tensor_file *file; /* the weights; owned unless it is that of files */
    const char *sizes_from;   /* who says d_in and d_sae, for messages: "cfg.json" */
    struct sae sae; /* architecture, sizes, biases and thresholds; its weights are read block by block */
    struct import_matrix W_enc, W_dec;
    float *encoder_scale, *decoder_scale; /* [d_sae]: factors folded into the rows, or NULL */

    /* What it belongs to; strings are owned. */
    char *hook; /* NULL: the files do not say */
    char
        *module; /* the same place as the producer names it, when only a model can tell what it is; or NULL */
    char *model_name; /* NULL: the files do not say */
    size_t context_size;
    int prepend_bos, center, is_meta;
    const json *base_names; /* of a meta-SAE: an array of names, or NULL; owned by `keep` */
    json *keep;             /* what borrowed strings belong to */

    json *source;   /* goes into the manifest */
    json *quirks;   /* in it: an array of sentences */
    json *manifest; /* other members for the manifest ("training", "baseline"), or empty */
    /* Made by the driver. */
    artifact_id model, *bases;
    size_t n_bases;
};

/* ---- For readers. ---- */

/* STATUS_REFUSED "PATH: …"; arguments may come from the file. */
int import_refuse(const struct importing *im, const char *path, struct error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* "WEIGHTS: tensor NAME …" */
int import_refuse_tensor(const struct importing *im, const char *name, struct error *err, const char *format,
                         ...) __attribute__((format(printf, 4, 5)));
void import_quirk(struct importing *im, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A member of "source": a string, or nothing when it is NULL. */
void import_source(struct importing *im, const char *key, const char *value);
void import_source_json(struct importing *im, const char *key, json *value); /* takes it over; NULL is null */

/* A configuration: an object, kept as source.config. */
int import_config(struct importing *im, const char *name, json **out, struct error *err);
int import_architecture(struct importing *im, const char *name, struct error *err);
int import_k(struct importing *im, long long k, struct error *err); /* checked against d_sae */
void import_hook(struct importing *im, const char *hook); /* in TransformerLens' notation; NULL: none */
/*
 * A module as sparsify and dictionary_learning name it: layers.5, transformer.h.5.mlp, resid_post_layer_5;
 * its output, or its input. What it means without a model goes into hook; the name stays for the model, which
 * may have a norm after the module. Others are no hook.
 */
void import_module(struct importing *im, const char *module, int input);
/* The hook resid_post and the model of a checkpoint that is named MODEL-SAE-lLAYER.pt. */
#define NAMED_AFTER_LAYER "-SAE-l"
void import_named_after_layer(struct importing *im);
void import_hook_at(struct importing *im, const char *point, long long layer); /* blocks.LAYER.POINT */
void import_model_name(struct importing *im, const char *name);

int import_open(struct importing *im, const char *name,
                struct error *err); /* the weights: a file of the folder */
int import_open_given(struct importing *im,
                      struct error *err); /* the path itself, or the folder's only file */
/* d_in and d_sae, from the configuration… */
int import_sizes(struct importing *im, size_t d_in, size_t d_sae, const char *from, struct error *err);
/* … or from the biases; b_enc may be missing: then the other axis of `matrix` is d_sae. */
int import_lengths(struct importing *im, const char *b_dec, const char *b_enc, const char *matrix,
                   struct error *err);
/* … or, where there is no bias, from a Linear encoder [d_sae, d_in]. */
int import_linear_lengths(struct importing *im, const char *matrix, struct error *err);
const struct file_tensor *import_find(const struct importing *im, const char *name);
/* A vector of n numbers on the heap; *out stays NULL when an optional one is missing. Freed first, when it is
 * there. */
int import_vector(struct importing *im, const char *name, size_t n, int optional, float **out,
                  struct error *err);
/* The same number for every latent. */
int import_constant(struct importing *im, double value, float **out, struct error *err);
int import_number(struct importing *im, const char *name, double *out,
                  struct error *err); /* a scalar tensor */
/* Which axis is d_in: told by the lengths; when both are the same, by the convention. */
int import_matrix(struct importing *im, struct import_matrix *out, const char *name,
                  int conventionally_by_latent, struct error *err);
/* W_enc, W_dec, b_enc and b_dec under these names, in PyTorch's Linear layout or as [d_in, d_sae] and [d_sae,
 * d_in]; b_enc may be NULL or missing; b_dec NULL: zeros. */
struct import_names {
    const char *W_enc, *W_dec, *b_enc, *b_dec;
    int linear_encoder, linear_decoder; /* encoder.weight [d_sae, d_in], decoder.weight [d_in, d_sae] */
};
int import_weights(struct importing *im, const struct import_names *names, struct error *err);

/* x·s on the way in: W_enc·s, W_dec/s, b_dec/s. */
int import_fold_input_scale(struct importing *im, double s, struct error *err);
int import_scale_encoder(struct importing *im, double s, struct error *err);
int import_scale_decoder(struct importing *im, double s, struct error *err);
/* (f·s) W_dec: a factor for every latent's decoder row. */
int import_scale_decoder_rows(struct importing *im, const float *s, struct error *err);
/*
 * Unit decoder rows: W_enc_i and the biases and thresholds of its scale times ‖W_dec_i‖, W_dec_i divided by
 * it (SAELens' fold_W_dec_norm, with its floor of 1e-8). *largest, when it is asked for, is how far a norm
 * was from 1; nothing is folded when it is within `tolerance`.
 */
int import_fold_decoder_norms(struct importing *im, int thresholds, double tolerance, double *largest,
                              struct error *err);
/* Removes a b_enc of zeros. */
void import_drop_zero_bias(struct importing *im);

/* ---- What is no SAE, src/formats/others.c. ---- */

/*
 * "a transcoder" or "a crosscoder", when the folders of a path say that this is what lies there; else NULL.
 * Of an absolute path only the end counts: what follows "models--" in a cache of the Hub, else the last four
 * names.
 */
const char *place_of_others(const char *place);
#define OTHERS_REFUSED                                                                                       \
    "which reads one place of the model and writes another: only SAEs, which rebuild what they read, can "   \
    "be imported"
/* STATUS_REFUSED for files that are known to be something else than an SAE, saying what. */
int others_refuse(struct sae_files *files, struct error *err);

/* ---- For the driver, src/formats/formats.c. ---- */
/* `scratch`: a directory for what is inflated. */
void importing_init(struct importing *im, const struct sae_import *o, struct monitor *m, const char *scratch);
void importing_free(struct importing *im);
int importing_find_owner(struct importing *im, struct store *s, struct error *err); /* src/formats/owner.c */
int importing_save(struct importing *im, struct store *s, artifact_id *id, struct error *err);

#endif
