/* See post.h: curl's multi interface, one easy handle a post. */
#include "service/net/post.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/net/fetch.h"
#include "service/net/net_internal.h"

#define ANSWER_BYTES (64 * 1024) /* of a body; more ends the exchange, whatever the status says counts */
#define CONNECTIONS  64L

struct post {
    struct post *next;
    CURL *curl;
    struct curl_slist *headers;
    struct net_guard guard;
    void *opaque;
    size_t received;
    int64_t began_ms;
};

struct poster {
    CURLM *multi;
    struct post *posts;
};

int poster_new(struct poster **ret, struct error *err)
{
    struct poster *p;

    net_curl_begin();
    p = xcalloc(1, sizeof(*p));
    p->multi = curl_multi_init();
    if (!p->multi) {
        free(p);
        return error_set(err, ERROR_SYSTEM, "cannot prepare for posting");
    }
    curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS);
    *ret = p;
    return 0;
}

static void post_free(struct poster *p, struct post *post)
{
    struct post **at = &p->posts;

    while (*at != post)
        at = &(*at)->next;
    *at = post->next;
    curl_multi_remove_handle(p->multi, post->curl);
    curl_easy_cleanup(post->curl);
    curl_slist_free_all(post->headers);
    free(post);
}

void poster_free(struct poster *p)
{
    if (!p)
        return;
    while (p->posts)
        post_free(p, p->posts);
    curl_multi_cleanup(p->multi);
    free(p);
}

void poster_cancel(struct poster *p, const void *opaque)
{
    for (struct post *post = p->posts; post; post = post->next) {
        if (post->opaque == opaque) {
            post_free(p, post);
            return;
        }
    }
}

/* ---- one post ---- */

static size_t on_body(char *data, size_t size, size_t n, void *opaque)
{
    struct post *post = opaque;

    (void)data;
    post->received += size * n;
    return post->received > ANSWER_BYTES ? 0 : size * n;
}

static void configure(struct post *post, const struct post_request *r)
{
    CURL *c = post->curl;

    post->guard.allow_private = r->allow_private;
    net_guard_set(c, &post->guard);
    curl_easy_setopt(c, CURLOPT_URL, r->url);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)r->connect_timeout_ms);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->len);
    curl_easy_setopt(c, CURLOPT_COPYPOSTFIELDS, r->body);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, post->headers);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, post);
    curl_easy_setopt(c, CURLOPT_PRIVATE, post);
}

static void add_header(struct post *post, const char *text)
{
    struct curl_slist *longer = curl_slist_append(post->headers, text);

    if (!longer)
        out_of_memory(); /* what is signed must not be sent without its signature */
    post->headers = longer;
}

int poster_begin(struct poster *p, const struct post_request *request, void *opaque,
                 struct error *err)
{
    struct post *post;

    if (fetch_check_url(request->url, err))
        return -1;
    post = xcalloc(1, sizeof(*post));
    post->curl = curl_easy_init();
    post->opaque = opaque;
    post->began_ms = clock_monotonic_ms();
    for (const char *const *h = request->headers; *h; h++)
        add_header(post, *h);
    add_header(post, "Expect:");
    post->next = p->posts;
    p->posts = post;
    if (post->curl)
        configure(post, request);
    if (!post->curl || curl_multi_add_handle(p->multi, post->curl) != CURLM_OK) {
        post_free(p, post);
        return error_set(err, ERROR_SYSTEM, "cannot begin to post");
    }
    return 0;
}

/* ---- the end of one ---- */

static void explain(const struct post *post, CURLcode code, struct error *err)
{
    if (*post->guard.refused) {
        error_set(err, ERROR_SOURCE_REFUSED, "the receiver is at %s, which is not a public address",
                  post->guard.refused);
        return;
    }
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        error_set(err, ERROR_SOURCE_UNREACHABLE, "the receiver's name is not known");
        break;
    case CURLE_COULDNT_CONNECT:
        error_set(err, ERROR_SOURCE_UNREACHABLE, "the receiver does not accept connections");
        break;
    case CURLE_OPERATION_TIMEDOUT:
        error_set(err, ERROR_SOURCE_UNREACHABLE, "the receiver did not answer in time");
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
        error_set(err, ERROR_SOURCE_UNREACHABLE, "the receiver's certificate is not accepted");
        break;
    default:
        error_set(err, ERROR_SOURCE_UNREACHABLE, "the connection to the receiver broke");
        break;
    }
    error_cause(err, "%s", curl_easy_strerror(code));
}

static void finish(struct poster *p, struct post *post, CURLcode code, post_done_fn *done,
                   void *context)
{
    struct post_result result = {.took_ms = clock_monotonic_ms() - post->began_ms};
    void *opaque = post->opaque;
    curl_off_t after = 0;
    long status = 0;

    curl_easy_getinfo(post->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(post->curl, CURLINFO_RETRY_AFTER, &after);
    /* A body that is too long, or that breaks off, does not change what the head said. */
    if (code == CURLE_OK || (status >= 200 && post->received))
        result.status = (int)status;
    if (!result.status)
        explain(post, code == CURLE_OK ? CURLE_GOT_NOTHING : code, &result.err);
    result.retry_after_s = after;
    post_free(p, post);
    done(context, opaque, &result);
}

void poster_run(struct poster *p, int64_t wait_ms, post_done_fn *done, void *context)
{
    const CURLMsg *message;
    int running, left;

    curl_multi_perform(p->multi, &running);
    if (!(message = curl_multi_info_read(p->multi, &left))) {
        curl_multi_poll(p->multi, NULL, 0, (int)wait_ms, NULL);
        curl_multi_perform(p->multi, &running);
        message = curl_multi_info_read(p->multi, &left);
    }
    for (; message; message = curl_multi_info_read(p->multi, &left)) {
        CURLcode code = message->data.result;
        char *post = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &post);
        finish(p, (struct post *)(void *)post, code, done, context);
    }
}

void poster_wake(struct poster *p)
{
    curl_multi_wakeup(p->multi);
}

bool post_host_is_private(const char *url)
{
    auto_scope(cleanup_curl_url) CURLU *u = NULL;
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    char *host = NULL;
    bool private = false;
    size_t len;

    net_curl_begin();
    u = curl_url();
    if (!u)
        out_of_memory();
    if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        return false;
    len = strlen(host);
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        private = inet_pton(AF_INET6, host + 1, &v6.sin6_addr) == 1 &&
                  !fetch_address_is_public((const struct sockaddr *)&v6);
    } else if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        private = !fetch_address_is_public((const struct sockaddr *)&v4);
    }
    curl_free(host);
    return private;
}
