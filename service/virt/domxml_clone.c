/*
 * The beginning of a saved image made another domain's: libvirt's header, its XML and its cookie
 * come before the guest's memory, and only the XML says whose it is. libvirt itself refuses another
 * uuid; it wants to know that the devices are the same, and so do we: each device of the image must
 * have its counterpart in the new definition, and only what is not the guest's business is taken
 * from there (names, files, sockets). What the guest holds in its memory stays what it was.
 */
#include "service/virt/domxml.h"

#include <limits.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/tree.h>

#include "service/base/error.h"
#include "service/base/str.h"
#include "service/virt/virt.h"

#define X(s) ((const xmlChar *)(s))

static void free_xml_string(xmlChar *s)
{
    if (s)
        xmlFree(s);
}

DEFINE_CLEANUP(xml_doc, xmlDocPtr, xmlFreeDoc);
DEFINE_CLEANUP(xml_string, xmlChar *, free_xml_string);
#define auto_xml_doc    auto_scope(cleanup_xml_doc)
#define auto_xml_string auto_scope(cleanup_xml_string)

static xmlDocPtr parse(const char *text, size_t len)
{
    return xmlReadMemory(text, (int)len, "saved.xml", NULL,
                         XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
}

static xmlNodePtr next_named(xmlNodePtr node, const char *name)
{
    while (node && (node->type != XML_ELEMENT_NODE || !xmlStrEqual(node->name, X(name))))
        node = node->next;
    return node;
}

static xmlNodePtr child(xmlNodePtr parent, const char *name)
{
    return parent ? next_named(parent->children, name) : NULL;
}

/* The children of that name are what they are in the other document. */
static bool graft(xmlNodePtr to, xmlNodePtr from, const char *name)
{
    xmlNodePtr node;

    while ((node = child(to, name))) {
        xmlUnlinkNode(node);
        xmlFreeNode(node);
    }
    for (node = child(from, name); node; node = next_named(node->next, name)) {
        xmlNodePtr copy = xmlDocCopyNode(node, to->doc, 1);

        if (!copy || !xmlAddChild(to, copy))
            return false;
    }
    return true;
}

/* The devices of a kind, in order, on both sides. parts ends with NULL. */
static bool graft_devices(xmlNodePtr to, xmlNodePtr from, const char *kind,
                          const char *const *parts)
{
    xmlNodePtr a = child(to, kind), b = child(from, kind);

    for (; a && b; a = next_named(a->next, kind), b = next_named(b->next, kind)) {
        auto_xml_string xmlChar *x = xmlGetNoNsProp(a, X("type")), *y = xmlGetNoNsProp(b, X("type"));

        if (!xmlStrEqual(x, y))
            return false;
        for (size_t i = 0; parts[i]; i++) {
            if (!graft(a, b, parts[i]))
                return false;
        }
    }
    return !a && !b;
}

static bool has_target(xmlNodePtr disk, const xmlChar *dev)
{
    auto_xml_string xmlChar *value =
        child(disk, "target") ? xmlGetNoNsProp(child(disk, "target"), X("dev")) : NULL;

    return value && xmlStrEqual(value, dev);
}

/* libvirt sorts disks; their targets tell which is which. */
static bool graft_disks(xmlNodePtr to, xmlNodePtr from)
{
    size_t left = 0;

    for (xmlNodePtr d = child(from, "disk"); d; d = next_named(d->next, "disk"))
        left++;
    for (xmlNodePtr a = child(to, "disk"); a; a = next_named(a->next, "disk")) {
        auto_xml_string xmlChar *dev =
            child(a, "target") ? xmlGetNoNsProp(child(a, "target"), X("dev")) : NULL;
        xmlNodePtr b = child(from, "disk");

        while (dev && b && !has_target(b, dev))
            b = next_named(b->next, "disk");
        if (!dev || !b || !graft(a, b, "source") || !graft(a, b, "backingStore"))
            return false;
        left--;
    }
    return left == 0;
}

static bool graft_domain(xmlNodePtr to, xmlNodePtr from)
{
    static const char *const own[] = {"name", "uuid", "genid", "description", "metadata"};
    static const struct {
        const char *kind, *parts[3];
    } devices[] = {
        {"interface", {"mac", NULL}}, {"serial", {"source", NULL}}, {"console", {"source", NULL}},
        {"channel", {"source", NULL}}, {"vsock", {"cid", NULL}},
    };
    xmlNodePtr d = child(to, "devices"), e = child(from, "devices");
    xmlNodePtr screen = child(d, "graphics");

    if (!d || !e || !graft_disks(d, e))
        return false;
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (!graft(to, from, own[i]))
            return false;
    }
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        if (!graft_devices(d, e, devices[i].kind, devices[i].parts))
            return false;
    }
    if (screen)
        xmlUnsetProp(screen, X("socket")); /* says again what <listen> says */
    return graft_devices(d, e, "graphics", (const char *const[]){"listen", NULL});
}

