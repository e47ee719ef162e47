/*
 * The header gate: refuses the shapes with which one request is smuggled past another parser, and
 * keeps the headers the pipeline needs. Pure; any thread; allocates nothing.
 */
#ifndef DROVER_API_HTTP_GATE_H
#define DROVER_API_HTTP_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"

enum gate_header {
    GATE_HOST,
    GATE_CONTENT_LENGTH,
    GATE_TRANSFER_ENCODING,
    GATE_AUTHORIZATION,
    GATE_COOKIE,
    GATE_ORIGIN,
    GATE_SEC_FETCH_SITE,
    GATE_CONTENT_TYPE,
    GATE_EXPECT,
    GATE_UPGRADE,
    GATE_IDEMPOTENCY_KEY,
    GATE_IF_MATCH,
    GATE_REQUEST_ID,
    GATE_WS_KEY,
    GATE_WS_VERSION,
    GATE_WS_PROTOCOL,
    GATE_COUNT
};

#define GATE_HEADERS_MAX 100

struct gate {
    const char *value[GATE_COUNT]; /* NULL: absent */
    unsigned count;
    bool connection_upgrade; /* Connection has the token "upgrade" */
    const char *fault;       /* static text: why the request is refused; NULL: so far fine */
    int64_t content_length;  /* after gate_finish; -1: chunked */
};

/* Names and values as the parser delivered them, with its idea of their lengths. */
void gate_add(struct gate *g, const char *name, size_t name_len, const char *value,
              size_t value_len);
/* After the last header. MALFORMED_REQUEST: answer, then close the connection. */
int gate_finish(struct gate *g, const char *method, const char *version, struct error *err);

/* [A-Za-z0-9._-]{1,36} */
bool gate_request_id_valid(const char *text);
/* 16 bytes in base64 */
bool gate_ws_key_valid(const char *text);
/* Whether a comma-separated list holds the token, without regard to case when fold is set. */
bool gate_list_has(const char *list, const char *token, bool fold);

#endif
