/*
 * Which Host headers the daemon answers to and which pages may use it: the defence against DNS
 * rebinding and against requests forged by foreign pages. Pure; immutable once made; any thread.
 */
#ifndef DROVER_API_HTTP_POLICY_H
#define DROVER_API_HTTP_POLICY_H

#include <stdbool.h>

#include "service/base/error.h"
#include "service/conf/settings.h"

struct http_policy;

/* CONFIG names the setting that holds something other than an origin or a host. */
int http_policy_new(const struct settings *settings, struct http_policy **ret, struct error *err);
void http_policy_free(struct http_policy *p);

/*
 * An IP address, localhost, public_url's host or one of allowed_hosts, with any port unless the
 * setting names one. Addresses are safe: a page cannot make a browser send one for its own name.
 */
bool http_policy_host(const struct http_policy *p, const char *host);

/*
 * Exactly one of the configured origins, or the page this very Host served, over TLS or not. The
 * host must have passed http_policy_host().
 */
bool http_policy_origin(const struct http_policy *p, const char *origin, const char *host, bool tls);

enum http_policy_verdict { POLICY_OK, POLICY_ORIGIN_REFUSED, POLICY_CSRF_REFUSED };
/*
 * A write, or a WebSocket, asked for with a cookie: the browser must say that the page is one of
 * ours. origin and sec_fetch_site may be NULL. A socket needs an Origin; a write is content with
 * Sec-Fetch-Site: same-origin.
 */
enum http_policy_verdict http_policy_cookie(const struct http_policy *p, const char *origin,
                                            const char *sec_fetch_site, const char *host,
                                            bool socket, bool tls);

#endif
