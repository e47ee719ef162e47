/*
 * Statistics: one call for one domain, on a connection of its own, never waiting for a domain that
 * is busy. Not one bulk call for all: a single QEMU that hangs would keep everybody's figures.
 * What libvirt does not give stays absent.
 */
#include "service/virt/virt_internal.h"

#include <string.h>

#define GROUPS                                                                                     \
    (VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL | VIR_DOMAIN_STATS_BALLOON |              \
     VIR_DOMAIN_STATS_VCPU | VIR_DOMAIN_STATS_INTERFACE | VIR_DOMAIN_STATS_BLOCK)
#define MANY_VCPUS 4096

static void records_free(virDomainStatsRecordPtr *records)
{
    if (records)
        virDomainStatsRecordListFree(records);
}

DEFINE_CLEANUP(records, virDomainStatsRecordPtr *, records_free);
#define auto_records auto_scope(cleanup_records)

/* Any of libvirt's integer types; a negative figure counts as absent. */
static bool value_of(const virTypedParameter *p, uint64_t *ret)
{
    switch (p->type) {
    case VIR_TYPED_PARAM_INT:
        *ret = p->value.i < 0 ? 0 : (uint64_t)p->value.i;
        return p->value.i >= 0;
    case VIR_TYPED_PARAM_UINT:
        *ret = p->value.ui;
        return true;
    case VIR_TYPED_PARAM_LLONG:
        *ret = p->value.l < 0 ? 0 : (uint64_t)p->value.l;
        return p->value.l >= 0;
    case VIR_TYPED_PARAM_ULLONG:
        *ret = p->value.ul;
        return true;
    default:
        return false;
    }
}

/* "GROUP.INDEX.rest": returns the rest, or NULL. */
static const char *indexed(const char *field, const char *group, unsigned long max,
                           unsigned long *ret_index)
{
    size_t len = strlen(group);
    char *end;

    if (strncmp(field, group, len) != 0 || field[len] < '0' || field[len] > '9')
        return NULL;
    *ret_index = strtoul(field + len, &end, 10);
    return *end == '.' && *ret_index < max ? end + 1 : NULL;
}

struct figure {
    const char *name;
    uint64_t *value;
    bool *has;
    uint64_t unit;
};

static bool take(const struct figure *figures, size_t count, const char *name, uint64_t value)
{
    for (size_t i = 0; i < count; i++) {
        if (!str_eq(name, figures[i].name))
            continue;
        *figures[i].value = value * figures[i].unit;
        if (figures[i].has)
            *figures[i].has = true;
        return true;
    }
    return false;
}

#define TAKE(figures, name, value)                                                                 \
    take(figures, sizeof(figures) / sizeof((figures)[0]), name, value)

static void take_plain(struct virt_stats *s, const char *name, uint64_t value, bool *has_user,
                       bool *has_system)
{
    const struct figure figures[] = {
        {"cpu.time", &s->cpu_ns, &s->has_cpu, 1},
        {"cpu.user", &s->cpu_user_ns, has_user, 1},
        {"cpu.system", &s->cpu_system_ns, has_system, 1},
        {"balloon.current", &s->balloon_bytes, &s->has_balloon, 1024},
        {"balloon.maximum", &s->maximum_bytes, NULL, 1024},
        {"balloon.rss", &s->rss_bytes, &s->has_rss, 1024},
        {"balloon.available", &s->available_bytes, &s->has_guest_memory, 1024},
        {"balloon.unused", &s->unused_bytes, NULL, 1024},
        {"balloon.usable", &s->usable_bytes, NULL, 1024},
        {"balloon.disk_caches", &s->disk_caches_bytes, NULL, 1024},
        {"balloon.major_fault", &s->major_faults, &s->has_faults, 1},
        {"balloon.minor_fault", &s->minor_faults, NULL, 1},
        {"balloon.swap_in", &s->swap_in_bytes, NULL, 1024},
        {"balloon.swap_out", &s->swap_out_bytes, NULL, 1024},
    };

    if (strcmp(name, "vcpu.current") == 0)
        s->vcpus = (uint32_t)value;
    else
        TAKE(figures, name, value);
}

static void take_vcpu(struct virt_stats *s, unsigned long index, const char *name, uint64_t value)
{
    struct virt_vcpu_stats unlisted, *c = index < VIRT_STATS_VCPUS ? &s->vcpu[index] : &unlisted;

    if (c != &unlisted && index >= s->vcpu_count)
        s->vcpu_count = index + 1;
    if (strcmp(name, "time") == 0) {
        c->time_ns = value;
        c->has_time = true;
    } else if (strcmp(name, "wait") == 0) {
        s->vcpu_wait_ns += c->wait_ns = value;
        s->has_vcpu_wait = c->has_wait = true;
    } else if (strcmp(name, "delay") == 0) {
        s->vcpu_delay_ns += c->delay_ns = value;
        c->has_delay = true;
    }
}

