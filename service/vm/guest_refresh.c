/*
 * A guest that began with another one's memory believes to be that one. Through its agent its kernel
 * gets the time, a host name of its own and randomness that nobody else was given, which counts from
 * the kernel's next reseed on (an agent has no way to ask for one). What is on its
 * disks (machine id, SSH host keys, /etc/hostname) and in its programs' memory is not ours to change.
 */
#include "service/vm/guest_internal.h"

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/secret.h"
#include "service/base/str.h"

#define WAIT_MS      60000
#define RANDOM_BYTES 64

static int put(struct guest_link *link, const char *path, const void *data, size_t len,
               struct error *err)
{
    int64_t deadline = guest_deadline(link->hub->core);
    auto_guest_answer struct guest_answer answer = {0};
    json_int_t handle;
    int rc;

    if (guest_call(link, "guest-file-open", json_pack("{s:s, s:s}", "path", path, "mode", "w"),
                   deadline, &answer, err))
        return -1;
    if (!json_is_integer(answer.value))
        return error_set(err, ERROR_AGENT_FAILED, "the guest agent gave no handle of the file");
    handle = json_integer_value(answer.value);
    rc = guest_call(link, "guest-file-write",
                    json_pack("{s:I, s:o}", "handle", handle, "buf-b64", guest_base64(data, len)),
                    deadline, NULL, err);
    /* What a kernel's file was given counts when it is closed. */
    return guest_call(link, "guest-file-close", json_pack("{s:I}", "handle", handle), deadline, NULL,
                      err) || rc
               ? -1
               : 0;
}

static int refresh(struct core *core, const struct vm *vm, struct error *err)
{
    auto_guest_link struct guest_link *link = NULL;
    unsigned char random[RANDOM_BYTES];

    secret_random(random, sizeof(random));
    if (guest_link_get(core, vm->id, &link, NULL, err) ||
        put(link, "/dev/urandom", random, sizeof(random), err) ||
        put(link, "/proc/sys/kernel/hostname", vm->spec->name, strlen(vm->spec->name), err) ||
        guest_set_time(core, vm->id, err))
        return -1;
    return 0;
}

static int run_refresh(struct core *core, void *arg, struct error *err)
{
    const char *vm_id = arg;
    auto_vm struct vm *vm = registry_get(core->registry, vm_id);

    if (!vm)
        return 0;
    if (guest_wait_contact(core, vm_id, clock_monotonic_ms() + WAIT_MS, err) ||
        refresh(core, vm, err))
        log_failure(LOG_LEVEL_DEBUG, err, "VM %s was not told who it is now", vm_id);
    return 0;
}

void guest_refresh_clone(struct core *core, const char *vm_id)
{
    struct error ignored;

    (void)guest_task_start(core, vm_id, run_refresh, xstrdup(vm_id), free, NULL, &ignored);
}
