/* Definitions and lifecycle. Every call looks at the owner first and touches only ours. */
#include "service/virt/virt_internal.h"

#include <poll.h>
#include <string.h>

#define UNDEFINE_ALL                                                                               \
    (VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |                   \
     VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_NVRAM)
/* What drivers other than QEMU's understand. */
#define UNDEFINE_SIMPLE (VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)

#define VIRT_NAME_MAX 80 /* a VM's name, a dot and eight digits of its id */
#define DEFINE_TRIES  10
#define AGAIN_MS      2

static int find(struct virt *v, const char *uuid, struct virt_line **ret_line, virDomainPtr *ret_domain,
                struct error *err)
{
    return virt_acquire(v, VIRT_USE_CONTROL, ret_line, err) ||
                   virt_find_ours(v, (*ret_line)->conn, uuid, ret_domain, err)
               ? -1
               : 0;
}

/* ---- definitions ---- */

static int name_taken(struct error *err, const char *name)
{
    error_set_at(err, ERROR_NAME_IN_USE, "/name",
                 "libvirt has another domain that is called \"%s\"", name);
    error_remedy(err, "choose another name, or rename the other domain with virsh");
    return -1;
}

/* A VM's name has no dot, so no other VM can be called that. */
static void second_name(char ret[VIRT_NAME_MAX], const char *name, const char *uuid)
{
    snprintf(ret, VIRT_NAME_MAX, "%.63s.%.8s", name, uuid);
}

bool virt_name_fits(const char *domain, const char *name, const char *uuid)
{
    char second[VIRT_NAME_MAX];

    second_name(second, name, uuid);
    return str_eq(domain, name) || str_eq(domain, second);
}

/*
 * A domain of ours that has the name of another VM belongs to one that is being deleted, that was
 * renamed since (libvirt hears of that at its next start) or that is of another project. One that
 * is off gives the name up and is called by its id; one that is on keeps it, and ours has its
 * second name until it is defined again.
 */
