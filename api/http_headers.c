/*
 * One pass over the headers: into the gate, and past a check that only the parser's memory can
 * make.
 */
#include <string.h>

#include "api/http_internal.h"

/*
 * libmicrohttpd 0.9.75 also takes a bare LF as the end of a line and unfolds folded lines, and
 * tells neither. But it parses in place: names and values lie in memory as they came, two bytes
 * apart where the line ended in CRLF. Anything else moves the next name.
 */
struct pass {
    struct gate *gate;
    const char *expect; /* where the next name must be; NULL: not checked */
};

static enum MHD_Result each(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len,
                            const char *value, size_t value_len)
{
    struct pass *p = cls;

    (void)kind;
    if (!value)
        value = "";
    /* Text after a NUL would be invisible to everything that follows. */
    if (strlen(name) != name_len || strlen(value) != value_len)
        p->gate->fault = "A header holds a NUL.";
    if (p->expect && name != p->expect)
        p->gate->fault = "A header line is folded or does not end in CR LF.";
    if (p->expect)
        p->expect = value + value_len + 2;
    gate_add(p->gate, name, name_len, value, value_len);
    return MHD_YES;
}

/* "METHOD URI VERSION" with single spaces, and nothing hidden behind a NUL. */
static bool request_line_is_plain(const struct exchange *x, const char *url, const char *method,
                                  const char *version)
{
    return url == method + strlen(method) + 1 && version == url + x->uri_len + 1;
}

int headers_read(struct exchange *x, const char *url, const char *method, const char *version,
                 struct error *err)
{
    struct pass p = {.gate = &x->gate};
    const union MHD_ConnectionInfo *size;

    if (x->http->strict_layout) {
        if (!request_line_is_plain(x, url, method, version))
            x->gate.fault =
                "The request line is not METHOD, one space, address, one space, version.";
        else
            p.expect = version + strlen(version) + 2;
    }
    MHD_get_connection_values_n(x->mhd, MHD_HEADER_KIND, each, &p);
    if (p.expect && !x->gate.fault) {
        size = MHD_get_connection_info(x->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
        if (!size || method + size->header_size != p.expect + 2)
            x->gate.fault = "The header does not end in CR LF CR LF.";
    }
    return gate_finish(&x->gate, method, version, err);
}
