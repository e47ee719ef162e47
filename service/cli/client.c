/*
 * REST over libcurl. One easy handle per command, so that a list's pages share a connection.
 * Redirects are not followed: a token must not travel to wherever an answer points.
 */
#include "service/cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/cli/interrupt.h"

#define SOCKET_PATH_MAX 107 /* the kernel's */
#define ANSWER_MAX      (64u << 20) /* more than 10,000 VMs; a server that sends more is broken */

struct client {
    CURL *curl;
    char *url, *socket, *token, *project, *ca, *certificate, *key;
    struct client_trust trust; /* points at the last three */
    bool interruptible;
    char error[CURL_ERROR_SIZE];
};

/* What the curl callbacks of one exchange see. */
struct exchange {
    struct client *client;
    const struct client_request *request;
    struct strbuf body;
    bool ended_by_us, too_large, read_failed;
};

DEFINE_CLEANUP(slist, struct curl_slist *, curl_slist_free_all);
#define auto_slist auto_scope(cleanup_slist)

int client_new(const struct client_target *target, struct client **ret, struct failure *fail)
{
    auto_client struct client *c = xcalloc(1, sizeof(*c));
    size_t len;

    if (target->url && !str_starts(target->url, "http://") && !str_starts(target->url, "https://"))
        return failure_set(fail, CLI_USAGE, "the server's address must begin with http:// or "
                                            "https://, not '%s'", target->url);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(c->curl = curl_easy_init()))
        return failure_set(fail, CLI_FAILED, "libcurl cannot be used");
    c->project = xstrdup_null(target->project);
    c->ca = xstrdup_null(target->trust.ca);
    c->certificate = xstrdup_null(target->trust.certificate);
    c->key = xstrdup_null(target->trust.key);
    c->trust = (struct client_trust){c->ca, c->certificate, c->key};
    c->url = xstrdup(target->url ? target->url : "http://localhost");
    for (len = strlen(c->url); len && c->url[len - 1] == '/'; len--)
        c->url[len - 1] = '\0';
    /* absolute, so that it stays the same wherever the program goes */
    c->socket = target->url || !target->socket ? NULL : realpath(target->socket, NULL);
    if (!target->url && (!c->socket || strlen(c->socket) > SOCKET_PATH_MAX))
        str_replace(&c->socket, target->socket);
    c->token = xstrdup_null(target->token);
    *ret = TAKE_PTR(c);
    return 0;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    curl_global_cleanup();
    free(c->url);
    free(c->project);
    free(c->ca);
    free(c->certificate);
    free(c->key);
    free(c->socket);
    if (c->token)
        explicit_bzero(c->token, strlen(c->token));
    free(c->token);
    free(c);
}

void client_interruptible(struct client *c, bool on)
{
    c->interruptible = on;
}

const char *client_url(const struct client *c)
{
    return c->url;
}

const struct client_trust *client_trust(const struct client *c)
{
    return &c->trust;
}

const char *client_project(const struct client *c)
{
    return c->project;
}

char *client_path(const struct client *c, const char *path)
{
    auto_free char *name = c->project ? url_escape(c->project) : NULL;

    return name ? xasprintf("%s%cproject=%s", path, strchr(path, '?') ? '&' : '?', name)
                : xstrdup(path);
}

const char *client_socket(const struct client *c)
{
    return c->socket;
}

const char *client_token(const struct client *c)
{
    return c->token;
}

static size_t on_body(char *data, size_t size, size_t count, void *opaque)
{
    struct exchange *x = opaque;
    size_t len = size * count;
    long status = 0;

    curl_easy_getinfo(x->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (x->request->on_data && status >= 200 && status < 300) {
        if (x->request->on_data(x->request->opaque, data, len))
            return len;
        x->ended_by_us = true;
        return 0;
    }
    if (x->body.len + len > ANSWER_MAX) {
        x->too_large = true;
        return 0;
    }
    strbuf_add(&x->body, data, len);
    return len;
}

static size_t on_upload(char *data, size_t size, size_t count, void *opaque)
{
    struct exchange *x = opaque;
    size_t n = fread(data, 1, size * count, x->request->upload);

    if (n == 0 && ferror(x->request->upload)) {
        x->read_failed = true;
        return CURL_READFUNC_ABORT;
    }
    return n;
}

static int on_progress(void *opaque, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total,
                       curl_off_t ul_now)
{
    struct exchange *x = opaque;

    if (x->request->progress)
        x->request->progress(x->request->opaque, ul_now, x->request->upload_size);
    return x->client->interruptible && interrupt_signal();
}

static void add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (!longer)
        abort();
    *list = longer;
}

static void add_headers(struct client *c, const struct client_request *r, struct curl_slist **list)
{
    auto_free char *accept =
        xasprintf("Accept: %s", r->accept ? r->accept : "application/json, application/problem+json");

    add_header(list, accept);
    if (c->token) {
        auto_free char *line = xasprintf("Authorization: Bearer %s", c->token);

        add_header(list, line);
        explicit_bzero(line, strlen(line));
    }
    if (r->body && (!r->method || strcmp(r->method, "PATCH") != 0))
        add_header(list, "Content-Type: application/json");
    else if (r->body)
        add_header(list, "Content-Type: application/merge-patch+json");
    if (r->upload) {
        add_header(list, "Content-Type: application/octet-stream");
        if (r->upload_size < 0)
            add_header(list, "Transfer-Encoding: chunked");
    }
    for (size_t i = 0; r->headers && r->headers[i]; i++)
        add_header(list, r->headers[i]);
}

