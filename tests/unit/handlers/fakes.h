/*
 * Link-time fakes below the handlers: a request that is a table of strings, and a service that
 * answers what the test put there. Reset with fakes_reset().
 */
#ifndef DROVER_TESTS_HANDLERS_FAKES_H
#define DROVER_TESTS_HANDLERS_FAKES_H

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/vm/console.h"

#define FAKE_PAIRS 16

struct fake {
    /* the request */
    struct {
        const char *name, *value;
    } query[FAKE_PAIRS], headers[FAKE_PAIRS];
    bool wants_upgrade;
    handler_fn *resume; /* set when parked */
    char parked_on[UUID_TEXT];
    bool parked_on_op;
    int64_t parked_ms;
    enum wait_result wait_result;
    void *kept;
    void (*kept_free)(void *);

    /* the service */
    struct vm *vm; /* what vm_find and the use cases know, or NULL */
    struct op *op;
    struct vm **list; /* of vm_list */
    size_t list_count;
    bool list_more, replayed, console_output, not_attached;
    struct error fail; /* what the use cases fail with, unless NONE */
    unsigned granted;  /* scopes that access_require finds */
    bool ticket_ok, revoked;

    /* what was asked for */
    enum vm_verb verb;
    bool force;
    int64_t generation;
    struct vm_filter filter;
    struct console_attach attach;
    char attached_viewer[96];
    struct console_pipe pipe;
    char pipe_stream[80];
    struct ticket redeemed;
    int ensured;
};
extern struct fake fake;

void fakes_reset(void);
/* A snapshot with a definition made from JSON; one reference. */
struct vm *fake_vm(const char *definition, enum vm_state state);
struct op *fake_op(enum op_state state);

struct request fake_request(const char *method, const char *path);
void fake_query(const char *name, const char *value);
void fake_header(const char *name, const char *value);
void fake_param(struct request *req, const char *name, const char *value);
const char *response_header_value(const struct response *res, const char *name); /* or NULL */
json_t *response_value(const struct response *res); /* parsed; a new reference */
void response_done(struct response *res);
#define auto_response auto_scope(response_done)

#endif
