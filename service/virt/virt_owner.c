/*
 * Whose domain is it? Ours are those whose metadata carries our namespace, this installation's id
 * and the domain's own uuid (a copy made by hand with a new uuid is not ours). What was read once
 * is remembered per uuid until libvirt says that the definition changed.
 */
#include "service/virt/virt_internal.h"

#include <search.h>
#include <string.h>

struct owner {
    unsigned char uuid[VIR_UUID_BUFLEN];
    bool ours;
};

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct owner *)a)->uuid, ((const struct owner *)b)->uuid,
                  VIR_UUID_BUFLEN);
}

static void remember(struct virt *v, const unsigned char uuid[VIR_UUID_BUFLEN], bool ours)
{
    struct owner *o = xcalloc(1, sizeof(*o));
    struct owner **slot;

    memcpy(o->uuid, uuid, sizeof(o->uuid));
    LOCK_SCOPE(&v->lock);
    slot = tsearch(o, &v->owners, compare);
    if (!slot)
        out_of_memory();
    if (*slot != o)
        free(o);
    (*slot)->ours = ours;
}

void virt_owner_forget(struct virt *v, const unsigned char uuid[VIR_UUID_BUFLEN])
{
    struct owner key;
    struct owner **slot, *o;

    memcpy(key.uuid, uuid, sizeof(key.uuid));
    LOCK_SCOPE(&v->lock);
    slot = tfind(&key, &v->owners, compare);
    if (slot) {
        o = *slot;
        tdelete(o, &v->owners, compare);
        free(o);
    }
}

void virt_owner_clear(struct virt *v)
{
    LOCK_SCOPE(&v->lock);
    tdestroy(v->owners, free);
    v->owners = NULL;
}

int virt_owner_read(struct virt *v, virDomainPtr domain, struct domxml_mark *ret)
{
    auto_free char *text = NULL;
    char uuid[VIR_UUID_STRING_BUFLEN];

    text = virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, DOMXML_NAMESPACE,
                                VIR_DOMAIN_AFFECT_CONFIG);
    /* A transient domain has no persistent definition; asking first would cost all others a call. */
    if (!text && virGetLastErrorCode() == VIR_ERR_OPERATION_INVALID)
        text = virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, DOMXML_NAMESPACE, 0);
    if (!text)
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_METADATA ? 0 : -1;
    if (virDomainGetUUIDString(domain, uuid) || !domxml_read_mark(text, ret))
        return 0;
    return str_eq(ret->install, v->install_id) && str_eq(ret->id, uuid);
}

bool virt_owner_is_us(struct virt *v, virDomainPtr domain)
{
    struct domxml_mark mark;
    struct owner key;
    int ours;

    if (virDomainGetUUID(domain, key.uuid))
        return false;
    {
        LOCK_SCOPE(&v->lock);
        struct owner **slot = tfind(&key, &v->owners, compare);

        if (slot)
            return (*slot)->ours;
    }
    ours = virt_owner_read(v, domain, &mark);
    if (ours >= 0)
        remember(v, key.uuid, ours == 1);
    return ours == 1;
}

int virt_find_ours(struct virt *v, virConnectPtr conn, const char *uuid, virDomainPtr *ret,
                   struct error *err)
{
    auto_domain virDomainPtr domain = virDomainLookupByUUIDString(conn, uuid);
    struct domxml_mark mark;
    int ours;

    if (!domain)
        return virt_fail(conn, err, "find the VM");
    ours = virt_owner_read(v, domain, &mark); /* before a change, look rather than remember */
    if (ours < 0)
        return virt_fail(conn, err, "read the VM's owner");
    if (!ours)
        return error_set(err, ERROR_VM_NOT_FOUND,
                         "the libvirt domain %s does not belong to this installation", uuid);
    *ret = TAKE_PTR(domain);
    return 0;
}
