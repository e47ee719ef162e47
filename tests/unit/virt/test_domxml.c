/*
 * The domain XML: valid against libvirt's own schema in every shape, hostile strings stay strings
 * or are refused, and what goes in comes out again.
 */
#include "tests/unit/virt/domxml_rig.h"

static const struct virt_backing chain[] = {{"/images/base.qcow2", VIRT_DISK_QCOW2},
                                            {"/images/root.raw", VIRT_DISK_RAW}};
static const struct virt_disk disks[] = {
    {.path = "/disks/a.qcow2",
     .format = VIRT_DISK_QCOW2,
     .backing = chain,
     .backing_count = 2,
     .serial = "root-0"},
    {.path = "/disks/b.raw", .format = VIRT_DISK_RAW, .read_only = true},
    {.path = "/disks/c.iso", .format = VIRT_DISK_RAW, .cdrom = true},
};
static const struct virt_nic nics[] = {
    {.mode = VIRT_NIC_USER, .mac = "02:00:00:00:00:01"},
    {.mode = VIRT_NIC_BRIDGE, .source = "br0", .mac = "02:00:00:00:00:02"},
    {.mode = VIRT_NIC_NETWORK, .source = "default", .mac = "02:00:00:00:00:03"},
};
static const char *const channels[] = {"org.example.0", "org.example.1"};
static const char *const oem[] = {"io.systemd.credential:a=b", "x <&> \"y\""};

static struct virt_domain everything(void)
{
    struct virt_domain d = plain;

    d.description = "all of it";
    d.uefi = true;
    d.disks = disks;
    d.disk_count = 3;
    d.nics = nics;
    d.nic_count = 3;
    d.channels = channels;
    d.channel_count = 2;
    d.guest_agent = true;
    d.vsock_cid = 1000;
    d.vnc_socket = "/run/x/vnc.sock";
    d.memory_merge = false;
    d.smbios_oem = oem;
    d.smbios_oem_count = 2;
    return d;
}

TEST(every_combination_is_valid_against_libvirts_schema)
{
    /* One bit a feature: all 1,024 shapes. */
    for (unsigned bits = 0; bits < 1024; bits++) {
        struct virt_domain d = everything();
        auto_free char *xml = NULL;

        if (!(bits & 1))
            d.kvm = false;
        if (!(bits & 2))
            d.uefi = false;
        if (!(bits & 4))
            d.disk_count = bits % 3;
        if (!(bits & 8))
            d.nic_count = bits % 3;
        if (!(bits & 16))
            d.channel_count = 0;
        if (!(bits & 32))
            d.guest_agent = false;
        if (!(bits & 64))
            d.vsock_cid = 0;
        d.extra_serials = bits % 4;
        if (!(bits & 128))
            d.vnc_socket = bits & 64 ? NULL : "";
        if (!(bits & 256))
            d.smbios_oem_count = 0;
        if (bits & 512) {
            d.kernel = "/images/vmlinuz";
            d.initrd = "/images/initrd";
            d.cmdline = "console=ttyS0 \"quoted\" <&>";
            d.uefi = false;
            d.machine = "pc";
        }
        xml = build(&d);
        if (*schema_says(xml)) {
            printf("# shape %u:\n# %s\n", bits, xml);
            CHECK(false);
        }
    }
}

