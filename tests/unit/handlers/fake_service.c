/*
 * The service below the handlers: does nothing, remembers what it was asked.
 */
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/vm/quota.h"
#include "service/conf/settings.h"
#include "service/json/doc.h"
#include "service/vm/stream.h"
#include "tests/unit/handlers/fakes.h"

struct vm *fake_vm(const char *definition, enum vm_state state)
{
    struct vm *vm = xcalloc(1, sizeof(*vm));
    auto_json json_t *object = json_loads(definition, 0, NULL);
    struct error err;

    atomic_init(&vm->refs, 1);
    if (vm_spec_decode(object, &vm->spec, NULL, &err))
        abort();
    strcpy(vm->id, "7f1c0a52-94a5-4c0e-9f8f-0d3a2b1c4d5e");
    strcpy(vm->project_id, "default");
    strcpy(vm->host_id, "local");
    vm->state = state;
    vm->seq = vm->generation = 7;
    vm->created_at = vm->updated_at = 1000;
    return vm;
}

struct op *fake_op(enum op_state state)
{
    static struct op_progress none;
    struct op *op = xcalloc(1, sizeof(*op));

    op->progress = &none;

    atomic_init(&op->refs, 1);
    strcpy(op->id, "0b9a1c3e-5d7f-4a2b-8c6d-1e3f5a7b9c0d");
    strcpy(op->kind, "vm.start");
    strcpy(op->request_id, "r-0");
    op->state = state;
    op->created_at = 1000;
    return op;
}

static int outcome(struct error *err)
{
    if (fake.fail.code == ERROR_NONE)
        return 0;
    *err = fake.fail;
    return -1;
}

struct op *op_ref(struct op *op)
{
    atomic_fetch_add(&op->refs, 1);
    return op;
}

void op_unref(struct op *op)
{
    if (op && atomic_fetch_sub(&op->refs, 1) == 1)
        free(op);
}

bool op_is_finished(const struct op *op)
{
    return op->state >= OP_SUCCEEDED;
}

const char *op_state_name(enum op_state state)
{
    static const char *const names[] = {"pending", "running", "succeeded", "failed", "cancelled"};

    return names[state];
}

struct op *op_find(struct core *core, const char *project_id, const char *id, struct error *err)
{
    if (fake.op && str_eq(fake.op->id, id))
        return op_ref(fake.op);
    error_set(err, ERROR_OPERATION_NOT_FOUND, "none");
    return NULL;
}

struct vm *vm_find(struct core *core, const char *project_id, const char *ref, struct error *err)
{
    if (fake.vm && (str_eq(fake.vm->id, ref) || str_eq(fake.vm->spec->name, ref)))
        return vm_ref(fake.vm);
    error_set(err, ERROR_VM_NOT_FOUND, "there is no VM %s", ref);
    return NULL;
}

void vm_list(struct core *core, const struct vm_filter *filter, struct vm ***ret, size_t *ret_count,
             bool *ret_more)
{
    fake.filter = *filter;
    *ret = xcalloc(fake.list_count + 1, sizeof(**ret));
    for (size_t i = 0; i < fake.list_count; i++)
        (*ret)[i] = vm_ref(fake.list[i]);
    *ret_count = fake.list_count;
    *ret_more = fake.list_more;
}

int vm_create(struct core *core, const struct actor *actor, struct vm_spec *spec, bool start,
              const struct idem *idem, struct vm **ret, struct op **ret_op, bool *ret_replayed,
              struct error *err)
{
    if (outcome(err))
        return -1;
    *ret = vm_ref(fake.vm);
    *ret_op = fake.op ? op_ref(fake.op) : NULL;
    *ret_replayed = fake.replayed;
    return 0;
}

int vm_patch(struct core *core, const struct actor *actor, const char *ref, const json_t *patch,
             int64_t if_generation, struct vm **ret, struct error *err)
{
    fake.generation = if_generation;
    if (outcome(err))
        return -1;
    *ret = vm_ref(fake.vm);
    return 0;
}

const char *vm_verb_name(enum vm_verb verb)
{
    static const char *const names[] = {"start", "shutdown", "stop", "reboot", "reset",
                                        "pause", "resume",   "save", "delete"};

    return names[verb];
}

int vm_act(struct core *core, const struct actor *actor, const char *ref, enum vm_verb verb,
           bool force, int64_t if_generation, const struct idem *idem, struct op **ret_op,
           bool *ret_replayed, struct error *err)
{
    fake.verb = verb;
    fake.force = force;
    fake.generation = if_generation;
    if (outcome(err))
        return -1;
    *ret_op = op_ref(fake.op);
    *ret_replayed = fake.replayed;
    return 0;
}

/* ---- consoles and access ---- */

bool console_has_output(struct console_hub *hub, const char *vm_id, const char *stream)
{
    return fake.console_output;
}

int console_attach(struct console_hub *hub, const struct console_attach *attach,
                   struct source **ret, struct error *err)
{
    static struct source source;

    fake.attach = *attach;
    str_copy_utf8(fake.attached_viewer, sizeof(fake.attached_viewer), attach->viewer);
    if (fake.not_attached)
        return error_set(err, ERROR_STREAM_UNAVAILABLE, "not fed");
    *ret = &source;
    return 0;
}

int stream_open_pipe(struct core *core, const struct vm *vm, const struct console_pipe *pipe,
                     struct source **ret, struct error *err)
{
    static struct source source;

