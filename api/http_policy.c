/*
 * Host and Origin rules.
 */
#include "api/http_policy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "service/base/str.h"

#define NAMES_MAX 64

struct names {
    size_t count;
    char *text[NAMES_MAX];
};

struct http_policy {
    struct names hosts;   /* with or without a port */
    struct names origins; /* scheme://host[:port] */
    char *public_host;    /* public_url's, or NULL */
};

void http_policy_free(struct http_policy *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->hosts.count; i++)
        free(p->hosts.text[i]);
    for (size_t i = 0; i < p->origins.count; i++)
        free(p->origins.text[i]);
    free(p->public_host);
    free(p);
}

DEFINE_CLEANUP(http_policy, struct http_policy *, http_policy_free);

static bool has_name(const struct names *n, const char *text)
{
    for (size_t i = 0; i < n->count; i++) {
        if (strcasecmp(n->text[i], text) == 0)
            return true;
    }
    return false;
}

/* The host[:port] of an origin, or NULL; a trailing slash is forgiven, a path is not. */
static const char *origin_host(const char *origin)
{
    const char *host = str_starts(origin, "https://")  ? origin + 8
                       : str_starts(origin, "http://") ? origin + 7
                                                       : NULL;

    return host && *host && !strpbrk(host, "/?#@ ") ? host : NULL;
}

static int add_words(struct names *n, const char *words, const char *setting, bool origins,
                     struct error *err)
{
    while (*(words += strspn(words, " \t,"))) {
        size_t len = strcspn(words, " \t,");
        auto_free char *word = xstrndup(words, len);

        words += len;
        if (origins && len && word[len - 1] == '/')
            word[len - 1] = '\0';
        if (origins ? !origin_host(word) : strpbrk(word, "/@") != NULL)
            return error_set_at(err, ERROR_CONFIG, setting, "\"%s\" is not %s.", word,
                                origins ? "an origin like https://host:port" : "a host name");
        if (n->count == NAMES_MAX)
            return error_set_at(err, ERROR_CONFIG, setting, "More than %d entries.", NAMES_MAX);
        n->text[n->count++] = TAKE_PTR(word);
    }
    return 0;
}

/* public_url may have a path (links need it); the origin has none. */
static int add_public_url(struct http_policy *p, const char *url, struct error *err)
{
    const char *scheme_end = strstr(url, "://");
    auto_free char *origin = NULL;
    const char *host;

    if (!*url)
        return 0;
    origin = xstrdup(url);
    if (scheme_end)
        origin[(scheme_end + 3 - url) + (ptrdiff_t)strcspn(scheme_end + 3, "/?#")] = '\0';
    host = origin_host(origin);
    if (!host)
        return error_set_at(err, ERROR_CONFIG, "public_url", "\"%s\" is not an http(s) URL.", url);
    p->public_host = xstrdup(host);
    if (add_words(&p->origins, origin, "public_url", true, err) < 0)
        return -1;
    return add_words(&p->hosts, host, "public_url", false, err);
}

int http_policy_new(const struct settings *s, struct http_policy **ret, struct error *err)
{
    auto_scope(cleanup_http_policy) struct http_policy *p = xcalloc(1, sizeof(*p));

    if (add_public_url(p, s->public_url, err) < 0 ||
        add_words(&p->origins, s->allowed_origins, "allowed_origins", true, err) < 0 ||
        add_words(&p->hosts, s->allowed_hosts, "allowed_hosts", false, err) < 0)
        return -1;
    *ret = TAKE_PTR(p);
    return 0;
}

/* Splits off the port; false when the name does not fit. */
static bool bare_host(const char *host, char *ret, size_t size)
{
    const char *end = *host == '[' ? strchr(host, ']') : NULL;
    size_t len = end ? (size_t)(end + 1 - host) : strcspn(host, ":");

    if (len >= size || (host[len] && host[len] != ':'))
        return false;
    memcpy(ret, host, len);
    ret[len] = '\0';
    return true;
}

static bool is_address(const char *host)
{
    unsigned char binary[sizeof(struct in6_addr)];
    char inner[64];

    if (*host != '[')
        return inet_pton(AF_INET, host, binary) == 1;
    str_copy_utf8(inner, sizeof(inner), host + 1);
    inner[strcspn(inner, "]")] = '\0';
    return inet_pton(AF_INET6, inner, binary) == 1;
}

bool http_policy_host(const struct http_policy *p, const char *host)
{
    char bare[256];

    if (!bare_host(host, bare, sizeof(bare)))
        return false;
    return is_address(bare) || strcasecmp(bare, "localhost") == 0 || has_name(&p->hosts, bare) ||
           has_name(&p->hosts, host);
}

bool http_policy_origin(const struct http_policy *p, const char *origin, const char *host, bool tls)
{
    const char *from = origin_host(origin);

    if (!from)
        return false;
    if (has_name(&p->origins, origin))
        return true;
    /* Behind TLS the page has an https origin: a plain one of that name is somebody else's. */
    if (p->public_host && strcasecmp(p->public_host, host) == 0)
        return false;
    return str_starts(origin, tls ? "https://" : "http://") && strcasecmp(from, host) == 0;
}

enum http_policy_verdict http_policy_cookie(const struct http_policy *p, const char *origin,
                                            const char *sec_fetch_site, const char *host,
                                            bool socket, bool tls)
{
    if (origin)
        return http_policy_origin(p, origin, host, tls) ? POLICY_OK : POLICY_ORIGIN_REFUSED;
    if (socket)
        return POLICY_ORIGIN_REFUSED;
    return str_eq(sec_fetch_site, "same-origin") ? POLICY_OK : POLICY_CSRF_REFUSED;
}
