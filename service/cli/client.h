/*
 * REST requests to one server, over TCP, TLS or its Unix socket. The only place that speaks curl.
 *
 * One thread at a time. A problem document from the server becomes a struct failure with the exit code
 * its status stands for; no answer at all is CLI_CONNECT.
 */
#ifndef DROVER_CLI_CLIENT_H
#define DROVER_CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/cli/failure.h"
#include "service/cli/value.h"

/* Of https addresses: paths of PEM files, each NULL when the usual is meant. */
struct client_trust {
    const char *ca;                /* who vouches for the server */
    const char *certificate, *key; /* what we show it */
};

/* Where the server is; copied by client_new. */
struct client_target {
    const char *url;    /* "http://127.0.0.1:8460", or NULL: the Unix socket */
    const char *socket; /* used when url is NULL */
    const char *token;  /* or NULL */
    const char *project; /* to act in, or NULL: the token's own */
    struct client_trust trust;
};

struct client;

int client_new(const struct client_target *target, struct client **ret, struct failure *fail);
void client_free(struct client *c);
DEFINE_CLEANUP(client, struct client *, client_free);
#define auto_client auto_scope(cleanup_client)

/*
 * From here on a request ends early, as a failure, when a signal asked this program to end
 * (interrupt.h); off again for what is to be done on the way out.
 */
void client_interruptible(struct client *c, bool on);

const char *client_url(const struct client *c);    /* without a slash at the end */
const char *client_socket(const struct client *c); /* or NULL */
const char *client_token(const struct client *c);  /* or NULL */
const struct client_trust *client_trust(const struct client *c);

struct client_request {
    const char *method; /* NULL: GET */
    const char *path;   /* "/v1/vms", escaped, query included */
    const json_t *body; /* or NULL */
    const char *accept; /* NULL: JSON */
    const char *const *headers; /* further "Name: value" lines, ended by NULL; or NULL */
    long timeout_s;     /* whole exchange; 0: a minute, -1: none */

    /* An upload: read from this file instead of body. size -1: not known (chunked). */
    FILE *upload;
    int64_t upload_size;
    void (*progress)(void *opaque, int64_t sent, int64_t size);

    /* A stream: receives a success's body piece by piece; returning false ends the exchange. */
    bool (*on_data)(void *opaque, const char *data, size_t len);
    void *opaque;
};

struct answer {
    int status;
    char *text; /* the body as sent, NUL-terminated; NULL when on_data took it */
    size_t len;
    json_t *value; /* parsed, or NULL when it is not JSON */
    int64_t next;  /* X-Drover-Next: where a stream goes on; -1: it was not sent */
};

void answer_done(struct answer *a);
#define auto_answer auto_scope(answer_done)

/* 0 with a status below 400; a stream that on_data ended is a success, too. */
int client_do(struct client *c, const struct client_request *r, struct answer *ret,
              struct failure *fail);
int client_get(struct client *c, const char *path, struct answer *ret, struct failure *fail);

/* Fills *fail from a problem document (or, when it is none, from the status alone). */
void failure_from_problem(struct failure *fail, int status, const json_t *problem);

/* A path or query component, percent-escaped (RFC 3986 unreserved stay). Caller frees. */
/* The path with what names the project to act in; the caller frees. */
char *client_path(const struct client *c, const char *path);
const char *client_project(const struct client *c); /* or NULL */
char *url_escape(const char *text);

#endif
