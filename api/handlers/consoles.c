/*
 * Byte streams of a VM over WebSocket, and what the console printed so far.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/base/str.h"
#include "service/vm/access.h"
#include "service/vm/console.h"
#include "service/vm/core.h"
#include "service/vm/exec.h"
#include "service/vm/project.h"
#include "service/vm/quota.h"
#include "service/vm/stream.h"

#define SUBPROTOCOL_V1  "drover.console.v1"
#define SUBPROTOCOL_RAW "binary"

/* ---- opening a socket ---- */

static int mode_read(const struct request *req, enum console_mode *ret, struct error *err)
{
    const char *mode = request_query(req, "mode");

    *ret = CONSOLE_CONTROL;
    if (!mode || str_eq(mode, "control"))
        return 0;
    *ret = CONSOLE_VIEW;
    if (str_eq(mode, "view"))
        return 0;
    return error_set_at(err, ERROR_INVALID_ARGUMENT, "mode", "mode must be control or view");
}

static int subprotocol_choose(const struct request *req, struct response *res,
                              enum console_protocol *ret, struct error *err)
{
    const char *chosen = "";

    *ret = CONSOLE_RAW;
    if (request_offers_subprotocol(req, SUBPROTOCOL_V1)) {
        chosen = SUBPROTOCOL_V1;
        *ret = CONSOLE_V1;
    } else if (request_offers_subprotocol(req, SUBPROTOCOL_RAW)) {
        chosen = SUBPROTOCOL_RAW;
    } else if (*request_offered_subprotocols(req)) {
        /* kubectl's client speaks it; saying so beats a stream of bytes it would misread. */
        error_set_at(err, ERROR_SUBPROTOCOL_UNKNOWN, "Sec-WebSocket-Protocol",
                     request_offers_subprotocol(req, "v5.channel.k8s.io") ||
                             request_offers_subprotocol(req, "v4.channel.k8s.io")
                         ? "the Kubernetes channel protocol is not spoken here"
                         : "none of the offered subprotocols is known");
        error_remedy(err, "Offer none, " SUBPROTOCOL_RAW " or " SUBPROTOCOL_V1 ".");
        return -1;
    }
    snprintf(res->subprotocol, sizeof(res->subprotocol), "%s", chosen);
    return 0;
}

/*
 * The VM, if the caller may use the stream in this mode. A ticket's holder learns nothing about
 * VMs the ticket is not for.
 */
static struct vm *authorise(struct request *req, const char *stream, enum console_mode mode,
                            unsigned scope, struct error *err)
{
    const char *ref = request_param(req, "vm"), *ticket = request_query(req, "ticket");
    auto_vm struct vm *vm = NULL;
    struct ticket_info info; /* it says whose VM it is for */

    if (req->has_principal) {
        if (access_require(&req->principal, scope, err))
            return NULL;
        vm = vm_find(req->core, req->principal.project_id, ref, err);
        return TAKE_PTR(vm);
    }
    if (!ticket) {
        error_set(err, ERROR_UNAUTHENTICATED, "a credential or a ticket is needed");
        return NULL;
    }
    if (access_ticket_lookup(core_access(req->core), ticket, &info, err)) {
        (void)!access_failed(core_access(req->core), req->peer, err);
        return NULL;
    }
    vm = vm_find(req->core, info.project_id, ref, err);
    struct ticket wanted = {.control = mode == CONSOLE_CONTROL};
    if (!vm || strlen(stream) >= sizeof(wanted.stream)) {
        (void)!access_ticket_refuse(err);
        return NULL;
    }
    str_copy_utf8(wanted.vm_id, sizeof(wanted.vm_id), vm->id);
    str_copy_utf8(wanted.stream, sizeof(wanted.stream), stream);
    if (access_ticket_redeem(core_access(req->core), ticket, &wanted, &req->principal, err))
        return NULL;
    if (!str_eq(req->principal.project_id, vm->project_id)) {
        (void)!access_ticket_refuse(err);
        return NULL;
    }
    req->has_principal = true;
    return TAKE_PTR(vm);
}

/* A person is the same with a token and in its sessions; who came by a share link is somebody else. */
static void viewer_name(const struct principal *p, char *ret, size_t size)
{
    if (*p->token_id && !str_starts(p->id, "ticket:"))
        snprintf(ret, size, "token:%s", p->token_id);
    else
        snprintf(ret, size, "%s", p->id);
}

