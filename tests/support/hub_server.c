/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A Hub on 127.0.0.1 for tests. */
#include "config.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "saescope/base/json.h"
#include "saescope/base/memory.h"
#include "saescope/files/digest.h"
#include "hub_server.h"
#include "support.h"

#define REQUEST_MAX 16384

struct served {
    char *path;
    char *data;
    size_t n;
    int lfs;
    char etag[DIGEST_HEX_MAX + 1], oid[DIGEST_HEX_MAX + 1];
};

struct hub_server {
    char *repository;
    char endpoint[64], cdn[64];
    int sockets[2], stop[2];
    pthread_t thread;
    pthread_mutex_t mutex; /* for all below */
    struct served *files;
    size_t n_files;
    struct hub_faults faults;
    struct hub_request *requests;
    size_t n_requests;
};

/* ---- Answers. ---- */

static int send_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return -1;
        data += sent;
        n -= (size_t)sent;
    }
    return 0;
}

static void answer(int fd, int status, const char *headers, const char *body)
{
    struct strbuf text = STRBUF_INIT;
    strbuf_addf(&text, "HTTP/1.1 %d Test\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s", status,
                headers, strlen(body), body);
    send_all(fd, text.data, text.length);
    strbuf_free(&text);
}

static const struct served *find_file(const struct hub_server *s, const char *path)
{
    for (size_t i = 0; i < s->n_files; i++)
        if (strcmp(s->files[i].path, path) == 0)
            return &s->files[i];
    return NULL;
}

