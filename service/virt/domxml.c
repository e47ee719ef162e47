/*
 * The one place that builds XML. The document is a libxml2 tree, so that no string can become an
 * element; the finished text is parsed again and compared with an allow-list of element paths and
 * attributes, so that a mistake here cannot hand libvirt a device nobody meant to give.
 */
#include "service/virt/domxml.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xmlsave.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "service/base/str.h"
#include "service/virt/virt.h"

#define X(s) ((const xmlChar *)(s))

DEFINE_CLEANUP(xml_doc, xmlDocPtr, xmlFreeDoc);
#define auto_xml_doc auto_scope(cleanup_xml_doc)

/* Every element this file may produce, and its attributes; repeated backingStore counts once. */
static const struct {
    const char *path, *attributes;
} allowed[] = {
    {"/domain", " type "},
    {"/domain/name", ""},
    {"/domain/uuid", ""},
    {"/domain/genid", ""},
    {"/domain/description", ""},
    {"/domain/metadata", ""},
    {"/domain/metadata/drover:vm", " install id generation "},
    {"/domain/metadata/drover:vm/drover:note", ""},
    {"/domain/memory", " unit "},
    {"/domain/currentMemory", " unit "},
    {"/domain/vcpu", ""},
    {"/domain/memoryBacking", ""},
    {"/domain/memoryBacking/nosharepages", ""},
    {"/domain/sysinfo", " type "},
    {"/domain/sysinfo/oemStrings", ""},
    {"/domain/sysinfo/oemStrings/entry", ""},
    {"/domain/os", " firmware "},
    {"/domain/os/type", " arch machine "},
    {"/domain/os/kernel", ""},
    {"/domain/os/initrd", ""},
    {"/domain/os/cmdline", ""},
    {"/domain/os/boot", " dev "},
    {"/domain/os/smbios", " mode "},
    {"/domain/features", ""},
    {"/domain/features/acpi", ""},
    {"/domain/features/apic", ""},
    {"/domain/cpu", " mode check "},
    {"/domain/cpu/feature", " policy name "},
    {"/domain/clock", " offset "},
    {"/domain/clock/timer", " name tickpolicy present "},
    {"/domain/on_poweroff", ""},
    {"/domain/on_reboot", ""},
    {"/domain/on_crash", ""},
    {"/domain/pm", ""},
    {"/domain/pm/suspend-to-mem", " enabled "},
    {"/domain/pm/suspend-to-disk", " enabled "},
    {"/domain/devices", ""},
    {"/domain/devices/disk", " type device "},
    {"/domain/devices/disk/driver", " name type discard "},
    {"/domain/devices/disk/source", " file "},
    {"/domain/devices/disk/backingStore", " type "},
    {"/domain/devices/disk/backingStore/format", " type "},
    {"/domain/devices/disk/backingStore/source", " file "},
    {"/domain/devices/disk/target", " dev bus "},
    {"/domain/devices/disk/readonly", ""},
    {"/domain/devices/disk/serial", ""},
    {"/domain/devices/controller", " type model "},
    {"/domain/devices/interface", " type "},
    {"/domain/devices/interface/mac", " address "},
    {"/domain/devices/interface/source", " bridge network "},
    {"/domain/devices/interface/model", " type "},
    {"/domain/devices/serial", " type "},
    {"/domain/devices/serial/source", " mode path "},
    {"/domain/devices/serial/target", " type port "},
    {"/domain/devices/console", " type "},
    {"/domain/devices/console/source", " mode path "},
    {"/domain/devices/console/target", " type port "},
    {"/domain/devices/channel", " type "},
    {"/domain/devices/channel/source", " mode path "},
    {"/domain/devices/channel/source/reconnect", " enabled timeout "},
    {"/domain/devices/channel/target", " type name "},
    {"/domain/devices/input", " type bus "},
    {"/domain/devices/graphics", " type sharePolicy "},
    {"/domain/devices/graphics/listen", " type socket "},
    {"/domain/devices/video", ""},
    {"/domain/devices/video/model", " type "},
    {"/domain/devices/vsock", " model "},
    {"/domain/devices/vsock/cid", " auto address "},
    {"/domain/devices/panic", " model "},
    {"/domain/devices/rng", " model "},
    {"/domain/devices/rng/backend", " model "},
    {"/domain/devices/memballoon", " model "},
    {"/domain/devices/memballoon/stats", " period "},
};

