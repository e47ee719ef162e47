/*
 * What is there: one domain, or all of them, ours and foreign. A listing costs a few calls for
 * everything (states, saved images, autostart) and one call a domain whose owner is asked for.
 */
#include "service/virt/virt_internal.h"

#include <string.h>

struct domain_list {
    virDomainPtr *items;
    int count;
};

static void domain_list_done(struct domain_list *l)
{
    for (int i = 0; i < l->count; i++)
        virDomainFree(l->items[i]);
    free(l->items);
}

static void records_free(virDomainStatsRecordPtr *records)
{
    if (records)
        virDomainStatsRecordListFree(records);
}

DEFINE_CLEANUP(records, virDomainStatsRecordPtr *, records_free);
#define auto_records     auto_scope(cleanup_records)
#define auto_domain_list auto_scope(domain_list_done)

static void set_state(struct virt_info *info, int state, int reason, bool saved)
{
    const char *word;

    info->state = virt_state_map(state, reason, &word);
    if (saved && (info->state == VIRT_STATE_SHUTOFF || info->state == VIRT_STATE_CRASHED)) {
        info->state = VIRT_STATE_SAVED;
        word = "saved";
    }
    str_copy_utf8(info->reason, sizeof(info->reason), word);
}

/* Fills uuid and name; false: libvirt gives none. */
static bool identify(virDomainPtr domain, struct virt_info *info)
{
    if (virDomainGetUUIDString(domain, info->uuid))
        return false;
    str_copy_utf8(info->name, sizeof(info->name), virDomainGetName(domain));
    return true;
}

