/*
 * Tickets for one stream: for a client's next connection, and as share links.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/vm/access.h"
#include "service/vm/core.h"
#include "service/vm/exec.h"
#include "service/vm/stream.h"

static int require_exec(struct core *core, const char *vm_id, const char *stream, struct error *err)
{
    auto_free char *id = xstrndup(stream + strlen("exec/"), UUID_TEXT - 1);
    auto_exec struct exec *e = NULL;

    if (exec_find(core, vm_id, id, &e, err) == 0)
        return 0;
    err->code = ERROR_STREAM_NOT_FOUND; /* to a ticket it is a stream like any other */
    return -1;
}

int handle_ticket_create(struct request *req, struct response *res, struct error *err)
{
    auto_ticket_request struct codec_ticket_request body = {.single_use = true};
    struct codec_ticket_addresses at;
    struct ticket_info info;
    struct ticket ticket = {0};
    char base[300];

    if (codec_decode_ticket(req->json, &body, err))
        return -1;
    ticket.control = body.mode == 0;
    if (stream_is_exec(body.stream)) {
        if (access_require(&req->principal, ACCESS_VM_EXEC, err))
            return -1;
    } else if (ticket.control && access_require(&req->principal, ACCESS_CONSOLE_CONTROL, err)) {
        error_remedy(err, "Ask for mode view.");
        return -1;
    }
    auto_vm struct vm *vm = vm_find(req->core, req->principal.project_id, body.vm, err);
    if (!vm)
        return -1;
    if (stream_require(vm, body.stream, err))
        return -1;
    if (stream_is_exec(body.stream) && require_exec(req->core, vm->id, body.stream, err))
        return -1;
    if (!ticket.control && (str_starts(body.stream, "vsock/") || stream_is_exec(body.stream)))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/mode", "%s has no view mode",
                            body.stream);
    ticket.multi_use = !body.single_use;
    ticket.expires_in_seconds = body.expires_in_seconds;
    str_copy_utf8(ticket.vm_id, sizeof(ticket.vm_id), vm->id);
    str_copy_utf8(ticket.stream, sizeof(ticket.stream), body.stream);
    str_copy_utf8(ticket.name, sizeof(ticket.name), body.name ? body.name : "");
    if (access_ticket_create(core_access(req->core), &req->principal, &ticket, at.secret, &info,
                             err))
        return -1;
    public_base(req, "ws", base, sizeof(base));
    snprintf(at.url, sizeof(at.url), "%s/v1/vms/%s/%s?mode=%s&ticket=%s", base, vm->id, body.stream,
             ticket.control ? "control" : "view", at.secret);
    public_base(req, "http", base, sizeof(base));
    snprintf(at.link, sizeof(at.link), "%s/#share=%s", base, at.secret);
    response_header(res, "Location", "/v1/tickets/%s", info.id);
    response_json(res, 201, codec_ticket(&info, vm->spec->name, &at));
    return 0;
}

int handle_ticket_list(struct request *req, struct response *res, struct error *err)
{
    json_t *items = json_array();
    char vm_id[UUID_TEXT] = "";
    struct ticket_info *tickets = NULL;
    size_t count = 0;

    if (vm_argument(req, vm_id, err)) {
        json_decref(items);
        return -1;
    }
    access_ticket_list(core_access(req->core), req->principal.project_id, *vm_id ? vm_id : NULL,
                       &tickets, &count);
    for (size_t i = 0; i < count; i++) {
        struct error gone; /* a VM that was deleted leaves its tickets worthless */
        auto_vm struct vm *vm =
            vm_find(req->core, req->principal.project_id, tickets[i].to.vm_id, &gone);

        if (vm)
            json_array_append_new(items, codec_ticket(&tickets[i], vm->spec->name, NULL));
    }
    free(tickets);
    response_json(res, 200, codec_list(items, NULL));
    return 0;
}

int handle_ticket_revoke(struct request *req, struct response *res, struct error *err)
{
    if (access_ticket_revoke(core_access(req->core), &req->principal, request_param(req, "ticket"),
                             err))
        return -1;
    res->status = 204;
    return 0;
}

/* Who has the secret may know what it opens; who guesses is counted, like at the sign-in. */
int handle_ticket_lookup(struct request *req, struct response *res, struct error *err)
{
    auto_ticket_lookup struct codec_ticket_lookup body = {0};
    struct access *access = core_access(req->core);
    struct ticket_info info;
    struct error gone;

    if (codec_decode_ticket_lookup(req->json, &body, err))
        return -1;
    if (access_ticket_lookup(access, body.ticket, &info, err))
        return access_failed(access, req->peer, err);
    auto_vm struct vm *vm = vm_find(req->core, info.project_id, info.to.vm_id, &gone);
    if (!vm)
        return access_ticket_refuse(err);
    response_json(res, 200, codec_ticket_lookup(&info, vm->spec->name));
    return 0;
}
