/* The edges of a definition: the last of each number and text that is allowed, and the first that is not. */
#include "tests/unit/virt/domxml_rig.h"

#define LISTED 16 /* of disks, files below one, networks, channels and SMBIOS strings */

static void check_taken(const struct virt_domain *d)
{
    auto_free char *xml = build(d);

    CHECK_STR(schema_says(xml), "");
}

/* As long as that, and usable as a path, a name and a text. */
static const char *text_of_length(size_t len)
{
    static char text[70000];

    memset(text, 'a', len);
    text[len] = '\0';
    return text;
}

static const char *path_of_length(size_t len)
{
    char *text = (char *)(uintptr_t)text_of_length(len);

    text[0] = '/';
    return text;
}

/* MEMBER takes IN and is refused at POINTER with OUT. */
#define CHECK_EDGE(d, member, in, out, pointer)                                                                        \
    do {                                                                                                               \
        (d).member = (in);                                                                                             \
        check_taken(&(d));                                                                                             \
        (d).member = (out);                                                                                            \
        check_refused(&(d), (pointer));                                                                                \
        (d).member = (in);                                                                                             \
    } while (0)

TEST(numbers)
{
    struct virt_domain d = plain;

    CHECK_EDGE(d, cpus, 4096, 4097, "/cpus");
    CHECK_EDGE(d, cpus, 1, 0, "/cpus");
    CHECK_EDGE(d, memory_mib, UINT64_C(1) << 30, (UINT64_C(1) << 30) + 1, "/memory_mib");
    CHECK_EDGE(d, memory_mib, 1, 0, "/memory_mib");
    CHECK_EDGE(d, vsock_cid, UINT32_MAX - 1, UINT32_MAX, "/vsock");
    CHECK_EDGE(d, vsock_cid, 3, 2, "/vsock");
    CHECK_EDGE(d, extra_serials, VIRT_SERIALS_MAX, VIRT_SERIALS_MAX + 1, "/serial_ports");
}

TEST(texts)
{
    struct virt_domain d = plain;

    CHECK_EDGE(d, name, text_of_length(255), text_of_length(256), "/name");
    d = plain;
    CHECK_EDGE(d, machine, text_of_length(63), text_of_length(64), "/machine");
    d = plain;
    CHECK_EDGE(d, description, text_of_length(65536), text_of_length(65537), "/description");
    d = plain;
    d.kernel = "/images/vmlinuz";
    CHECK_EDGE(d, cmdline, text_of_length(4095), text_of_length(4096), "/cmdline");
    CHECK_EDGE(d, cmdline, "quiet", "two\nlines", "/cmdline");
}

TEST(a_kernel_and_what_comes_with_it)
{
    struct virt_domain d = plain;

    CHECK_EDGE(d, kernel, path_of_length(4095), path_of_length(4096), "/image");
    CHECK_EDGE(d, kernel, "/images/vmlinuz", "vmlinuz", "/image");
    CHECK_EDGE(d, initrd, "/images/initrd", "initrd", "/image");
    d.kernel = NULL;
    check_refused(&d, "/cmdline");
    d.initrd = NULL;
    d.cmdline = "quiet";
    check_refused(&d, "/cmdline");
    d.cmdline = "";
    check_taken(&d);
}

TEST(sockets)
{
    const char *one[VIRT_SERIALS_MAX] = {NULL}, *channel[] = {"org.example.0"}, *listens[] = {NULL};
    struct virt_domain d = plain;

    CHECK_EDGE(d, console_socket, path_of_length(VIRT_SOCKET_MAX), path_of_length(VIRT_SOCKET_MAX + 1), "/serial_ports");
    CHECK_EDGE(d, console_socket, NULL, "console", "/serial_ports");
    d.guest_agent = true;
    CHECK_EDGE(d, agent_socket, "/run/agent", "agent", "/guest_agent");
    CHECK_EDGE(d, vnc_socket, "", "vnc", "/display");
    CHECK_EDGE(d, vnc_socket, "/run/vnc", path_of_length(VIRT_SOCKET_MAX + 1), "/display");
    d.extra_serials = 2;
    d.serial_sockets = one;
    check_taken(&d);
    one[1] = "serial";
    check_refused(&d, "/serial_ports");
    one[1] = "/run/serial";
    one[2] = "not looked at";
    check_taken(&d);
    d.channels = channel;
    d.channel_count = 1;
    d.channel_sockets = listens;
    check_taken(&d);
    listens[0] = "channel";
    check_refused(&d, "/channels");
}

