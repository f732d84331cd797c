/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The versions of the program and of the libraries that it runs with. */
#include "config.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>
#include <xxhash.h>

#include "saescope/base/blas.h"
#include "saescope/base/json.h"
#include "saescope/command/lineedit.h"
#include "saescope/command/version.h"
#include "saescope/files/digest.h"
#include "saescope/files/http.h"
#include "saescope/files/zip_archive.h"
#include "saescope/store/store.h"

void version_print(FILE *f, const char *curses_version)
{
    char pcre2[64] = "";
    unsigned xxhash = XXH_versionNumber();
    pcre2_config(PCRE2_CONFIG_VERSION, pcre2);
    fprintf(f, "saescope %s\n", PACKAGE_VERSION);
    fprintf(f, "store format %d\n", STORE_FORMAT_VERSION);
    fprintf(f, "%s, core %s\n", blas_config(), blas_core_name());
    fprintf(f, "%s\n", store_library_version());
    fprintf(f, "jansson %s\n", json_library_version());
    fprintf(f, "PCRE2 %s\n", pcre2);
    fprintf(f, "utf8proc %s\n", utf8proc_version());
    fprintf(f, "xxHash %u.%u.%u\n", xxhash / 10000, xxhash / 100 % 100, xxhash % 100);
    if (zip_library_version())
        fprintf(f, "libzip %s\n", zip_library_version());
    else
        fprintf(f, "without libzip: no npz files, no PyTorch checkpoints\n");
    if (http_library_version())
        fprintf(f, "%s; %s\n", http_library_version(), digest_library_version());
    else
        fprintf(f, "without libcurl: nothing is downloaded\n");
    fprintf(f, "%s\n", curses_version);
    fprintf(f, "readline %s\n", lineedit_library_version());
    fprintf(f, "License GPLv3+: GNU GPL version 3 or later. There is no warranty, to the extent permitted by law.\n");
}