/* ---- the tree ---- */

/* Small nodes of bounded text: without memory for one there is nothing useful left to do. */
static void *need(void *p)
{
    if (!p)
        out_of_memory();
    return p;
}

/* An element with attribute pairs up to NULL; values are taken as raw text. */
static xmlNodePtr el(xmlNodePtr parent, const char *name, ...)
{
    xmlNodePtr node = need(xmlNewChild(parent, NULL, X(name), NULL));
    const char *key;
    va_list ap;

    va_start(ap, name);
    while ((key = va_arg(ap, const char *)))
        need(xmlNewProp(node, X(key), X(va_arg(ap, const char *))));
    va_end(ap);
    return node;
}

static xmlNodePtr set_text(xmlNodePtr node, const char *value)
{
    need(xmlAddChild(node, need(xmlNewText(X(value)))));
    return node;
}

static xmlNodePtr el_text(xmlNodePtr parent, const char *name, const char *value)
{
    return set_text(el(parent, name, NULL), value);
}

static void set_u64(xmlNodePtr node, uint64_t value)
{
    char buf[24];

    snprintf(buf, sizeof(buf), "%" PRIu64, value);
    set_text(node, buf);
}

/* ---- parts of the document ---- */

static void add_metadata(xmlNodePtr root, const struct virt_domain *d, const char *install_id)
{
    xmlNodePtr vm =
        el(el(root, "metadata", NULL), "vm", "install", install_id, "id", d->uuid, NULL);
    char generation[24];

    snprintf(generation, sizeof(generation), "%" PRIu64, d->generation);
    need(xmlNewProp(vm, X("generation"), X(generation)));
    xmlSetNs(vm, need(xmlNewNs(vm, X(DOMXML_NAMESPACE), X(DOMXML_PREFIX))));
    if (d->note)
        xmlSetNs(el_text(vm, "note", d->note), vm->ns);
}

static void add_os(xmlNodePtr root, const struct virt_domain *d)
{
    xmlNodePtr os = el(root, "os", NULL);
    bool has_disk = false, has_cdrom = false;

    if (d->uefi)
        need(xmlNewProp(os, X("firmware"), X("efi")));
    set_text(el(os, "type", "arch", "x86_64", "machine", d->machine, NULL), "hvm");
    for (size_t i = 0; i < d->disk_count; i++) {
        has_cdrom |= d->disks[i].cdrom;
        has_disk |= !d->disks[i].cdrom;
    }
    if (d->kernel) {
        el_text(os, "kernel", d->kernel);
        if (d->initrd)
            el_text(os, "initrd", d->initrd);
        if (d->cmdline && *d->cmdline)
            el_text(os, "cmdline", d->cmdline);
    } else {
        /* An installer's disk is still empty, so the firmware falls through to the CD. */
        if (has_disk || !has_cdrom)
            el(os, "boot", "dev", "hd", NULL);
        if (has_cdrom)
            el(os, "boot", "dev", "cdrom", NULL);
    }
    if (d->smbios_oem_count)
        el(os, "smbios", "mode", "sysinfo", NULL);
}

/*
 * Inside another hypervisor, IA32_ARCH_CAPABILITIES can often be read but not written, and QEMU
 * then stops with an assertion. Without the feature the guest assumes the worst and mitigates.
 */
static bool host_is_a_guest(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & (1U << 31));
#else
    return false;
#endif
}

static void add_cpu(xmlNodePtr root, const struct virt_domain *d)
{
    xmlNodePtr cpu;

    if (!d->kvm) {
        el(root, "cpu", "mode", "maximum", "check", "none", NULL);
        return;
    }
    cpu = el(root, "cpu", "mode", "host-passthrough", "check", "none", NULL);
    if (host_is_a_guest())
        el(cpu, "feature", "policy", "disable", "name", "arch-capabilities", NULL);
}