TEST(lists)
{
    const struct virt_disk disk = {.path = "/disks/a", .format = VIRT_DISK_RAW};
    const struct virt_nic nic = {.mode = VIRT_NIC_USER, .mac = "02:00:00:00:00:01"};
    struct virt_disk disks[LISTED + 1];
    struct virt_nic nics[LISTED + 1];
    char names[LISTED + 1][8];
    const char *words[LISTED + 1];
    struct virt_domain d = plain;

    for (int i = 0; i <= LISTED; i++) {
        disks[i] = disk;
        nics[i] = nic;
        snprintf(names[i], sizeof(names[i]), "port-%d", i);
        words[i] = names[i];
    }
    d.disks = disks;
    d.nics = nics;
    d.channels = d.smbios_oem = words;
    CHECK_EDGE(d, disk_count, LISTED, LISTED + 1, "");
    CHECK_EDGE(d, nic_count, LISTED, LISTED + 1, "");
    CHECK_EDGE(d, channel_count, LISTED, LISTED + 1, "");
    CHECK_EDGE(d, smbios_oem_count, LISTED, LISTED + 1, "");
}

TEST(members_of_lists)
{
    struct virt_backing below[LISTED + 1];
    struct virt_disk disk = {.path = "/disks/a", .format = VIRT_DISK_QCOW2, .backing = below};
    struct virt_nic nic = {.mode = VIRT_NIC_BRIDGE, .mac = "02:00:00:00:00:01"};
    struct virt_domain d = plain;

    for (int i = 0; i <= LISTED; i++)
        below[i] = (struct virt_backing){.path = "/images/b", .format = VIRT_DISK_RAW};
    d.disks = &disk;
    d.disk_count = 1;
    disk.backing_count = LISTED;
    check_taken(&d);
    disk.backing_count = LISTED + 1;
    check_refused(&d, "/disks");
    disk.backing_count = LISTED;
    below[LISTED - 1].path = "b";
    check_refused(&d, "/disks");
    disk.backing_count = 0;
    disk.serial = text_of_length(36);
    check_taken(&d);
    disk.serial = text_of_length(37);
    check_refused(&d, "/disks");
    d.disk_count = 0;
    d.nics = &nic;
    d.nic_count = 1;
    nic.source = text_of_length(15);
    check_taken(&d);
    nic.source = text_of_length(16);
    check_refused(&d, "/networks");
    nic.mode = VIRT_NIC_NETWORK;
    nic.source = text_of_length(255);
    check_taken(&d);
    nic.source = text_of_length(256);
    check_refused(&d, "/networks");
}

TEST(a_copy_of_a_disk)
{
    struct error err = ERROR_INIT;
    auto_free char *xml = NULL;
    char *none = NULL;

    CHECK_OK(domxml_backup("vda", "/images/a & \"b\"", VIRT_DISK_RAW, &xml, &err));
    CHECK_XPATH(xml, "string(/domainbackup/@mode)", "push");
    CHECK_XPATH(xml, "string(count(/domainbackup/disks/disk))", "1");
    CHECK_XPATH(xml, "string(/domainbackup/disks/disk/@name)", "vda");
    CHECK_XPATH(xml, "string(/domainbackup/disks/disk/@backup)", "yes");
    CHECK_XPATH(xml, "string(/domainbackup/disks/disk/@type)", "file");
    CHECK_XPATH(xml, "string(/domainbackup/disks/disk/driver/@type)", "raw");
    CHECK_XPATH(xml, "string(/domainbackup/disks/disk/target/@file)", "/images/a & \"b\"");
    CHECK_INT(domxml_backup("vda", "images/a", VIRT_DISK_RAW, &none, &err), -1);
    CHECK_INT(domxml_backup("vda", "/images/\xff", VIRT_DISK_RAW, &none, &err), -1);
    CHECK(!none);
}

TEST(what_is_no_definition_of_ours_is_not_read)
{
    static const char *const texts[] = {
        "", "<", "<domain/>", "<domain><metadata/></domain>",
        "<network><metadata><drover:vm xmlns:drover='" DOMXML_NAMESPACE "' install='a' id='b' generation='1'/></metadata></network>",
        "<domain><metadata><drover:vm xmlns:drover='" DOMXML_NAMESPACE "' install='a' id='b'/></metadata></domain>",
        "<domain><metadata><drover:vm xmlns:drover='" DOMXML_NAMESPACE "' install='a' generation='1'/></metadata></domain>",
        "<domain><metadata><vm install='a' id='b' generation='1'/></metadata></domain>",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct virt_found f = {0};

        CHECK(!domxml_read_found(texts[i], &f));
        domxml_found_done(&f);
    }
}

TEST_MAIN();
