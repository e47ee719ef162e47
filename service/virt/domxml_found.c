/*
 * Reads a whole definition of Drover's own back: for the day when the database that it was made from
 * is gone. Lists end at what Drover could have written; what is beyond, somebody else put there.
 */
#include "service/virt/domxml.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/tree.h>

#include "service/base/str.h"

#define X(s)     ((const xmlChar *)(s))
#define TEXT_MAX 65536

static void free_xml_string(xmlChar *s)
{
    if (s)
        xmlFree(s);
}

DEFINE_CLEANUP(xml_doc, xmlDocPtr, xmlFreeDoc);
DEFINE_CLEANUP(xml_string, xmlChar *, free_xml_string);
#define auto_xml_doc    auto_scope(cleanup_xml_doc)
#define auto_xml_string auto_scope(cleanup_xml_string)

static bool is(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && xmlStrEqual(node->name, X(name));
}

static const xmlNode *child(const xmlNode *node, const char *name)
{
    for (const xmlNode *c = node ? node->children : NULL; c; c = c->next) {
        if (is(c, name))
            return c;
    }
    return NULL;
}

/* The attribute's value, the caller's; NULL without one. */
static char *attribute(const xmlNode *node, const char *name)
{
    auto_xml_string xmlChar *value = node ? xmlGetNoNsProp(node, X(name)) : NULL;

    return value ? xstrdup((const char *)value) : NULL;
}

static bool attribute_is(const xmlNode *node, const char *name, const char *want)
{
    auto_xml_string xmlChar *value = node ? xmlGetNoNsProp(node, X(name)) : NULL;

    return value && str_eq((const char *)value, want);
}

static void attribute_copy(const xmlNode *node, const char *name, char *ret, size_t size)
{
    auto_xml_string xmlChar *value = node ? xmlGetNoNsProp(node, X(name)) : NULL;

    str_copy_utf8(ret, size, value ? (const char *)value : "");
}

/* The element's text, the caller's; NULL without one, or when it is longer than anything of ours. */
static char *text_of(const xmlNode *node, size_t max)
{
    auto_xml_string xmlChar *value = node ? xmlNodeGetContent(node) : NULL;

    return value && strlen((const char *)value) <= max ? xstrdup((const char *)value) : NULL;
}

static uint64_t number_of(const xmlNode *node)
{
    auto_free char *text = text_of(node, 24);
    uint64_t value;

    return text && str_to_u64(text, UINT64_MAX, &value) ? value : 0;
}

static void read_memory(const xmlNode *root, struct virt_found *f)
{
    const xmlNode *memory = child(root, "memory");
    uint64_t value = number_of(memory);

    /* libvirt writes KiB, whatever it was given. */
    if (attribute_is(memory, "unit", "MiB"))
        f->memory_mib = value;
    else if (attribute_is(memory, "unit", "KiB") || !xmlHasProp(memory, X("unit")))
        f->memory_mib = value / 1024;
}

static void read_os(const xmlNode *root, struct virt_found *f)
{
    const xmlNode *os = child(root, "os");

    f->uefi = attribute_is(os, "firmware", "efi");
    attribute_copy(child(os, "type"), "machine", f->machine, sizeof(f->machine));
    f->kernel = text_of(child(os, "kernel"), TEXT_MAX);
    f->initrd = text_of(child(os, "initrd"), TEXT_MAX);
    f->cmdline = text_of(child(os, "cmdline"), TEXT_MAX);
}

/* Down to the empty element that ends it; libvirt's own nesting bounds it. */
static void read_chain(const xmlNode *disk, struct virt_found_disk *d)
{
    for (const xmlNode *layer = child(disk, "backingStore"); layer; layer = child(layer, "backingStore")) {
        char *path = attribute(child(layer, "source"), "file");

        if (!path)
            return;
        if (!d->backing)
            d->backing = xstrdup(path);
        free(d->base);
        d->base = path;
        d->base_format =
            attribute_is(child(layer, "format"), "type", "qcow2") ? VIRT_DISK_QCOW2 : VIRT_DISK_RAW;
    }
}

static void read_disk(const xmlNode *disk, struct virt_found *f)
{
    struct virt_found_disk *d = &f->disks[f->disk_count];
    char *path = attribute(child(disk, "source"), "file");

    if (!path || f->disk_count == VIRT_FOUND_DISKS) {
        free(path);
        return;
    }
    f->disk_count++;
    d->path = path;
    read_chain(disk, d);
    d->cdrom = attribute_is(disk, "device", "cdrom");
    d->read_only = child(disk, "readonly") != NULL;
}

