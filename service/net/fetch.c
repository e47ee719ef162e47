/*
 * libcurl, held short: see fetch.h for what it may do. One transfer, one handle; what is kept
 * between two tries is the caller's.
 */
#include "service/net/fetch.h"

#include <string.h>
#include <strings.h>

#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/net/net_internal.h"

#define REDIRECTS_MAX  5L
#define BUFFER_BYTES   (256L * 1024)
#define SLOW_BYTES     1024L /* a second */

struct fetch {
    const struct fetch_options *options;
    CURL *curl;
    struct fetch_head head;
    struct error *err;
    int64_t range_start, range_total; /* of Content-Range; -1: none */
    int64_t received;                 /* of the body */
    bool head_seen, failed;           /* failed: *err is filled and final */
    bool broken;                      /* failed, but may work later */
    bool asked_offset;
    bool ended;
    struct net_guard guard;
};

/* ---- URLs ---- */

static int refuse_url(struct error *err, const char *what)
{
    error_set_at(err, ERROR_SOURCE_REFUSED, "/source/url", "%s", what);
    error_remedy(err, "Name a file with an http:// or https:// address.");
    return -1;
}

static char *url_part(CURLU *u, CURLUPart part)
{
    char *text = NULL, *copy;

    if (curl_url_get(u, part, &text, part == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0) != CURLUE_OK)
        return NULL;
    copy = xstrdup(text);
    curl_free(text);
    return copy;
}

int fetch_check_url(const char *url, struct error *err)
{
    auto_scope(cleanup_curl_url) CURLU *u = NULL;
    auto_free char *scheme = NULL, *host = NULL, *user = NULL, *password = NULL;
    size_t len = strnlen(url, FETCH_URL_MAX + 1);

    net_curl_begin();
    if (len > FETCH_URL_MAX)
        return refuse_url(err, "the address is too long");
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)url[i] <= ' ' || (unsigned char)url[i] >= 0x7f)
            return refuse_url(err, "the address has spaces or control characters in it");
    }
    u = curl_url();
    if (!u)
        out_of_memory();
    if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
        return refuse_url(err, "this is not an address");
    scheme = url_part(u, CURLUPART_SCHEME);
    host = url_part(u, CURLUPART_HOST);
    user = url_part(u, CURLUPART_USER);
    password = url_part(u, CURLUPART_PASSWORD);
    if (!scheme || (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0))
        return refuse_url(err, "only http and https are fetched");
    if (user || password)
        return refuse_url(err, "the address carries credentials, which would be stored and shown");
    return host && *host ? 0 : refuse_url(err, "the address has no host");
}

/* Same scheme, host and port. */
static bool same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    auto_scope(cleanup_curl_url) CURLU *ua = curl_url();
    auto_scope(cleanup_curl_url) CURLU *ub = curl_url();

    if (!ua || !ub || curl_url_set(ua, CURLUPART_URL, a, 0) != CURLUE_OK ||
        curl_url_set(ub, CURLUPART_URL, b, 0) != CURLUE_OK)
        return false;
    for (size_t i = 0; i < 3; i++) {
        auto_free char *pa = url_part(ua, parts[i]), *pb = url_part(ub, parts[i]);

        if (!pa || !pb || strcasecmp(pa, pb) != 0)
            return false;
    }
    return true;
}

/* ---- what the server says ---- */

/* "bytes 100-199/1000" */
static void read_range(struct fetch *f, const char *text)
{
    long long first, last, total;
    int end = 0;

    if (sscanf(text, "bytes %lld-%lld/%lld%n", &first, &last, &total, &end) == 3 && !text[end] &&
        first >= 0 && last >= first && total > last) {
        f->range_start = first;
        f->range_total = total;
    }
}

