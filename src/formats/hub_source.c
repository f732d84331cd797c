/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names of what is on the Hub, and what the environment says of it: as huggingface_hub reads its variables.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "saescope/base/display.h"
#include "saescope/base/fileio.h"
#include "saescope/base/memory.h"
#include "saescope/formats/hub_internal.h"

#define REPOSITORY_MAX 200
#define PATH_BYTES_MAX 1024
#define TOKEN_MAX      4096

/* ---- Names. ---- */

int hub_is_hex(const char *s, size_t digits)
{
    return strlen(s) == digits && strspn(s, "0123456789abcdef") == digits;
}

int hub_path_is_safe(const char *path, size_t n)
{
    if (n == 0 || n > PATH_BYTES_MAX || strlen(path) != n || !utf8_valid(path, n))
        return 0;
    for (const char *part = path;; part++) {
        size_t length = strcspn(part, "/");
        if (length == 0 || length > 255 || (length == 1 && part[0] == '.') ||
            (length == 2 && part[0] == '.' && part[1] == '.'))
            return 0;
        for (size_t i = 0; i < length; i++)
            if (part[i] == '\\' || (unsigned char)part[i] < 0x20 || part[i] == 0x7f)
                return 0;
        part += length;
        if (*part == '\0')
            return 1;
    }
}

/* As huggingface_hub's validate_repo_id: it becomes a folder's name with "--" in place of the slash. */
static int repository_is_good(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n <= REPOSITORY_MAX && hub_path_is_safe(s, n) &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/") == n &&
           !strstr(s, "--") && !strstr(s, "..");
}

static void unescape_slashes(char *s)
{
    char *to = s;
    while (*s) {
        if (s[0] == '%' && s[1] == '2' && (s[2] == 'F' || s[2] == 'f')) {
            *to++ = '/';
            s += 3;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
}

/* How much of "REVISION/FOLDER" is the revision: up to the first slash, or the third of refs/pr/N. */
static size_t revision_length(const char *s)
{
    size_t n = strcspn(s, "/");
    if (strncmp(s, "refs/pr/", 8) == 0)
        n = 8 + strcspn(s + 8, "/");
    else if (strncmp(s, "refs/convert/", 13) == 0)
        n = 13 + strcspn(s + 13, "/");
    return n;
}

int hub_source_parse(const char *text, struct hub_source *out, struct error *err)
{
    *out = (struct hub_source){NULL, NULL, NULL};
    const char *s = strncmp(text, "hf:", 3) == 0 ? text + 3 : "", *slash = strchr(s, '/');
    size_t n = slash ? (size_t)(slash + 1 - s) + strcspn(slash + 1, "/@") : 0;
    out->repository = xstrndup(s, n);
    s += n;
    size_t revision = *s == '@' ? revision_length(s + 1) : 0;
    out->revision = *s == '@' ? xstrndup(s + 1, revision) : xstrdup("main");
    unescape_slashes(out->revision);
    s += *s == '@' ? 1 + revision : 0;
    s += *s == '/';
    size_t length = strlen(s);
    while (length > 0 && s[length - 1] == '/')
        length--;
    out->folder = xstrndup(s, length);
    if (slash && repository_is_good(out->repository) &&
        hub_path_is_safe(out->revision, strlen(out->revision)) &&
        (length == 0 || hub_path_is_safe(out->folder, length)))
        return STATUS_OK;
    char *shown = displayable_string(text);
    error_set(err, STATUS_USAGE, "%s: not of the form hf:OWNER/REPO[@REVISION][/FOLDER]", shown);
    free(shown);
    hub_source_free(out);
    return STATUS_USAGE;
}

void hub_source_free(struct hub_source *source)
{
    free(source->repository);
    free(source->revision);
    free(source->folder);
    *source = (struct hub_source){NULL, NULL, NULL};
}

const char *hub_content_name(enum hub_content content)
{
    static const char *const names[] = {"auto", "model", "sae", "none"};
    return names[content];
}

/* ---- The environment. ---- */

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static int is_true(const char *value)
{
    return value && (!strcmp(value, "1") || !strcasecmp(value, "on") || !strcasecmp(value, "yes") ||
                     !strcasecmp(value, "true"));
}

/* A path from the environment: "~" at its start is the home directory. */
static char *expanded(const char *path)
{
    const char *home = getenv("HOME");
    if (path[0] == '~' && (path[1] == '/' || path[1] == '\0') && home && *home)
        return path[1] ? path_join(home, path + 2) : xstrdup(home);
    return xstrdup(path);
}

static char *hub_home(void)
{
    if (variable("HF_HOME"))
        return expanded(variable("HF_HOME"));
    char *ours = xdg_directory("CACHE"); /* ends in /saescope */
    char *parent = xstrndup(ours, (size_t)(path_base(ours) - ours));
    char *home = path_join(parent, "huggingface");
    free(parent);
    free(ours);
    return home;
}

/* It becomes part of a header's line. */
static int token_is_good(const char *token)
{
    for (; *token; token++)
        if (*token < 0x21 || *token > 0x7e)
            return 0;
    return 1;
}

/* *out stays NULL when there is none. */
static int read_token(const char *home, char **out, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    const char *given = variable("HF_TOKEN"), *file = variable("HF_TOKEN_PATH");
    int status = STATUS_OK;
    if (is_true(variable("HF_HUB_DISABLE_IMPLICIT_TOKEN")))
        return STATUS_OK;
    char *path = file ? expanded(file) : path_join(home, "token");
    if (!given)
        given = variable("HUGGING_FACE_HUB_TOKEN");
    if (given)
        strbuf_adds(&text, given);
    else if (path_exists(path))
        status = file_read(path, TOKEN_MAX, &text, err);
    const char *start = strbuf_string(&text) + strspn(strbuf_string(&text), " \t\r\n");
    char *token = xstrndup(start, strcspn(start, " \t\r\n"));
    if (status == STATUS_OK && !token_is_good(token))
        status = error_set(err, STATUS_REFUSED, "the Hub's token, from %s, has characters that no token has",
                           given ? "the environment" : "its file");
    if (status == STATUS_OK && *token) {
        *out = token;
        token = NULL;
    }
    free(token);
    free(path);
    strbuf_free(&text);
    return status;
}

int hub_settings_read(struct hub_settings *out, const char *cache, struct error *err)
{
    const char *endpoint = variable("HF_ENDPOINT"), *set = variable("HF_HUB_CACHE");
    *out = (struct hub_settings){0};
    if (!set)
        set = variable("HUGGINGFACE_HUB_CACHE");
    char *home = hub_home();
    size_t n = strlen(endpoint ? endpoint : "");
    while (n > 0 && endpoint[n - 1] == '/')
        n--;
    out->endpoint = n > 0 ? xstrndup(endpoint, n) : xstrdup("https://huggingface.co");
    out->cache = cache ? xstrdup(cache) : set ? expanded(set) : path_join(home, "hub");
    out->offline = is_true(variable("HF_HUB_OFFLINE"));
    int status = read_token(home, &out->token, err);
    free(home);
    if (status == STATUS_OK && strncmp(out->endpoint, "http://", 7) != 0 &&
        strncmp(out->endpoint, "https://", 8) != 0) {
        char *shown = displayable_string(out->endpoint);
        status = error_set(err, STATUS_REFUSED,
                           "HF_ENDPOINT is %s: an address that starts with https:// is needed", shown);
        free(shown);
    }
    return status;
}

void hub_settings_free(struct hub_settings *settings)
{
    free(settings->endpoint);
    free(settings->cache);
    free(settings->token);
    *settings = (struct hub_settings){0};
}