static void unescape(char *s)
{
    char *to = s;
    unsigned code;
    for (; *s; s++) {
        if (*s == '%' && sscanf(s + 1, "%2x", &code) == 1) {
            *to++ = (char)code;
            s += 2;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

/* Silence until the other side has gone, or the server is to stop. */
static void stall(const struct hub_server *s, int fd)
{
    struct pollfd waiting[2] = {{.fd = fd, .events = POLLIN}, {.fd = s->stop[0], .events = POLLIN}};
    char byte;
    while (poll(waiting, 2, -1) > 0 && !(waiting[1].revents & POLLIN))
        if (recv(fd, &byte, 1, MSG_DONTWAIT) == 0)
            break;
}

static void send_file(struct hub_server *s, int fd, const struct hub_request *q, const struct served *file)
{
    struct strbuf head = STRBUF_INIT;
    struct hub_faults *f = &s->faults;
    unsigned long long from = 0;
    size_t n = f->short_by > 0 ? file->n - (size_t)f->short_by : file->n + (size_t)-f->short_by;
    char *data = xcalloc(n + 1, 1);
    memcpy(data, file->data, n < file->n ? n : file->n);
    if (f->corrupt && n > 0)
        data[n - 1] ^= 1;
    int ranged = *q->range && !f->ignore_ranges && sscanf(q->range, "bytes=%llu-", &from) == 1;
    if (ranged && from >= n) {
        answer(fd, 416, "", "");
    } else {
        size_t length = n - (size_t)from;
        strbuf_addf(&head, "HTTP/1.1 %d Test\r\nConnection: close\r\nContent-Length: %zu\r\n",
                    ranged ? 206 : 200, length);
        if (ranged)
            strbuf_addf(&head, "Content-Range: bytes %llu-%zu/%zu\r\n", from, n - 1, n);
        strbuf_adds(&head, "\r\n");
        send_all(fd, head.data, head.length);
        int cut = f->cuts > 0 && f->cut_after < length;
        send_all(fd, data + from, cut ? f->cut_after : length);
        if (cut) {
            f->cuts--;
            if (f->stall)
                stall(s, fd);
        }
    }
    strbuf_free(&head);
    free(data);
}

/* GET or HEAD of /REPO/resolve/COMMIT/PATH */
static void serve_resolve(struct hub_server *s, int fd, const struct hub_request *q, const char *commit,
                          const char *path)
{
    const struct served *file = find_file(s, path);
    struct strbuf headers = STRBUF_INIT;
    strbuf_addf(&headers, "X-Repo-Commit: %s\r\n", commit);
    if (!file) {
        strbuf_adds(&headers, "X-Error-Code: EntryNotFound\r\n");
        answer(fd, 404, headers.data, "no such file");
    } else if (s->faults.gated) {
        strbuf_adds(&headers, "X-Error-Code: GatedRepo\r\n");
        answer(fd, *q->authorization ? 403 : 401, headers.data, "gated");
    } else if (file->lfs && !s->faults.direct) {
        strbuf_addf(&headers, "X-Linked-Etag: \"%s\"\r\nX-Linked-Size: %zu\r\nETag: \"other\"\r\n",
                    file->etag, file->n);
        if (s->faults.redirect_to)
            strbuf_addf(&headers, "Location: %s\r\n", s->faults.redirect_to);
        else
            strbuf_addf(&headers, "Location: %s/cdn/%s?signature=SECRET\r\n", s->cdn, path);
        answer(fd, 302, headers.data, "elsewhere");
    } else if (strcmp(q->method, "HEAD") == 0) {
        strbuf_addf(&headers, "ETag: \"%s\"\r\nContent-Length: %zu\r\n", file->etag, file->n);
        struct strbuf text = STRBUF_INIT;
        strbuf_addf(&text, "HTTP/1.1 200 Test\r\nConnection: close\r\n%s\r\n", headers.data);
        send_all(fd, text.data, text.length);
        strbuf_free(&text);
    } else {
        send_file(s, fd, q, file);
    }
    strbuf_free(&headers);
}

static void add_entry(struct strbuf *out, const struct served *file)
{
    json *entry = json_new_object();
    json_set(entry, "type", json_new_string("file"));
    json_set(entry, "oid", json_new_string(file->oid));
    json_set(entry, "size", json_new_integer((long long)file->n));
    json_set(entry, "path", json_new_string(file->path));
    if (file->lfs) {
        json *lfs = json_new_object();
        json_set(lfs, "oid", json_new_string(file->etag));
        json_set(lfs, "size", json_new_integer((long long)file->n));
        json_set(lfs, "pointerSize", json_new_integer(134));
        json_set(entry, "lfs", lfs);
    }
    strbuf_adds(out, out->length > 1 ? "," : "");
    json_dump(entry, out);
    json_free(entry);
}

/* The page of the tree below `folder` from entry `first` on, with a link to the next one. */
static void serve_tree(struct hub_server *s, int fd, const char *target, const char *folder, int recursive,
                       size_t first)
{
    struct strbuf body = STRBUF_INIT, headers = STRBUF_INIT;
    size_t n = 0, end = s->faults.page ? first + s->faults.page : SIZE_MAX, skip = strlen(folder);
    strbuf_adds(&body, "[");
    for (size_t i = 0; i < s->n_files; i++) {
        const char *path = s->files[i].path, *below = path + skip + (skip > 0);
        if (strncmp(path, folder, skip) != 0 || (skip > 0 && path[skip] != '/') ||
            (!recursive && strchr(below, '/')))
            continue;
        if (n >= first && n < end)
            add_entry(&body, &s->files[i]);
        n++;
    }
    strbuf_addf(&body, "%s{\"type\":\"directory\",\"oid\":\"\",\"size\":0,\"path\":\"folder\"}]",
                body.length > 1 ? "," : "");
    if (n > end) /* relative and absolute ones in turn, with another before it */
        strbuf_addf(&headers,
                    "Link: <%s/nowhere>; rel=\"first\", <%s%.*s?recursive=true&cursor=%zu>; rel=\"next\"\r\n",
                    s->endpoint, end % 2 ? s->endpoint : "", (int)strcspn(target, "?"), target, end);
    if (s->faults.tree)
        answer(fd, 200, "", s->faults.tree);
    else if (n == 0)
        answer(fd, 404, "X-Error-Code: EntryNotFound\r\n", "{}");
    else
        answer(fd, 200, strbuf_string(&headers), body.data);
    strbuf_free(&headers);
    strbuf_free(&body);
}

static int is_commit(const char *s)
{
    return strncmp(s, HUB_COMMIT, 40) == 0 || strncmp(s, HUB_OTHER_COMMIT, 40) == 0;
}

static void serve_hub(struct hub_server *s, int fd, const struct hub_request *q)
{
    char *api = xasprintf("/api/models/%s/", s->repository),
         *resolve = xasprintf("/%s/resolve/", s->repository);
    char *path = xstrndup(q->target, strcspn(q->target, "?"));
    const char *query = strchr(q->target, '?'), *cursor = query ? strstr(query, "cursor=") : NULL;
    size_t n = strlen(api), m = strlen(resolve);
    unescape(path);
    if (s->faults.moved && strncmp(path, "/api/models/old/name/", 21) == 0) {
        char *to = xasprintf("Location: %s%s\r\n", api, q->target + 21);
        answer(fd, 307, to, "moved");
        free(to);
    } else if (s->faults.moved && strncmp(path, "/old/name/resolve/", 18) == 0) {
        char *to = xasprintf("Location: %s%s\r\n", resolve, q->target + 18);
        answer(fd, 307, to, "");
        free(to);
    } else if (s->faults.token && !strstr(q->authorization, s->faults.token)) {
        answer(fd, 401, "", "Invalid username or password.");
    } else if (strncmp(path, api, n) == 0 && strncmp(path + n, "revision/", 9) == 0) {
        if (strcmp(path + n + 9, "main") == 0)
            answer(fd, 200, "", "{\"id\":\"x\",\"sha\":\"" HUB_COMMIT "\"}");
        else if (strcmp(path + n + 9, "refs/pr/1") == 0)
            answer(fd, 200, "", "{\"sha\":\"" HUB_OTHER_COMMIT "\"}");
        else
            answer(fd, 404, "X-Error-Code: RevisionNotFound\r\n", "{\"error\":\"Invalid rev id\"}");
    } else if (strncmp(path, api, n) == 0 && strncmp(path + n, "tree/", 5) == 0 && is_commit(path + n + 5)) {
        const char *folder = path + n + 45;
        serve_tree(s, fd, q->target, folder + (*folder == '/'), query && strstr(query, "recursive=true"),
                   cursor ? strtoul(cursor + 7, NULL, 10) : 0);
    } else if (strncmp(path, resolve, m) == 0 && is_commit(path + m) && path[m + 40] == '/') {
        char commit[41] = "";
        memcpy(commit, path + m, 40);
        serve_resolve(s, fd, q, commit, path + m + 41);
    } else {
        answer(fd, 401, "X-Error-Code: RepoNotFound\r\n", "Invalid username or password.");
    }
    free(path);
    free(resolve);
    free(api);
}

/* ---- Requests. ---- */

static void header_value(const char *text, const char *name, char *out, size_t size)
{
    size_t n = strlen(name);
    for (const char *line = strstr(text, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            line += n + 1;
            line += strspn(line, " ");
            snprintf(out, size, "%.*s", (int)strcspn(line, "\r"), line);
        }
    }
}

static int read_request(int fd, struct hub_request *q)
{
    char text[REQUEST_MAX];
    size_t n = 0;
    memset(q, 0, sizeof *q);
    text[0] = '\0';
    while (!strstr(text, "\r\n\r\n")) {
        ssize_t got = recv(fd, text + n, sizeof text - 1 - n, 0);
        if (got <= 0)
            return -1;
        n += (size_t)got;
        text[n] = '\0';
    }
    if (sscanf(text, "%7s %511s", q->method, q->target) != 2)
        return -1;
    header_value(text, "Range", q->range, sizeof q->range);
    header_value(text, "Authorization", q->authorization, sizeof q->authorization);
    return 0;
}

static int request_contains(const struct hub_request *q, const char *text)
{
    char line[sizeof q->method + sizeof q->target + 1];
    snprintf(line, sizeof line, "%s %s", q->method, q->target);
    return !text || strstr(line, text) != NULL;
}

static void serve(struct hub_server *s, int fd, int cdn)
{
    struct hub_request q;
    if (read_request(fd, &q) != 0)
        return;
    q.cdn = cdn;
    pthread_mutex_lock(&s->mutex);
    s->requests = xreallocarray(s->requests, s->n_requests + 1, sizeof *s->requests);
    s->requests[s->n_requests++] = q;
    struct hub_faults *f = &s->faults;
    if (f->times > 0 && f->status && request_contains(&q, f->on)) {
        char *header = f->header ? xasprintf("%s\r\n", f->header) : xstrdup("");
        f->times--;
        answer(fd, f->status, header, "injected");
        free(header);
    } else if (cdn) {
        char *path = xstrndup(q.target + 5, strcspn(q.target + 5, "?"));
        const struct served *file = find_file(s, path);
        if (file)
            send_file(s, fd, &q, file);
        else
            answer(fd, 404, "", "");
        free(path);
    } else {
        serve_hub(s, fd, &q);
    }
    pthread_mutex_unlock(&s->mutex);
}

static void *serve_all(void *arg)
{
    struct hub_server *s = arg;
    struct pollfd waiting[3] = {{.fd = s->sockets[0], .events = POLLIN},
                                {.fd = s->sockets[1], .events = POLLIN},
                                {.fd = s->stop[0], .events = POLLIN}};
    while (poll(waiting, 3, -1) > 0 && !(waiting[2].revents & POLLIN)) {
        for (int i = 0; i < 2; i++) {
            if (!(waiting[i].revents & POLLIN))
                continue;
            int fd = accept(waiting[i].fd, NULL, NULL);
            if (fd < 0)
                continue;
            serve(s, fd, i);
            /* Closed in a way that what was sent is not lost. */
            shutdown(fd, SHUT_WR);
            close(fd);
        }
    }
    return NULL;
}

/* ---- The server. ---- */

static int listen_somewhere(char *address, size_t n)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    snprintf(address, n, "http://127.0.0.1:%d", ntohs(at.sin_port));
    return fd;
}

struct hub_server *hub_server_start(const char *repository)
{
    struct hub_server *s = xcalloc(1, sizeof *s);
    s->repository = xstrdup(repository);
    s->sockets[0] = listen_somewhere(s->endpoint, sizeof s->endpoint);
    s->sockets[1] = listen_somewhere(s->cdn, sizeof s->cdn);
    pthread_mutex_init(&s->mutex, NULL);
    assert_int_equal(pipe(s->stop), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve_all, s), 0);
    return s;
}

void hub_server_stop(struct hub_server *s)
{
    assert_int_equal(write(s->stop[1], "x", 1), 1);
    pthread_join(s->thread, NULL);
    for (int i = 0; i < 2; i++) {
        close(s->sockets[i]);
        close(s->stop[i]);
    }
    for (size_t i = 0; i < s->n_files; i++) {
        free(s->files[i].path);
        free(s->files[i].data);
    }
    pthread_mutex_destroy(&s->mutex);
    free(s->files);
    free(s->requests);
    free(s->repository);
    free(s);
}

const char *hub_server_endpoint(const struct hub_server *s)
{
    return s->endpoint;
}

static void digest_of(enum digest_kind kind, const void *data, size_t n, char hex[DIGEST_HEX_MAX + 1])
{
    struct digest *d;
    assert_int_equal(digest_start(kind, n, &d, NULL), STATUS_OK);
    digest_add(d, data, n);
    digest_end(d, hex);
}

void hub_server_add(struct hub_server *s, const char *path, const void *data, size_t n, int lfs)
{
    struct served file = {.path = xstrdup(path), .data = xmalloc(n + 1), .n = n, .lfs = lfs};
    memcpy(file.data, data, n);
    digest_of(DIGEST_GIT_BLOB, data, n, file.oid);
    digest_of(lfs ? DIGEST_SHA256 : DIGEST_GIT_BLOB, data, n, file.etag);
    pthread_mutex_lock(&s->mutex);
    s->files = xreallocarray(s->files, s->n_files + 1, sizeof *s->files);
    s->files[s->n_files++] = file;
    pthread_mutex_unlock(&s->mutex);
}

void hub_server_add_folder(struct hub_server *s, const char *folder, const char *below)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        struct strbuf bytes = STRBUF_INIT;
        char *path = path_join(folder, entry->d_name);
        char *name = *below ? path_join(below, entry->d_name) : xstrdup(entry->d_name);
        if (entry->d_name[0] == '.') {
            ; /* itself, its parent, and what is hidden */
        } else if (path_is_directory(path)) {
            hub_server_add_folder(s, path, name);
        } else {
            assert_int_equal(file_read(path, SIZE_MAX >> 1, &bytes, NULL), STATUS_OK);
            hub_server_add(s, name, strbuf_string(&bytes), bytes.length, bytes.length > 100000);
        }
        free(name);
        strbuf_free(&bytes);
        free(path);
    }
    closedir(dir);
}

void hub_server_set(struct hub_server *s, const struct hub_faults *faults)
{
    pthread_mutex_lock(&s->mutex);
    s->faults = faults ? *faults : (struct hub_faults){0};
    s->n_requests = 0;
    pthread_mutex_unlock(&s->mutex);
}

size_t hub_server_requests(struct hub_server *s, const char *containing, struct hub_request *last)
{
    size_t n = 0;
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->n_requests; i++) {
        if (!request_contains(&s->requests[i], containing))
            continue;
        n++;
        if (last)
            *last = s->requests[i];
    }
    pthread_mutex_unlock(&s->mutex);
    return n;
}

size_t hub_server_leaks(struct hub_server *s)
{
    size_t n = 0;
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->n_requests; i++)
        n += s->requests[i].cdn && *s->requests[i].authorization;
    pthread_mutex_unlock(&s->mutex);
    return n;
}
