/*
 * Browser sessions: sign in, who am I, sign out, one-time sign-in links.
 */
#include <stdio.h>
#include <string.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/conf/settings.h"
#include "service/vm/access.h"
#include "service/vm/core.h"
#include "service/vm/project.h"

#define COOKIE "drover_session"

/* Over TLS the cookie must never travel without it. */
static const char *secure_attribute(const struct request *req)
{
    return req->tls || str_starts(core_settings(req->core)->public_url, "https://") ? "; Secure" : "";
}

static json_t *who(struct request *req, const struct principal *p)
{
    char project[PROJECT_NAME_SIZE];

    project_name(req->core, p->project_id, project);
    return codec_principal(p, project);
}

int handle_session_get(struct request *req, struct response *res, struct error *err)
{
    (void)err;
    response_json(res, 200, who(req, &req->principal));
    return 0;
}

int handle_session_create(struct request *req, struct response *res, struct error *err)
{
    auto_sign_in struct codec_sign_in body = {0};
    struct access *access = core_access(req->core);
    char cookie[SECRET_RANDOM_TEXT];
    struct principal principal;

    if (codec_decode_sign_in(req->json, &body, err))
        return -1;
    if (access_session_create(access, body.code ? body.code : body.token, cookie, &principal,
                              err))
        return err->code == ERROR_SIGN_IN_FAILED ? access_failed(access, req->peer, err) : -1;
    req->principal = principal; /* whom the audit log names */
    response_header(
        res, "Set-Cookie", COOKIE "=%s; HttpOnly; SameSite=Strict; Path=/; Max-Age=%lld%s", cookie,
        (long long)core_settings(req->core)->session_max_seconds, secure_attribute(req));
    response_json(res, 201, who(req, &principal));
    return 0;
}

int handle_session_end(struct request *req, struct response *res, struct error *err)
{
    const char *cookie = request_cookie(req, COOKIE);

    if (req->principal.by_cookie && cookie &&
        access_session_end(core_access(req->core), cookie, err))
        return -1;
    response_header(res, "Set-Cookie", COOKIE "=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0%s",
                    secure_attribute(req));
    res->status = 204;
    return 0;
}

int handle_code_create(struct request *req, struct response *res, struct error *err)
{
    char code[SECRET_RANDOM_TEXT], base[300], url[400];
    int64_t expires_at = 0;

    if (access_code_create(core_access(req->core), &req->principal, code, &expires_at, err))
        return -1;
    public_base(req, "http", base, sizeof(base));
    snprintf(url, sizeof(url), "%s/#code=%s", base, code);
    response_json(res, 201, codec_code(code, url, expires_at));
    return 0;
}