static int unfit(struct error *err, const char *why)
{
    error_set(err, ERROR_HYPERVISOR_FAILED, "the saved memory does not fit the VM");
    error_cause(err, "%s", why);
    return -1;
}

static int clone_xml(const char *saved, size_t len, const struct virt_domain *domain,
                     const char *install_id, struct strbuf *ret, struct error *err)
{
    auto_xml_doc xmlDocPtr doc = NULL, own = NULL;
    auto_free char *text = NULL;
    xmlNodePtr root;
    xmlChar *dump = NULL;
    int size = 0;

    if (virt_domain_xml(domain, install_id, &text, err))
        return -1;
    doc = parse(saved, len);
    own = parse(text, strlen(text));
    root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!root || !own || doc->intSubset || !xmlStrEqual(root->name, X("domain")))
        return unfit(err, "its definition cannot be read");
    if (!graft_domain(root, xmlDocGetRootElement(own)))
        return unfit(err, "it has other devices");
    xmlDocDumpMemoryEnc(doc, &dump, &size, "UTF-8");
    if (!dump)
        return unfit(err, "its definition cannot be written");
    strbuf_add(ret, dump, (size_t)size);
    strbuf_addc(ret, '\0');
    xmlFree(dump);
    return 0;
}

int domxml_saved_length(const char data[DOMXML_SAVED_HEADER], size_t *ret, struct error *err)
{
    struct domxml_saved h;

    memcpy(&h, data, sizeof(h));
    if (memcmp(h.magic, "LibvirtQemudSave", sizeof(h.magic)) != 0 || h.version != 2)
        return unfit(err, "it is no complete saved image of this libvirt's");
    if (h.data_len < 2 || h.data_len > DOMXML_SAVED_MAX || h.cookie_offset > h.data_len)
        return unfit(err, "its header makes no sense");
    *ret = sizeof(h) + h.data_len;
    return 0;
}

int domxml_clone(const char *data, size_t len, const struct virt_domain *domain,
                 const char *install_id, char **ret, size_t *ret_len, struct error *err)
{
    auto_strbuf struct strbuf out = {0};
    struct domxml_saved h;
    const char *cookie;
    size_t want, xml_room;

    if (len < sizeof(h) || domxml_saved_length(data, &want, err) || len < want)
        return unfit(err, "it is cut short");
    memcpy(&h, data, sizeof(h));
    xml_room = h.cookie_offset ? h.cookie_offset : h.data_len;
    strbuf_add(&out, &h, sizeof(h));
    if (clone_xml(data + sizeof(h), strnlen(data + sizeof(h), xml_room), domain, install_id, &out,
                  err))
        return -1;
    if (h.cookie_offset) {
        h.cookie_offset = (uint32_t)(out.len - sizeof(h));
        cookie = data + sizeof(h) + xml_room;
        strbuf_add(&out, cookie, strnlen(cookie, h.data_len - xml_room));
        strbuf_addc(&out, '\0');
    }
    h.data_len = (uint32_t)(out.len - sizeof(h));
    memcpy(out.data, &h, sizeof(h));
    *ret_len = out.len;
    *ret = TAKE_PTR(out.data);
    return 0;
}