TEST(values_come_out_as_they_went_in)
{
    struct virt_domain d = everything();
    auto_free char *xml = build(&d);

    CHECK_XPATH(xml, "string(/domain/@type)", "kvm");
    CHECK_XPATH(xml, "string(/domain/name)", "web-1");
    CHECK_XPATH(xml, "string(/domain/uuid)", UUID);
    CHECK_XPATH(xml, "string(/domain/memory[@unit='MiB'])", "512");
    CHECK_XPATH(xml, "string(/domain/vcpu)", "2");
    CHECK_XPATH(xml, "string(/domain/os/@firmware)", "efi");
    CHECK_XPATH(xml, "string(/domain/os/type/@machine)", "q35");
    CHECK_XPATH(xml, "count(/domain/memoryBacking/nosharepages)", "1");
    CHECK_XPATH(xml, "string(/domain/sysinfo/oemStrings/entry[2])", "x <&> \"y\"");
    CHECK_XPATH(xml, "string(//interface[1]/@type)", "user");
    CHECK_XPATH(xml, "string(//interface[2]/source/@bridge)", "br0");
    CHECK_XPATH(xml, "string(//interface[3]/source/@network)", "default");
    CHECK_XPATH(xml, "string(//channel[3]/target/@name)", "org.qemu.guest_agent.0");
    CHECK_XPATH(xml, "string(//vsock/cid/@address)", "1000");
    CHECK_XPATH(xml, "string(//graphics/listen/@socket)", "/run/x/vnc.sock");
    CHECK_XPATH(xml, "string(//graphics/@sharePolicy)", "ignore");
    CHECK_XPATH(xml, "count(//graphics/@port)", "0");
    CHECK_XPATH(xml, "string(//serial/@type)", "pty");
    CHECK_XPATH(xml, "count(//channel/source/@path)", "0");
}

TEST(sockets_are_where_the_caller_wants_them)
{
    static const char *const sockets[] = {"/vms/x/1.sock", NULL}, *const serials[] = {"/vms/x/s1.sock", NULL};
    static char long_path[200];
    struct virt_domain d = everything();
    auto_free char *xml = NULL;

    d.console_socket = "/vms/x/<console>.sock";
    d.channel_sockets = sockets;
    d.extra_serials = 2;
    d.serial_sockets = serials;
    xml = build(&d);
    CHECK_XPATH(xml, "string(//serial/@type)", "unix");
    CHECK_XPATH(xml, "string(//serial/source/@path)", "/vms/x/<console>.sock");
    CHECK_XPATH(xml, "string(//serial/source/@mode)", "bind");
    CHECK_XPATH(xml, "string(//console/source/@path)", "/vms/x/<console>.sock");
    CHECK_XPATH(xml, "string(//channel[1]/source/@path)", "/vms/x/1.sock");
    CHECK_XPATH(xml, "count(//channel[2]/source/@path)", "0");
    CHECK_XPATH(xml, "count(//channel[3]/source/@path)", "0");
    CHECK_XPATH(xml, "string(//serial[2]/@type)", "unix");
    CHECK_XPATH(xml, "string(//serial[2]/source/@path)", "/vms/x/s1.sock");
    CHECK_XPATH(xml, "string(//serial[2]/target/@port)", "1");
    CHECK_XPATH(xml, "string(//serial[3]/@type)", "pty");
    CHECK_XPATH(xml, "string(//serial[3]/target/@port)", "2");
    memset(long_path, 'a', sizeof(long_path) - 1);
    long_path[0] = '/';
    d.console_socket = long_path;
    check_refused(&d, "/serial_ports");
    long_path[VIRT_SOCKET_MAX + 1] = '\0';
    check_refused(&d, "/serial_ports");
    long_path[VIRT_SOCKET_MAX] = '\0'; /* unix(7): 108 with the NUL */
    free(TAKE_PTR(xml));
    xml = build(&d);
    memset(long_path + 1, 'a', sizeof(long_path) - 2);
    d.console_socket = "relative.sock";
    check_refused(&d, "/serial_ports");
    d.console_socket = NULL;
    d.extra_serials = 4;
    check_refused(&d, "/serial_ports");
    d.extra_serials = 0;
    d.vnc_socket = long_path;
    check_refused(&d, "/display");
}