static void add_platform(xmlNodePtr root, const struct virt_domain *d)
{
    xmlNodePtr node = el(root, "features", NULL);

    el(node, "acpi", NULL);
    el(node, "apic", NULL);
    add_cpu(root, d);
    node = el(root, "clock", "offset", "utc", NULL);
    el(node, "timer", "name", "rtc", "tickpolicy", "catchup", NULL);
    el(node, "timer", "name", "pit", "tickpolicy", "delay", NULL);
    el(node, "timer", "name", "hpet", "present", "no", NULL);
    el_text(root, "on_poweroff", "destroy");
    el_text(root, "on_reboot", "restart");
    el_text(root, "on_crash", "destroy");
    node = el(root, "pm", NULL);
    el(node, "suspend-to-mem", "enabled", "no", NULL);
    el(node, "suspend-to-disk", "enabled", "no", NULL);
}

static const char *format_name(enum virt_disk_format format)
{
    return format == VIRT_DISK_QCOW2 ? "qcow2" : "raw";
}

static void add_disk(xmlNodePtr devices, const struct virt_disk *d, unsigned index)
{
    xmlNodePtr disk =
        el(devices, "disk", "type", "file", "device", d->cdrom ? "cdrom" : "disk", NULL);
    xmlNodePtr driver = el(disk, "driver", "name", "qemu", "type", format_name(d->format), NULL);
    xmlNodePtr layer = disk;
    char target[8];

    if (!d->cdrom && !d->read_only)
        need(xmlNewProp(driver, X("discard"), X("unmap")));
    el(disk, "source", "file", d->path, NULL);
    /* The whole chain, and an empty element at its end: libvirt and QEMU never probe a header. */
    for (size_t i = 0; i < d->backing_count; i++) {
        layer = el(layer, "backingStore", "type", "file", NULL);
        el(layer, "format", "type", format_name(d->backing[i].format), NULL);
        el(layer, "source", "file", d->backing[i].path, NULL);
    }
    el(layer, "backingStore", NULL);
    snprintf(target, sizeof(target), "%s%c", d->cdrom ? "sd" : "vd", (char)('a' + index));
    el(disk, "target", "dev", target, "bus", d->cdrom ? "sata" : "virtio", NULL);
    if (d->cdrom || d->read_only)
        el(disk, "readonly", NULL);
    if (d->serial)
        el_text(disk, "serial", d->serial);
}

static void add_nic(xmlNodePtr devices, const struct virt_nic *n)
{
    static const char *const mode[] = {
        [VIRT_NIC_USER] = "user", [VIRT_NIC_BRIDGE] = "bridge", [VIRT_NIC_NETWORK] = "network"};
    xmlNodePtr nic = el(devices, "interface", "type", mode[n->mode], NULL);

    el(nic, "mac", "address", n->mac, NULL);
    if (n->mode != VIRT_NIC_USER)
        el(nic, "source", mode[n->mode], n->source, NULL);
    el(nic, "model", "type", "virtio", NULL);
}

/* path NULL: libvirt chooses one of its own. */
static void add_listener(xmlNodePtr chardev, const char *path)
{
    xmlNodePtr source = el(chardev, "source", "mode", "bind", NULL);

    if (path)
        need(xmlNewProp(source, X("path"), X(path)));
}

static void add_console(xmlNodePtr devices, const char *socket)
{
    const char *type = socket ? "unix" : "pty";
    xmlNodePtr node = el(devices, "serial", "type", type, NULL);

    if (socket)
        add_listener(node, socket);
    el(node, "target", "type", "isa-serial", "port", "0", NULL);
    node = el(devices, "console", "type", type, NULL);
    if (socket)
        add_listener(node, socket);
    el(node, "target", "type", "serial", "port", "0", NULL);
}