/* What the hub reads in any case: a viewer is added. */
static int attach(struct request *req, struct response *res, const struct vm *vm,
                  const struct console_attach *attach, struct error *err)
{
    if (stream_vm_is_on(vm) && core_stream_ensure(req->core, vm->id, attach->stream, err))
        return -1;
    if (console_attach(core_consoles(req->core), attach, &res->stream, err) == 0)
        return 0;
    if (err->code == ERROR_STREAM_UNAVAILABLE && !stream_vm_is_on(vm)) {
        error_set(err, ERROR_STREAM_UNAVAILABLE, "VM %s is %s and nothing is remembered",
                  vm->spec->name, vm_state_name(vm->state));
        error_remedy(err, "Start the VM first.");
    }
    return -1;
}

/* res has the stream: is it still the caller's? */
static int opened(struct request *req, struct response *res, struct error *err)
{
    if (!access_is_alive(core_access(req->core), &req->principal)) { /* revoked this moment */
        res->stream->close(res->stream);
        res->stream = NULL;
        return error_set(err, ERROR_UNAUTHENTICATED, "the credential was revoked");
    }
    res->status = 101;
    return 0;
}

static int open_stream(struct request *req, struct response *res, const char *stream,
                       struct error *err)
{
    struct console_attach to = {.stream = stream, .has_from = request_query(req, "from")};
    char viewer[96], rights[ACCESS_RIGHTS_SIZE];
    int64_t from = 0;
    int rc;

    if (mode_read(req, &to.mode, err) ||
        request_query_int(req, "from", 0, INT64_MAX, &from, err) ||
        subprotocol_choose(req, res, &to.protocol, err))
        return -1;
    auto_vm struct vm *vm = authorise(
        req, stream, to.mode, to.mode == CONSOLE_CONTROL ? ACCESS_CONSOLE_CONTROL : ACCESS_CONSOLE_VIEW, err);
    if (!vm || stream_require(vm, stream, err) ||
        (to.mode == CONSOLE_CONTROL && vm_refuse_waiting(vm, err)))
        return -1;
    viewer_name(&req->principal, viewer, sizeof(viewer));
    access_rights(&req->principal, rights);
    to.vm_id = vm->id;
    to.viewer = viewer;
    to.rights = rights;
    to.name = req->principal.name;
    to.from = (uint64_t)from;
    if (stream_is_pipe(stream)) {
        const struct console_pipe pipe = {.vm_id = vm->id,
                                          .stream = stream,
                                          .mode = to.mode,
                                          .protocol = to.protocol,
                                          .viewer = viewer,
                                          .rights = rights,
                                          .name = to.name};

        rc = stream_open_pipe(req->core, vm, &pipe, &res->stream, err);
    } else {
        rc = attach(req, res, vm, &to, err);
    }
    if (rc)
        return -1;
    if (quota_console_open(req->core, &req->principal, &res->stream, err)) {
        res->stream->close(res->stream);
        res->stream = NULL;
        return -1;
    }
    return opened(req, res, err);
}

int handle_console_open(struct request *req, struct response *res, struct error *err)
{
    return open_stream(req, res, "console", err);
}

int handle_display_open(struct request *req, struct response *res, struct error *err)
{
    return open_stream(req, res, "display", err);
}

/* ---- a program's stream ---- */

static int exec_arguments(const struct request *req, struct response *res, const uint64_t **ret_from,
                          uint64_t from[EXEC_OUTPUTS], struct error *err)
{
    const char *text = request_query(req, "from"), *mode = request_query(req, "mode");

    if (mode && !str_eq(mode, "control"))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "mode", "a program's stream has no other mode than control");
    if (text && !exec_v1_from(text, from))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "from",
                            "from must be two offsets, of stdout and of stderr, like 1024,0");
    *ret_from = text ? from : NULL;
    if (request_offers_subprotocol(req, EXEC_V1_NAME)) {
        snprintf(res->subprotocol, sizeof(res->subprotocol), "%s", EXEC_V1_NAME);
    } else if (*request_offered_subprotocols(req)) {
        error_set_at(err, ERROR_SUBPROTOCOL_UNKNOWN, "Sec-WebSocket-Protocol",
                     "none of the offered subprotocols is known");
        error_remedy(err, "Offer none, or " EXEC_V1_NAME ".");
        return -1;
    }
    return 0;
}

