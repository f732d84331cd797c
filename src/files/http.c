/* SPDX-License-Identifier: GPL-3.0-or-later */
/* HTTP exchanges with libcurl: the only file that includes it. */
#include "config.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "saescope/base/display.h"
#include "saescope/base/memory.h"
#include "saescope/files/http.h"

#define CONNECT_SECONDS 15L
#define SILENT_SECONDS  30L /* a connection without a byte for so long is given up */
#define POLL_MS         40
#define HEADERS_MAX     200
#define AGENT           "saescope/" PACKAGE_VERSION

struct http {
    CURL *easy;
    CURLM *multi;
};

/* What one exchange's callbacks work on. */
struct exchange {
    struct http *http;
    const struct http_request *request;
    struct http_response *response;
    struct error *err;
    int status; /* of the body's taker */
};

static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_code;

static void global_start(void)
{
    global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_open(struct http **out, struct error *err)
{
    pthread_once(&global_once, global_start);
    struct http *h = xcalloc(1, sizeof *h);
    if (global_code == CURLE_OK) {
        h->easy = curl_easy_init();
        h->multi = curl_multi_init();
    }
    if (!h->easy || !h->multi) {
        http_close(h);
        *out = NULL;
        return error_set(err, STATUS_FAILED, "libcurl cannot be started");
    }
    *out = h;
    return STATUS_OK;
}

void http_close(struct http *h)
{
    if (!h)
        return;
    if (h->easy)
        curl_easy_cleanup(h->easy);
    if (h->multi)
        curl_multi_cleanup(h->multi);
    free(h);
}

/* ---- What comes in. ---- */

static char *trimmed(const char *text, size_t n)
{
    while (n > 0 && strchr(" \t\r\n", text[n - 1]))
        n--;
    while (n > 0 && strchr(" \t", *text)) {
        text++;
        n--;
    }
    return xstrndup(text, n);
}

static size_t take_header(char *line, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    struct http_response *r = x->response;
    n *= size;
    const char *colon = memchr(line, ':', n);
    if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        http_response_free(r); /* what came before was an interim response, or a proxy's */
    } else if (colon && colon > line && r->n_headers < HEADERS_MAX) {
        r->headers = xreallocarray(r->headers, r->n_headers + 1, sizeof *r->headers);
        r->headers[r->n_headers++] = (struct http_header){trimmed(line, (size_t)(colon - line)),
                                                          trimmed(colon + 1, n - (size_t)(colon + 1 - line))};
    }
    return n;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    n *= size;
    if (!x->request->body || n == 0)
        return n;
    curl_easy_getinfo(x->http->easy, CURLINFO_RESPONSE_CODE, &x->response->status);
    x->status = x->request->body(x->request->arg, x->response, bytes, n, x->err);
    return x->status == STATUS_OK ? n : 0;
}

/* ---- An exchange. ---- */

static struct curl_slist *set_up(struct exchange *x)
{
    const struct http_request *q = x->request;
    CURL *e = x->http->easy;
    const char *certificates = getenv("SSL_CERT_FILE");
    struct curl_slist *headers = NULL;
    curl_easy_reset(e); /* connections stay */
    curl_easy_setopt(e, CURLOPT_URL, q->url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_USERAGENT, AGENT);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, SILENT_SECONDS);
    curl_easy_setopt(e, CURLOPT_NOBODY, q->head ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    if (certificates && *certificates)
        curl_easy_setopt(e, CURLOPT_CAINFO, certificates);
    if (q->from > 0) {
        char range[32];
        snprintf(range, sizeof range, "%llu-", (unsigned long long)q->from);
        curl_easy_setopt(e, CURLOPT_RANGE, range);
    }
    /* Sizes and ranges are those of the file, not of a compressed form of it. */
    headers = curl_slist_append(headers, "Accept-Encoding: identity");
    if (q->token) {
        char *line = xasprintf("Authorization: Bearer %s", q->token);
        headers = curl_slist_append(headers, line);
        free(line);
    }
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
    return headers;
}

static int is_transient(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return 1;
    default:
        return 0;
    }
}

