/* The preflight: each way a host can be short of something has its own cause and its own fix. */
#include "tests/unit/host/fixture.h"

#define CPU(flags) "processor\t: 0\nvendor_id\t: X\nflags\t\t: fpu sse " flags "\nbugs\t\t:\n"

static struct host_check list[16];

static const struct host_check *check(struct host *h, const char *id)
{
    size_t n = host_checks(h, fixture_root, list, 16);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].id, id) == 0)
            return &list[i];
    }
    return NULL;
}

static void check_kvm(struct host *h, const char *cause)
{
    struct host_kvm kvm;
    const struct host_check *c;

    host_kvm_probe(h, &kvm);
    CHECK_STR(kvm.cause, cause);
    CHECK(!kvm.usable && !kvm.limited);
    CHECK(*kvm.detail && *kvm.fix);
    c = check(h, "kvm");
    CHECK(c && c->result == HOST_CHECK_FAILED);
    CHECK(str_starts(c->cause, cause));
    CHECK_STR(c->fix, kvm.fix);
}

TEST(kvm_without_a_virtualising_processor)
{
    struct host *h = fixture_open();

    fixture_write("proc/cpuinfo", CPU(""));
    check_kvm(h, "no-cpu-support");
    fixture_close(h);
}

TEST(kvm_in_a_guest_whose_host_does_not_nest)
{
    struct host *h = fixture_open();
    struct host_kvm kvm;

    fixture_write("proc/cpuinfo", CPU("hypervisor"));
    check_kvm(h, "nested-off");
    host_kvm_probe(h, &kvm);
    CHECK(kvm.nested);
    fixture_close(h);
}

TEST(kvm_without_its_module_names_the_module_of_this_processor)
{
    struct host *h = fixture_open();
    struct host_kvm kvm;

    fixture_write("proc/cpuinfo", CPU("vmx"));
    check_kvm(h, "module-missing");
    host_kvm_probe(h, &kvm);
    CHECK(strstr(kvm.fix, "sudo modprobe kvm_intel"));
    CHECK(!kvm.nested);
    fixture_write("proc/cpuinfo", CPU("svm"));
    host_kvm_probe(h, &kvm);
    CHECK(strstr(kvm.fix, "sudo modprobe kvm_amd"));
    fixture_close(h);
}

TEST(kvm_that_the_firmware_keeps_off)
{
    struct host *h = fixture_open();

    fixture_write("proc/cpuinfo", CPU("vmx"));
    fixture_write("dev/kmsg", "6,1,2,-;Linux version 6.1\n3,900,1,-;kvm: disabled by bios\n");
    check_kvm(h, "firmware-disabled");
    fixture_write("proc/cpuinfo", CPU(""));
    fixture_write("dev/kmsg", "4,90,1,-;x86/cpu: VMX (outside TXT) disabled by BIOS\n");
    check_kvm(h, "firmware-disabled");
    fixture_write("dev/kmsg", "6,1,2,-;kvm: Nested Virtualization enabled\n");
    check_kvm(h, "no-cpu-support");
    fixture_close(h);
}

TEST(kvm_with_its_module_but_no_device)
{
    struct host *h = fixture_open();

    fixture_write("proc/cpuinfo", CPU("svm"));
    fixture_mkdir("sys/module/kvm_amd");
    check_kvm(h, "no-device");
    fixture_close(h);
}

TEST(kvm_that_is_a_plain_file_is_not_believed)
{
    struct host *h = fixture_open();

    fixture_write("proc/cpuinfo", CPU("svm"));
    fixture_write("dev/kvm", "");
    check_kvm(h, "failed");
    fixture_close(h);
}

TEST(kvm_on_a_machine_that_says_nothing)
{
    struct host *h = fixture_open();

    check_kvm(h, "no-device");
    fixture_close(h);
}

TEST(kvm_without_permission_says_who_and_how)
{
    struct host *h = fixture_open();
    struct host_kvm kvm;
    char cause[256];
    bool vsock;

    if (geteuid() != 0) {
        printf("# only root can become somebody else\n");
        fixture_close(h);
        return;
    }
    fixture_write("dev/kvm", "");
    fixture_write("dev/vhost-vsock", "");
    fixture_mode("dev/kvm", 0600);
    fixture_mode("dev/vhost-vsock", 0600);
    CHECK_INT(seteuid(65534), 0);
    host_kvm_probe(h, &kvm);
    vsock = host_vsock_usable(h, cause, sizeof(cause));
    CHECK_INT(seteuid(0), 0);
    CHECK_STR(kvm.cause, "no-permission");
    CHECK(strstr(kvm.detail, "65534"));
    CHECK(strstr(kvm.fix, "usermod -aG kvm"));
    CHECK(!vsock);
    CHECK(str_starts(cause, "no-permission"));
    fixture_close(h);
}

