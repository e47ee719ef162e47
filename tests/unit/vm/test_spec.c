/* Definitions: strict in, complete out, the same again. */
#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/spec.h"
#include "tests/support/test.h"

static json_t *parse(const char *text)
{
    json_error_t e;
    json_t *j = json_loads(text, JSON_DECODE_ANY, &e);

    if (!j)
        printf("# %s\n", e.text);
    CHECK(j);
    return j;
}

static void refused(const char *text, const char *pointer)
{
    auto_json json_t *j = parse(text);
    struct vm_spec *spec = NULL;
    bool start;
    struct error err;

    if (vm_spec_decode(j, &spec, &start, &err) == 0)
        printf("# accepted: %s\n", text);
    CHECK(!spec);
    CHECK_INT(err.code, ERROR_VALIDATION_FAILED);
    CHECK_STR(err.pointer, pointer);
}

TEST(a_name_is_enough_and_the_rest_has_defaults)
{
    auto_json json_t *j = parse("{\"name\":\"web-1\"}");
    auto_vm_spec struct vm_spec *spec = NULL;
    bool start = true;
    struct error err;

    CHECK_OK(vm_spec_decode(j, &spec, &start, &err));
    CHECK(!start);
    CHECK_INT(spec->cpus, 1);
    CHECK_INT(spec->memory_mib, 512);
    CHECK_STR(spec->machine, "q35");
    CHECK_INT(spec->network_count, 1);
    CHECK(spec->networks[0].mac && strlen(spec->networks[0].mac) == 17);
    CHECK_INT(spec->serial_ports, 1);
    CHECK(!spec->ready_pattern);
    CHECK(spec->memory_merge && spec->vsock && spec->guest_agent && !spec->display);
}

TEST(names_follow_the_documented_form)
{
    CHECK(vm_spec_name_ok("a") && vm_spec_name_ok("web-1") && vm_spec_name_ok("0"));
    CHECK(!vm_spec_name_ok("") && !vm_spec_name_ok("-a") && !vm_spec_name_ok("a-"));
    CHECK(!vm_spec_name_ok("A") && !vm_spec_name_ok("a.b") && !vm_spec_name_ok("a/b"));
    CHECK(!vm_spec_name_ok("6e0f2d4e-3f1c-4d52-9f0e-0d8a7b1c2d3e"));
    CHECK(!vm_spec_name_ok("a234567890123456789012345678901234567890123456789012345678901234"));
}

TEST(every_refusal_names_its_member)
{
    refused("[]", "");
    refused("{}", "/name");
    refused("{\"name\":\"Bad\"}", "/name");
    refused("{\"name\":\"a\",\"nmae\":1}", "/nmae");
    refused("{\"name\":\"a\",\"cpus\":0}", "/cpus");
    refused("{\"name\":\"a\",\"cpus\":\"2\"}", "/cpus");
    refused("{\"name\":\"a\",\"memory_mib\":8}", "/memory_mib");
    refused("{\"name\":\"a\",\"machine\":\"../x\"}", "/machine");
    refused("{\"name\":\"a\",\"firmware\":\"efi\"}", "/firmware");
    refused("{\"name\":\"a\",\"labels\":{\"-x\":\"y\"}}", "/labels/-x");
    refused("{\"name\":\"a\",\"labels\":{\"a/b\":1}}", "/labels/a~1b");
    refused("{\"name\":\"a\",\"disks\":[{\"size_gib\":1},{}]}", "/disks/1/size_gib");
    refused("{\"name\":\"a\",\"disks\":{}}", "/disks");
    refused("{\"name\":\"a\",\"networks\":[{\"mode\":\"bridge\"}]}", "/networks/0/source");
    refused("{\"name\":\"a\",\"networks\":[{\"mode\":\"user\",\"source\":\"br0\"}]}", "/networks/0/source");
    refused("{\"name\":\"a\",\"networks\":[{\"mode\":\"user\",\"mac\":\"03:00:00:00:00:00\"}]}", "/networks/0/mac");
#define NETWORK(members) "{\"name\":\"a\",\"networks\":[{\"mode\":\"user\"," members "}]}"
    refused(NETWORK("\"address\":\"10.0.0.300/24\""), "/networks/0/address");
    refused(NETWORK("\"address\":\"10.0.0.10\""), "/networks/0/address");
    refused(NETWORK("\"address\":\"10.0.0.0/24\""), "/networks/0/address");
    refused(NETWORK("\"address\":\"10.0.0.255/24\""), "/networks/0/address");
    refused(NETWORK("\"address\":\"10.0.0.10/024\""), "/networks/0/address");
    refused(NETWORK("\"gateway\":\"10.0.0.1\""), "/networks/0/gateway");
    refused(NETWORK("\"nameservers\":[\"9.9.9.9\"]"), "/networks/0/nameservers");
    refused(NETWORK("\"address\":\"10.0.0.10/24\",\"nameservers\":[\"dns\"]"), "/networks/0/nameservers/0");
#undef NETWORK
    refused("{\"name\":\"a\",\"channels\":[\"a\",\"a\"]}", "/channels/1");
    refused("{\"name\":\"a\",\"channels\":[\"org.qemu.guest_agent.0\"]}", "/channels/0");
    refused("{\"name\":\"a\",\"channels\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]}", "/channels");
    refused("{\"name\":\"a\",\"start\":\"yes\"}", "/start");
    refused("{\"name\":\"a\",\"description\":\"\\u001b[0m\"}", "/description");
}