TEST(a_backing_chain_is_explicit_to_its_end)
{
    struct virt_domain d = everything();
    auto_free char *xml = build(&d);

    CHECK_XPATH(xml, "string(//disk[1]/driver/@type)", "qcow2");
    CHECK_XPATH(xml, "string(//disk[1]/backingStore/source/@file)", "/images/base.qcow2");
    CHECK_XPATH(xml, "string(//disk[1]/backingStore/format/@type)", "qcow2");
    CHECK_XPATH(xml, "string(//disk[1]/backingStore/backingStore/source/@file)",
                "/images/root.raw");
    CHECK_XPATH(xml, "count(//disk[1]/backingStore/backingStore/backingStore)", "1");
    CHECK_XPATH(xml, "count(//disk[1]/backingStore/backingStore/backingStore/*)", "0");
    /* Every disk has a type and an end. */
    CHECK_XPATH(xml, "count(//disk)", "3");
    CHECK_XPATH(xml, "count(//disk/driver[@type])", "3");
    CHECK_XPATH(xml, "count(//disk//backingStore[not(*)])", "3");
    CHECK_XPATH(xml, "string(//disk[@device='cdrom']/target/@bus)", "sata");
    CHECK_XPATH(xml, "count(//disk/readonly)", "2");
    /* What the guest frees is given back to the host, where the guest may write. */
    CHECK_XPATH(xml, "count(//disk/driver/@discard)", "1");
    CHECK_XPATH(xml, "string(//disk[1]/driver/@discard)", "unmap");
}

/* Not inlined: gcc 12 then takes what points into xml to outlive the jump out of a failed check. */
__attribute__((noinline)) static char *element_of(const char *xml, const char *start)
{
    const char *at = strstr(xml, start);

    return at ? xstrndup(at, strcspn(at, ">") + 1) : NULL;
}

TEST(a_definition_is_read_back_whole)
{
    struct virt_domain d = everything();
    struct virt_found f = {0};
    auto_free char *xml = NULL;

    d.note = "{\"v\":1,\"a\":\"<&]]>\\u00e4\"}";
    d.vsock_cid = 1234;
    xml = build(&d);
    CHECK_STR(schema_says(xml), "");
    CHECK(domxml_read_found(xml, &f));
    CHECK_STR(f.install, INSTALL);
    CHECK_STR(f.uuid, UUID);
    CHECK_INT((int)f.generation, 7);
    CHECK_STR(f.note, d.note);
    CHECK_INT((int)f.cpus, (int)d.cpus);
    CHECK_INT((int)f.memory_mib, (int)d.memory_mib);
    CHECK_STR(f.machine, d.machine);
    CHECK_INT((int)f.disk_count, (int)d.disk_count);
    CHECK_STR(f.disks[0].path, "/disks/a.qcow2");
    CHECK_STR(f.disks[0].backing, "/images/base.qcow2");
    CHECK_STR(f.disks[0].base, "/images/root.raw");
    CHECK_INT((int)f.disks[0].base_format, VIRT_DISK_RAW);
    CHECK(!f.disks[1].backing && f.disks[1].read_only && f.disks[2].cdrom);
    CHECK_INT((int)f.nic_count, (int)d.nic_count);
    CHECK_STR(f.nics[1].source, "br0");
    CHECK_STR(f.nics[2].mac, "02:00:00:00:00:03");
    CHECK_INT((int)f.channel_count, (int)d.channel_count);
    CHECK_INT((int)f.serial_ports, (int)d.extra_serials + 1);
    CHECK(f.guest_agent == d.guest_agent && f.memory_merge == d.memory_merge && f.display == (d.vnc_socket != NULL));
    CHECK_INT((int)f.vsock_cid, 1234);
    domxml_found_done(&f);
}

TEST(a_note_is_plain_ascii_of_bounded_length)
{
    struct virt_domain d = plain;
    auto_free char *longest = xcalloc(VIRT_NOTE_MAX + 2, 1);

    d.note = "line\nbreak";
    check_refused(&d, "/note");
    d.note = "\xc3\xa4";
    check_refused(&d, "/note");
    memset(longest, 'x', VIRT_NOTE_MAX + 1);
    d.note = longest;
    check_refused(&d, "/note");
    longest[VIRT_NOTE_MAX] = '\0';
    {
        auto_free char *xml = build(&d);

        CHECK_STR(schema_says(xml), "");
    }
}

