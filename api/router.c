/*
 * Path templates against a decoded path. A path is decoded once, segment by segment, before any
 * comparison, so an encoded slash can never act as one.
 */
#include "api/router.h"

#include <stdio.h>
#include <string.h>

#include "api/query.h"
#include "service/base/str.h"

#define SEGMENTS_MAX 8
#define SEGMENT_SIZE sizeof(((struct request *)0)->params[0].value)
#define TEXT_MAX     640

struct path {
    size_t count;
    const char *segment[SEGMENTS_MAX]; /* into text, each ended by a NUL */
    char text[TEXT_MAX];
};

/* RFC 3986 pchar, without the '%' that starts an escape. */
static const bool path_char[256] = {
    ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['-'] = true, ['.'] = true,
    ['_'] = true,         ['~'] = true,         ['!'] = true,         ['$'] = true, ['&'] = true,
    ['\''] = true,        ['('] = true,         [')'] = true,         ['*'] = true, ['+'] = true,
    [','] = true,         [';'] = true,         ['='] = true,         [':'] = true, ['@'] = true,
};

/* One segment up to '/' or the end; NULL when it is not acceptable. Moves *at past it. */
static const char *decode_segment(const char *p, char **at, const char *end)
{
    char *out = *at;
    size_t size = (size_t)(end - out) < SEGMENT_SIZE ? (size_t)(end - out) : SEGMENT_SIZE;
    size_t n = 0;

    while (*p && *p != '/') {
        int c = (unsigned char)*p;

        if (c == '%') {
            c = query_hex_byte(p + 1);
            if (c < 0x20 || c == 0x7f || c == '/' || c == '\\')
                return NULL;
            p += 3;
        } else if (path_char[c]) {
            p++;
        } else {
            return NULL;
        }
        if (n + 1 >= size)
            return NULL;
        out[n++] = (char)c;
    }
    if (!n)
        return NULL;
    out[n] = '\0';
    *at = out + n + 1;
    if (strcmp(out, ".") == 0 || strcmp(out, "..") == 0 || !str_is_utf8(out, n))
        return NULL;
    return p;
}

/* False: not acceptable. Too many segments is acceptable, and matches nothing. */
static bool split(const char *raw, struct path *ret)
{
    char *at = ret->text;

    ret->count = 0;
    if (*raw != '/')
        return false;
    if (raw[1] == '\0')
        return true;
    while (*raw == '/') {
        if (ret->count < SEGMENTS_MAX)
            ret->segment[ret->count] = at;
        raw = decode_segment(raw + 1, &at, ret->text + TEXT_MAX);
        if (!raw)
            return false;
        ret->count++;
    }
    return true;
}

/*
 * How well a template fits: -1 not at all, else a number whose high bits are the leftmost
 * segments, set where the template is literal.
 */
static int fit(const char *t, const struct path *path)
{
    int score = 0;
    size_t i = 0;

    if (path->count > SEGMENTS_MAX)
        return -1;
    if (t[1] == '\0')
        return path->count == 0 ? 0 : -1;
    for (; *t == '/'; i++) {
        const char *have;

        if (i == path->count)
            return -1;
        have = path->segment[i];
        if (*++t == '{') {
            t = strchr(t, '}') + 1;
            continue;
        }
        for (; *have && *have == *t; have++)
            t++;
        if (*have || (*t && *t != '/'))
            return -1;
        score |= 1 << (SEGMENTS_MAX - i);
    }
    return i == path->count ? score : -1;
}

/* Cheap, and true of most routes: the template's second segment is another word than the path's. */
static bool is_elsewhere(const char *t, const struct path *path)
{
    return path->count > 1 && path->count <= SEGMENTS_MAX && t[1] == 'v' && t[2] == '1' && t[3] == '/' &&
           t[4] != '{' && t[4] != *path->segment[1];
}

static void fill_params(const struct route *route, const struct path *path, struct request *req)
{
    const char *t = route->path;

    req->param_count = 0;
    for (size_t i = 0; i < path->count; i++) {
        size_t len = strcspn(++t, "/");

        if (*t == '{' && req->param_count < REQUEST_PARAMS_MAX) {
            req->params[req->param_count].name = t + 1; /* up to the brace; see request_param() */
            memcpy(req->params[req->param_count].value, path->segment[i],
                   strlen(path->segment[i]) + 1);
            req->param_count++;
        }
        t += len;
    }
}

static void allow_add(char *allow, size_t size, const char *method)
{
    size_t len = strlen(allow);

    if (len < size)
        snprintf(allow + len, size - len, "%s%s", len ? ", " : "", method);
}

enum route_match router_match(const struct route *table, const char *method, const char *path,
                              struct request *req, char *allow, size_t size)
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    const struct route *best = NULL;
    struct path p;
    int best_any = -1; /* of any method: what Allow speaks of */
    int best_fit = -1;

    if (!split(path, &p))
        return ROUTE_BAD_PATH;
    for (const struct route *r = table; r->method; r++) {
        int n;

        if (is_elsewhere(r->path, &p))
            continue;
        n = fit(r->path, &p);

        if (n > best_any)
            best_any = n;
        if (n > best_fit && strcmp(r->method, wanted) == 0) {
            best_fit = n;
            best = r;
        }
    }
    if (best_any < 0)
        return ROUTE_NOT_FOUND;
    if (best && best_fit == best_any) {
        req->route = best;
        fill_params(best, &p, req);
        return ROUTE_FOUND;
    }
    if (size)
        *allow = '\0';
    for (const struct route *r = table; r->method; r++) {
        if (fit(r->path, &p) == best_any) {
            allow_add(allow, size, r->method);
            if (strcmp(r->method, "GET") == 0)
                allow_add(allow, size, "HEAD");
        }
    }
    return ROUTE_WRONG_METHOD;
}
