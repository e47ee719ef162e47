/*
 * What the handlers share: pages, waiting for operations, addresses in answers.
 */
#include "api/handlers/handlers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/codec/codec.h"
#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/conf/settings.h"
#include "service/vm/core.h"

/* A cursor is opaque to clients; the letter is there so that nobody takes it for a count. */
#define CURSOR_MARK 'c'
#define ADDRESS_MAX 256

int page_read(const struct request *req, struct page *ret, struct error *err)
{
    const char *cursor = request_query(req, "cursor");
    uint64_t after = 0;

    *ret = (struct page){.limit = PAGE_LIMIT_DEFAULT};
    if (request_query_int(req, "limit", 1, PAGE_LIMIT_MAX, &ret->limit, err))
        return -1;
    if (cursor && (*cursor != CURSOR_MARK || !str_to_u64(cursor + 1, INT64_MAX, &after)))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "cursor",
                            "cursor must be the next_cursor of the page before");
    ret->after = (int64_t)after;
    return 0;
}

static void add_escaped(struct strbuf *b, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~", *p))
            strbuf_addc(b, *p);
        else
            strbuf_addf(b, "%%%02X", (unsigned char)*p);
    }
}

static int add_argument(void *arg, const char *name, const char *value)
{
    struct strbuf *b = arg;

    if (str_eq(name, "cursor"))
        return 0;
    add_escaped(b, name);
    strbuf_addc(b, '=');
    add_escaped(b, value);
    strbuf_addc(b, '&');
    return 0;
}

const char *page_next(const struct request *req, struct response *res, int64_t seq,
                      char buf[PAGE_CURSOR_SIZE])
{
    auto_strbuf struct strbuf link = {0};

    snprintf(buf, PAGE_CURSOR_SIZE, "%c%lld", CURSOR_MARK, (long long)seq);
    strbuf_addf(&link, "<%s?", req->path);
    request_query_each(req, add_argument, &link);
    strbuf_addf(&link, "cursor=%s>; rel=\"next\"", buf);
    /* Filters can be longer than a header we send; next_cursor in the body says the same. */
    if (link.len < sizeof(res->headers[0].value))
        response_header(res, "Link", "%s", link.data);
    return buf;
}

int wait_read(const struct request *req, int64_t *ret_ms, struct error *err)
{
    int64_t seconds = 0;

    if (request_query_int(req, "wait", 1, WAIT_MAX_SECONDS, &seconds, err))
        return -1;
    *ret_ms = seconds * 1000;
    return 0;
}

int time_argument(const struct request *req, const char *name, int64_t *ret_ms, struct error *err)
{
    const char *text = request_query(req, name);
    uint64_t seconds;

    if (!text)
        return 0;
    if (str_to_u64(text, INT64_MAX / 1000, &seconds)) {
        *ret_ms = (int64_t)seconds * 1000;
        return 0;
    }
    if (!clock_parse(text, ret_ms))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, name,
                            "%s is a time like 2026-01-31T12:00:00Z, or seconds since 1970", name);
    return 0;
}

/* What belongs to a deleted VM is still found by its id. */
int vm_argument(const struct request *req, char ret[UUID_TEXT], struct error *err)
{
    const char *ref = request_query(req, "vm");
    struct error ignored;

    *ret = '\0';
    if (!ref)
        return 0;
    auto_vm struct vm *vm = vm_find(req->core, req->principal.project_id, ref, &ignored);
    if (!vm && !uuid_is_valid(ref))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "vm", "there is no VM %s", ref);
    str_copy_utf8(ret, UUID_TEXT, vm ? vm->id : ref);
    return 0;
}

void answer_replayed(struct response *res, bool replayed)
{
    if (replayed)
        response_header(res, "Idempotency-Replayed", "true");
}

void answer_etag(struct response *res, const struct vm *vm)
{
    response_header(res, "ETag", "\"%lld\"", (long long)vm->generation);
}

void answer_image_etag(struct response *res, const struct image *image)
{
    response_header(res, "ETag", "\"%lld\"", (long long)image->revision);
}

struct op_wait {
    char id[UUID_TEXT];
    bool replayed;
};

static void op_response(struct response *res, const struct op *op, bool waited, bool replayed)
{
    response_header(res, "Location", "/v1/operations/%s", op->id);
    answer_replayed(res, replayed);
    response_json(res, waited && op_is_finished(op) ? 200 : 202, codec_op(op));
}

static int op_resume(struct request *req, struct response *res, struct error *err)
{
    const struct op_wait *wait = request_kept(req);
    auto_op struct op *op = op_find(req->core, req->principal.project_id, wait->id, err);

    if (!op)
        return -1;
    op_response(res, op, true, wait->replayed);
    return 0;
}

int answer_op(struct request *req, struct response *res, struct op *taken, bool replayed,
              struct error *err)
{
    auto_op struct op *op = taken;
    int64_t wait_ms = 0;
    struct op_wait *wait;

    if (wait_read(req, &wait_ms, err))
        return -1;
    if (!wait_ms || op_is_finished(op)) {
        op_response(res, op, wait_ms > 0, replayed);
        return 0;
    }
    wait = xcalloc(1, sizeof(*wait));
    str_copy_utf8(wait->id, sizeof(wait->id), op->id);
    wait->replayed = replayed;
    request_keep(req, wait, free);
    return request_park_op(req, wait->id, wait_ms, op_resume);
}

/* Where the listener ended up; the setting may say port 0. NULL when it is not known. */
static char *bound_address(const struct request *req)
{
    auto_free char *path = xasprintf("%s/listen.addr", core_state_dir(req->core));
    struct error ignored;
    char *text = NULL;
    size_t len;

    if (file_read(path, ADDRESS_MAX, &text, &len, &ignored) != 1)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

void public_base(const struct request *req, const char *scheme, char *ret, size_t size)
{
    const struct settings *settings = core_settings(req->core);
    const char *host = request_header(req, "Host");

    if (*settings->public_url) {
        const char *rest = strstr(settings->public_url, "://");
        bool tls = str_starts(settings->public_url, "https://");
        size_t len;

        snprintf(ret, size, "%s%s://%s", scheme, tls ? "s" : "",
                 rest ? rest + strlen("://") : settings->public_url);
        for (len = strlen(ret); len && ret[len - 1] == '/'; len--)
            ret[len - 1] = '\0';
        return;
    }
    /* The Host header was checked before the handler; over the Unix socket it means nothing. */
    if (host && !str_starts(req->peer, "unix:")) {
        snprintf(ret, size, "%s%s://%s", scheme, req->tls ? "s" : "", host);
        return;
    }
    auto_free char *bound = bound_address(req);
    snprintf(ret, size, "%s%s://%s", scheme, *settings->tls_certificate ? "s" : "",
             bound ? bound : settings->listen);
}

bool header_list_has(const char *header, const char *token)
{
    size_t len = strlen(token);

    for (const char *p = header; p && *p;) {
        const char *end;
        size_t n;

        p += strspn(p, " \t,");
        end = p + strcspn(p, ",");
        n = strcspn(p, ",; \t");
        if (n == len && strncasecmp(p, token, n) == 0)
            return true;
        p = end;
    }
    return false;
}