TEST(the_mark_is_read_back)
{
    struct domxml_mark mark;
    auto_free char *xml = build(&plain);
    auto_free char *element = element_of(xml, "<drover:vm");

    CHECK(element);
    CHECK(domxml_read_mark(element, &mark));
    CHECK_STR(mark.install, INSTALL);
    CHECK_STR(mark.id, UUID);
    CHECK_INT(mark.generation, 7);
}

TEST(a_foreign_or_broken_mark_is_no_mark)
{
    static const char *const texts[] = {
        "",
        "<",
        "<vm/>",
        "<vm install='a' id='b'/>",
        "<vm install='a' id='b' generation='x'/>",
        "<vm install='a' id='b' generation='-1'/>",
        "<other install='a' id='b' generation='1'/>",
        "<d:vm xmlns:d='https://example.org/' install='a' id='b' generation='1'/>",
        "<!DOCTYPE vm [<!ENTITY e 'x'>]><vm install='&e;' id='b'/>",
    };
    struct domxml_mark mark;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        CHECK(!domxml_read_mark(texts[i], &mark));
}

TEST(hostile_descriptions_stay_text)
{
    static const char *const texts[] = {
        "</description><devices><disk type='file'><source file='/etc/shadow'/></disk></devices>",
        "]]>",
        "<![CDATA[x]]>",
        "&lt;&#60;&amp;&undefined;",
        "<!-- -->",
        "<?pi?>",
        "\"'\"'",
        "line\nline\ttab\r\nend",
        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x84",
        "\xe2\x80\xae",
        "%s%n{{}}",
        "<!DOCTYPE x SYSTEM 'file:///etc/passwd'>",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct virt_domain d = plain;
        auto_free char *xml = NULL;

        d.description = texts[i];
        xml = build(&d);
        CHECK_XPATH(xml, "string(/domain/description)", texts[i]);
        CHECK_XPATH(xml, "count(/domain/description/*)", "0");
        CHECK_XPATH(xml, "count(//disk)", "0");
        CHECK_STR(schema_says(xml), "");
    }
}

TEST(a_hostile_command_line_and_path_stay_text)
{
    struct virt_domain d = plain;
    struct virt_disk disk = {.path = "/d/a'\"<&>;json:{}.raw", .format = VIRT_DISK_RAW};
    auto_free char *xml = NULL;

    d.kernel = "/k&<\"'";
    d.cmdline = "a=\"</cmdline><x/>\" & 'b'";
    d.disks = &disk;
    d.disk_count = 1;
    xml = build(&d);
    CHECK_XPATH(xml, "string(//cmdline)", d.cmdline);
    CHECK_XPATH(xml, "string(//kernel)", d.kernel);
    CHECK_XPATH(xml, "string(//disk/source/@file)", disk.path);
    CHECK_XPATH(xml, "count(//x)", "0");
}

TEST(control_characters_and_broken_utf8_are_refused)
{
    static const char *const texts[] = {"\x01",     "a\x1b[31m",    "\x7f",         "\xff",
                                        "\xc0\xaf", "\xed\xa0\x80", "\xef\xbf\xbf", "\xef\xbf\xbe"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct virt_domain d = plain;

        d.description = texts[i];
        check_refused(&d, "/description");
        d = plain;
        d.kernel = "/k";
        d.cmdline = texts[i];
        check_refused(&d, "/cmdline");
    }
}

TEST(a_description_too_long_is_refused)
{
    auto_free char *text = xcalloc(1, 70001);
    struct virt_domain d = plain;

    memset(text, 'x', 70000);
    d.description = text;
    check_refused(&d, "/description");
}

TEST(names_that_are_not_plain_words_are_refused)
{
    static const char *const names[] = {"",    ".",    "..",  "-rf",     "a/b",
                                        "a b", "a\nb", "a<b", "\xc3\xa9"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct virt_domain d = plain;

        d.name = names[i];
        check_refused(&d, "/name");
    }
}

TEST(reserved_vsock_addresses_are_refused)
{
    static const uint32_t cids[] = {1, 2, UINT32_MAX};

    for (size_t i = 0; i < 3; i++) {
        struct virt_domain d = plain;

        d.vsock_cid = cids[i];
        check_refused(&d, "/vsock");
    }
}