static void add_serial(xmlNodePtr devices, unsigned port, const char *socket)
{
    xmlNodePtr node = el(devices, "serial", "type", socket ? "unix" : "pty", NULL);
    char number[16];

    if (socket)
        add_listener(node, socket);
    snprintf(number, sizeof(number), "%u", port);
    el(node, "target", "type", "isa-serial", "port", number, NULL);
}

static void add_channel(xmlNodePtr devices, const char *name, const char *socket)
{
    xmlNodePtr channel = el(devices, "channel", "type", "unix", NULL);

    add_listener(channel, socket);
    el(channel, "target", "type", "virtio", "name", name, NULL);
}

/* QEMU comes to the socket; without one libvirt chooses, and talks to the agent itself. */
static void add_agent(xmlNodePtr devices, const char *socket)
{
    xmlNodePtr channel, source;

    if (!socket) {
        add_channel(devices, "org.qemu.guest_agent.0", NULL);
        return;
    }
    channel = el(devices, "channel", "type", "unix", NULL);
    source = el(channel, "source", "mode", "connect", "path", socket, NULL);
    el(source, "reconnect", "enabled", "yes", "timeout", "1", NULL);
    el(channel, "target", "type", "virtio", "name", "org.qemu.guest_agent.0", NULL);
}

static void add_display(xmlNodePtr devices, const struct virt_domain *d)
{
    xmlNodePtr node;

    if (!d->vnc_socket) {
        el(devices, "controller", "type", "usb", "model", "none", NULL);
        return;
    }
    el(devices, "controller", "type", "usb", "model", "qemu-xhci", NULL);
    el(devices, "input", "type", "tablet", "bus", "usb", NULL);
    /* A client that asks for the display alone must neither throw the others out nor be thrown out. */
    node = el(devices, "graphics", "type", "vnc", "sharePolicy", "ignore", NULL);
    node = el(node, "listen", "type", "socket", NULL);
    if (*d->vnc_socket)
        need(xmlNewProp(node, X("socket"), X(d->vnc_socket)));
    el(el(devices, "video", NULL), "model", "type", "vga", NULL);
}

static void add_devices(xmlNodePtr root, const struct virt_domain *d)
{
    xmlNodePtr devices = el(root, "devices", NULL), node;
    unsigned disks = 0, cdroms = 0;

    for (size_t i = 0; i < d->disk_count; i++)
        add_disk(devices, &d->disks[i], d->disks[i].cdrom ? cdroms++ : disks++);
    for (size_t i = 0; i < d->nic_count; i++)
        add_nic(devices, &d->nics[i]);
    add_console(devices, d->console_socket);
    for (unsigned i = 0; i < d->extra_serials; i++)
        add_serial(devices, i + 1, d->serial_sockets ? d->serial_sockets[i] : NULL);
    for (size_t i = 0; i < d->channel_count; i++)
        add_channel(devices, d->channels[i], d->channel_sockets ? d->channel_sockets[i] : NULL);
    if (d->guest_agent)
        add_agent(devices, d->agent_socket);
    add_display(devices, d);
    if (d->vsock_cid) {
        char cid[16];

        snprintf(cid, sizeof(cid), "%" PRIu32, d->vsock_cid);
        node = el(devices, "vsock", "model", "virtio", NULL);
        el(node, "cid", "auto", "no", "address", cid, NULL);
    }
    el(devices, "panic", "model", "isa", NULL); /* a guest's panic reaches us as "crashed" */
    node = el(devices, "rng", "model", "virtio", NULL);
    set_text(el(node, "backend", "model", "random", NULL), "/dev/urandom");
    node = el(devices, "memballoon", "model", "virtio", NULL);
    el(node, "stats", "period", "5", NULL);
}

