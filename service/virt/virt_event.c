/*
 * libvirt's domain events and states in Drover's words. The callbacks copy and return; they never
 * call libvirt, which could wait for the very thread they run on.
 */
#include "service/virt/virt_internal.h"

#include <string.h>

#define WORD(words, i) word_at(words, sizeof(words) / sizeof((words)[0]), i)

static const char *word_at(const char *const *words, size_t count, int i)
{
    return i >= 0 && (size_t)i < count && words[i] ? words[i] : "unknown";
}

static const char *const started_words[] = {
    [VIR_DOMAIN_EVENT_STARTED_BOOTED] = "booted",
    [VIR_DOMAIN_EVENT_STARTED_MIGRATED] = "migrated",
    [VIR_DOMAIN_EVENT_STARTED_RESTORED] = "restored",
    [VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT] = "from-snapshot",
    [VIR_DOMAIN_EVENT_STARTED_WAKEUP] = "wakeup",
};
static const char *const suspended_words[] = {
    [VIR_DOMAIN_EVENT_SUSPENDED_PAUSED] = "paused",
    [VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED] = "migrated",
    [VIR_DOMAIN_EVENT_SUSPENDED_IOERROR] = "io-error",
    [VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG] = "watchdog",
    [VIR_DOMAIN_EVENT_SUSPENDED_RESTORED] = "restored",
    [VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT] = "from-snapshot",
    [VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR] = "api-error",
};
static const char *const resumed_words[] = {
    [VIR_DOMAIN_EVENT_RESUMED_UNPAUSED] = "resumed",
    [VIR_DOMAIN_EVENT_RESUMED_MIGRATED] = "migrated",
    [VIR_DOMAIN_EVENT_RESUMED_FROM_SNAPSHOT] = "from-snapshot",
};
static const char *const stopped_words[] = {
    [VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN] = "shutdown",
    [VIR_DOMAIN_EVENT_STOPPED_DESTROYED] = "destroyed",
    [VIR_DOMAIN_EVENT_STOPPED_CRASHED] = "crashed",
    [VIR_DOMAIN_EVENT_STOPPED_MIGRATED] = "migrated",
    [VIR_DOMAIN_EVENT_STOPPED_SAVED] = "saved",
    [VIR_DOMAIN_EVENT_STOPPED_FAILED] = "failed",
    [VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT] = "from-snapshot",
};
static const char *const shutdown_words[] = {
    [VIR_DOMAIN_EVENT_SHUTDOWN_FINISHED] = "shutdown",
    [VIR_DOMAIN_EVENT_SHUTDOWN_GUEST] = "guest",
    [VIR_DOMAIN_EVENT_SHUTDOWN_HOST] = "host",
};

static enum virt_state stopped_state(int detail)
{
    /* "failed" is QEMU gone without a word: for whoever owns the VM, that is a crash. */
    if (detail == VIR_DOMAIN_EVENT_STOPPED_CRASHED || detail == VIR_DOMAIN_EVENT_STOPPED_FAILED)
        return VIRT_STATE_CRASHED;
    return detail == VIR_DOMAIN_EVENT_STOPPED_SAVED ? VIRT_STATE_SAVED : VIRT_STATE_SHUTOFF;
}

/* false: nothing Drover distinguishes */
static bool map_lifecycle(int event, int detail, enum virt_state *ret, const char **ret_reason)
{
    switch (event) {
    case VIR_DOMAIN_EVENT_DEFINED:
        /* An update leaves the state alone. */
        *ret_reason = "defined";
        *ret = VIRT_STATE_SHUTOFF;
        return detail == VIR_DOMAIN_EVENT_DEFINED_ADDED;
    case VIR_DOMAIN_EVENT_UNDEFINED:
        *ret_reason = "undefined";
        *ret = VIRT_STATE_GONE;
        return detail == VIR_DOMAIN_EVENT_UNDEFINED_REMOVED;
    case VIR_DOMAIN_EVENT_STARTED:
        *ret_reason = WORD(started_words, detail);
        *ret = VIRT_STATE_RUNNING;
        return true;
    case VIR_DOMAIN_EVENT_SUSPENDED:
        *ret_reason = WORD(suspended_words, detail);
        *ret = VIRT_STATE_PAUSED;
        return true;
    case VIR_DOMAIN_EVENT_RESUMED:
        *ret_reason = WORD(resumed_words, detail);
        *ret = VIRT_STATE_RUNNING;
        return true;
    case VIR_DOMAIN_EVENT_STOPPED:
        *ret_reason = WORD(stopped_words, detail);
        *ret = stopped_state(detail);
        return true;
    case VIR_DOMAIN_EVENT_SHUTDOWN:
        *ret_reason = WORD(shutdown_words, detail);
        *ret = VIRT_STATE_STOPPING;
        return true;
    case VIR_DOMAIN_EVENT_PMSUSPENDED:
        *ret_reason = "pm-suspended";
        *ret = VIRT_STATE_PAUSED;
        return true;
    case VIR_DOMAIN_EVENT_CRASHED:
        *ret_reason = "panicked";
        *ret = VIRT_STATE_CRASHED;
        return true;
    default:
        return false;
    }
}

static struct virt *virt_of(void *opaque)
{
    struct virt *v = opaque;

