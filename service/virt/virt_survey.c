/*
 * Every domain with some Drover's mark, whole: what a lost database is made again from. Reads only;
 * of a domain without the mark nothing but that is asked.
 */
#include "service/virt/virt_internal.h"

#include <string.h>

struct domains {
    virDomainPtr *items;
    int count;
};

static void domains_done(struct domains *l)
{
    for (int i = 0; i < l->count; i++)
        virDomainFree(l->items[i]);
    free(l->items);
}

static bool is_marked(virDomainPtr domain)
{
    auto_free char *text = virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, DOMXML_NAMESPACE,
                                                VIR_DOMAIN_AFFECT_CONFIG);

    return text != NULL;
}

/* false: not one of Drover's, or it went away meanwhile */
static bool survey(virDomainPtr domain, struct virt_found *ret)
{
    auto_free char *xml = NULL;
    char uuid[VIR_UUID_STRING_BUFLEN];
    int state = 0, reason = 0;
    const char *word;

    if (!is_marked(domain) || virDomainGetUUIDString(domain, uuid))
        return false;
    xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE);
    /* A copy made by hand with another uuid is not ours. */
    if (!xml || !domxml_read_found(xml, ret) || !str_eq(ret->uuid, uuid) ||
        virDomainGetState(domain, &state, &reason, 0)) {
        domxml_found_done(ret);
        memset(ret, 0, sizeof(*ret));
        return false;
    }
    str_copy_utf8(ret->name, sizeof(ret->name), virDomainGetName(domain));
    ret->state = virt_state_map(state, reason, &word);
    if (ret->state == VIRT_STATE_SHUTOFF && virDomainHasManagedSaveImage(domain, 0) == 1)
        ret->state = VIRT_STATE_SAVED;
    return true;
}

static int by_uuid(const void *a, const void *b)
{
    return strcmp(((const struct virt_found *)a)->uuid, ((const struct virt_found *)b)->uuid);
}

int virt_survey(struct virt *v, struct virt_found **ret, size_t *ret_count, struct error *err)
{
    auto_line struct virt_line *line = NULL;
    auto_scope(domains_done) struct domains list = {0};
    struct virt_found *found;
    size_t count = 0;

    if (virt_acquire(v, VIRT_USE_CONTROL, &line, err))
        return -1;
    list.count = virConnectListAllDomains(line->conn, &list.items, 0);
    if (list.count < 0) {
        list.count = 0;
        return virt_fail(line->conn, err, "list the domains");
    }
    found = xcalloc((size_t)list.count + 1, sizeof(*found));
    for (int i = 0; i < list.count; i++)
        count += survey(list.items[i], &found[count]);
    if (virConnectIsAlive(line->conn) == 0) {
        virt_found_free(found, count);
        return error_set(err, ERROR_HYPERVISOR_UNAVAILABLE, "the connection to libvirt broke");
    }
    qsort(found, count, sizeof(*found), by_uuid);
    *ret = found;
    *ret_count = count;
    return 0;
}

void virt_found_free(struct virt_found *found, size_t count)
{
    for (size_t i = 0; i < count; i++)
        domxml_found_done(&found[i]);
    free(found);
}