/* false: the domain went away meanwhile */
static bool find_owner(struct virt *v, virDomainPtr domain, struct virt_info *info)
{
    struct domxml_mark mark = {0};
    int ours = virt_owner_read(v, domain, &mark);

    if (ours < 0 && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
        return false;
    /* A refusal to say whose it is does not make it somebody else's: a guest of ours is not off for it. */
    info->owner_read = ours >= 0;
    info->ours = ours == 1;
    info->generation = info->ours ? mark.generation : 0;
    return true;
}

static void find_pid(struct virt *v, struct virt_info *info)
{
    bool active = info->state == VIRT_STATE_RUNNING || info->state == VIRT_STATE_PAUSED ||
                  info->state == VIRT_STATE_STOPPING;

    info->pid = active ? virt_pid(v, info->name, info->uuid) : 0;
}

static int info(struct virt *v, enum virt_use use, const char *uuid, struct virt_info *ret,
                struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    struct virt_info info = {0};
    int state, reason, saved, autostart = 0;

    if (virt_acquire(v, use, &line, err))
        return -1;
    domain = virDomainLookupByUUIDString(line->conn, uuid);
    if (!domain || virDomainGetState(domain, &state, &reason, 0) || !identify(domain, &info) ||
        !find_owner(v, domain, &info) || !info.owner_read)
        return virt_fail(line->conn, err, "look at the VM");
    saved = virDomainHasManagedSaveImage(domain, 0);
    if (saved < 0 && virGetLastErrorCode() != VIR_ERR_NO_SUPPORT)
        return virt_fail(line->conn, err, "look for the VM's saved memory");
    set_state(&info, state, reason, saved == 1);
    info.autostart = virDomainGetAutostart(domain, &autostart) == 0 && autostart;
    find_pid(v, &info);
    *ret = info;
    return 0;
}

int virt_info(struct virt *v, const char *uuid, struct virt_info *ret, struct error *err)
{
    return info(v, VIRT_USE_CONTROL, uuid, ret, err);
}

struct question {
    char uuid[VIR_UUID_STRING_BUFLEN];
    struct virt_info answer;
};

static int ask(struct virt *v, void *arg, struct error *err)
{
    struct question *q = arg;

    return info(v, VIRT_USE_SHORT, q->uuid, &q->answer, err);
}

int virt_info_soon(struct virt *v, const char *uuid, int ms, struct virt_info *ret, struct error *err)
{
    struct question *q = xcalloc(1, sizeof(*q));
    int rc;

    str_copy_utf8(q->uuid, sizeof(q->uuid), uuid);
    rc = virt_within(v, ms, q->uuid, ask, q, free, err);
    if (rc > 0)
        return -1;
    *ret = q->answer;
    free(q);
    return rc;
}

/* Sets one mark on every info whose domain is in the filtered listing. */
enum mark { MARK_SAVED, MARK_AUTOSTART };

static int compare_uuid(const void *a, const void *b)
{
    return strcmp(((const struct virt_info *)a)->uuid, ((const struct virt_info *)b)->uuid);
}

static int mark_listed(virConnectPtr conn, unsigned filter, enum mark mark, struct virt_info *infos,
                       size_t count, struct error *err)
{
    auto_domain_list struct domain_list list = {0};

    list.count = virConnectListAllDomains(conn, &list.items, filter);
    if (list.count < 0) {
        list.count = 0;
        /* A driver without saved images or autostart has none to list. */
        if (virGetLastErrorCode() == VIR_ERR_INVALID_ARG)
            return 0;
        return virt_fail(conn, err, "list the domains");
    }
    for (int i = 0; i < list.count; i++) {
        struct virt_info key = {0}, *found;

        if (virDomainGetUUIDString(list.items[i], key.uuid))
            continue;
        found = bsearch(&key, infos, count, sizeof(*infos), compare_uuid);
        if (!found)
            continue;
        if (mark == MARK_AUTOSTART) {
            found->autostart = true;
        } else if (found->state == VIRT_STATE_SHUTOFF || found->state == VIRT_STATE_CRASHED) {
            found->state = VIRT_STATE_SAVED;
            str_copy_utf8(found->reason, sizeof(found->reason), "saved");
        }
    }
    return 0;
}

static int param_int(const virDomainStatsRecord *r, const char *name)
{
    int value = 0;

    (void)virTypedParamsGetInt(r->params, r->nparams, name, &value);
    return value;
}

/* A record under its uuid: asking libvirt for it in every comparison would cost more than the rest. */
struct keyed {
    unsigned char uuid[VIR_UUID_BUFLEN];
    virDomainStatsRecordPtr record;
};

static int compare_key(const void *a, const void *b)
{
    return memcmp(((const struct keyed *)a)->uuid, ((const struct keyed *)b)->uuid,
                  VIR_UUID_BUFLEN);
}

/* Puts the records in the order of their uuids, and names and states into infos in the same. */
static void read_records(virDomainStatsRecordPtr *records, size_t count, struct virt_info *infos)
{
    auto_free struct keyed *keyed = xcalloc(count, sizeof(*keyed));

    for (size_t i = 0; i < count; i++) {
        keyed[i].record = records[i];
        (void)virDomainGetUUID(records[i]->dom, keyed[i].uuid);
    }
    qsort(keyed, count, sizeof(*keyed), compare_key);
    for (size_t i = 0; i < count; i++) {
        records[i] = keyed[i].record;
        (void)identify(records[i]->dom, &infos[i]);
        set_state(&infos[i], param_int(records[i], "state.state"),
                  param_int(records[i], "state.reason"), false);
    }
}

int virt_list(struct virt *v, bool (*wants_owner)(void *opaque, const struct virt_info *info),
              void *opaque, struct virt_info **ret, size_t *ret_count, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_records virDomainStatsRecordPtr *records = NULL;
    auto_free struct virt_info *infos = NULL;
    size_t count = 0;
    int n;

    if (virt_acquire(v, VIRT_USE_CONTROL, &line, err))
        return -1;
    n = virConnectGetAllDomainStats(line->conn, VIR_DOMAIN_STATS_STATE, &records, 0);
    if (n < 0)
        return virt_fail(line->conn, err, "list the domains");
    infos = xcalloc((size_t)n + 1, sizeof(*infos));
    read_records(records, (size_t)n, infos);
    if (mark_listed(line->conn, VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE, MARK_SAVED, infos, (size_t)n, err) ||
        mark_listed(line->conn, VIR_CONNECT_LIST_DOMAINS_AUTOSTART, MARK_AUTOSTART, infos, (size_t)n, err))
        return -1;
    for (int i = 0; i < n; i++) {
        struct virt_info *info = &infos[i];

        find_pid(v, info);
        /* One that went away meanwhile leaves the list. */
        if ((!wants_owner || wants_owner(opaque, info)) && !find_owner(v, records[i]->dom, info))
            continue;
        if (info != &infos[count])
            infos[count] = *info;
        count++;
    }
    if (virConnectIsAlive(line->conn) == 0)
        return error_set(err, ERROR_HYPERVISOR_UNAVAILABLE, "the connection to libvirt broke");
    *ret = TAKE_PTR(infos);
    *ret_count = count;
    return 0;
}
