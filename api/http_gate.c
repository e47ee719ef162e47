/*
 * The header gate. libmicrohttpd 0.9.75 accepts duplicate Content-Length and Host, Content-Length
 * with Transfer-Encoding, unknown transfer codings and spaces before the colon; none of them gets
 * past here.
 */
#include "api/http_gate.h"

#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    size_t len;
} known[GATE_COUNT] = {
#define N(text)                                                                                    \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
    [GATE_HOST] = N("host"),
    [GATE_CONTENT_LENGTH] = N("content-length"),
    [GATE_TRANSFER_ENCODING] = N("transfer-encoding"),
    [GATE_AUTHORIZATION] = N("authorization"),
    [GATE_COOKIE] = N("cookie"),
    [GATE_ORIGIN] = N("origin"),
    [GATE_SEC_FETCH_SITE] = N("sec-fetch-site"),
    [GATE_CONTENT_TYPE] = N("content-type"),
    [GATE_EXPECT] = N("expect"),
    [GATE_UPGRADE] = N("upgrade"),
    [GATE_IDEMPOTENCY_KEY] = N("idempotency-key"),
    [GATE_IF_MATCH] = N("if-match"),
    [GATE_REQUEST_ID] = N("x-request-id"),
    [GATE_WS_KEY] = N("sec-websocket-key"),
    [GATE_WS_VERSION] = N("sec-websocket-version"),
    [GATE_WS_PROTOCOL] = N("sec-websocket-protocol"),
#undef N
};

/* RFC 9110 tchar, as a table: every byte of every header name passes here. */
static const bool token_char[256] = {
    ['!'] = true,         ['#'] = true, ['$'] = true,         ['%'] = true, ['&'] = true,
    ['\''] = true,        ['*'] = true, ['+'] = true,         ['-'] = true, ['.'] = true,
    ['0' ... '9'] = true, ['^'] = true, ['A' ... 'Z'] = true, ['_'] = true, ['`'] = true,
    ['a' ... 'z'] = true, ['|'] = true, ['~'] = true,
};

static bool all_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!token_char[(unsigned char)s[i]])
            return false;
    }
    return len > 0;
}

static bool has_control(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

bool gate_list_has(const char *list, const char *token, bool fold)
{
    size_t len = strlen(token);

    while (*list) {
        size_t n;

        list += strspn(list, " \t,");
        n = strcspn(list, " \t,");
        if (n == len && (fold ? strncasecmp(list, token, n) : strncmp(list, token, n)) == 0)
            return true;
        list += n;
    }
    return false;
}

void gate_add(struct gate *g, const char *name, size_t name_len, const char *value,
              size_t value_len)
{
    if (g->fault)
        return;
    if (++g->count > GATE_HEADERS_MAX)
        g->fault = "The request has too many headers.";
    else if (!all_token(name, name_len))
        g->fault = "A header name holds a byte that is not allowed there.";
    else if (has_control(value, value_len))
        g->fault = "A header value holds a control byte.";
    if (g->fault)
        return;
    if (name_len == 10 && strncasecmp(name, "connection", 10) == 0) {
        g->connection_upgrade |= gate_list_has(value, "upgrade", true);
        return;
    }
    for (int i = 0; i < GATE_COUNT; i++) {
        if (known[i].len != name_len || strncasecmp(known[i].name, name, name_len) != 0)
            continue;
        /* Two parsers may pick different ones of two: that is what smuggling lives on. */
        if (g->value[i])
            g->fault = "A header that may occur once occurs twice.";
        g->value[i] = value;
        return;
    }
}

static const bool host_char[256] = {
    ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true,
    ['.'] = true,         ['-'] = true,         ['_'] = true,
};

/* reg-name, IPv4 or [IPv6] with an optional port; the empty host is refused, too. */
static bool host_valid(const char *host)
{
    size_t len = strlen(host);

    if (!len || len > 255 || *host == ':')
        return false;
    if (*host == '[') {
        size_t n = strspn(host + 1, "0123456789abcdefABCDEF:.");

        if (!n || host[n + 1] != ']')
            return false;
        host += n + 2;
    } else {
        while (host_char[(unsigned char)*host])
            host++;
    }
    if (*host == ':') {
        do
            host++;
        while (*host >= '0' && *host <= '9');
    }
    return *host == '\0';
}

/* Digits only: no sign, no list, no spaces, and far from overflow. */
static bool length_valid(const char *text, int64_t *ret)
{
    size_t len = strlen(text);

    if (!len || len > 18 || strspn(text, "0123456789") != len)
        return false;
    *ret = 0;
    for (; *text; text++)
        *ret = *ret * 10 + (*text - '0');
    return true;
}

static const char *find_fault(struct gate *g, const char *method, const char *version)
{
    const char *te = g->value[GATE_TRANSFER_ENCODING];

    if (!all_token(method, strlen(method)) || strlen(method) > 16)
        return "The method is not a token.";
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
        return "The protocol version is neither HTTP/1.1 nor HTTP/1.0.";
    if (!g->value[GATE_HOST] || !host_valid(g->value[GATE_HOST]))
        return "The request needs one valid Host header.";
    g->content_length = 0;
    if (g->value[GATE_CONTENT_LENGTH] &&
        !length_valid(g->value[GATE_CONTENT_LENGTH], &g->content_length))
        return "Content-Length is not a number of bytes.";
    if (te && g->value[GATE_CONTENT_LENGTH])
        return "Content-Length and Transfer-Encoding exclude each other.";
    if (te && (strcasecmp(te, "chunked") != 0 || strcmp(version, "HTTP/1.1") != 0))
        return "The only transfer coding is chunked, with HTTP/1.1.";
    if (te)
        g->content_length = -1;
    if (g->value[GATE_EXPECT] && strcasecmp(g->value[GATE_EXPECT], "100-continue") != 0)
        return "The only expectation is 100-continue.";
    /* RFC 9110, 10.1.1; libmicrohttpd would take a request that follows for the body there is none of. */
    if (g->value[GATE_EXPECT] && g->content_length == 0)
        return "There is no body that 100-continue could be about.";
    return NULL;
}

int gate_finish(struct gate *g, const char *method, const char *version, struct error *err)
{
    if (!g->fault)
        g->fault = find_fault(g, method, version);
    if (g->fault)
        return error_set(err, ERROR_MALFORMED_REQUEST, "%s", g->fault);
    return 0;
}

bool gate_request_id_valid(const char *text)
{
    size_t len = strlen(text);

    return len >= 1 && len <= 36 &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

bool gate_ws_key_valid(const char *text)
{
    return strlen(text) == 24 && strcmp(text + 22, "==") == 0 &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/") == 22;
}