static size_t on_header(char *data, size_t size, size_t n, void *opaque)
{
    struct fetch *f = opaque;
    size_t len = size * n;
    auto_free char *line = xstrndup(data, len);
    char *value = strchr(line, ':');

    line[strcspn(line, "\r\n")] = '\0';
    if (str_starts(line, "HTTP/")) { /* of a redirect's target, after all */
        f->range_start = f->range_total = -1;
        f->head.validator[0] = '\0';
        return len;
    }
    if (!value)
        return len;
    *value++ = '\0';
    value += strspn(value, " \t");
    /* A weak validator does not promise the same bytes. */
    if (strcasecmp(line, "ETag") == 0 && value[0] == '"' && strlen(value) < FETCH_VALIDATOR_MAX)
        str_copy_utf8(f->head.validator, sizeof(f->head.validator), value);
    else if (strcasecmp(line, "Content-Range") == 0)
        read_range(f, value);
    return len;
}

static int fail(struct fetch *f, bool broken)
{
    f->failed = true;
    f->broken = broken;
    return -1;
}

/* The status is neither 200 nor the answer to a range. */
static int refuse_status(struct fetch *f, long status)
{
    bool later = status >= 500 || status == 408 || status == 429;

    error_set(f->err, ERROR_SOURCE_UNREACHABLE, "the source answers with status %ld", status);
    error_remedy(f->err, later ? "Try again later." : "Check the address.");
    return fail(f, later);
}

static int see_head(struct fetch *f)
{
    const struct fetch_options *o = f->options;
    curl_off_t length = -1;
    char *url = NULL;
    long status = 0;

    f->head_seen = true;
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(f->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    curl_easy_getinfo(f->curl, CURLINFO_EFFECTIVE_URL, &url);
    if (o->origin && url && !same_origin(o->origin, url)) {
        error_set(f->err, ERROR_SOURCE_REFUSED, "the source leads to another server");
        return fail(f, false);
    }
    if (status == 206 && f->range_start == (f->asked_offset ? o->offset : 0)) {
        f->head.offset = f->range_start;
        f->head.size = f->range_total;
    } else if (status == 200) {
        f->head.offset = 0;
        f->head.size = length;
    } else if (status == 206 || status == 416) {
        error_set(f->err, ERROR_SOURCE_UNREACHABLE, "the source answers with another range than asked for");
        return fail(f, true);
    } else {
        return refuse_status(f, status);
    }
    if (f->head.size > o->max_bytes) {
        error_set(f->err, ERROR_BODY_TOO_LARGE, "the source has %lld bytes, and %lld are accepted",
                  (long long)f->head.size, (long long)o->max_bytes);
        return fail(f, false);
    }
    return o->on_head && o->on_head(o->opaque, &f->head, f->err) ? fail(f, false) : 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *opaque)
{
    struct fetch *f = opaque;
    const struct fetch_options *o = f->options;
    size_t len = size * n;

    if (!f->head_seen && see_head(f))
        return 0;
    if (o->first_bytes && (int64_t)len > o->first_bytes - f->received)
        len = (size_t)(o->first_bytes - f->received);
    if ((int64_t)len > o->max_bytes - f->head.offset - f->received) {
        error_set(f->err, ERROR_BODY_TOO_LARGE, "the source sends more than %lld bytes",
                  (long long)o->max_bytes);
        fail(f, false);
        return 0;
    }
    if (len && o->on_data(o->opaque, data, len, f->err)) {
        fail(f, false);
        return 0;
    }
    f->received += (int64_t)len;
    return len == size * n ? len : 0; /* enough: the rest is not wanted */
}

static int on_progress(void *opaque, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct fetch *f = opaque;

    (void)a, (void)b, (void)c, (void)d;
    f->ended = f->options->should_end && f->options->should_end(f->options->opaque);
    return f->ended;
}

/* ---- the transfer ---- */

static struct curl_slist *set_range(struct fetch *f)
{
    const struct fetch_options *o = f->options;
    auto_free char *range = NULL, *condition = NULL;
    struct curl_slist *headers;

    f->asked_offset = o->offset > 0 && *o->validator;
    if (o->first_bytes)
        range = xasprintf("0-%lld", (long long)o->first_bytes - 1);
    else if (f->asked_offset)
        range = xasprintf("%lld-", (long long)o->offset);
    if (range)
        curl_easy_setopt(f->curl, CURLOPT_RANGE, range);
    if (!f->asked_offset)
        return NULL;
    condition = xasprintf("If-Range: %s", o->validator);
    headers = curl_slist_append(NULL, condition);
    if (!headers)
        out_of_memory(); /* without it a piece of another file could be appended */
    return headers;
}

static void configure(struct fetch *f)
{
    const struct fetch_options *o = f->options;
    CURL *c = f->curl;

    f->guard.allow_private = o->allow_private;
    net_guard_set(c, &f->guard);
    curl_easy_setopt(c, CURLOPT_URL, o->url);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_timeout_ms);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)o->timeout_ms);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)o->stall_seconds);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, f);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, f);
}