    if (v->magic != VIRT_MAGIC)
        abort();
    return v;
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail,
                        void *opaque)
{
    struct virt *v = virt_of(opaque);
    struct virt_event out = {0};
    unsigned char uuid[VIR_UUID_BUFLEN];
    const char *reason;

    (void)conn;
    if (virDomainGetUUIDString(domain, out.uuid) || virDomainGetUUID(domain, uuid))
        return 0;
    if (event == VIR_DOMAIN_EVENT_DEFINED || event == VIR_DOMAIN_EVENT_UNDEFINED)
        virt_owner_forget(v, uuid);
    if (!map_lifecycle(event, detail, &out.state, &reason))
        return 0;
    str_copy_utf8(out.reason, sizeof(out.reason), reason);
    if (v->on_event)
        v->on_event(v->opaque, &out);
    return 0;
}

static void on_reboot(virConnectPtr conn, virDomainPtr domain, void *opaque)
{
    struct virt *v = virt_of(opaque);
    struct virt_event out = {.guest_rebooted = true, .reason = "rebooted"};

    (void)conn;
    if (virDomainGetUUIDString(domain, out.uuid) == 0 && v->on_event)
        v->on_event(v->opaque, &out);
}

int virt_event_register(struct virt *v, virConnectPtr conn, struct error *err)
{
    v->lifecycle_id =
        virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                         VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), v, NULL);
    if (v->lifecycle_id < 0)
        return virt_fail(conn, err, "listen to libvirt's events");
    /* Not every driver knows reboots; living without them loses a log line. */
    v->reboot_id = virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_REBOOT,
                                                    VIR_DOMAIN_EVENT_CALLBACK(on_reboot), v, NULL);
    return 0;
}

void virt_event_deregister(struct virt *v, virConnectPtr conn)
{
    if (v->lifecycle_id >= 0)
        virConnectDomainEventDeregisterAny(conn, v->lifecycle_id);
    if (v->reboot_id >= 0)
        virConnectDomainEventDeregisterAny(conn, v->reboot_id);
    v->lifecycle_id = v->reboot_id = -1;
}

/* ---- states ---- */

static const char *const shutoff_words[] = {
    [VIR_DOMAIN_SHUTOFF_SHUTDOWN] = "shutdown",
    [VIR_DOMAIN_SHUTOFF_DESTROYED] = "destroyed",
    [VIR_DOMAIN_SHUTOFF_CRASHED] = "crashed",
    [VIR_DOMAIN_SHUTOFF_MIGRATED] = "migrated",
    [VIR_DOMAIN_SHUTOFF_SAVED] = "saved",
    [VIR_DOMAIN_SHUTOFF_FAILED] = "failed",
    [VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT] = "from-snapshot",
    [VIR_DOMAIN_SHUTOFF_DAEMON] = "daemon",
};
static const char *const running_words[] = {
    [VIR_DOMAIN_RUNNING_BOOTED] = "booted",
    [VIR_DOMAIN_RUNNING_MIGRATED] = "migrated",
    [VIR_DOMAIN_RUNNING_RESTORED] = "restored",
    [VIR_DOMAIN_RUNNING_FROM_SNAPSHOT] = "from-snapshot",
    [VIR_DOMAIN_RUNNING_UNPAUSED] = "resumed",
    [VIR_DOMAIN_RUNNING_SAVE_CANCELED] = "save-cancelled",
    [VIR_DOMAIN_RUNNING_WAKEUP] = "wakeup",
    [VIR_DOMAIN_RUNNING_CRASHED] = "crashed",
};
static const char *const paused_words[] = {
    [VIR_DOMAIN_PAUSED_USER] = "paused",
    [VIR_DOMAIN_PAUSED_MIGRATION] = "migrating",
    [VIR_DOMAIN_PAUSED_SAVE] = "saving",
    [VIR_DOMAIN_PAUSED_DUMP] = "dumping",
    [VIR_DOMAIN_PAUSED_IOERROR] = "io-error",
    [VIR_DOMAIN_PAUSED_WATCHDOG] = "watchdog",
    [VIR_DOMAIN_PAUSED_FROM_SNAPSHOT] = "from-snapshot",
    [VIR_DOMAIN_PAUSED_SHUTTING_DOWN] = "shutting-down",
    [VIR_DOMAIN_PAUSED_SNAPSHOT] = "snapshot",
    [VIR_DOMAIN_PAUSED_CRASHED] = "crashed",
    [VIR_DOMAIN_PAUSED_STARTING_UP] = "starting-up",
};

enum virt_state virt_state_map(int state, int reason, const char **ret_reason)
{
    *ret_reason = "unknown";
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        *ret_reason = WORD(running_words, reason);
        return VIRT_STATE_RUNNING;
    case VIR_DOMAIN_PAUSED:
        *ret_reason = WORD(paused_words, reason);
        return VIRT_STATE_PAUSED;
    case VIR_DOMAIN_PMSUSPENDED:
        *ret_reason = "pm-suspended";
        return VIRT_STATE_PAUSED;
    case VIR_DOMAIN_SHUTDOWN:
        *ret_reason = "shutdown";
        return VIRT_STATE_STOPPING;
    case VIR_DOMAIN_SHUTOFF:
        *ret_reason = WORD(shutoff_words, reason);
        return reason == VIR_DOMAIN_SHUTOFF_CRASHED ? VIRT_STATE_CRASHED : VIRT_STATE_SHUTOFF;
    case VIR_DOMAIN_CRASHED:
        *ret_reason = reason == VIR_DOMAIN_CRASHED_PANICKED ? "panicked" : "crashed";
        return VIRT_STATE_CRASHED;
    default:
        return VIRT_STATE_UNKNOWN;
    }
}
