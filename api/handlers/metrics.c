/*
 * GET /metrics. Everything comes from memory, the latest sample and the daemon's own /proc.
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "api/handlers/metrics_compat.h"
#include "api/handlers/metrics_vm.h"
#include "api/handlers/metrics_writer.h"
#include "api/http_metrics.h"
#include "service/base/str.h"
#include "service/host/host.h"
#include "service/virt/virt.h"
#include "service/vm/audit_log.h"
#include "service/vm/backups.h"
#include "service/vm/console.h"
#include "service/vm/core.h"
#include "service/vm/event.h"
#include "service/vm/history.h"
#include "service/vm/ksm_tuner.h"
#include "service/vm/lease.h"
#include "service/vm/project.h"
#include "service/vm/quota.h"
#include "service/vm/sampler.h"
#include "service/vm/set.h"
#include "service/vm/timing.h"
#include "service/vm/webhook.h"

#define TEXT_FORMAT "text/plain; version=0.0.4; charset=utf-8"

static void add(struct metrics_writer *w, enum metric id, double value)
{
    metrics_add(w, id, NULL, value);
}

static void add_build(struct metrics_writer *w, struct core *core)
{
    auto_free struct virt_host *virt = xcalloc(1, sizeof(*virt));
    struct error ignored;
    char reason[256];
    bool up = virt_is_up(core_virt(core), reason, sizeof(reason));

    if (up && virt_host_info(core_virt(core), virt, &ignored))
        memset(virt, 0, sizeof(*virt));
    const struct metric_label labels[] = {{"version", DROVER_VERSION},
                                          {"libvirt", virt->libvirt_version},
                                          {"qemu", virt->qemu_version},
                                          {0}};
    metrics_add(w, METRIC_BUILD_INFO, labels, 1);
    add(w, METRIC_LIBVIRT_UP, up);
    add(w, METRIC_READY, core_is_ready(core));
}

static void add_routes(struct metrics_writer *w, const struct request *req)
{
    static const char *const classes[] = {"", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct http_route_metrics route;

    for (size_t i = 0; http_metrics_route(req, i, &route); i++) {
        for (size_t class = 1; class < 6; class ++) {
            const struct metric_label labels[] = {
                {"method", route.route ? route.route->method : "other"},
                {"route", route.route ? route.route->path : "none"},
                {"code", classes[class]},
                {0}};

            if (route.by_class[class])
                metrics_add(w, METRIC_HTTP_REQUESTS, labels, (double)route.by_class[class]);
        }
    }
}

static void add_route_latency(struct metrics_writer *w, const struct request *req)
{
    struct http_route_metrics route;

    for (size_t i = 0; http_metrics_route(req, i, &route); i++) {
        const struct metric_label labels[] = {
            {"method", route.route ? route.route->method : "other"},
            {"route", route.route ? route.route->path : "none"},
            {0}};

        if (route.latency_count)
            metrics_add_histogram(w, METRIC_HTTP_DURATION, labels,
                                  &(struct metric_histogram){
                                      .bounds = http_latency_bounds,
                                      .cumulative = route.latency,
                                      .buckets = HTTP_LATENCY_BUCKETS,
                                      .count = route.latency_count,
                                      .sum = route.latency_sum_seconds,
                                  });
    }
}

static void add_timing(struct metrics_writer *w, struct core *core)
{
    static const enum metric others[TIMING_OTHERS] = {[TIMING_BOOT] = METRIC_BOOT_DURATION,
                                                      [TIMING_READY] = METRIC_BOOT_READY,
                                                      [TIMING_CLAIM_WARM] = METRIC_CLAIM_DURATION,
                                                      [TIMING_CLAIM_COLD] = METRIC_CLAIM_DURATION};
    auto_free struct timing_histogram *rows = xcalloc(TIMING_ROWS, sizeof(*rows));
    size_t count = timing_read(core_timing(core), rows);

    /* Operations are the first metric and the last rows. */
    for (size_t n = 0; n < count; n++) {
        size_t i = (n + TIMING_OTHERS) % count;
        const struct timing_histogram *h = &rows[i];
        const struct metric_label labels[] = {{*h->kind ? "kind" : NULL, h->kind}, {0}};

        metrics_add_histogram(w, i < TIMING_OTHERS ? others[i] : METRIC_OPERATION_DURATION, labels,
                              &(struct metric_histogram){
                                  .bounds = h->bounds,
                                  .cumulative = h->cumulative,
                                  .buckets = TIMING_BUCKETS,
                                  .count = h->count,
                                  .sum = h->sum_seconds,
                              });
    }
}

