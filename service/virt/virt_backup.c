/*
 * A copy of a running domain's disk as it was at one moment, made by QEMU while the guest goes on:
 * what the guest overwrites meanwhile is copied first.
 */
#include "service/virt/virt_internal.h"

#include <string.h>

static int domain_of(struct virt *v, const char *uuid, struct virt_line **line, virDomainPtr *domain,
                     struct error *err)
{
    return virt_acquire(v, VIRT_USE_CONTROL, line, err) ||
                   virt_find_ours(v, (*line)->conn, uuid, domain, err)
               ? -1
               : 0;
}

int virt_backup_begin(struct virt *v, const char *uuid, const char *target, const char *path,
                      enum virt_disk_format format, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    auto_free char *xml = NULL;

    /* Another user's QEMU could not write into a directory of ours. */
    if (!v->embedded)
        return error_set(err, ERROR_NOT_SUPPORTED_BY_HOST,
                         "only the embedded libvirt driver copies disks of running VMs");
    if (domxml_backup(target, path, format, &xml, err) || domain_of(v, uuid, &line, &domain, err))
        return -1;
    return virDomainBackupBegin(domain, xml, NULL, 0)
               ? virt_fail(line->conn, err, "copy the disk of the running VM")
               : 0;
}

static void read_figures(const virTypedParameter *params, int count, struct virt_backup *ret)
{
    for (int i = 0; i < count; i++) {
        const virTypedParameter *p = &params[i];

        if (p->type == VIR_TYPED_PARAM_ULLONG && str_eq(p->field, VIR_DOMAIN_JOB_DISK_TOTAL))
            ret->total_bytes = p->value.ul;
        else if (p->type == VIR_TYPED_PARAM_ULLONG && str_eq(p->field, VIR_DOMAIN_JOB_DISK_PROCESSED))
            ret->done_bytes = p->value.ul;
        else if (p->type == VIR_TYPED_PARAM_STRING && str_eq(p->field, VIR_DOMAIN_JOB_ERRMSG))
            snprintf(ret->reason, sizeof(ret->reason), "%s", p->value.s);
    }
}

static int stats(virDomainPtr domain, unsigned flags, int *ret_type, struct virt_backup *ret)
{
    virTypedParameterPtr params = NULL;
    int count = 0, rc = virDomainGetJobStats(domain, ret_type, &params, &count, flags);

    if (rc == 0)
        read_figures(params, count, ret);
    virTypedParamsFree(params, count);
    return rc;
}

int virt_backup_look(struct virt *v, const char *uuid, struct virt_backup *ret, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;
    int type = VIR_DOMAIN_JOB_NONE;

    *ret = (struct virt_backup){0};
    if (domain_of(v, uuid, &line, &domain, err))
        return -1;
    if (stats(domain, 0, &type, ret))
        return virt_fail(line->conn, err, "ask how far the copy of the disk is");
    if (type != VIR_DOMAIN_JOB_NONE) {
        ret->running = true;
        return 0;
    }
    *ret = (struct virt_backup){0};
    if (stats(domain, VIR_DOMAIN_JOB_STATS_COMPLETED | VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED, &type, ret))
        return virt_fail(line->conn, err, "ask how the copy of the disk ended");
    ret->whole = type == VIR_DOMAIN_JOB_COMPLETED;
    return 0;
}

int virt_backup_end(struct virt *v, const char *uuid, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_domain virDomainPtr domain = NULL;

    if (domain_of(v, uuid, &line, &domain, err))
        return -1;
    return virDomainAbortJob(domain) ? virt_fail(line->conn, err, "end the copy of the disk") : 0;
}
