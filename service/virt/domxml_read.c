/*
 * Reads the three documents of libvirt's that Drover looks into: our own metadata element, the
 * capabilities and the domain capabilities. Foreign domains' XML is never parsed.
 */
#include "service/virt/domxml.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/tree.h>

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

static xmlDocPtr parse(const char *text)
{
    size_t len = strlen(text);

    if (len > INT_MAX)
        return NULL;
    return xmlReadMemory(text, (int)len, "libvirt.xml", NULL,
                         XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
}

static bool is(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && xmlStrEqual(node->name, X(name));
}

static const xmlNode *child(const xmlNode *node, const char *name)
{
    if (!node)
        return NULL;
    for (const xmlNode *c = node->children; c; c = c->next) {
        if (is(c, name))
            return c;
    }
    return NULL;
}

static bool attribute(const xmlNode *node, const char *name, char *ret, size_t size)
{
    auto_xml_string xmlChar *value = xmlGetNoNsProp(node, X(name));

    if (!value)
        return false;
    str_copy_utf8(ret, size, (const char *)value);
    return true;
}

static bool text_of(const xmlNode *node, char *ret, size_t size)
{
    auto_xml_string xmlChar *value = node ? xmlNodeGetContent(node) : NULL;

    if (!value)
        return false;
    str_copy_utf8(ret, size, (const char *)value);
    return true;
}

bool domxml_read_mark(const char *text, struct domxml_mark *ret)
{
    auto_xml_doc xmlDocPtr doc = parse(text);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    struct domxml_mark mark = {0};
    char generation[24];

    /* libvirt may hand the element out without its declaration: it was asked for by namespace. */
    if (!root || !is(root, "vm") || (root->ns && !xmlStrEqual(root->ns->href, X(DOMXML_NAMESPACE))))
        return false;
    if (!attribute(root, "install", mark.install, sizeof(mark.install)) ||
        !attribute(root, "id", mark.id, sizeof(mark.id)) ||
        !attribute(root, "generation", generation, sizeof(generation)) ||
        !str_to_u64(generation, UINT64_MAX, &mark.generation))
        return false;
    *ret = mark;
    return true;
}

static const xmlNode *guest_for(const xmlNode *root, const char *arch)
{
    const xmlNode *first = NULL;
    char name[32], os[32];

    for (const xmlNode *g = root->children; g; g = g->next) {
        const xmlNode *a = is(g, "guest") ? child(g, "arch") : NULL;

        if (!a || !text_of(child(g, "os_type"), os, sizeof(os)) || !str_eq(os, "hvm"))
            continue;
        if (!first)
            first = a;
        if (attribute(a, "name", name, sizeof(name)) && str_eq(name, arch))
            return a;
    }
    return first;
}

static void add_machine(struct virt_host *host, const char *name)
{
    if (host->machine_count >= sizeof(host->machines) / sizeof(host->machines[0]))
        return;
    for (unsigned i = 0; i < host->machine_count; i++) {
        if (str_eq(host->machines[i], name))
            return;
    }
    str_copy_utf8(host->machines[host->machine_count++], sizeof(host->machines[0]), name);
}

/* Aliases come first, so that "q35" survives when the list does not fit. */
static void read_machines(const xmlNode *arch, bool aliases, struct virt_host *ret)
{
    char name[64], canonical[64];

    for (const xmlNode *c = arch->children; c; c = c->next) {
        if (!is(c, "machine") || !text_of(c, name, sizeof(name)))
            continue;
        if (attribute(c, "canonical", canonical, sizeof(canonical)) == aliases)
            add_machine(ret, name);
    }
}

bool domxml_read_capabilities(const char *text, struct virt_host *ret)
{
    auto_xml_doc xmlDocPtr doc = parse(text);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    const xmlNode *arch;
    char type[32];

    if (!root || !is(root, "capabilities"))
        return false;
    if (!text_of(child(child(child(root, "host"), "cpu"), "arch"), ret->arch, sizeof(ret->arch)))
        ret->arch[0] = '\0';
    arch = guest_for(root, ret->arch);
    if (!arch)
        return true;
    for (const xmlNode *c = arch->children; c; c = c->next) {
        if (is(c, "domain") && attribute(c, "type", type, sizeof(type)) && str_eq(type, "kvm"))
            ret->kvm = true;
    }
    read_machines(arch, true, ret);
    read_machines(arch, false, ret);
    return true;
}

bool domxml_read_vsock(const char *text)
{
    auto_xml_doc xmlDocPtr doc = parse(text);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    const xmlNode *vsock = child(child(root, "devices"), "vsock");
    char supported[8];

    return vsock && attribute(vsock, "supported", supported, sizeof(supported)) &&
           str_eq(supported, "yes");
}

uint32_t domxml_read_cid(const char *text)
{
    auto_xml_doc xmlDocPtr doc = parse(text);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    const xmlNode *cid;
    char address[16];
    uint64_t value;

    if (!root || !is(root, "domain"))
        return 0;
    cid = child(child(child(root, "devices"), "vsock"), "cid");
    if (!cid || !attribute(cid, "address", address, sizeof(address)) ||
        !str_to_u64(address, UINT32_MAX - 1, &value) || value < 3)
        return 0;
    return (uint32_t)value;
}
