/*
 * How fast a guest writes to its memory: QEMU measures for some seconds when asked, and is asked
 * afterwards what it found.
 */
#include "service/virt/virt_internal.h"

#include <string.h>

static int domain_of(struct virt *v, const char *uuid, struct virt_line **line, virDomainPtr *domain,
                     struct error *err)
{
    if (virt_acquire(v, VIRT_USE_STATS, line, err))
        return -1;
    *domain = virDomainLookupByUUIDString((*line)->conn, uuid);
    if (!*domain)
        return virt_fail((*line)->conn, err, "find the VM");
    if (!virt_owner_is_us(v, *domain))
        return error_set(err, ERROR_VM_NOT_FOUND, "the domain is not one of this installation");
    return 0;
}

int virt_dirty_rate_start(struct virt *v, const char *uuid, int seconds, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;

    if (domain_of(v, uuid, &line, &domain, err))
        return -1;
    return virDomainStartDirtyRateCalc(domain, seconds, 0)
               ? virt_fail(line->conn, err, "measure how fast the guest writes to its memory")
               : 0;
}

static void read_parameters(const virDomainStatsRecord *r, struct virt_dirty_rate *ret)
{
    for (int i = 0; i < r->nparams; i++) {
        const virTypedParameter *p = &r->params[i];

        if (str_eq(p->field, "dirtyrate.calc_status") && p->type == VIR_TYPED_PARAM_INT)
            ret->measuring = p->value.i == VIR_DOMAIN_DIRTYRATE_MEASURING;
        else if (str_eq(p->field, "dirtyrate.calc_period") && p->type == VIR_TYPED_PARAM_INT)
            ret->seconds = p->value.i;
        else if (str_eq(p->field, "dirtyrate.megabytes_per_second") &&
                 p->type == VIR_TYPED_PARAM_LLONG && p->value.l >= 0) {
            ret->has_rate = true;
            ret->bytes_per_second = (uint64_t)p->value.l << 20;
        }
    }
}

int virt_dirty_rate_read(struct virt *v, const char *uuid, struct virt_dirty_rate *ret,
                         struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    virDomainStatsRecordPtr *records = NULL;
    virDomainPtr list[2] = {NULL};
    int n;

    *ret = (struct virt_dirty_rate){0};
    if (domain_of(v, uuid, &line, &domain, err))
        return -1;
    list[0] = domain;
    n = virDomainListGetStats(list, VIR_DOMAIN_STATS_DIRTYRATE, &records, 0);
    if (n < 0)
        return virt_fail(line->conn, err, "read how fast the guest writes to its memory");
    if (n > 0)
        read_parameters(records[0], ret);
    virDomainStatsRecordListFree(records);
    return 0;
}