TEST(paths_that_are_not_absolute_are_refused)
{
    static const char *const paths[] = {"", "disk.raw", "json:{\"driver\":\"file\"}", "nbd:h:1",
                                        NULL};

    for (size_t i = 0; i < 5; i++) {
        struct virt_disk disk = {.path = paths[i]};
        struct virt_domain d = plain;

        d.disks = &disk;
        d.disk_count = 1;
        check_refused(&d, "/disks");
    }
}

TEST(bad_networks_are_refused)
{
    static const struct virt_nic bad[] = {
        {.mode = VIRT_NIC_USER},
        {.mode = VIRT_NIC_USER, .mac = "02:00:00:00:00"},
        {.mode = VIRT_NIC_USER, .mac = "03:00:00:00:00:00"},
        {.mode = VIRT_NIC_BRIDGE, .mac = "02:00:00:00:00:00"},
        {.mode = VIRT_NIC_BRIDGE, .mac = "02:00:00:00:00:00", .source = "a b"},
        {.mode = VIRT_NIC_NETWORK, .mac = "02:00:00:00:00:00", .source = "'/>"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct virt_domain d = plain;

        d.nics = &bad[i];
        d.nic_count = 1;
        check_refused(&d, "/networks");
    }
}

TEST(two_channels_of_one_name_are_refused)
{
    static const char *const same[] = {"a", "a"};
    static const char *const agent[] = {"org.qemu.guest_agent.0"};
    struct virt_domain d = plain;

    d.channels = same;
    d.channel_count = 2;
    check_refused(&d, "/channels");
    d.channels = agent;
    d.channel_count = 1;
    d.guest_agent = true;
    check_refused(&d, "/channels");
}

TEST(capabilities_are_read)
{
    static const char text[] =
        "<capabilities><host><cpu><arch>x86_64</arch></cpu></host>"
        "<guest><os_type>hvm</os_type><arch name='i686'><machine>isapc</machine>"
        "<domain type='kvm'/></arch></guest>"
        "<guest><os_type>hvm</os_type><arch name='x86_64'><machine>pc-q35-7.2</machine>"
        "<machine canonical='pc-q35-7.2'>q35</machine><domain type='qemu'/></arch></guest>"
        "</capabilities>";
    auto_free struct virt_host *host = xcalloc(1, sizeof(*host));

    CHECK(domxml_read_capabilities(text, host));
    CHECK_STR(host->arch, "x86_64");
    CHECK(!host->kvm);
    CHECK_INT(host->machine_count, 2);
    CHECK_STR(host->machines[0], "q35");
    CHECK_STR(host->machines[1], "pc-q35-7.2");
    CHECK(!domxml_read_capabilities("<x/>", host));
    CHECK(!domxml_read_capabilities("", host));
    CHECK(domxml_read_vsock("<domainCapabilities><devices><vsock supported='yes'/></devices>"
                            "</domainCapabilities>"));
    CHECK(!domxml_read_vsock("<domainCapabilities><devices><vsock supported='no'/></devices>"
                             "</domainCapabilities>"));
    CHECK(!domxml_read_vsock("<domainCapabilities/>"));
}

TEST(the_address_of_a_running_guest)
{
    CHECK_INT(domxml_read_cid("<domain><devices><vsock><cid auto='no' address='1007'/></vsock></devices></domain>"),
              1007);
    CHECK_INT(domxml_read_cid("<domain><devices><vsock><cid auto='no' address='2'/></vsock></devices></domain>"), 0);
    CHECK_INT(domxml_read_cid("<domain><devices><vsock><cid address='4294967295'/></vsock></devices></domain>"), 0);
    CHECK_INT(domxml_read_cid("<domain><devices><vsock><cid auto='yes'/></vsock></devices></domain>"), 0);
    CHECK_INT(domxml_read_cid("<domain><devices/></domain>"), 0);
    CHECK_INT(domxml_read_cid("<capabilities/>"), 0);
    CHECK_INT(domxml_read_cid("no XML"), 0);
}

TEST_MAIN();