static void read_nic(const xmlNode *nic, struct virt_found *f)
{
    struct virt_found_nic *n = &f->nics[f->nic_count];

    if (f->nic_count == VIRT_FOUND_NICS)
        return;
    if (attribute_is(nic, "type", "bridge")) {
        n->mode = VIRT_NIC_BRIDGE;
        attribute_copy(child(nic, "source"), "bridge", n->source, sizeof(n->source));
    } else if (attribute_is(nic, "type", "network")) {
        n->mode = VIRT_NIC_NETWORK;
        attribute_copy(child(nic, "source"), "network", n->source, sizeof(n->source));
    } else if (!attribute_is(nic, "type", "user")) {
        return;
    }
    attribute_copy(child(nic, "mac"), "address", n->mac, sizeof(n->mac));
    f->nic_count++;
}

static void read_channel(const xmlNode *channel, struct virt_found *f)
{
    const xmlNode *target = child(channel, "target");
    char *name = f->channels[f->channel_count];

    if (f->channel_count == VIRT_FOUND_CHANNELS || !attribute_is(target, "type", "virtio"))
        return;
    attribute_copy(target, "name", name, sizeof(f->channels[0]));
    if (str_eq(name, "org.qemu.guest_agent.0"))
        f->guest_agent = true;
    else if (*name)
        f->channel_count++;
}

static void read_vsock(const xmlNode *vsock, struct virt_found *f)
{
    auto_free char *address = attribute(child(vsock, "cid"), "address");
    uint64_t value;

    if (address && str_to_u64(address, UINT32_MAX - 1, &value) && value >= 3)
        f->vsock_cid = (uint32_t)value;
}

static void read_devices(const xmlNode *root, struct virt_found *f)
{
    const xmlNode *devices = child(root, "devices");

    for (const xmlNode *c = devices ? devices->children : NULL; c; c = c->next) {
        if (is(c, "disk"))
            read_disk(c, f);
        else if (is(c, "interface"))
            read_nic(c, f);
        else if (is(c, "serial"))
            f->serial_ports++;
        else if (is(c, "channel"))
            read_channel(c, f);
        else if (is(c, "graphics"))
            f->display = true;
        else if (is(c, "vsock"))
            read_vsock(c, f);
    }
}

/* Our element among everybody's: by its namespace, whatever its prefix. */
static bool read_metadata(const xmlNode *root, struct virt_found *f)
{
    const xmlNode *metadata = child(root, "metadata");
    char generation[24];

    for (const xmlNode *c = metadata ? metadata->children : NULL; c; c = c->next) {
        if (!is(c, "vm") || !c->ns || !xmlStrEqual(c->ns->href, X(DOMXML_NAMESPACE)))
            continue;
        attribute_copy(c, "install", f->install, sizeof(f->install));
        attribute_copy(c, "id", f->uuid, sizeof(f->uuid));
        attribute_copy(c, "generation", generation, sizeof(generation));
        f->note = text_of(child(c, "note"), VIRT_NOTE_MAX);
        return *f->install && *f->uuid && str_to_u64(generation, INT64_MAX, &f->generation);
    }
    return false;
}

bool domxml_read_found(const char *text, struct virt_found *ret)
{
    size_t len = strlen(text);
    auto_xml_doc xmlDocPtr doc = NULL;
    const xmlNode *root;

    if (len > INT_MAX)
        return false;
    doc = xmlReadMemory(text, (int)len, "domain.xml", NULL,
                        XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!root || !is(root, "domain") || !read_metadata(root, ret))
        return false;
    ret->kvm = attribute_is(root, "type", "kvm");
    ret->cpus = number_of(child(root, "vcpu"));
    ret->description = text_of(child(root, "description"), TEXT_MAX);
    ret->memory_merge = !child(child(root, "memoryBacking"), "nosharepages");
    read_memory(root, ret);
    read_os(root, ret);
    read_devices(root, ret);
    return true;
}

void domxml_found_done(struct virt_found *f)
{
    for (size_t i = 0; i < f->disk_count; i++) {
        free(f->disks[i].path);
        free(f->disks[i].backing);
        free(f->disks[i].base);
    }
    free(f->note);
    free(f->description);
    free(f->kernel);
    free(f->initrd);
    free(f->cmdline);
}