/* The real device under another machine's cpuinfo, where there is one. */
TEST(kvm_that_works_is_told_from_kvm_without_the_processor)
{
    struct host *h = fixture_open();
    struct host_kvm kvm;
    const struct host_check *c;

    if (access("/dev/kvm", R_OK | W_OK)) {
        printf("# no /dev/kvm on this machine\n");
        fixture_close(h);
        return;
    }
    fixture_write("dev/placeholder", "");
    fixture_link("dev/kvm", "/dev/kvm");
    fixture_write("proc/cpuinfo", CPU("vmx"));
    host_kvm_probe(h, &kvm);
    if (!kvm.usable) {
        printf("# /dev/kvm does not work here: %s\n", kvm.detail);
        fixture_close(h);
        return;
    }
    CHECK(!kvm.limited);
    CHECK_STR(kvm.cause, "");
    fixture_write("proc/cpuinfo", CPU("hypervisor"));
    fixture_mkdir("sys/module/kvm_pvm");
    host_kvm_probe(h, &kvm);
    CHECK(kvm.usable && kvm.limited && kvm.nested);
    CHECK_STR(kvm.cause, "limited");
    CHECK(strstr(kvm.detail, "kvm_pvm"));
    c = check(h, "kvm");
    CHECK_INT(c->result, HOST_CHECK_WARNING);
    CHECK(str_starts(c->cause, "limited: "));
    CHECK(*c->fix);
    fixture_write("proc/cpuinfo", "processor : 0\nFeatures : fp asimd\n"); /* not x86: no verdict */
    host_kvm_probe(h, &kvm);
    CHECK(kvm.usable && !kvm.limited);
    fixture_close(h);
}

TEST(vsock_tells_a_missing_module_from_a_missing_device)
{
    struct host *h = fixture_open();
    char cause[256];

    CHECK(!host_vsock_usable(h, cause, sizeof(cause)));
    CHECK(str_starts(cause, "module-missing: "));
    CHECK(strstr(check(h, "vsock")->fix, "sudo modprobe vhost_vsock"));
    fixture_mkdir("sys/module/vhost_vsock");
    CHECK(!host_vsock_usable(h, cause, sizeof(cause)));
    CHECK(str_starts(cause, "no-device: "));
    fixture_write("dev/vhost-vsock", "");
    CHECK(host_vsock_usable(h, cause, sizeof(cause)));
    CHECK_STR(cause, "");
    CHECK_INT(check(h, "vsock")->result, HOST_CHECK_OK);
    fixture_close(h);
}

TEST(ksm_off_on_and_absent)
{
    struct host *h = fixture_open();

    CHECK_INT(check(h, "ksm")->result, HOST_CHECK_WARNING);
    CHECK(str_starts(check(h, "ksm")->cause, "unavailable: "));
    fixture_write("sys/kernel/mm/ksm/run", "0\n");
    fixture_write("sys/kernel/mm/ksm/pages_sharing", "256\n");
    CHECK(str_starts(check(h, "ksm")->cause, "off: "));
    CHECK_STR(check(h, "ksm")->fix, "echo 1 | sudo tee /sys/kernel/mm/ksm/run");
    fixture_write("sys/kernel/mm/ksm/run", "2\n");
    CHECK(str_starts(check(h, "ksm")->cause, "unmerging: "));
    fixture_write("sys/kernel/mm/ksm/run", "1\n");
    CHECK_INT(check(h, "ksm")->result, HOST_CHECK_OK);
    CHECK_STR(check(h, "ksm")->cause, "");
    fixture_close(h);
}

TEST(every_check_says_what_it_found_and_how_to_mend_it)
{
    struct host *h = fixture_open();
    size_t n = host_checks(h, "/no/such/directory", list, 16);

    CHECK(n >= 8);
    for (size_t i = 0; i < n; i++) {
        CHECK(*list[i].id && *list[i].title && *list[i].detail);
        if (list[i].result == HOST_CHECK_OK)
            CHECK(!*list[i].cause && !*list[i].fix);
        else
            CHECK(strchr(list[i].cause, ':') && *list[i].fix);
    }
    CHECK_INT(host_checks(h, "/", list, 2), 2);
    CHECK_INT(check(h, "tun")->result, HOST_CHECK_WARNING);
    CHECK_INT(check(h, "qemu_binary")->result, HOST_CHECK_WARNING);
    fixture_write("dev/net/tun", "");
    fixture_write("usr/bin/qemu-system-x86_64", "");
    fixture_write("usr/bin/qemu-system-aarch64", "");
    fixture_mode("usr/bin/qemu-system-x86_64", 0755);
    fixture_mode("usr/bin/qemu-system-aarch64", 0755);
    CHECK_INT(check(h, "tun")->result, HOST_CHECK_OK);
    CHECK_INT(check(h, "qemu_binary")->result, HOST_CHECK_OK);
    CHECK_INT(host_checks(h, "/no/such/directory", list, 16), n);
    CHECK_INT(list[5].result, HOST_CHECK_WARNING);
    CHECK(str_starts(list[5].cause, "unknown: "));
    fixture_close(h);
}

TEST_MAIN();
