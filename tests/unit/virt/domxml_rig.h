/*
 * What the tests of domain XML share: a definition, libvirt's schema, and questions in XPath.
 */
#ifndef DROVER_TESTS_DOMXML_RIG_H
#define DROVER_TESTS_DOMXML_RIG_H

#include "tests/support/test.h"

#include <limits.h>

#include <libxml/parser.h>
#include <libxml/relaxng.h>
#include <libxml/xpath.h>

#include "service/base/str.h"
#include "service/virt/domxml.h"
#include "service/virt/virt.h"

#define SCHEMA  "/usr/share/libvirt/schemas/domain.rng"
#define UUID    "6f1c0f52-5a0a-4b43-9d0e-3f0f5d1c2a01"
#define INSTALL "b7a7c6de-0000-4000-8000-000000000001"

static const struct virt_domain plain = {
    .uuid = UUID,
    .name = "web-1",
    .generation = 7,
    .cpus = 2,
    .memory_mib = 512,
    .kvm = true,
    .machine = "q35",
    .memory_merge = true,
};

static xmlRelaxNGPtr schema;

/* "" when valid, else what the schema says */
static inline const char *schema_says(const char *xml)
{
    xmlDocPtr doc;
    xmlRelaxNGValidCtxtPtr ctxt;
    int rc;

    if (!schema) {
        xmlRelaxNGParserCtxtPtr parser = xmlRelaxNGNewParserCtxt(SCHEMA);

        schema = xmlRelaxNGParse(parser);
        xmlRelaxNGFreeParserCtxt(parser);
        CHECK(schema);
    }
    doc = xmlReadMemory(xml, (int)strlen(xml), "x", NULL, XML_PARSE_NONET);
    if (!doc)
        return "not well-formed";
    ctxt = xmlRelaxNGNewValidCtxt(schema);
    rc = xmlRelaxNGValidateDoc(ctxt, doc);
    xmlRelaxNGFreeValidCtxt(ctxt);
    xmlFreeDoc(doc);
    return rc == 0 ? "" : "invalid";
}

static inline char *xpath(const char *xml, const char *expression)
{
    xmlDocPtr doc = xmlReadMemory(xml, (int)strlen(xml), "x", NULL, XML_PARSE_NONET);
    xmlXPathContextPtr context = xmlXPathNewContext(doc);
    xmlXPathObjectPtr object = xmlXPathEvalExpression((const xmlChar *)expression, context);
    xmlChar *text = xmlXPathCastToString(object);
    char *ret = xstrdup((const char *)text);

    xmlFree(text);
    xmlXPathFreeObject(object);
    xmlXPathFreeContext(context);
    xmlFreeDoc(doc);
    return ret;
}

#define CHECK_XPATH(xml, expression, want)                                                         \
    do {                                                                                           \
        auto_free char *got_ = xpath(xml, expression);                                             \
        CHECK_STR(got_, want);                                                                     \
    } while (0)

static inline char *build(const struct virt_domain *d)
{
    struct error err = ERROR_INIT;
    char *xml = NULL;

    CHECK_OK(virt_domain_xml(d, INSTALL, &xml, &err));
    return xml;
}

static inline void check_refused(const struct virt_domain *d, const char *pointer)
{
    struct error err = ERROR_INIT;
    char *xml = NULL;

    CHECK_INT(virt_domain_xml(d, INSTALL, &xml, &err), -1);
    CHECK(!xml);
    CHECK_STR(error_slug(err.code), "validation-failed");
    CHECK_STR(err.pointer, pointer);
}

#endif
