/*
 * What an agent tells about its guest, and in which state it is itself.
 */
#include "service/vm/guest_internal.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"

#define LOOK_MS 2000 /* for somebody who wants to know now, not to wait for a boot */

const char *guest_state_name(enum guest_state state)
{
    static const char *const names[GUEST_STATE_COUNT] = {
        [GUEST_OFF] = "off",
        [GUEST_ABSENT] = "absent",
        [GUEST_NOT_READY] = "not_ready",
        [GUEST_READY] = "ready",
        [GUEST_DEGRADED] = "degraded",
    };

    return names[state];
}

static bool ask(struct guest_link *link, const char *execute, int64_t deadline, json_t **ret)
{
    struct guest_answer answer = {0};
    struct error ignored;

    if (guest_call(link, execute, NULL, deadline, &answer, &ignored))
        return false;
    *ret = answer.value;
    return true;
}

static void read_all(struct guest_link *link, struct guest_info *ret)
{
    int64_t deadline = guest_deadline(link->hub->core);
    json_t *value = NULL;

    if (ask(link, "guest-info", deadline, &value)) {
        guest_reply_text(value, "version", ret->version, sizeof(ret->version));
        json_decref(value);
    }
    if (ask(link, "guest-get-osinfo", deadline, &value)) {
        guest_reply_os(value, ret);
        json_decref(value);
    }
    if (ask(link, "guest-get-host-name", deadline, &value)) {
        guest_reply_text(value, "host-name", ret->hostname, sizeof(ret->hostname));
        ret->has_hostname = *ret->hostname != '\0';
        json_decref(value);
    }
    if (ask(link, "guest-get-users", deadline, &value)) {
        guest_reply_users(value, ret);
        json_decref(value);
    }
    if (ask(link, "guest-get-fsinfo", deadline, &value)) {
        guest_reply_filesystems(value, ret);
        json_decref(value);
    }
    if (ask(link, "guest-network-get-interfaces", deadline, &value)) {
        guest_reply_interfaces(value, ret->interfaces, GUEST_INTERFACES_MAX,
                               &ret->interface_count);
        ret->has_interfaces = true;
        json_decref(value);
    }
}

static void judge(struct guest_link *link, const struct error *failure, struct guest_info *ret)
{
    LOCK_SCOPE(&link->lock);
    ret->contact_at = link->contact_at;
    if (!link->contact_at) {
        ret->state = GUEST_NOT_READY;
        str_copy_utf8(ret->reason, sizeof(ret->reason),
                      failure && failure->code != ERROR_AGENT_UNAVAILABLE &&
                              failure->code != ERROR_TIMEOUT
                          ? failure->detail
                          : "no contact yet");
    } else if (failure || *link->trouble) {
        ret->state = GUEST_DEGRADED;
        str_copy_utf8(ret->reason, sizeof(ret->reason),
                      *link->trouble ? link->trouble : failure->detail);
    } else {
        ret->state = GUEST_READY;
    }
}

int guest_info_read(struct core *core, const char *vm_id, struct guest_info *ret, struct error *err)
{
    auto_guest_link struct guest_link *link = NULL;
    int rc;

    *ret = (struct guest_info){0};
    if (guest_link_get(core, vm_id, &link, &ret->state, err)) {
        if (err->code == ERROR_VM_NOT_FOUND)
            return -1;
        str_copy_utf8(ret->reason, sizeof(ret->reason), err->detail);
        return 0;
    }
    rc = guest_reach(link, clock_monotonic_ms() + LOOK_MS, err);
    if (rc == 0)
        read_all(link, ret);
    else if (err->code == ERROR_SHUTTING_DOWN || err->code == ERROR_NOT_SUPPORTED_BY_HOST ||
             err->code == ERROR_HYPERVISOR_UNAVAILABLE)
        return -1;
    judge(link, rc ? err : NULL, ret);
    return 0;
}

int guest_interfaces_read(struct core *core, const char *vm_id, struct guest_interface *ret,
                          size_t max, size_t *ret_count, struct error *err)
{
    auto_guest_link struct guest_link *link = NULL;
    auto_guest_answer struct guest_answer answer = {0};

    *ret_count = 0;
    if (guest_link_get(core, vm_id, &link, NULL, err) ||
        guest_reach(link, clock_monotonic_ms() + LOOK_MS, err) ||
        guest_call(link, "guest-network-get-interfaces", NULL, guest_deadline(core), &answer, err))
        return -1;
    guest_reply_interfaces(answer.value, ret, max, ret_count);
    return 0;
}

int guest_wait_contact(struct core *core, const char *vm_id, int64_t deadline, struct error *err)
{
    for (;;) {
        auto_guest_link struct guest_link *link = NULL;

        if (guest_link_get(core, vm_id, &link, NULL, err))
            return -1;
        if (guest_reach(link, deadline, err) == 0)
            return 0;
        if (err->code != ERROR_AGENT_UNAVAILABLE && err->code != ERROR_AGENT_FAILED &&
            err->code != ERROR_TIMEOUT)
            return -1;
        if (clock_monotonic_ms() >= deadline)
            return error_set(err, ERROR_TIMEOUT, "the guest agent did not answer in time");
        if (guest_pause(link->hub, 100, err))
            return -1;
    }
}