static xmlDocPtr build(const struct virt_domain *d, const char *install_id)
{
    xmlDocPtr doc = need(xmlNewDoc(X("1.0")));
    xmlNodePtr root = need(xmlNewNode(NULL, X("domain"))), node;

    xmlDocSetRootElement(doc, root);
    need(xmlNewProp(root, X("type"), X(d->kvm ? "kvm" : "qemu")));
    el_text(root, "name", d->name);
    el_text(root, "uuid", d->uuid);
    el_text(root, "genid", d->uuid); /* tells a clone from what it was cloned from */
    if (d->description && *d->description)
        el_text(root, "description", d->description);
    add_metadata(root, d, install_id);
    set_u64(el(root, "memory", "unit", "MiB", NULL), d->memory_mib);
    set_u64(el(root, "currentMemory", "unit", "MiB", NULL), d->memory_mib);
    set_u64(el(root, "vcpu", NULL), d->cpus);
    if (!d->memory_merge)
        el(el(root, "memoryBacking", NULL), "nosharepages", NULL);
    if (d->smbios_oem_count) {
        node = el(el(root, "sysinfo", "type", "smbios", NULL), "oemStrings", NULL);
        for (size_t i = 0; i < d->smbios_oem_count; i++)
            el_text(node, "entry", d->smbios_oem[i]);
    }
    add_os(root, d);
    add_platform(root, d);
    add_devices(root, d);
    return doc;
}

/* ---- the second look ---- */

static const char *attributes_of(const char *path)
{
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        if (strcmp(allowed[i].path, path) == 0)
            return allowed[i].attributes;
    }
    return NULL;
}

static bool node_is_allowed(const xmlNode *node, const char *path)
{
    const char *attributes = attributes_of(path);
    char key[64];

    if (!attributes || (node->ns && strcmp((const char *)node->ns->href, DOMXML_NAMESPACE) != 0))
        return false;
    for (const xmlAttr *a = node->properties; a; a = a->next) {
        snprintf(key, sizeof(key), " %s ", (const char *)a->name);
        if (a->ns || !strstr(attributes, key))
            return false;
    }
    return true;
}

/* Depth is bounded by the number of backing files that domxml_check() accepts. */
static bool tree_is_allowed(const xmlNode *node, const char *parent)
{
    const char *prefix = node->ns && node->ns->prefix ? (const char *)node->ns->prefix : "";
    const char *last = strrchr(parent, '/');
    char path[160];

    if (strcmp((const char *)node->name, "backingStore") == 0 && last &&
        strcmp(last, "/backingStore") == 0)
        snprintf(path, sizeof(path), "%s", parent);
    else
        snprintf(path, sizeof(path), "%s/%s%s%s", parent, prefix, *prefix ? ":" : "",
                 (const char *)node->name);
    if (!node_is_allowed(node, path))
        return false;
    for (const xmlNode *child = node->children; child; child = child->next) {
        if (child->type == XML_ELEMENT_NODE) {
            if (!tree_is_allowed(child, path))
                return false;
        } else if (child->type != XML_TEXT_NODE) {
            return false;
        }
    }
    return true;
}

static int verify(const char *text, size_t len, struct error *err)
{
    auto_xml_doc xmlDocPtr doc =
        xmlReadMemory(text, (int)len, "domain.xml", NULL,
                      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_HUGE);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;

    if (!root || doc->intSubset || doc->extSubset || !tree_is_allowed(root, "")) {
        error_set(err, ERROR_INTERNAL, "the VM's definition could not be written safely");
        error_cause(err, "the domain XML is outside the allow-list");
        return -1;
    }
    return 0;
}

void domxml_init(void)
{
    /* A tree of which a part is missing would look like one that is whole. */
    xmlMemSetup(free, xmalloc, xrealloc, xstrdup);
    xmlInitParser();
}

int virt_domain_xml(const struct virt_domain *domain, const char *install_id, char **ret,
                    struct error *err)
{
    auto_xml_doc xmlDocPtr doc = NULL;
    auto_free char *text = NULL;
    xmlChar *dump = NULL;
    int len = 0;

    if (domxml_check(domain, install_id, err))
        return -1;
    doc = build(domain, install_id);
    xmlDocDumpFormatMemoryEnc(doc, &dump, &len, "UTF-8", 1);
    need(dump);
    text = xstrndup((const char *)dump, (size_t)len);
    xmlFree(dump);
    if (verify(text, (size_t)len, err))
        return -1;
    *ret = TAKE_PTR(text);
    return 0;
}
