/* libvirt's documents are parsed without a crash and without reading past the text. */
#include <stdint.h>
#include <stdlib.h>

#include "service/base/str.h"
#include "service/virt/domxml.h"
#include "service/virt/virt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free struct virt_host *host = xcalloc(1, sizeof(*host));
    auto_free char *text = NULL;
    struct virt_found *found = xcalloc(1, sizeof(*found));
    struct domxml_mark mark;

    if (size > 65536) {
        free(found);
        return 0;
    }
    text = xstrndup((const char *)data, size);
    (void)domxml_read_mark(text, &mark);
    (void)domxml_read_capabilities(text, host);
    (void)domxml_read_vsock(text);
    (void)domxml_read_cid(text);
    (void)domxml_read_found(text, found);
    virt_found_free(found, 1);
    return 0;
}