static enum fetch_result explain(struct fetch *f, CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        error_set(f->err, ERROR_SOURCE_UNREACHABLE, "the source's name is not known");
        error_remedy(f->err, "Check the address and this host's name resolution.");
        return FETCH_BROKEN;
    case CURLE_COULDNT_CONNECT:
        error_set(f->err, ERROR_SOURCE_UNREACHABLE, "the source does not accept connections");
        return FETCH_BROKEN;
    case CURLE_PARTIAL_FILE:
        error_set(f->err, ERROR_SOURCE_UNREACHABLE, "the source ended before its last byte");
        return FETCH_BROKEN;
    case CURLE_OPERATION_TIMEDOUT:
        error_set(f->err, ERROR_SOURCE_UNREACHABLE, "the source is too slow");
        return FETCH_BROKEN;
    case CURLE_TOO_MANY_REDIRECTS:
        error_set(f->err, ERROR_SOURCE_REFUSED, "the source redirects too often");
        return FETCH_REFUSED;
    case CURLE_UNSUPPORTED_PROTOCOL:
        error_set(f->err, ERROR_SOURCE_REFUSED, "the source leads to something else than http or https");
        return FETCH_REFUSED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
        error_set(f->err, ERROR_SOURCE_UNREACHABLE, "the source's certificate is not accepted");
        return FETCH_REFUSED;
    default:
        error_set(f->err, ERROR_SOURCE_UNREACHABLE, "the connection to the source broke");
        return FETCH_BROKEN;
    }
}

static enum fetch_result outcome(struct fetch *f, CURLcode code)
{
    bool enough = f->options->first_bytes && f->received >= f->options->first_bytes;
    enum fetch_result result;

    if (f->ended)
        return FETCH_ENDED;
    if (code == CURLE_OK && !f->head_seen && see_head(f)) /* a body of no bytes */
        code = CURLE_WRITE_ERROR;
    if (f->failed)
        return f->broken ? FETCH_BROKEN : FETCH_REFUSED;
    if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && enough))
        return FETCH_DONE;
    if (*f->guard.refused) {
        error_set_at(f->err, ERROR_SOURCE_REFUSED, "/source/url",
                     "the source is at %s, which is not a public address", f->guard.refused);
        error_remedy(f->err, "Use a public server, or set fetch_private if you trust whoever may "
                             "create images with everything this host can reach.");
        return FETCH_REFUSED;
    }
    result = explain(f, code);
    error_cause(f->err, "%s", curl_easy_strerror(code));
    return result;
}

enum fetch_result fetch_run(const struct fetch_options *options, struct error *err)
{
    auto_scope(cleanup_curl) CURL *curl = NULL;
    auto_scope(cleanup_curl_list) struct curl_slist *headers = NULL;
    struct fetch f = {.options = options, .err = err, .range_start = -1, .range_total = -1};

    if (fetch_check_url(options->url, err))
        return FETCH_REFUSED;
    curl = curl_easy_init();
    if (!curl) {
        error_set(err, ERROR_SYSTEM, "cannot start a download");
        return FETCH_REFUSED;
    }
    f.curl = curl;
    configure(&f);
    headers = set_range(&f);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    return outcome(&f, curl_easy_perform(curl));
}