static int choose_name(struct virt *v, virConnectPtr conn, const struct virt_domain *want,
                       char ret[VIRT_NAME_MAX], struct error *err)
{
    auto_domain virDomainPtr other = virDomainLookupByName(conn, want->name);
    char uuid[VIR_UUID_STRING_BUFLEN];
    struct domxml_mark mark;
    int ours;

    str_copy_utf8(ret, VIRT_NAME_MAX, want->name);
    if (!other || virDomainGetUUIDString(other, uuid) || str_eq(uuid, want->uuid))
        return 0;
    ours = virt_owner_read(v, other, &mark);
    if (ours < 0 && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
        return 0; /* gone meanwhile */
    if (ours < 0)
        return virt_fail(conn, err, "read whose the other VM of that name is");
    if (!ours)
        return name_taken(err, want->name);
    if (virDomainIsActive(other) != 0 || virDomainRename(other, uuid, 0) < 0)
        second_name(ret, want->name, want->uuid);
    return 0;
}

static bool is_anothers(virConnectPtr conn, const char *name, const char *uuid)
{
    auto_domain virDomainPtr other = virDomainLookupByName(conn, name);
    char its[VIR_UUID_STRING_BUFLEN];

    return other && virDomainGetUUIDString(other, its) == 0 && !str_eq(its, uuid);
}

/*
 * A domain that has our uuid already: it must be ours, and takes a new name only while off. *name
 * is what it will be called, which is what it is called where libvirt cannot rename. 1: it could not
 * be renamed, as when the name was taken meanwhile, so choose again (*err says why).
 */
static int prepare_existing(struct virt *v, virConnectPtr conn, const struct virt_domain *want,
                            char name[VIRT_NAME_MAX], struct error *err)
{
    auto_domain virDomainPtr domain = virDomainLookupByUUIDString(conn, want->uuid);
    struct error why = ERROR_INIT;
    struct domxml_mark mark;
    int ours;

    if (!domain) {
        if (virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
            return 0;
        return virt_fail(conn, err, "look for the VM");
    }
    ours = virt_owner_read(v, domain, &mark);
    if (ours < 0)
        return virt_fail(conn, err, "read the VM's owner");
    if (!ours)
        return error_set(err, ERROR_VM_STATE_CONFLICT,
                         "libvirt has a domain with the id %s that is not ours", want->uuid);
    if (str_eq(virDomainGetName(domain), name) || virDomainRename(domain, name, 0) == 0)
        return 0;
    virt_fail(conn, &why, "rename the VM");
    if (!virt_name_fits(virDomainGetName(domain), want->name, want->uuid)) {
        *err = why;
        return 1;
    }
    str_copy_utf8(name, VIRT_NAME_MAX, virDomainGetName(domain));
    return 0;
}

/* Another VM of that name was defined meanwhile, and ours, which was off, gave the name up to it. */
static bool was_renamed(virConnectPtr conn, const char *name, const char *uuid)
{
    auto_domain virDomainPtr domain = virDomainLookupByUUIDString(conn, uuid);

    return domain && !str_eq(virDomainGetName(domain), name);
}

/* Somebody may define or rename a domain between the look and the definition. */
static virDomainPtr define(struct virt *v, virConnectPtr conn, const struct virt_domain *own,
                           struct error *err)
{
    virDomainPtr defined = NULL;

    for (int i = 0; i < DEFINE_TRIES && !defined; i++) {
        auto_free char *xml = NULL;
        char name[VIRT_NAME_MAX];
        struct virt_domain named = *own;
        int rc = choose_name(v, conn, own, name, err);

        if (rc == 0)
            rc = prepare_existing(v, conn, own, name, err);
        if (rc > 0) {
            poll(NULL, 0, AGAIN_MS);
            continue;
        }
        if (rc < 0)
            return NULL;
        named.name = name;
        if (virt_domain_xml(&named, v->install_id, &xml, err))
            return NULL;
        defined = virDomainDefineXMLFlags(conn, xml, 0);
        if (!defined) {
            /* How libvirt says that the name or the uuid is another's; who had it may be gone by now. */
            bool clash = virGetLastErrorCode() == VIR_ERR_OPERATION_FAILED;

            virt_fail(conn, err, "define the VM");
            if (!clash && !is_anothers(conn, name, own->uuid) && !was_renamed(conn, name, own->uuid))
                return NULL;
        }
    }
    return defined;
}

int virt_define(struct virt *v, const struct virt_domain *domain, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr defined = NULL;
    unsigned char uuid[VIR_UUID_BUFLEN];
    struct virt_domain own = *domain;

    if (!v->embedded) { /* a libvirtd's QEMU may be another user, confined, or on another host */
        own.console_socket = NULL;
        own.channel_sockets = NULL;
        own.agent_socket = NULL;
        own.serial_sockets = NULL;
        if (own.vnc_socket)
            own.vnc_socket = "";
    }
    if (virt_acquire(v, VIRT_USE_CONTROL, &line, err))
        return -1;
    defined = define(v, line->conn, &own, err);
    if (!defined)
        return -1;
    if (virDomainGetUUID(defined, uuid) == 0)
        virt_owner_forget(v, uuid);
    return 0;
}

int virt_undefine(struct virt *v, const char *uuid, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    unsigned char raw[VIR_UUID_BUFLEN];
    int rc;

    if (virt_acquire(v, VIRT_USE_CONTROL, &line, err))
        return -1;
    domain = virDomainLookupByUUIDString(line->conn, uuid);
    if (!domain && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
        return 0;
    virt_domain_free(TAKE_PTR(domain));
    if (virt_find_ours(v, line->conn, uuid, &domain, err))
        return -1;
    virt_embed_forget_log(v, virDomainGetName(domain));
    rc = virDomainUndefineFlags(domain, UNDEFINE_ALL);
    if (rc && virGetLastErrorCode() == VIR_ERR_INVALID_ARG)
        rc = virDomainUndefineFlags(domain, UNDEFINE_SIMPLE);
    if (rc && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
        return virt_fail(line->conn, err, "undefine the VM");
    if (virDomainGetUUID(domain, raw) == 0)
        virt_owner_forget(v, raw);
    return 0;
}

/* ---- lifecycle ---- */

/* The test driver cannot start paused; it has no first instruction to miss, either. */
static int create(virDomainPtr domain, enum virt_start how)
{
    if (how == VIRT_START_RUN)
        return virDomainCreateWithFlags(domain, 0);
    if (virDomainCreateWithFlags(domain, VIR_DOMAIN_START_PAUSED) == 0)
        return 0;
    if (virGetLastErrorCode() != VIR_ERR_INVALID_ARG || virDomainCreateWithFlags(domain, 0))
        return -1;
    return virDomainSuspend(domain);
}

int virt_start(struct virt *v, const char *uuid, enum virt_start how, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;

    if (find(v, uuid, &line, &domain, err))
        return -1;
    /* Drivers answer differently to a second start; say the same for all. */
    if (virDomainIsActive(domain) == 1)
        return error_set(err, ERROR_VM_STATE_CONFLICT, "the VM is already started");
    return create(domain, how) ? virt_fail(line->conn, err, "start the VM") : 0;
}

/* What the six plain verbs have in common. */
static int act(struct virt *v, const char *uuid, int (*verb)(virDomainPtr, unsigned),
               const char *what, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;

    if (find(v, uuid, &line, &domain, err))
        return -1;
    return verb(domain, 0) ? virt_fail(line->conn, err, what) : 0;
}

static int suspend(virDomainPtr domain, unsigned flags)
{
    (void)flags;
    return virDomainSuspend(domain);
}

static int resume(virDomainPtr domain, unsigned flags)
{
    (void)flags;
    return virDomainResume(domain);
}

/*
 * The power button. libvirt would rather ask the agent, and wait for it; whether there is one that
 * answers is for the caller to know. The test driver knows no ways.
 */
static int press_power(virDomainPtr domain, unsigned flags)
{
    (void)flags;
    if (virDomainShutdownFlags(domain, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) == 0)
        return 0;
    return virGetLastErrorCode() == VIR_ERR_INVALID_ARG ? virDomainShutdownFlags(domain, 0) : -1;
}

int virt_shutdown(struct virt *v, const char *uuid, struct error *err)
{
    return act(v, uuid, press_power, "shut the VM down", err);
}

int virt_destroy(struct virt *v, const char *uuid, struct error *err)
{
    return act(v, uuid, virDomainDestroyFlags, "stop the VM", err);
}

int virt_discard(struct virt *v, const char *uuid, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;

    if (find(v, uuid, &line, &domain, err))
        return -1;
    virt_embed_kill(v, virDomainGetName(domain), uuid);
    return virDomainDestroyFlags(domain, 0) ? virt_fail(line->conn, err, "stop the VM") : 0;
}

static int reboot(virDomainPtr domain, unsigned flags)
{
    (void)flags;
    if (virDomainReboot(domain, VIR_DOMAIN_REBOOT_ACPI_POWER_BTN) == 0)
        return 0;
    return virGetLastErrorCode() == VIR_ERR_INVALID_ARG ? virDomainReboot(domain, 0) : -1;
}

int virt_reboot(struct virt *v, const char *uuid, struct error *err)
{
    return act(v, uuid, reboot, "reboot the VM", err);
}

int virt_reset(struct virt *v, const char *uuid, struct error *err)
{
    return act(v, uuid, virDomainReset, "reset the VM", err);
}

int virt_suspend(struct virt *v, const char *uuid, struct error *err)
{
    return act(v, uuid, suspend, "pause the VM", err);
}

int virt_resume(struct virt *v, const char *uuid, struct error *err)
{
    return act(v, uuid, resume, "resume the VM", err);
}

int virt_save(struct virt *v, const char *uuid, struct error *err)
{
    return act(v, uuid, virDomainManagedSave, "save the VM", err);
}

int virt_drop_save(struct virt *v, const char *uuid, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;

    if (find(v, uuid, &line, &domain, err))
        return -1;
    if (virDomainHasManagedSaveImage(domain, 0) == 0)
        return 0;
    return virDomainManagedSaveRemove(domain, 0) ? virt_fail(line->conn, err, "drop the saved state") : 0;
}