TEST(start_belongs_to_the_request_and_not_to_the_definition)
{
    auto_json json_t *j = parse("{\"name\":\"a\",\"start\":true}");
    auto_vm_spec struct vm_spec *spec = NULL;
    bool start = false;
    struct error err;

    CHECK_OK(vm_spec_decode(j, &spec, &start, &err));
    CHECK(start);
    vm_spec_unref(TAKE_PTR(spec));
    CHECK_INT(vm_spec_decode(j, &spec, NULL, &err), -1);
    CHECK_STR(err.pointer, "/start");
}

static const char full[] =
    "{\"name\":\"a\",\"description\":\"<x>&\\\"'\",\"labels\":{\"ci.job\":\"1\",\"b\":\"\"},\"cpus\":4,"
    "\"memory_mib\":1024,\"machine\":\"pc-q35-7.2\",\"firmware\":\"uefi\",\"acceleration\":\"emulated\","
    "\"image\":\"demo\",\"cmdline\":null,\"root_disk_gib\":10,\"disks\":[{\"size_gib\":5},{\"size_gib\":6}],"
    "\"networks\":[{\"mode\":\"bridge\",\"source\":\"br0\",\"mac\":\"02:00:00:00:00:01\"},"
    "{\"mode\":\"user\",\"mac\":\"02:00:00:00:00:02\"}],\"channels\":[\"org.example.0\"],"
    "\"serial_ports\":2,\"ready_pattern\":\"ready>\","
    "\"guest_agent\":false,\"vsock\":false,\"display\":true,\"memory_merge\":false,\"autostart\":true,"
    "\"on_host_shutdown\":\"save\",\"host_shutdown_seconds\":30,\"record_console\":true,"
    "\"ssh_keys\":[\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGfoOTaTJ5mWc0ZeJH8xqTFDiJ0bL6cTpVGwBqPJ2fQk\"],"
    "\"cloud_init\":true,\"user_data\":\"#cloud-config\\r\\n\"}";

TEST(a_definition_survives_being_stored)
{
    auto_json json_t *j = parse(full);
    auto_vm_spec struct vm_spec *spec = NULL, *again = NULL;
    auto_free char *text = NULL;
    struct error err;

    CHECK_OK(vm_spec_decode(j, &spec, NULL, &err));
    text = vm_spec_stored_text(spec);
    auto_json json_t *stored = parse(text);
    CHECK(json_equal(stored, j));
    CHECK_OK(vm_spec_from_text(text, &again, &err));
    CHECK(!vm_spec_needs_stop(spec, again));
    CHECK_STR(vm_spec_label(again, "ci.job"), "1");
    CHECK(!vm_spec_label(again, "none"));
}

TEST(only_what_the_guest_notices_needs_a_stop)
{
    static const struct {
        const char *patch;
        bool stop;
    } cases[] = {
        {"{\"description\":\"new\"}", false}, {"{\"labels\":{\"x\":\"y\"}}", false},
        {"{\"autostart\":false}", false},      {"{\"record_console\":false}", false},
        {"{\"on_host_shutdown\":\"leave\"}", false}, {"{\"host_shutdown_seconds\":60}", false},
        {"{\"cpus\":8}", true},
        {"{\"memory_mib\":2048}", true},       {"{\"networks\":[]}", true},
        {"{\"channels\":[]}", true},           {"{\"memory_merge\":true}", true},
        {"{\"disks\":[{\"size_gib\":5},{\"size_gib\":6},{\"size_gib\":7}]}", true},
    };
    auto_json json_t *j = parse(full);
    auto_vm_spec struct vm_spec *spec = NULL;
    struct error err;

    CHECK_OK(vm_spec_decode(j, &spec, NULL, &err));
    for (size_t i = 0; i < DOC_COUNT(cases); i++) {
        auto_json json_t *patch = parse(cases[i].patch), *merged = doc_merge_patch(j, patch);
        auto_vm_spec struct vm_spec *changed = NULL;

        CHECK_OK(vm_spec_decode(merged, &changed, NULL, &err));
        CHECK_INT(vm_spec_needs_stop(spec, changed), cases[i].stop);
    }
}

TEST_MAIN();
