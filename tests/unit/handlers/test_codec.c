/*
 * Values to JSON: names, absent figures, snapshots rendered once, console bytes as text.
 */
#include "service/json/doc.h"
#include "tests/support/test.h"
#include "tests/unit/handlers/fakes.h"

static const char *string(json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static bool has(json_t *object, const char *name)
{
    return json_object_get(object, name) != NULL;
}

static long long number(json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

TEST(a_vm_is_rendered_once_per_snapshot)
{
    auto_vm struct vm *vm = fake_vm("{\"name\": \"web-1\"}", VM_STATE_STOPPED);
    auto_blob struct blob *first = codec_vm(vm), *second = codec_vm(vm);

    CHECK(first == second);
}

TEST(a_vm_has_definition_and_state_side_by_side)
{
    auto_vm struct vm *vm = fake_vm("{\"name\": \"web-1\", \"cpus\": 2}", VM_STATE_STOPPED);
    auto_blob struct blob *blob = codec_vm(vm);
    auto_json json_t *o = json_loadb(blob->data, blob->len, JSON_REJECT_DUPLICATES, NULL);

    CHECK(o);
    CHECK_STR(string(o, "name"), "web-1");
    CHECK_INT(number(o, "cpus"), 2);
    CHECK_STR(string(o, "state"), "stopped");
    CHECK_STR(string(o, "etag"), "7");
    CHECK_STR(string(o, "created_at"), "1970-01-01T00:00:01.000Z");
    CHECK(json_is_null(json_object_get(o, "started_at")));
    CHECK(json_is_null(json_object_get(o, "effective_acceleration")));
    CHECK(json_is_null(json_object_get(o, "vsock_cid")));
    CHECK(json_is_null(json_object_get(o, "image_id")));
    CHECK(json_is_false(json_object_get(o, "pending_changes")));
}

TEST(a_list_of_rendered_items_is_one_document)
{
    auto_vm struct vm *a = fake_vm("{\"name\": \"a\"}", VM_STATE_STOPPED);
    auto_vm struct vm *b = fake_vm("{\"name\": \"b\"}", VM_STATE_RUNNING);
    auto_blob struct blob *blob = codec_vm_list((struct vm *[]){a, b}, 2, "c7");
    auto_json json_t *o = json_loadb(blob->data, blob->len, 0, NULL);

    CHECK(o);
    CHECK_INT(json_array_size(json_object_get(o, "items")), 2);
    CHECK_STR(string(json_array_get(json_object_get(o, "items"), 1), "name"), "b");
    CHECK_STR(string(o, "next_cursor"), "c7");
}

TEST(an_empty_list_is_a_list)
{
    auto_blob struct blob *blob = codec_vm_list(NULL, 0, NULL);

    CHECK_STR(blob->data, "{\"items\":[],\"next_cursor\":null}");
}

TEST(a_created_vm_carries_its_operation)
{
    auto_vm struct vm *vm = fake_vm("{\"name\": \"a\"}", VM_STATE_STARTING);
    auto_op struct op *op = fake_op(OP_PENDING);
    auto_blob struct blob *with = codec_vm_created(vm, op), *without = codec_vm_created(vm, NULL);
    auto_json json_t *o = json_loadb(with->data, with->len, 0, NULL);
    auto_json json_t *none = json_loadb(without->data, without->len, 0, NULL);

    CHECK_STR(string(json_object_get(o, "operation"), "state"), "pending");
    CHECK(json_is_null(json_object_get(none, "operation")));
}

TEST(a_failed_operation_carries_a_problem_without_its_cause)
{
    auto_op struct op *op = fake_op(OP_FAILED);
    auto_json json_t *o = NULL;
    json_t *problem;

    error_set(&op->error, ERROR_HYPERVISOR_FAILED, "QEMU could not be started");
    error_cause(&op->error, "secret path");
    o = codec_op(op);
    problem = json_object_get(o, "error");
    CHECK_STR(string(problem, "code"), "hypervisor-failed");
    CHECK_STR(string(problem, "detail"), "QEMU could not be started");
    CHECK_STR(string(problem, "instance"), "urn:drover:request:r-0");
    auto_free char *text = doc_text(o);
    CHECK(!strstr(text, "secret"));
}

TEST(figures_that_were_not_measured_are_absent)
{
    struct vm_dear dear = {0};
    struct vm_sample s = {.sampled_at = 5000, .dear = &dear, .ksm_cause = KSM_CAUSE_UNKNOWN};
    struct host_ksm ksm = {.page_size_bytes = 4096};
    auto_json json_t *o = NULL;

    dear.virt.block_count = dear.virt.net_count = 1;
    strcpy(dear.virt.blocks[0].name, "vda");
    s.process.ksm_merging_pages = 99; /* no has_: must not show */
    o = codec_stats("id", &s, &ksm, CODEC_KSM_EXACT, NULL);
    CHECK_INT(json_object_size(json_object_get(o, "cpu")), 0);
    CHECK_INT(json_object_size(json_object_get(o, "memory")), 1); /* promised */
    CHECK_INT(json_object_size(json_array_get(json_object_get(o, "disks"), 0)), 1);
    CHECK_INT(json_object_size(json_array_get(json_object_get(o, "interfaces"), 0)), 1);
    CHECK(!has(o, "process_sampled_at"));
    CHECK(!has(json_object_get(o, "ksm"), "merging_pages"));
    CHECK(string(json_object_get(o, "ksm"), "reason"));
    CHECK_STR(string(json_object_get(o, "ksm"), "cause"), "unknown-process");
}

TEST(figures_that_were_measured_have_their_units)
{
    struct vm_dear dear = {0};
    struct vm_sample s = {
        .sampled_at = 5000, .dear = &dear, .has_process = true, .process_sampled_at = 5000};
    struct host_ksm ksm = {.page_size_bytes = 4096};
    auto_json json_t *o = NULL;
    json_t *merged;

    dear.virt.has_cpu = dear.virt.has_rss = s.process.has_memory = s.process.has_ksm = true;
    s.process.has_ksm_merging_pages = s.process.has_ksm_profit = true;
    dear.virt.cpu_ns = 1500000000;
    dear.virt.rss_bytes = 1;
    s.process.resident_bytes = 2;
    s.process.ksm_merging_pages = 3;
    s.process.ksm_profit_bytes = -64;
    o = codec_stats("id", &s, &ksm, CODEC_KSM_EXACT, NULL);
    merged = json_object_get(o, "ksm");
    CHECK(json_real_value(json_object_get(json_object_get(o, "cpu"), "usage_seconds")) == 1.5);
    CHECK_INT(number(json_object_get(o, "memory"), "resident_bytes"), 2);
    CHECK_INT(number(merged, "merging_bytes"), 3 * 4096);
    CHECK_INT(number(merged, "profit_bytes"), -64);
    CHECK(!has(merged, "reason"));
    CHECK_STR(string(merged, "cause"), "merging");
}

TEST(merged_memory_is_coarse_for_those_who_may_not_know_it)
{
    struct vm_dear dear = {0};
    struct vm_sample s = {.sampled_at = 1, .dear = &dear, .has_process = true};
    struct host_ksm ksm = {.available = true, .page_size_bytes = 4096, .has_saved = true};
    auto_json json_t *o = NULL, *host = NULL;

    s.process.has_ksm = s.process.has_ksm_merging_pages = s.process.has_ksm_profit = true;
    s.process.ksm_merging_pages = 40000; /* 156 MiB */
    ksm.saved_bytes = (65u << 20) + 4096;
    ksm.has[HOST_KSM_pages_sharing] = true;
    o = codec_vm_ksm(&s, &ksm, CODEC_KSM_COARSE);
    CHECK_INT(number(o, "merging_bytes"), 128 << 20);
    CHECK(!has(o, "merging_pages") && !has(o, "profit_bytes") && has(o, "coarse"));
    host = codec_ksm(&ksm, NULL, CODEC_KSM_COARSE);
    CHECK_INT(number(host, "saved_bytes"), 64 << 20);
    CHECK_INT(json_object_size(json_object_get(host, "counters")), 0);
}

TEST(without_a_sample_the_reason_is_given)
{
    struct host_ksm ksm = {0};
    auto_json json_t *o = codec_stats("id", NULL, &ksm, CODEC_KSM_EXACT, "the VM is stopped");

    CHECK(json_is_null(json_object_get(o, "sampled_at")));
    CHECK_STR(string(o, "reason"), "the VM is stopped");
    CHECK(!has(o, "cpu"));
}

TEST(ksm_sorts_knobs_from_counters)
{
    struct host_ksm ksm = {.available = true, .page_size_bytes = 4096};
    auto_json json_t *o = NULL;

    ksm.has[HOST_KSM_run] = ksm.has[HOST_KSM_pages_shared] = true;
    ksm.value[HOST_KSM_run] = 1;
    o = codec_ksm(&ksm, NULL, CODEC_KSM_EXACT);
    CHECK_INT(number(json_object_get(o, "knobs"), "run"), 1);
    CHECK_INT(number(json_object_get(o, "counters"), "pages_shared"), 0);
    CHECK_INT(json_object_size(json_object_get(o, "counters")), 1);
    CHECK(!has(o, "saved_bytes") && !has(o, "advisor_mode"));
}

static const char *mode_of(const struct codec_host *h, char cause[32])
{
    auto_json json_t *o = codec_host(h);
    json_t *acceleration = json_object_get(o, "acceleration");
    const char *found = string(acceleration, "cause");

    snprintf(cause, 32, "%s", found ? found : "");
    return strcmp(string(acceleration, "mode"), "kvm") == 0 ? "kvm" : "emulated";
}

TEST(acceleration_is_kvm_only_where_ordinary_guests_run)
{
    struct host_ksm ksm = {0};
    struct virt_host virt = {.kvm = true};
    struct codec_host h = {.ksm = &ksm, .virt = &virt, .kvm = {.usable = true}};
    char cause[32];

    CHECK_STR(mode_of(&h, cause), "kvm");
    CHECK_STR(cause, "");
    h.kvm.limited = true;
    CHECK_STR(mode_of(&h, cause), "emulated");
    CHECK_STR(cause, "limited");
    h.kvm.limited = false;
    virt.kvm = false;
    CHECK_STR(mode_of(&h, cause), "emulated");
    CHECK_STR(cause, "not-offered");
    h.kvm = (struct host_kvm){.cause = "no-permission"};
    CHECK_STR(mode_of(&h, cause), "emulated");
    CHECK_STR(cause, "no-permission");
}

TEST(scopes_of_a_token_are_spelled_out)
{
    struct token_info t = {.role = ACCESS_ADMIN};
    auto_json json_t *all = codec_token(&t, NULL);

    CHECK_INT(json_array_size(json_object_get(all, "scopes")), ACCESS_SCOPE_COUNT);
    CHECK(!has(all, "token"));
    t.scopes = ACCESS_VM_READ | ACCESS_TOKEN_WRITE;
    auto_json json_t *some = codec_token(&t, "secret");
    CHECK_INT(json_array_size(json_object_get(some, "scopes")), 2);
    CHECK_STR(string(some, "token"), "secret");
}

TEST(console_bytes_become_readable_text)
{
    static const struct {
        const char *raw, *text;
        size_t len; /* of raw, when it has a NUL */
    } rows[] = {
        {"plain\n", "plain\n"},
        {"crlf\r\n", "crlf\n"},
        {"tab\there", "tab\there"},
        {"\x1b[1;31mred\x1b[0m", "red"},
        {"\x1b]0;title\x07"
         "after",
         "after"},
        {"\x1b]0;title\x1b\\after", "after"},
        {"\x1bP1$r\x1b\\after", "after"},
        {"\x1b(Bcharset", "charset"},
        {"\x1b"
         "7saved",
         "saved"},
        {"bell\x07 back\x08 del\x7f", "bell back del"},
        {"nul\0gone", "nulgone", 8},
        {"Bl\xc3\xa5", "Bl\xc3\xa5"},
        {"\xe2\x82\xac \xf0\x9f\x90\x91", "\xe2\x82\xac \xf0\x9f\x90\x91"},
        {"c1\xc2\x9b"
         "31m",
         "c131m"},
        {"bad\xff\xfe", "bad\xef\xbf\xbd\xef\xbf\xbd"},
        {"cut\xe2\x82", "cut\xef\xbf\xbd\xef\xbf\xbd"},
        {"over\xc0\xaf", "over\xef\xbf\xbd\xef\xbf\xbd"},
        {"end\x1b", "end"},
        {"end\x1b[", "end"},
        {"end\x1b[12", "end"},
        {"end\x1b]never closed", "end"},
        {"\x1b]0;no end\nnext", "\nnext"},
        {"\x1b\nline", "\nline"},
        {"\x1b[1\x1b[2mx", "x"},
        {"", ""},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        size_t len;
        auto_free char *text =
            codec_console_text(rows[i].raw, rows[i].len ? rows[i].len : strlen(rows[i].raw), &len);

        CHECK_STR(text, rows[i].text);
        CHECK_INT(len, strlen(text));
    }
}

TEST_MAIN();