    fake.pipe = *pipe;
    str_copy_utf8(fake.pipe_stream, sizeof(fake.pipe_stream), pipe->stream);
    *ret = &source;
    return outcome(err);
}

int stream_screenshot(struct core *core, const struct vm *vm, char **ret, size_t *ret_len,
                      struct error *err)
{
    *ret = xstrdup("PNG");
    *ret_len = 3;
    return outcome(err);
}

int console_log_read(struct console_hub *hub, const char *vm_id, const char *stream, uint64_t from,
                     size_t max, struct console_log *ret, struct error *err)
{
    *ret = (struct console_log){.data = xstrdup("\x1b[1mhi\x1b[0m\r\n"),
                                .len = 12,
                                .offset = 100,
                                .end = 112,
                                .oldest = 90,
                                .next = 112};
    return outcome(err);
}

int console_log_clear(struct console_hub *hub, const char *vm_id, const char *stream,
                      struct error *err)
{
    return outcome(err);
}

int core_stream_ensure(struct core *core, const char *vm_id, const char *stream, struct error *err)
{
    fake.ensured++;
    return 0;
}

int access_require(const struct principal *p, unsigned scope, struct error *err)
{
    return fake.granted & scope ? 0 : error_set(err, ERROR_FORBIDDEN, "this needs another scope");
}

int access_ticket_create(struct access *a, const struct principal *by, const struct ticket *t,
                         char ret[SECRET_RANDOM_TEXT], struct ticket_info *ret_info,
                         struct error *err)
{
    fake.redeemed = *t;
    strcpy(ret, "SECRET");
    *ret_info = (struct ticket_info){.to = *t, .id = "TicketTicket", .expires_at = 2000};
    return outcome(err);
}

int access_ticket_refuse(struct error *err)
{
    return error_set(err, ERROR_TICKET_EXPIRED, "used");
}

int access_failed(struct access *a, const char *address, struct error *err)
{
    return -1;
}

bool access_is_alive(struct access *a, const struct principal *p)
{
    return !fake.revoked;
}

void access_rights(const struct principal *p, char ret[ACCESS_RIGHTS_SIZE])
{
    snprintf(ret, ACCESS_RIGHTS_SIZE, "token:%s", p->token_id);
}

void access_ticket_list(struct access *a, const char *project_id, const char *vm_id,
                        struct ticket_info **ret, size_t *ret_count)
{
    *ret = NULL;
    *ret_count = 0;
}

int access_ticket_revoke(struct access *a, const struct principal *by, const char *id,
                         struct error *err)
{
    return outcome(err);
}

int access_ticket_lookup(struct access *a, const char *ticket, struct ticket_info *ret,
                         struct error *err)
{
    return outcome(err);
}

int access_ticket_redeem(struct access *a, const char *ticket, const struct ticket *wanted,
                         struct principal *ret, struct error *err)
{
    fake.redeemed = *wanted;
    if (!fake.ticket_ok)
        return access_ticket_refuse(err);
    strcpy(ret->project_id, "default");
    strcpy(ret->token_id, "TicketsToken");
    return 0;
}

const char *access_role_name(enum access_role role)
{
    static const char *const names[] = {"viewer", "operator", "admin"};

    return names[role];
}

const char *access_scope_name(int bit)
{
    static const char *const names[] = {
        "vm:read",     "vm:write",  "console:view", "console:control", "image:read",
        "image:write", "host:read", "host:write",   "metrics:read",    "token:write",
        "ksm:read",    "lease:write", "vm:exec", "webhook:write", "project:write"};

    return names[bit];
}

unsigned access_role_scopes(enum access_role role)
{
    return role == ACCESS_ADMIN ? (1u << ACCESS_SCOPE_COUNT) - 1 : ACCESS_VM_READ;
}

struct access *core_access(struct core *core)
{
    return NULL;
}

struct console_hub *core_consoles(struct core *core)
{
    return NULL;
}

const struct settings *core_settings(struct core *core)
{
    static struct settings *settings;

    if (!settings)
        settings = settings_new();
    return settings;
}

const char *core_state_dir(struct core *core)
{
    return "/nonexistent";
}

/* ---- quotas ---- */

int quota_console_open(struct core *core, const struct principal *by, struct source **inner,
                       struct error *err)
{
    return 0;
}

/* ---- names of images ---- */

const char *image_kind_name(int kind)
{
    static const char *const names[] = {"disk", "kernel", "iso"};

    return names[kind];
}

const char *image_format_name(int format)
{
    static const char *const names[] = {"", "qcow2", "raw"};

    return names[format];
}

const char *image_state_name(int state)
{
    static const char *const names[] = {"empty", "importing", "ready", "failed"};

    return names[state];
}

const char *image_part_name(int part)
{
    static const char *const names[] = {"content", "kernel", "initrd"};

    return names[part];
}

/* ---- admission: there is always room ---- */

#include "service/vm/admission.h"

uint64_t admission_line_enter(struct core *core)
{
    (void)core;
    return 1;
}

bool admission_line_first(struct core *core, uint64_t ticket)
{
    (void)core;
    (void)ticket;
    return true;
}

void admission_line_leave(struct core *core, uint64_t ticket)
{
    (void)core;
    (void)ticket;
}

void wait_for_time(struct core *core, int64_t deadline, wait_fn *fn, void *opaque)
{
    (void)core;
    (void)deadline;
    fn(opaque, WAIT_TIMEOUT);
}
