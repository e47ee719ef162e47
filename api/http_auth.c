/*
 * Who asks, and may they: Authorization header, then Unix socket peer, then a ticket that the handler
 * redeems, then a client's certificate, then session cookie: who follows a share link comes as its
 * guest, signed in or not. A credential that is present but bad is never passed over.
 */
#include <string.h>
#include <strings.h>

#include "api/front.h"
#include "api/http_internal.h"
#include "service/vm/core.h"
#include "service/vm/project.h"

static int refuse_bad(struct exchange *x, struct access *a, struct error *err)
{
    count_add(&x->http->count.auth_failures, 1);
    return access_failed(a, x->req.peer, err);
}

static int by_header(struct exchange *x, struct access *a, const char *value, struct error *err)
{
    if (strncasecmp(value, "Bearer ", 7) != 0) {
        error_set(err, ERROR_UNAUTHENTICATED, "The Authorization header is not a bearer token.");
        return refuse_bad(x, a, err);
    }
    value += 7 + strspn(value + 7, " ");
    if (access_by_token(a, value, &x->req.principal, err) < 0)
        return refuse_bad(x, a, err);
    x->req.has_principal = true;
    return 0;
}

static int check_page(struct exchange *x, struct error *err)
{
    const struct gate *g = &x->gate;
    bool socket = request_wants_upgrade(&x->req);
    const char *method = x->req.method;

    if (!socket && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0))
        return 0;
    switch (http_policy_cookie(x->http->policy, g->value[GATE_ORIGIN],
                               g->value[GATE_SEC_FETCH_SITE], g->value[GATE_HOST], socket,
                               x->req.tls)) {
    case POLICY_OK:
        return 0;
    case POLICY_ORIGIN_REFUSED:
        error_set(err, ERROR_ORIGIN_REFUSED, "The page at \"%.100s\" may not use this session.",
                  g->value[GATE_ORIGIN] ? g->value[GATE_ORIGIN] : "(no Origin)");
        error_remedy(err, "Add the origin to the setting allowed_origins, or set public_url.");
        return -1;
    case POLICY_CSRF_REFUSED:
        break;
    }
    error_set(err, ERROR_CSRF_REFUSED, "A session cookie alone does not show which page asked.");
    error_remedy(err, "Outside a browser, send Authorization: Bearer TOKEN.");
    return -1;
}

/* Whoever signs in, a foreign page has no business here: it would need our answer to its preflight.
 */
static int check_foreign_page(struct exchange *x, struct error *err)
{
    const struct gate *g = &x->gate;
    const char *origin = g->value[GATE_ORIGIN];
    bool reads = strcmp(x->req.method, "GET") == 0 || strcmp(x->req.method, "HEAD") == 0;

    if (!origin || (reads && !request_wants_upgrade(&x->req)) ||
        http_policy_origin(x->http->policy, origin, g->value[GATE_HOST], x->req.tls))
        return 0;
    error_set(err, ERROR_ORIGIN_REFUSED, "Pages at \"%.100s\" may not use this server.", origin);
    error_remedy(err, "Add the origin to the setting allowed_origins, or set public_url.");
    return -1;
}

static void by_cookie(struct exchange *x, struct access *a)
{
    const char *cookie = request_cookie(&x->req, "drover_session");
    struct error ignored; /* an old cookie is as good as none */

    if (cookie && access_by_session(a, cookie, &x->req.principal, &ignored) == 0) {
        x->req.has_principal = true;
        x->req.principal.by_cookie = true;
    }
}

/*
 * A certificate comes with every request of a browser that has it, like a cookie does: where a browser
 * says which page asked, it must be one of ours. Who is no browser says nothing.
 */
static int check_certificates_page(struct exchange *x, struct error *err)
{
    const char *site = x->gate.value[GATE_SEC_FETCH_SITE], *method = x->req.method;
    bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;

    if (!site || (reads && !request_wants_upgrade(&x->req)) || strcmp(site, "same-origin") == 0 ||
        strcmp(site, "none") == 0)
        return 0;
    error_set(err, ERROR_CSRF_REFUSED, "A certificate alone does not show which page asked.");
    error_remedy(err, "Ask from a page of this server, or send Authorization: Bearer TOKEN.");
    return -1;
}

/* The name in the certificate that the client showed, or "". */
static const char *certificate_of(const struct exchange *x)
{
    if (x->call)
        return call_certificate(x->call);
    return x->conn->tls ? tls_link_name(x->conn->tls) : "";
}

static int by_certificate(struct exchange *x, struct access *a, struct error *err)
{
    if (access_by_certificate(a, certificate_of(x), &x->req.principal, err) < 0)
        return refuse_bad(x, a, err);
    x->req.has_principal = true;
    return check_certificates_page(x, err);
}

static bool brings_ticket(const struct exchange *x)
{
    return x->req.route->flags & ROUTE_TICKET && request_query(&x->req, "ticket");
}

/* ?project=: one that is not there and one that is not the caller's get the same answer. */
static int enter_project(struct exchange *x, struct error *err)
{
    const char *ref = request_query(&x->req, "project");
    struct project project;
    struct error none;

    if (!ref || (project_find(x->http->core, ref, &project, &none) == 0 &&
                 access_enter_project(&x->req.principal, project.id)))
        return 0;
    error_set_at(err, ERROR_INVALID_ARGUMENT, "project", "there is no project %.63s", ref);
    error_remedy(err, "GET /v1/projects lists those you may act in.");
    return -1;
}

int auth_check(struct exchange *x, struct error *err)
{
    const struct route *route = x->req.route;
    struct access *a = core_access(x->http->core);
    const char *header = x->gate.value[GATE_AUTHORIZATION];

    if (check_foreign_page(x, err) < 0)
        return -1;
    if (header) {
        if (by_header(x, a, header, err) < 0)
            return -1;
    } else if (x->conn->is_unix) {
        access_by_socket(a, x->conn->uid, &x->req.principal);
        x->req.has_principal = true;
    } else if (brings_ticket(x)) {
        return 0; /* the handler redeems it */
    } else if (*certificate_of(x)) {
        if (by_certificate(x, a, err) < 0)
            return -1;
    } else if (x->gate.value[GATE_COOKIE]) {
        by_cookie(x, a);
    }
    if (!x->req.has_principal) {
        if (route->flags & ROUTE_PUBLIC || brings_ticket(x))
            return 0;
        error_set(err, ERROR_UNAUTHENTICATED, "This address needs a credential.");
        error_remedy(err, "Send Authorization: Bearer TOKEN, or sign in to the dashboard.");
        return -1;
    }
    if (x->req.principal.by_cookie && check_page(x, err) < 0)
        return -1;
    if (enter_project(x, err) < 0)
        return -1;
    return route->scope ? access_require(&x->req.principal, route->scope, err) : 0;
}