static void add_directions(struct metrics_writer *w, enum metric id, unsigned long long in,
                           unsigned long long out)
{
    metrics_add(w, id, (const struct metric_label[]){{"direction", "in"}, {0}}, (double)in);
    metrics_add(w, id, (const struct metric_label[]){{"direction", "out"}, {0}}, (double)out);
}

static void add_http(struct metrics_writer *w, const struct request *req)
{
    struct http_metrics m;

    http_metrics_read(req, &m);
    add_routes(w, req);
    add_route_latency(w, req);
    add(w, METRIC_HTTP_IN_FLIGHT, (double)m.requests_in_flight);
    add(w, METRIC_HTTP_PARKED, (double)m.requests_parked);
    add(w, METRIC_HTTP_CONNECTIONS, (double)m.connections);
    add(w, METRIC_HTTP_ACCEPTED, (double)m.accepted_connections);
    add(w, METRIC_HTTP_REFUSED, (double)m.refused_connections);
    add(w, METRIC_HTTP_MALFORMED, (double)m.malformed_requests);
    add(w, METRIC_HTTP_TIMED_OUT, (double)m.timed_out);
    add(w, METRIC_AUTH_FAILURES, (double)m.auth_failures);
    add(w, METRIC_EVENT_STREAMS, (double)m.event_streams);
    add(w, METRIC_WEBSOCKETS, (double)m.websockets.connections);
    add_directions(w, METRIC_WEBSOCKET_BYTES, m.websockets.bytes_in, m.websockets.bytes_out);
}

static void add_console_kinds(struct metrics_writer *w, const struct console_stats *c)
{
    for (int kind = 0; kind < CONSOLE_KIND_COUNT; kind++) {
        const struct metric_label labels[] = {{"kind", console_kind_name((enum console_kind)kind)}, {0}};

        metrics_add(w, METRIC_CONSOLE_VIEWERS, labels, (double)c->kinds[kind].viewers);
    }
    for (int kind = 0; kind < CONSOLE_KIND_COUNT; kind++) {
        const struct metric_label labels[] = {{"kind", console_kind_name((enum console_kind)kind)}, {0}};

        metrics_add(w, METRIC_CONSOLE_CONNECTIONS, labels, (double)c->kinds[kind].connections);
    }
    for (int kind = 0; kind < CONSOLE_KIND_COUNT; kind++) {
        const char *name = console_kind_name((enum console_kind)kind);
        const struct metric_label in[] = {{"kind", name}, {"direction", "in"}, {0}};
        const struct metric_label out[] = {{"kind", name}, {"direction", "out"}, {0}};

        metrics_add(w, METRIC_CONSOLE_BYTES, in, (double)c->kinds[kind].bytes_in);
        metrics_add(w, METRIC_CONSOLE_BYTES, out, (double)c->kinds[kind].bytes_out);
    }
}

static void add_consoles(struct metrics_writer *w, struct core *core)
{
    struct console_stats c;

    console_stats_read(core_consoles(core), &c);
    add(w, METRIC_CONSOLE_STREAMS, (double)c.streams);
    add_console_kinds(w, &c);
    add(w, METRIC_CONSOLE_DROPPED, (double)c.dropped_viewers);
    add(w, METRIC_CONSOLE_GAPS, (double)c.gaps);
    add(w, METRIC_CONSOLE_LOG_BYTES, (double)c.log_bytes);
    add(w, METRIC_CONSOLE_LOG_SKIPPED, (double)c.log_skipped);
    add(w, METRIC_CONSOLE_LOG_ERRORS, (double)c.log_errors);
    add(w, METRIC_EVENT_LAST_SEQ, (double)event_last_seq(core));
    add(w, METRIC_AUDIT_SKIPPED, (double)audit_log_skipped(core_audit_log(core)));
}