static void set_up_trust(const struct client *c)
{
    if (c->ca)
        curl_easy_setopt(c->curl, CURLOPT_CAINFO, c->ca);
    if (c->certificate)
        curl_easy_setopt(c->curl, CURLOPT_SSLCERT, c->certificate);
    if (c->key)
        curl_easy_setopt(c->curl, CURLOPT_SSLKEY, c->key);
}

static void set_up(struct client *c, struct exchange *x, const char *url, const char *body,
                   struct curl_slist *headers)
{
    const struct client_request *r = x->request;
    CURL *curl = c->curl;

    curl_easy_reset(curl); /* keeps the connection */
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "drover/" DROVER_VERSION);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
    if (c->socket)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
    set_up_trust(c);
    if (r->timeout_s >= 0)
        curl_easy_setopt(curl, CURLOPT_TIMEOUT, r->timeout_s ? r->timeout_s : 60L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (r->upload || c->interruptible) {
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    }
    if (r->upload) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_upload);
        curl_easy_setopt(curl, CURLOPT_READDATA, x);
        if (r->upload_size >= 0)
            curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->upload_size);
    } else if (body || (r->method && strcmp(r->method, "POST") == 0)) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body ? body : "");
    }
    if (r->method)
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, r->method);
}

static int explain(struct client *c, struct exchange *x, CURLcode rc, struct failure *fail)
{
    const char *where = c->socket ? c->socket : c->url;
    const char *why = *c->error ? c->error : curl_easy_strerror(rc);

    if (x->read_failed)
        return failure_set(fail, CLI_FAILED, "the file cannot be read to its end");
    if (x->too_large)
        return failure_set(fail, CLI_FAILED, "the server's answer is larger than %u MiB",
                           ANSWER_MAX >> 20);
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return failure_set(fail, CLI_FAILED, "interrupted");
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return failure_set(fail, CLI_TIMEOUT, "%s did not answer in time", where);
    if (!c->socket) {
        failure_set(fail, CLI_CONNECT, "cannot reach the server at %s: %s", where, why);
        failure_remedy(fail, "check that droverd listens there (DROVER_URL or --url)");
        return -1;
    }
    /* curl speaks of "localhost port 80" here; the path says more. */
    if (access(c->socket, W_OK))
        failure_errno(fail, CLI_CONNECT, errno, "cannot use the socket %s", c->socket);
    else
        failure_set(fail, CLI_CONNECT, "nobody answers at the socket %s", c->socket);
    failure_remedy(fail, "start droverd, or name another server: --url and DROVER_TOKEN, or --socket");
    return -1;
}

void failure_from_problem(struct failure *fail, int status, const json_t *problem)
{
    const char *instance = value_text(problem, "instance", "");
    static const char prefix[] = "urn:drover:request:";
    double own_status;

    if (value_number(problem, "status", &own_status) && own_status >= 400 && own_status < 600)
        status = (int)own_status;
    failure_set(fail, failure_exit_for_status(status), "%s", value_text(problem, "detail", ""));
    str_copy_utf8(fail->title, sizeof(fail->title), value_text(problem, "title", ""));
    str_copy_utf8(fail->pointer, sizeof(fail->pointer), value_text(problem, "pointer", ""));
    str_copy_utf8(fail->remedy, sizeof(fail->remedy), value_text(problem, "remedy", ""));
    str_copy_utf8(fail->code, sizeof(fail->code), value_text(problem, "code", ""));
    if (str_starts(instance, prefix))
        instance += sizeof(prefix) - 1;
    str_copy_utf8(fail->request_id, sizeof(fail->request_id), instance);
    if (!*fail->title)
        snprintf(fail->title, sizeof(fail->title), "The server answered with status %d", status);
}

static int64_t header_number(CURL *curl, const char *name)
{
    struct curl_header *header;
    uint64_t number;

    if (curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK ||
        !str_to_u64(header->value, INT64_MAX, &number))
        return -1;
    return (int64_t)number;
}

int client_do(struct client *c, const struct client_request *r, struct answer *ret,
              struct failure *fail)
{
    auto_free char *path = client_path(c, r->path);
    auto_free char *url = xasprintf("%s%s", c->url, path);
    auto_free char *body = r->body ? json_dumps(r->body, JSON_COMPACT) : NULL;
    auto_slist struct curl_slist *headers = NULL;
    struct exchange x = {.client = c, .request = r};
    auto_answer struct answer answer = {0};
    long status = 0;
    CURLcode rc;

    *c->error = '\0';
    add_headers(c, r, &headers);
    set_up(c, &x, url, body, headers);
    rc = curl_easy_perform(c->curl);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    answer.status = (int)status;
    answer.next = header_number(c->curl, "X-Drover-Next");
    answer.len = x.body.len;
    answer.text = strbuf_take(&x.body);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, (struct curl_slist *)NULL);
    /* A server may refuse an upload before it has all of it: its answer counts, not our EPIPE. */
    if (rc != CURLE_OK && !x.ended_by_us && !(status >= 400 && answer.len))
        return explain(c, &x, rc, fail);
    answer.value = value_parse(answer.text, answer.len);
    if (status >= 400) {
        failure_from_problem(fail, answer.status, answer.value);
        return -1;
    }
    *ret = answer;
    answer = (struct answer){0};
    return 0;
}

int client_get(struct client *c, const char *path, struct answer *ret, struct failure *fail)
{
    struct client_request r = {.path = path};

    return client_do(c, &r, ret, fail);
}

void answer_done(struct answer *a)
{
    free(a->text);
    json_decref(a->value);
    *a = (struct answer){0};
}

char *url_escape(const char *text)
{
    auto_strbuf struct strbuf b = {0};

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            strchr("-._~", c))
            strbuf_addc(&b, (char)c);
        else
            strbuf_addf(&b, "%%%02X", c);
    }
    return strbuf_take(&b);
}
