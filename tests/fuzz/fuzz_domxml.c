/*
 * Bytes become a VM definition, its XML must parse, hold exactly the devices that were asked for
 * and give the texts back unchanged. Byte 0 and 1 are switches; then strings that end with NUL.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/xpath.h>

#include "service/base/str.h"
#include "service/virt/virt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const char *at, *end;
};

/* The next string of the input; "" when there is none left. */
static const char *next(struct input *in)
{
    const char *s = in->at;
    const char *nul = in->at < in->end ? memchr(in->at, 0, (size_t)(in->end - in->at)) : NULL;

    if (!nul)
        return "";
    in->at = nul + 1;
    return s;
}

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check(const char *xml, const char *expression, const char *want)
{
    xmlDocPtr doc = xmlReadMemory(xml, (int)strlen(xml), "x", NULL, XML_PARSE_NONET);
    xmlXPathContextPtr context;
    xmlXPathObjectPtr object;
    xmlChar *text;

    require(doc != NULL);
    context = xmlXPathNewContext(doc);
    object = xmlXPathEvalExpression((const xmlChar *)expression, context);
    text = xmlXPathCastToString(object);
    require(strcmp((const char *)text, want) == 0);
    xmlFree(text);
    xmlXPathFreeObject(object);
    xmlXPathFreeContext(context);
    xmlFreeDoc(doc);
}

static void check_count(const char *xml, const char *expression, size_t want)
{
    auto_free char *text = xasprintf("%zu", want);

    check(xml, expression, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.at = (const char *)data + 2, .end = (const char *)data + size};
    struct virt_backing backing[3];
    struct virt_disk disks[3];
    struct virt_nic nics[3];
    const char *texts[4];
    struct virt_domain d = {0};
    struct error err = ERROR_INIT;
    auto_free char *xml = NULL;
    unsigned bits;

    if (size < 3 || size > 16384)
        return 0;
    bits = data[0] | (unsigned)data[1] << 8;
    d.uuid = "6f1c0f52-5a0a-4b43-9d0e-3f0f5d1c2a01";
    d.machine = "q35";
    d.cpus = 1 + (bits & 1);
    d.memory_mib = 64;
    d.kvm = bits & 2;
    d.uefi = bits & 4;
    d.guest_agent = bits & 8;
    d.memory_merge = bits & 16;
    d.vsock_cid = bits & 32 ? bits : 0;
    d.name = next(&in);
    d.description = next(&in);
    if (bits & 64) {
        d.kernel = next(&in);
        d.initrd = next(&in);
        d.cmdline = next(&in);
    }
    if (bits & 128)
        d.vnc_socket = next(&in);
    for (size_t i = 0; i < (bits >> 8) % 4; i++) {
        backing[i] = (struct virt_backing){.path = next(&in), .format = (bits >> i) & 1};
        disks[i] = (struct virt_disk){.path = next(&in),
                                      .format = (bits >> i) & 1,
                                      .cdrom = i == 2,
                                      .serial = bits & 1 ? next(&in) : NULL,
                                      .backing = backing,
                                      .backing_count = i};
        d.disk_count++;
    }
    for (size_t i = 0; i < (bits >> 10) % 4; i++) {
        nics[i] = (struct virt_nic){.mode = i, .mac = next(&in), .source = next(&in)};
        d.nic_count++;
    }
    for (size_t i = 0; i < (bits >> 12) % 4; i++)
        texts[i] = next(&in);
    d.disks = disks;
    d.nics = nics;
    if (bits & 1 << 14) {
        d.channels = texts;
        d.channel_count = (bits >> 12) % 4;
    } else {
        d.smbios_oem = texts;
        d.smbios_oem_count = (bits >> 12) % 4;
    }
    if (virt_domain_xml(&d, "install", &xml, &err)) {
        require(err.code == ERROR_VALIDATION_FAILED); /* never "outside the allow-list" */
        return 0;
    }
    check(xml, "string(/domain/name)", d.name);
    check(xml, "string(/domain/description)", d.description);
    check(xml, "string(/domain/os/cmdline)", d.cmdline ? d.cmdline : "");
    check_count(xml, "count(/domain/devices/disk)", d.disk_count);
    check_count(xml, "count(//disk//backingStore[not(*)])", d.disk_count);
    check_count(xml, "count(/domain/devices/interface)", d.nic_count);
    check_count(xml, "count(/domain/devices/channel)", d.channel_count + d.guest_agent);
    check_count(xml, "count(/domain/sysinfo/oemStrings/entry)", d.smbios_oem_count);
    check_count(xml, "count(/domain/metadata/*)", 1);
    return 0;
}