static void add_leases(struct metrics_writer *w, struct core *core)
{
    static const struct metric_label active[] = {{"state", "active"}, {0}};
    static const struct metric_label queued[] = {{"state", "queued"}, {0}};
    static const struct metric_label warm[] = {{"kind", "warm"}, {0}};
    static const struct metric_label cold[] = {{"kind", "cold"}, {0}};
    static const struct metric_label expired[] = {{"reason", "expired"}, {0}};
    static const struct metric_label released[] = {{"reason", "released"}, {0}};
    struct lease_counts c;

    lease_counts_read(core, &c);
    metrics_add(w, METRIC_LEASES, active, (double)c.active);
    metrics_add(w, METRIC_LEASES, queued, (double)c.queued);
    metrics_add(w, METRIC_LEASE_CLAIMS, warm, (double)c.claims_warm);
    metrics_add(w, METRIC_LEASE_CLAIMS, cold, (double)c.claims_cold);
    metrics_add(w, METRIC_LEASE_ENDS, expired, (double)c.expired);
    metrics_add(w, METRIC_LEASE_ENDS, released, (double)c.released);
}

static void add_pools(struct metrics_writer *w, const struct request *req)
{
    bool exact = codec_ksm_for(&req->principal) == CODEC_KSM_EXACT;
    struct pool **pools;
    size_t count;

    pool_list(req->core, req->principal.project_id, &pools, &count);
    for (size_t i = 0; i < count; i++) {
        const struct metric_label promised[] = {{"pool", pools[i]->name}, {"kind", "promised"}, {0}};
        const struct metric_label resident[] = {{"pool", pools[i]->name}, {"kind", "resident"}, {0}};
        const struct metric_label saved[] = {{"pool", pools[i]->name}, {"kind", "saved"}, {0}};
        struct pool_memory m;

        pool_memory_read(req->core, pools[i]->id, &m);
        metrics_add(w, METRIC_POOL_MEMORY, promised, (double)m.promised_bytes);
        if (m.sampled || !m.running) {
            metrics_add(w, METRIC_POOL_MEMORY, resident, (double)m.resident_bytes);
            metrics_add(w, METRIC_POOL_MEMORY, saved,
                        (double)(exact ? m.saved_bytes : ksm_coarse(m.saved_bytes)));
        }
        pool_unref(pools[i]);
    }
    free(pools);
}

static void add_webhooks(struct metrics_writer *w, struct core *core)
{
    struct webhook_counts c;

    webhook_counts_read(core, &c);
    const struct {
        enum metric id;
        const char *label, *value;
        double figure;
    } rows[] = {
        {METRIC_WEBHOOKS, "state", "ok", (double)c.enabled},
        {METRIC_WEBHOOKS, "state", "failing", (double)c.failing},
        {METRIC_WEBHOOKS, "state", "disabled", (double)c.disabled},
        {METRIC_WEBHOOK_DELIVERIES, "result", "delivered", (double)c.delivered},
        {METRIC_WEBHOOK_DELIVERIES, "result", "failed", (double)c.failed},
        {METRIC_WEBHOOK_DELIVERIES, "result", "gap", (double)c.gaps},
        {METRIC_WEBHOOK_DELIVERIES, "result", "ping", (double)c.pings},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const struct metric_label labels[] = {{rows[i].label, rows[i].value}, {0}};

        metrics_add(w, rows[i].id, labels, rows[i].figure);
    }
    add(w, METRIC_WEBHOOK_LAG, (double)c.lag);
}

static void add_quotas(struct metrics_writer *w, const struct request *req)
{
    struct error ignored;
    struct project project;
    struct quota_use use;

    if (project_find(req->core, req->principal.project_id, &project, &ignored))
        return;
    quota_use_read(req->core, project.id, NULL, &use);
    for (int i = 0; i < QUOTA_COUNT; i++) {
        const struct metric_label labels[] = {
            {"project", project.name}, {"resource", quota_resource_name(i)}, {0}};

        metrics_add(w, METRIC_QUOTA_USED, labels, (double)use.used[i]);
    }
    for (int i = 0; i < QUOTA_COUNT; i++) {
        const struct metric_label labels[] = {
            {"project", project.name}, {"resource", quota_resource_name(i)}, {0}};

        if (project.limits.max[i] != QUOTA_UNLIMITED)
            metrics_add(w, METRIC_QUOTA_LIMIT, labels, (double)project.limits.max[i]);
    }
}

static void add_sets(struct metrics_writer *w, struct core *core)
{
    struct set_counts c;

    set_counts_read(core, &c);
    for (int state = 0; state < SET_STATE_COUNT; state++) {
        const struct metric_label label[] = {{"state", set_state_name((enum set_state)state)}, {0}};

        metrics_add(w, METRIC_SETS, label, (double)c.sets[state]);
    }
    for (int state = 0; state < VM_STATE_COUNT; state++) {
        const struct metric_label label[] = {{"state", vm_state_name((enum vm_state)state)}, {0}};

        metrics_add(w, METRIC_SET_VMS, label, (double)c.vms[state]);
    }
}