/* Runs until the transfer is over, or the monitor says stop. */
static int perform(struct exchange *x, struct monitor *m, CURLcode *code)
{
    CURLM *multi = x->http->multi;
    int running = 1, left = 0, status = STATUS_OK;
    CURLMcode problem = curl_multi_add_handle(multi, x->http->easy);
    while (problem == CURLM_OK && running && status == STATUS_OK) {
        problem = curl_multi_perform(multi, &running);
        if (problem == CURLM_OK && running)
            problem = curl_multi_poll(multi, NULL, 0, POLL_MS, NULL);
        if (x->request->tick)
            x->request->tick(x->request->arg);
        status = monitor_check(m, x->err);
    }
    *code = problem == CURLM_OK ? CURLE_OK : CURLE_FAILED_INIT;
    const CURLMsg *message;
    while ((message = curl_multi_info_read(multi, &left)))
        if (message->msg == CURLMSG_DONE)
            *code = message->data.result;
    curl_multi_remove_handle(multi, x->http->easy);
    return running ? status : STATUS_OK; /* what is over is not cancelled any more */
}

/* A TLS library may write to a connection that is closed: SIGPIPE must not end the program. */
static int perform_quietly(struct exchange *x, struct monitor *m, CURLcode *code)
{
    sigset_t pipe, before, waiting;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&waiting);
    int was_waiting = sigismember(&waiting, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    int status = perform(x, m, code);
    while (!was_waiting && sigtimedwait(&pipe, NULL, &(struct timespec){0, 0}) == SIGPIPE)
        ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

int http_exchange(struct http *h, const struct http_request *q, struct http_response *r, struct monitor *m,
                  struct error *err)
{
    struct exchange x = {.http = h, .request = q, .response = r, .err = err};
    CURLcode code = CURLE_OK;
    curl_off_t seconds = 0;
    char problem[CURL_ERROR_SIZE] = "";
    *r = (struct http_response){0};
    struct curl_slist *headers = set_up(&x);
    curl_easy_setopt(h->easy, CURLOPT_ERRORBUFFER, problem);
    int status = perform_quietly(&x, m, &code);
    curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &r->status);
    curl_easy_getinfo(h->easy, CURLINFO_RETRY_AFTER, &seconds);
    r->retry_after = seconds > 0 ? (long)seconds : 0;
    curl_easy_setopt(h->easy, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(headers);
    if (status != STATUS_OK)
        return status;
    if (x.status != STATUS_OK)
        return x.status;
    if (code == CURLE_OK)
        return STATUS_OK;
    r->transient = is_transient(code);
    char *shown = http_shown_url(q->url),
         *why = displayable_string(*problem ? problem : curl_easy_strerror(code));
    error_set(err, STATUS_FAILED, "%s: %s", shown, why);
    free(why);
    free(shown);
    return STATUS_FAILED;
}

/* ---- URLs. ---- */

char *http_resolve(const char *base, const char *reference)
{
    char *text = NULL, *scheme = NULL, *out = NULL;
    CURLU *u = curl_url();
    if (u && !curl_url_set(u, CURLUPART_URL, base, 0) && !curl_url_set(u, CURLUPART_URL, reference, 0) &&
        !curl_url_set(u, CURLUPART_USER, NULL, 0) && !curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) &&
        !curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) && !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
        (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
        !curl_url_get(u, CURLUPART_URL, &text, 0))
        out = xstrdup(text);
    curl_free(text);
    curl_free(scheme);
    curl_url_cleanup(u);
    return out;
}

static char *origin_of(const char *url)
{
    char *scheme = NULL, *host = NULL, *port = NULL, *out = NULL;
    CURLU *u = curl_url();
    if (u && !curl_url_set(u, CURLUPART_URL, url, 0) && !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
        !curl_url_get(u, CURLUPART_HOST, &host, 0) &&
        !curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT))
        out = xasprintf("%s://%s:%s", scheme, host, port);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return out;
}

int http_same_origin(const char *a, const char *b)
{
    char *first = origin_of(a), *second = origin_of(b);
    int same = first && second && strcasecmp(first, second) == 0;
    free(first);
    free(second);
    return same;
}

const char *http_library_version(void)
{
    return curl_version();
}
