/* What libvirt is told of a copy to make of a running domain's disk. */
#include "service/virt/domxml.h"

#include <stdlib.h>
#include <string.h>

#include <libxml/tree.h>

#include "service/base/error.h"
#include "service/base/str.h"
#include "service/virt/virt.h"

#define X(s) ((const xmlChar *)(s))

DEFINE_CLEANUP(xml_doc, xmlDocPtr, xmlFreeDoc);
#define auto_xml_doc auto_scope(cleanup_xml_doc)

static xmlNodePtr child(xmlNodePtr parent, const char *name, const char *key, const char *value)
{
    xmlNodePtr node = xmlNewChild(parent, NULL, X(name), NULL);

    if (!node || !xmlNewProp(node, X(key), X(value)))
        out_of_memory();
    return node;
}

int domxml_backup(const char *target, const char *path, enum virt_disk_format format, char **ret, struct error *err)
{
    auto_xml_doc xmlDocPtr doc = NULL;
    xmlNodePtr root, disks, disk;
    xmlChar *dump = NULL;
    int len = 0;

    if (path[0] != '/' || !str_is_utf8(path, strlen(path)))
        return error_set(err, ERROR_CONFIG, "the state directory must be an absolute path in UTF-8");
    doc = xmlNewDoc(X("1.0"));
    root = doc ? xmlNewNode(NULL, X("domainbackup")) : NULL;
    if (!root || !xmlNewProp(root, X("mode"), X("push")))
        out_of_memory();
    xmlDocSetRootElement(doc, root);
    disks = xmlNewChild(root, NULL, X("disks"), NULL);
    if (!disks)
        out_of_memory();
    /* Disks that are not named have no part in it. */
    disk = child(disks, "disk", "name", target);
    if (!xmlNewProp(disk, X("backup"), X("yes")) || !xmlNewProp(disk, X("type"), X("file")))
        out_of_memory();
    child(disk, "driver", "type", format == VIRT_DISK_RAW ? "raw" : "qcow2");
    child(disk, "target", "file", path);
    xmlDocDumpMemoryEnc(doc, &dump, &len, "UTF-8");
    if (!dump)
        out_of_memory();
    *ret = xstrndup((const char *)dump, (size_t)len);
    xmlFree(dump);
    return 0;
}