static void add_images(struct metrics_writer *w, struct core *core)
{
    struct image_counts c;

    image_counts_read(core, &c);
    for (int state = 0; state < IMAGE_STATE_COUNT; state++) {
        const struct metric_label label[] = {{"state", image_state_name(state)}, {0}};

        metrics_add(w, METRIC_IMAGES, label, (double)c.states[state]);
    }
    add(w, METRIC_IMAGES_DAMAGED, (double)c.damaged);
}

static void list_vms(const struct request *req, struct vm ***ret, size_t *ret_count)
{
    struct vm_filter filter = {
        .project_id = req->principal.project_id, .state = -1, .limit = SIZE_MAX};
    bool more;

    vm_list(req->core, &filter, ret, ret_count, &more);
}

static void vms_done(struct vm **vms, size_t count)
{
    for (size_t i = 0; i < count; i++)
        vm_unref(vms[i]);
    free(vms);
}

static void add_vms(struct metrics_writer *w, const struct request *req,
                    const struct snapshot *snapshot)
{
    struct vm **vms;
    size_t count;

    list_vms(req, &vms, &count);
    metrics_add_vms(w, vms, count, snapshot, req->principal.scopes & ACCESS_KSM_READ);
    vms_done(vms, count);
}

static void add_ksm(struct metrics_writer *w, const struct host_ksm *ksm)
{
    static const struct {
        enum metric id;
        enum host_ksm_key key;
        double scale;
    } rows[] = {
        {METRIC_KSM_RUN, HOST_KSM_run, 1},
        {METRIC_KSM_PAGES_TO_SCAN, HOST_KSM_pages_to_scan, 1},
        {METRIC_KSM_SLEEP, HOST_KSM_sleep_millisecs, 1e-3},
        {METRIC_KSM_MERGE_ACROSS_NODES, HOST_KSM_merge_across_nodes, 1},
        {METRIC_KSM_PAGES_SHARED, HOST_KSM_pages_shared, 1},
        {METRIC_KSM_PAGES_SHARING, HOST_KSM_pages_sharing, 1},
        {METRIC_KSM_PAGES_UNSHARED, HOST_KSM_pages_unshared, 1},
        {METRIC_KSM_PAGES_VOLATILE, HOST_KSM_pages_volatile, 1},
        {METRIC_KSM_PAGES_SCANNED, HOST_KSM_pages_scanned, 1},
        {METRIC_KSM_PAGES_SKIPPED, HOST_KSM_pages_skipped, 1},
        {METRIC_KSM_FULL_SCANS, HOST_KSM_full_scans, 1},
        {METRIC_KSM_ZERO_PAGES, HOST_KSM_ksm_zero_pages, 1},
        {METRIC_KSM_PROFIT, HOST_KSM_general_profit, 1},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        if (ksm->has[rows[i].key])
            add(w, rows[i].id, (double)ksm->value[rows[i].key] * rows[i].scale);
    }
}

static void add_ksm_cost(struct metrics_writer *w, struct core *core, const struct snapshot *s,
                         bool exact)
{
    const struct host_ksm *ksm = &s->ksm;
    struct ksm_tuner_status t;

    if (ksm->has_saved && exact)
        add(w, METRIC_KSM_SAVED, (double)ksm->saved_bytes);
    ksm_tuner_read(core_ksm_tuner(core), &t);
    metrics_add(w, METRIC_KSM_TUNER,
                (const struct metric_label[]){
                    {"mode", ksm_mode_name(t.mode)}, {"phase", t.phase}, {0}},
                1);
    add(w, METRIC_KSM_BUDGET, (double)t.budget_percent / 100);
    if (ksm->has_ksmd_cpu)
        add(w, METRIC_KSM_CPU, ksm->ksmd_cpu_seconds);
}