static void take_block(struct virt_block_stats *b, const char *name, uint64_t value)
{
    const struct figure figures[] = {
        {"rd.bytes", &b->read_bytes, NULL, 1},
        {"rd.reqs", &b->read_requests, &b->has_requests, 1},
        {"wr.bytes", &b->write_bytes, NULL, 1},
        {"wr.reqs", &b->write_requests, NULL, 1},
        {"fl.reqs", &b->flush_requests, NULL, 1},
        {"rd.times", &b->read_time_ns, &b->has_times, 1},
        {"wr.times", &b->write_time_ns, NULL, 1},
        {"fl.times", &b->flush_time_ns, NULL, 1},
        {"capacity", &b->capacity_bytes, &b->has_sizes, 1},
        {"allocation", &b->allocation_bytes, NULL, 1},
        {"physical", &b->physical_bytes, NULL, 1},
    };

    TAKE(figures, name, value);
}

static void take_net(struct virt_net_stats *n, const char *name, uint64_t value)
{
    const struct figure figures[] = {
        {"rx.bytes", &n->receive_bytes, &n->has_counters, 1},
        {"rx.pkts", &n->receive_packets, NULL, 1},
        {"rx.errs", &n->receive_errors, NULL, 1},
        {"rx.drop", &n->receive_drops, NULL, 1},
        {"tx.bytes", &n->transmit_bytes, NULL, 1},
        {"tx.pkts", &n->transmit_packets, NULL, 1},
        {"tx.errs", &n->transmit_errors, NULL, 1},
        {"tx.drop", &n->transmit_drops, NULL, 1},
    };

    TAKE(figures, name, value);
}

static void take_name(struct virt_stats *s, const virTypedParameter *p)
{
    unsigned long i;
    const char *rest = indexed(p->field, "block.", VIRT_STATS_DEVICES, &i);

    if (rest && strcmp(rest, "name") == 0)
        str_copy_utf8(s->blocks[i].name, sizeof(s->blocks[i].name), p->value.s);
    rest = indexed(p->field, "net.", VIRT_STATS_DEVICES, &i);
    if (rest && strcmp(rest, "name") == 0)
        str_copy_utf8(s->nets[i].name, sizeof(s->nets[i].name), p->value.s);
}

static void read_record(const virDomainStatsRecord *r, struct virt_stats *s)
{
    bool has_user = false, has_system = false;
    int state = 0, reason = 0;
    const char *word;

    for (int i = 0; i < r->nparams; i++) {
        const virTypedParameter *p = &r->params[i];
        const char *rest;
        unsigned long index;
        uint64_t value;

        if (p->type == VIR_TYPED_PARAM_STRING && p->value.s) {
            take_name(s, p);
            continue;
        }
        if (!value_of(p, &value))
            continue;
        if (strcmp(p->field, "state.state") == 0)
            state = (int)value;
        else if (strcmp(p->field, "state.reason") == 0)
            reason = (int)value;
        else if (strcmp(p->field, "block.count") == 0)
            s->block_count = value < VIRT_STATS_DEVICES ? value : VIRT_STATS_DEVICES;
        else if (strcmp(p->field, "net.count") == 0)
            s->net_count = value < VIRT_STATS_DEVICES ? value : VIRT_STATS_DEVICES;
        else if ((rest = indexed(p->field, "vcpu.", MANY_VCPUS, &index)))
            take_vcpu(s, index, rest, value);
        else if ((rest = indexed(p->field, "block.", VIRT_STATS_DEVICES, &index)))
            take_block(&s->blocks[index], rest, value);
        else if ((rest = indexed(p->field, "net.", VIRT_STATS_DEVICES, &index)))
            take_net(&s->nets[index], rest, value);
        else
            take_plain(s, p->field, value, &has_user, &has_system);
    }
    s->has_cpu_split = has_user && has_system;
    s->state = virt_state_map(state, reason, &word);
}

int virt_stats_read(struct virt *v, const char *uuid, struct virt_stats *ret, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    auto_records virDomainStatsRecordPtr *records = NULL;
    virDomainPtr list[2] = {NULL};
    int n;

    if (virt_acquire(v, VIRT_USE_STATS, &line, err))
        return -1;
    domain = virDomainLookupByUUIDString(line->conn, uuid);
    if (!domain)
        return virt_fail(line->conn, err, "find the VM");
    if (!virt_owner_is_us(v, domain))
        return error_set(err, ERROR_VM_NOT_FOUND, "the domain is not one of this installation");
    list[0] = domain;
    n = virDomainListGetStats(list, GROUPS, &records, VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    /* The test driver does not know NOWAIT; it never waits either. */
    if (n < 0 && virGetLastErrorCode() == VIR_ERR_INVALID_ARG)
        n = virDomainListGetStats(list, GROUPS, &records, 0);
    if (n < 0)
        return virt_fail(line->conn, err, "read the statistics");
    *ret = (struct virt_stats){0};
    if (n > 0)
        read_record(records[0], ret);
    if (n == 0 || ret->state == VIRT_STATE_SHUTOFF || ret->state == VIRT_STATE_CRASHED)
        return error_set(err, ERROR_VM_NOT_FOUND, "the domain does not run");
    str_copy_utf8(ret->uuid, sizeof(ret->uuid), uuid);
    return 0;
}
