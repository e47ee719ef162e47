/* The head of a saved guest's memory, given to another guest. */
#include "tests/unit/virt/domxml_rig.h"

static char *saved_head(const char *xml, const char *cookie, size_t *ret_len)
{
    struct domxml_saved h = {.version = 2, .was_running = 1};
    auto_strbuf struct strbuf b = {0};
    static const char padding[100];

    memcpy(h.magic, "LibvirtQemudSave", sizeof(h.magic));
    strbuf_add(&b, &h, sizeof(h));
    strbuf_add(&b, xml, strlen(xml) + 1);
    if (cookie) {
        h.cookie_offset = (uint32_t)(b.len - sizeof(h));
        strbuf_add(&b, cookie, strlen(cookie) + 1);
    }
    strbuf_add(&b, padding, sizeof(padding));
    h.data_len = (uint32_t)(b.len - sizeof(h));
    memcpy(b.data, &h, sizeof(h));
    *ret_len = b.len;
    return TAKE_PTR(b.data);
}

static const struct virt_backing clone_chain[] = {{"/s/vms/template/root.qcow2", VIRT_DISK_QCOW2},
                                                  {"/s/images/base", VIRT_DISK_RAW}};
static const struct virt_disk clone_disk = {.path = "/s/vms/clone/root.qcow2",
                                            .format = VIRT_DISK_QCOW2,
                                            .backing = clone_chain,
                                            .backing_count = 2};
static const struct virt_disk template_disk = {.path = "/s/vms/template/root.qcow2",
                                               .format = VIRT_DISK_QCOW2,
                                               .backing = clone_chain + 1,
                                               .backing_count = 1};

TEST(saved_memory_is_given_to_another)
{
    struct virt_domain from = plain, to = plain;
    auto_free char *xml = NULL, *head = NULL, *got = NULL;
    struct domxml_saved h;
    size_t len, got_len;
    struct error err;

    from.disks = &template_disk;
    from.disk_count = 1;
    from.console_socket = "/s/vms/template/console.sock";
    from.vsock_cid = 1000;
    to.uuid = "11111111-2222-4333-8444-555555555555";
    to.name = "clone";
    to.disks = &clone_disk;
    to.disk_count = 1;
    to.console_socket = "/s/vms/clone/console.sock";
    to.vsock_cid = 1001;
    CHECK_OK(virt_domain_xml(&from, INSTALL, &xml, &err));
    head = saved_head(xml, "<cookie/>", &len);
    CHECK_OK(domxml_clone(head, len, &to, INSTALL, &got, &got_len, &err));
    memcpy(&h, got, sizeof(h));
    CHECK_INT(h.data_len, got_len - sizeof(h));
    CHECK_INT(h.was_running, 1);
    CHECK_STR(got + sizeof(h) + h.cookie_offset, "<cookie/>");
    CHECK_XPATH(got + sizeof(h), "/domain/uuid", to.uuid);
    CHECK_XPATH(got + sizeof(h), "/domain/name", "clone");
    CHECK_XPATH(got + sizeof(h), "/domain/metadata/*/@id", to.uuid);
    CHECK_XPATH(got + sizeof(h), "/domain/devices/disk/source/@file", clone_disk.path);
    CHECK_XPATH(got + sizeof(h), "/domain/devices/disk/backingStore/backingStore/source/@file",
                "/s/images/base");
    CHECK_XPATH(got + sizeof(h), "count(/domain/devices/disk/source)", "1");
    CHECK_XPATH(got + sizeof(h), "/domain/devices/serial/source/@path", to.console_socket);
    CHECK_XPATH(got + sizeof(h), "/domain/devices/vsock/cid/@address", "1001");
}

TEST(saved_memory_that_does_not_fit_is_refused)
{
    struct virt_domain to = plain;
    auto_free char *xml = NULL, *head = NULL, *got = NULL;
    size_t len, got_len;
    struct error err;

    CHECK_OK(virt_domain_xml(&plain, INSTALL, &xml, &err));
    head = saved_head(xml, NULL, &len);
    for (size_t cut = 0; cut < len; cut += 7) {
        auto_free char *copy = xcalloc(1, cut + 1);

        memcpy(copy, head, cut);
        CHECK(domxml_clone(copy, cut, &to, INSTALL, &got, &got_len, &err) == -1);
        CHECK_INT(err.code, ERROR_HYPERVISOR_FAILED);
    }
    to.disks = &clone_disk;
    to.disk_count = 1;
    CHECK(domxml_clone(head, len, &to, INSTALL, &got, &got_len, &err) == -1);
    head[3] = 'X';
    CHECK(domxml_clone(head, len, &plain, INSTALL, &got, &got_len, &err) == -1);
}

__attribute__((destructor)) static void free_schema(void)
{
    if (schema)
        xmlRelaxNGFree(schema);
    xmlCleanupParser();
}

TEST_MAIN();