static void add_sampler(struct metrics_writer *w, struct core *core)
{
    struct sampler_stats s;
    struct history_stats h;

    sampler_stats_read(core_sampler(core), &s);
    add(w, METRIC_SAMPLER_TICKS, (double)s.ticks);
    add(w, METRIC_SAMPLER_LATE, (double)s.late_ticks);
    add(w, METRIC_SAMPLER_SECONDS, (double)s.tick_ns / 1e9);
    add(w, METRIC_SAMPLER_DEAR, (double)s.dear_reads);
    add(w, METRIC_SAMPLER_DEAR_FAILED, (double)s.dear_failures);
    add(w, METRIC_SAMPLER_DEAR_SECONDS, (double)s.dear_ns / 1e9);
    add(w, METRIC_SAMPLER_HANGING, s.hanging);
    history_stats_read(core_history(core), &h);
    add(w, METRIC_HISTORY_BLOCKS, (double)h.blocks);
    add(w, METRIC_HISTORY_DROPPED, (double)h.dropped);
    add(w, METRIC_HISTORY_SECONDS, (double)h.write_ns / 1e9);
    add(w, METRIC_HISTORY_BYTES, (double)h.bytes);
}

static void add_host(struct metrics_writer *w, struct core *core, const struct snapshot *snapshot)
{
    struct backups_figures backups;
    struct host_self self;

    if (snapshot->memory.ok) {
        add(w, METRIC_HOST_MEMORY_TOTAL, (double)snapshot->memory.total_bytes);
        add(w, METRIC_HOST_MEMORY_AVAILABLE, (double)snapshot->memory.available_bytes);
    }
    if (snapshot->sampled_at)
        add(w, METRIC_SAMPLE_TIME, (double)snapshot->sampled_at / 1e3);
    add_sampler(w, core);
    backups_read(core_backups(core), &backups);
    if (backups.newest_at)
        add(w, METRIC_BACKUP_TIME, (double)backups.newest_at / 1e3);
    add(w, METRIC_BACKUP_FAILURES, (double)backups.failures);
    host_self_read(core_host(core), &self);
    add(w, METRIC_PROCESS_CPU, self.cpu_seconds);
    add(w, METRIC_PROCESS_RESIDENT, (double)self.resident_bytes);
    add(w, METRIC_PROCESS_VIRTUAL, (double)self.virtual_bytes);
    add(w, METRIC_PROCESS_FDS, self.open_fds);
    add(w, METRIC_PROCESS_MAX_FDS, self.max_fds);
    add(w, METRIC_PROCESS_START, self.start_time_seconds);
}

static int answer_compat(struct request *req, struct response *res, const char *compat,
                         const struct snapshot *snapshot, struct error *err)
{
    auto_strbuf struct strbuf b = {0};
    char reason[256];
    struct vm **vms;
    size_t count;

    if (str_eq(compat, "libvirt")) {
        list_vms(req, &vms, &count);
        metrics_compat_libvirt(&b, virt_is_up(core_virt(req->core), reason, sizeof(reason)), vms,
                               count, snapshot);
        vms_done(vms, count);
    } else if (str_eq(compat, "node")) {
        if (access_require(&req->principal, ACCESS_KSM_READ, err))
            return -1;
        metrics_compat_node(&b, &snapshot->ksm);
    } else {
        return error_set_at(err, ERROR_INVALID_ARGUMENT, "compat", "compat is libvirt or node");
    }
    response_blob(res, 200, blob_new(b.data ? b.data : "", b.len));
    res->content_type = TEXT_FORMAT;
    return 0;
}

int handle_metrics(struct request *req, struct response *res, struct error *err)
{
    struct metrics_writer w = METRICS_WRITER_INIT;
    auto_snapshot struct snapshot *snapshot = sampler_latest(core_sampler(req->core));
    const char *compat = request_query(req, "compat");
    /* What all projects do together is nobody's business but the host's. */
    bool whole = access_is_of_host(&req->principal);

    if (compat)
        return answer_compat(req, res, compat, snapshot, err);
    add_build(&w, req->core);
    if (whole) {
        add_http(&w, req);
        add_consoles(&w, req->core);
        add_timing(&w, req->core);
        add_leases(&w, req->core);
        add_pools(&w, req);
        add_webhooks(&w, req->core);
    }
    add_quotas(&w, req);
    if (whole) {
        add_sets(&w, req->core);
        add_images(&w, req->core);
    }
    add_vms(&w, req, snapshot);
    if (req->principal.scopes & ACCESS_KSM_READ)
        add_ksm(&w, &snapshot->ksm);
    add_ksm_cost(&w, req->core, snapshot, req->principal.scopes & ACCESS_KSM_READ);
    if (whole)
        add_host(&w, req->core, snapshot);
    response_blob(res, 200, blob_new(w.text.data, w.text.len));
    res->content_type = TEXT_FORMAT;
    strbuf_done(&w.text);
    return 0;
}