int handle_exec_open(struct request *req, struct response *res, struct error *err)
{
    char stream[300], rights[ACCESS_RIGHTS_SIZE];
    const uint64_t *from = NULL;
    uint64_t offsets[EXEC_OUTPUTS];
    auto_exec struct exec *e = NULL;
    auto_vm struct vm *vm = NULL;

    if (exec_arguments(req, res, &from, offsets, err))
        return -1;
    snprintf(stream, sizeof(stream), "exec/%s/stream", request_param(req, "exec"));
    vm = authorise(req, stream, CONSOLE_CONTROL, ACCESS_VM_EXEC, err);
    if (!vm || exec_find(req->core, vm->id, request_param(req, "exec"), &e, err))
        return -1;
    access_rights(&req->principal, rights);
    return exec_attach(e, rights, from, &res->stream, err) ? -1 : opened(req, res, err);
}

/* The parameter is the rest of the stream's name. */
static int open_named(struct request *req, struct response *res, const char *kind,
                      const char *param, struct error *err)
{
    char stream[300];

    snprintf(stream, sizeof(stream), "%s/%s", kind, request_param(req, param));
    return open_stream(req, res, stream, err);
}

int handle_channel_open(struct request *req, struct response *res, struct error *err)
{
    return open_named(req, res, "channels", "channel", err);
}

int handle_serial_open(struct request *req, struct response *res, struct error *err)
{
    return open_named(req, res, "serial", "port", err);
}

int handle_vsock_open(struct request *req, struct response *res, struct error *err)
{
    return open_named(req, res, "vsock", "port", err);
}

int handle_screenshot(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);
    auto_free char *png = NULL;
    size_t len;

    if (!vm || stream_screenshot(req->core, vm, &png, &len, err))
        return -1;
    response_blob(res, 200, blob_new(png, len));
    res->content_type = "image/png";
    return 0;
}

/* ---- the log ---- */

/* ?stream=: which of the streams that are remembered; NULL with *err set. */
static const char *log_stream(const struct request *req, const struct vm *vm, struct error *err)
{
    const char *stream = request_query(req, "stream");

    if (!stream)
        return "console";
    if (!stream_name_ok(stream) || stream_is_pipe(stream)) {
        error_set_at(err, ERROR_INVALID_ARGUMENT, "stream",
                     "stream must be console, serial/N or channels/NAME");
        return NULL;
    }
    return stream_require(vm, stream, err) ? NULL : stream;
}

int handle_console_log(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);
    const char *format = request_query(req, "format"), *stream;
    bool raw = format && str_eq(format, "raw");
    struct console_log log = {0};
    int64_t from = 0;
    size_t len;

    if (!vm || request_query_int(req, "from", 0, INT64_MAX, &from, err))
        return -1;
    if (format && !raw && !str_eq(format, "text"))
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "format", "format must be text or raw");
    stream = log_stream(req, vm, err);
    if (!stream || console_log_read(core_consoles(req->core), vm->id, stream, (uint64_t)from,
                                    SIZE_MAX, &log, err))
        return -1;
    auto_free char *data = log.data;
    response_header(res, "X-Drover-Offset", "%llu", (unsigned long long)log.offset);
    response_header(res, "X-Drover-Oldest", "%llu", (unsigned long long)log.oldest);
    response_header(res, "X-Drover-Next", "%llu", (unsigned long long)log.end);
    if (raw) {
        response_blob(res, 200, blob_new(data ? data : "", log.len));
        res->content_type = "application/octet-stream";
        return 0;
    }
    auto_free char *text = codec_console_text(data ? data : "", log.len, &len);
    response_blob(res, 200, blob_new(text, len));
    res->content_type = "text/plain; charset=utf-8";
    return 0;
}

int handle_console_clear(struct request *req, struct response *res, struct error *err)
{
    auto_vm struct vm *vm =
        vm_find(req->core, req->principal.project_id, request_param(req, "vm"), err);
    const char *stream = vm ? log_stream(req, vm, err) : NULL;

    if (!stream || console_log_clear(core_consoles(req->core), vm->id, stream, err))
        return -1;
    res->status = 204;
    return 0;
}
