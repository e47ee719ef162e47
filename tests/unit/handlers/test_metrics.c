/*
 * The Prometheus text format: groups, escapes, numbers, and nothing for what was not measured.
 */
#include "api/handlers/metrics_vm.h"
#include "tests/support/test.h"
#include "tests/unit/handlers/fakes.h"

TEST(help_and_type_come_once_per_group)
{
    struct metrics_writer w = METRICS_WRITER_INIT;

    metrics_add(&w, METRIC_VMS, (const struct metric_label[]){{"state", "running"}, {0}}, 2);
    metrics_add(&w, METRIC_VMS, (const struct metric_label[]){{"state", "stopped"}, {0}}, 0);
    CHECK_STR(w.text.data, "# HELP drover_vms VMs in each state.\n# TYPE drover_vms gauge\n"
                           "drover_vms{state=\"running\"} 2\ndrover_vms{state=\"stopped\"} 0\n");
    strbuf_done(&w.text);
}

TEST(labels_are_escaped)
{
    struct metrics_writer w = METRICS_WRITER_INIT;

    metrics_add(&w, METRIC_VM_VCPUS,
                (const struct metric_label[]){{"id", "a\\b"}, {"name", "say \"hi\"\nbye"}, {0}}, 1);
    CHECK(strstr(w.text.data, "{id=\"a\\\\b\",name=\"say \\\"hi\\\"\\nbye\"} 1\n"));
    strbuf_done(&w.text);
}

TEST(whole_numbers_stay_whole_and_others_keep_their_digits)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {{0, " 0\n"},
                {-3, " -3\n"},
                {1099511627776.0, " 1099511627776\n"},
                {0.1, " 0.1\n"},
                {1234.5678, " 1234.5678\n"},
                {1e18, " 1e+18\n"}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct metrics_writer w = METRICS_WRITER_INIT;

        metrics_add(&w, METRIC_LIBVIRT_UP, NULL, rows[i].value);
        CHECK(strstr(w.text.data, rows[i].text));
        strbuf_done(&w.text);
    }
}

TEST(histograms_end_with_infinity_sum_and_count)
{
    struct metrics_writer w = METRICS_WRITER_INIT;
    const double bounds[] = {0.01, 1};
    const unsigned long long cumulative[] = {3, 5};

    const struct metric_label labels[] = {{"method", "GET"}, {0}};

    metrics_add_histogram(&w, METRIC_HTTP_DURATION, labels,
                          &(struct metric_histogram){bounds, cumulative, 2, 7, 12.5});
    CHECK(strstr(w.text.data, "_bucket{method=\"GET\",le=\"0.01\"} 3\n"));
    CHECK(strstr(w.text.data, "_bucket{method=\"GET\",le=\"1\"} 5\n"));
    CHECK(strstr(w.text.data, "_bucket{method=\"GET\",le=\"+Inf\"} 7\n"));
    CHECK(strstr(w.text.data, "_sum{method=\"GET\"} 12.5\n"));
    CHECK(strstr(w.text.data, "_count{method=\"GET\"} 7\n"));
    metrics_add_histogram(&w, METRIC_BOOT_DURATION, NULL,
                          &(struct metric_histogram){bounds, cumulative, 2, 7, 12.5});
    CHECK(strstr(w.text.data, "output_seconds_bucket{le=\"1\"} 5\n"));
    CHECK(strstr(w.text.data, "output_seconds_count 7\n"));
    strbuf_done(&w.text);
}

TEST(names_follow_the_rules_of_prometheus)
{
    for (int i = 0; i < METRIC_COUNT; i++) {
        const struct metric_row *row = &metric_rows[i];
        bool total =
            strlen(row->name) > 6 && strcmp(row->name + strlen(row->name) - 6, "_total") == 0;

        CHECK(row->help[strlen(row->help) - 1] == '.');
        CHECK(strncmp(row->name, "drover_", 7) == 0 || strncmp(row->name, "process_", 8) == 0);
        CHECK_INT(total, row->kind == METRIC_KIND_COUNTER);
        CHECK(!*row->unit || strstr(row->name, row->unit));
        for (int j = 0; j < i; j++)
            CHECK(strcmp(row->name, metric_rows[j].name) != 0);
    }
}

/* The fake service has no sampler: a snapshot of at most one VM. */
static struct vm_sample only;

const struct vm_sample *snapshot_find(const struct snapshot *s, const char *vm_id)
{
    return s->count ? &only : NULL;
}

static char *write_vms(struct vm *vm, size_t samples)
{
    struct metrics_writer w = METRICS_WRITER_INIT;
    struct snapshot snapshot = {.count = samples};

    metrics_add_vms(&w, &vm, 1, &snapshot, true);
    return strbuf_take(&w.text);
}

TEST(a_vm_without_a_sample_has_a_state_and_no_figures)
{
    auto_vm struct vm *vm = fake_vm("{\"name\": \"web\"}", VM_STATE_STOPPED);
    auto_free char *text = write_vms(vm, 0);

    CHECK(strstr(text, "name=\"web\",state=\"stopped\"} 1\n"));
    CHECK(strstr(text, "name=\"web\",state=\"running\"} 0\n"));
    CHECK(!strstr(text, "drover_vm_cpu"));
}

TEST(only_what_was_measured_is_written)
{
    auto_vm struct vm *vm = fake_vm("{\"name\": \"web\"}", VM_STATE_RUNNING);

    struct vm_dear dear = {.virt = {.has_cpu = true, .cpu_ns = 2500000000, .block_count = 2}};

    only = (struct vm_sample){.dear = &dear};
    strcpy(dear.virt.blocks[0].name, "vda");
    strcpy(dear.virt.blocks[1].name, "vdb");
    dear.virt.blocks[1].has_requests = true;
    dear.virt.blocks[1].read_bytes = 512;
    auto_free char *text = write_vms(vm, 1);
    CHECK(strstr(text, "drover_vm_cpu_usage_seconds_total{"));
    CHECK(strstr(text, "} 2.5\n"));
    CHECK(strstr(text, "device=\"vdb\"} 512\n"));
    CHECK(!strstr(text, "vda"));
    CHECK(!strstr(text, "drover_vm_cpu_user"));
    CHECK(!strstr(text, "drover_vm_memory"));
    CHECK(!strstr(text, "drover_vm_ksm"));
}

TEST_MAIN();
