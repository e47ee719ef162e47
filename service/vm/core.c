/*
 * The core: builds the parts in order, takes them down in reverse, and says whether they are well.
 */
#include "service/vm/core.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/backups.h"
#include "service/vm/core_internal.h"
#include "service/vm/exec.h"
#include "service/vm/host_stop_internal.h"
#include "service/vm/lease.h"
#include "service/vm/project_internal.h"
#include "service/vm/quota_internal.h"
#include "service/vm/set.h"
#include "service/vm/webhook.h"

#define BOOT_MAX_MS 600000

const struct settings *core_settings(struct core *core)
{
    return core->settings;
}

const char *core_state_dir(struct core *core)
{
    return core->state_dir;
}

const char *core_install_id(struct core *core)
{
    return core->install_id;
}

struct db *core_db(struct core *core)
{
    return core->db;
}

struct virt *core_virt(struct core *core)
{
    return core->virt;
}

struct host *core_host(struct core *core)
{
    return core->host;
}

struct access *core_access(struct core *core)
{
    return core->access;
}

struct console_hub *core_consoles(struct core *core)
{
    return core->consoles;
}

struct sampler *core_sampler(struct core *core)
{
    return core->sampler;
}

struct timing *core_timing(struct core *core)
{
    return core->timing;
}

struct backups *core_backups(struct core *core)
{
    return core->backups;
}

struct audit_log *core_audit_log(struct core *core)
{
    return core->audit_log;
}

struct history *core_history(struct core *core)
{
    return core->history;
}

struct ksm_tuner *core_ksm_tuner(struct core *core)
{
    return core->ksm_tuner;
}

struct image_registry *core_images(struct core *core)
{
    return core->images;
}

static int ensure_dirs(struct core *core, struct error *err)
{
    static const char *const names[] = {"", "/vms", "/images", "/libvirt", "/consoles"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        auto_free char *path = xasprintf("%s%s", core->state_dir, names[i]);

        if (dir_ensure(path, 0711, err))
            return -1;
    }
    return 0;
}

struct load {
    struct core *core;
    struct error *err;
};

static int load_vm(void *arg, const struct vm_row *row)
{
    struct load *load = arg;
    auto_vm struct vm *vm = vm_from_row(row, load->err);

    if (!vm) {
        /* One damaged row must not keep the others from being served. */
        log_failure(LOG_LEVEL_ERROR, load->err, "VM %s cannot be loaded", row->id);
        db_note_damage(load->core->db);
        return 0;
    }
    registry_put(load->core->registry, vm);
    return 0;
}

static void on_first_output(void *opaque, const char *vm_id, const char *stream)
{
    struct core *core = opaque;
    auto_vm struct vm *vm = registry_get(core->registry, vm_id);
    int64_t ms = vm && vm->started_at ? clock_wall_ms() - vm->started_at : -1;

    /* A console that speaks for the first time long after the start does not tell of a boot. */
    if (str_eq(stream, "console") && ms >= 0 && ms < BOOT_MAX_MS)
        timing_add(core->timing, TIMING_BOOT, (double)ms / 1e3);
    wait_wake_vm(core->waits, vm_id);
    lease_keeper_poke(core->leases);
    set_keeper_poke(core->sets);
}

static void on_marks(void *opaque, const char *vm_id, const char *stream, unsigned marks)
{
    struct core *core = opaque;
    int64_t now = clock_wall_ms();

    (void)stream;
    for (int mark = 0; mark < VM_MARK_COUNT; mark++) {
        if (marks & 1u << mark)
            tracker_on_mark(core->tracker, vm_id, (enum vm_mark)mark, now);
    }
}

static void on_stream_ended(void *opaque, const char *vm_id, const char *stream)
{
    struct core *core = opaque;

    tracker_on_stream_ended(core->tracker, vm_id, stream);
}

static void on_right_ended(void *opaque, const char *right)
{
    struct core *core = opaque;

    console_revoke(core->consoles, right);
    event_log_revoke(core->events, right);
    exec_revoke(core, right);
}

static void on_event(void *opaque, const struct event_row *row)
{
    struct core *core = opaque;

    event_log_publish(core->events, row);
    webhook_hub_poke(core->webhooks);
}

static bool has_entries(const char *path)
{
    auto_closedir DIR *dir = opendir(path);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.')
            return true;
    }
    return false;
}

/* A new database would know nothing of the VMs whose files are there, and they would be nobody's. */
static int refuse_oblivion(struct core *core, const char *path, struct error *err)
{
    auto_free char *vms = xasprintf("%s/vms", core->state_dir);
    struct stat st;

    if ((stat(path, &st) == 0 && st.st_size > 0) || !has_entries(vms))
        return 0;
    error_set(err, ERROR_DATABASE_FAILED, "%s is not there or empty, but files of VMs are, in %s", path, vms);
    error_remedy(err, "`drover db restore` brings back the newest good copy, `drover db rebuild` makes a new database "
                      "from what libvirt knows. Guests keep running. To begin anew, move that directory away.");
    return -1;
}

static int open_database(struct core *core, struct error *err)
{
    auto_free char *path = xasprintf("%s/drover.db", core->state_dir);
    struct load load = {core, err};

    if (refuse_oblivion(core, path, err))
        return -1;
    if (db_open(path, &core->db, err))
        return -1;
    if (store_install_id(core->db, core->install_id, err))
        return -1;
    return store_vm_each(core->db, load_vm, &load, err);
}

/* A full disk must not keep what runs from being shown and managed: /readyz says what is wrong. */
static int note_start(struct core *core, struct error *err)
{
    struct error ignored;

    if (event_write(core, PROJECT_DEFAULT, "daemon.started", "host", HOST_LOCAL, NULL, err) == 0)
        return 0;
    if (db_is_writable(core->db, &ignored))
        return -1;
    log_failure(LOG_LEVEL_WARNING, err, "starting without being able to store anything");
    return 0;
}

static int build(struct core *core, struct error *err)
{
    auto_free char *log_dir = xasprintf("%s/consoles", core->state_dir);
    auto_free char *history = xasprintf("%s/history.db", core->state_dir);
    const struct console_options consoles = {
        .ring_bytes = (size_t)core->settings->console_ring_bytes,
        .viewers_max = (unsigned)core->settings->console_viewers,
        .log_dir = log_dir,
        .log_bytes = (uint64_t)core->settings->console_log_bytes,
        .rate_bytes = (uint64_t)core->settings->console_rate_bytes,
        .on_first_output = on_first_output,
        .on_marks = on_marks,
        .on_ended = on_stream_ended,
        .on_notice = tracker_on_console_notice,
        .opaque = core,
    };
    struct virt_options virt = {
        .uri = core->settings->libvirt_uri,
        .state_dir = core->state_dir,
        .install_id = core->install_id,
        .on_event = tracker_on_event,
        .on_link = tracker_on_link,
    };

    if (ensure_dirs(core, err) || host_open("/", &core->host, err) || open_database(core, err) ||
        event_log_new(core, &core->events, err))
        return -1;
    if (webhook_hub_open(core, &core->webhooks, err))
        return -1;
    db_set_event_hook(core->db, on_event, core);
    if (project_open(core, &core->projects, err) || quota_open(core, &core->quotas, err) ||
        lease_keeper_open(core, &core->leases, err) ||
        set_keeper_open(core, &core->sets, err) || host_stop_open(core, &core->host_stop, err))
        return -1;
    if (access_open(core->db, core->settings, core->state_dir, &core->access, err) ||
        image_registry_open(core, &core->images, err) ||
        catalogue_open(core, &core->catalogue, err))
        return -1;
    core->waits = wait_list_new(core, err);
    if (!core->waits || console_hub_new(&consoles, &core->consoles, err) ||
        guest_hub_new(core, &core->guests, err))
        return -1;
    access_set_on_revoked(core->access, on_right_ended, core);
    if (recorder_start(core, &core->recorder, err))
        return -1;
    /* Before anybody can add to them, and before the tracker judges a VM that one of them is about. */
    if (op_engine_load(core->ops, err))
        return -1;
    virt.opaque = core->tracker;
    if (note_start(core, err) ||
        virt_open(&virt, &core->virt, err) || notifier_start(core, &core->notifier, err) ||
        tracker_start(core->tracker, err) || exec_restore(core, err))
        return -1;
    /* What libvirt said before the tracker ran is queued: its thread needs core->virt. */
    if (history_start(core, history, &core->history, err) ||
        sampler_start(core, &core->sampler, err) ||
        ksm_tuner_start(core, &core->ksm_tuner, err) || lease_keeper_start(core->leases, err) ||
        set_keeper_start(core->sets, err) || webhook_hub_start(core->webhooks, err) ||
        audit_log_start(core, &core->audit_log, err))
        return -1;
    return backups_start(core, &core->backups, err) || janitor_start(core, &core->janitor, err) ? -1 : 0;
}

int core_start(const struct core_options *options, struct core **ret, struct error *err)
{
    struct core *core = xcalloc(1, sizeof(*core));

    core->settings = options->settings;
    core->state_dir = xstrdup(options->state_dir);
    for (size_t i = 0; i < CHANGE_LOCKS; i++)
        mutex_init(&core->change_locks[i]);
    mutex_init(&core->openings_lock);
    cond_init(&core->openings_changed);
    core->registry = registry_new();
    core->notices = notices_new();
    core->admission = admission_new();
    core->stats_topic = stats_topic_new();
    core->timing = timing_new();
    core->tracker = tracker_new(core);
    core->ops = op_engine_new(core);
    if (build(core, err)) {
        /* A table that is not as it was is no page that is broken, and keeps it from starting all the same. */
        if (!*err->remedy && (err->code == ERROR_DATABASE_FAILED || err->code == ERROR_INTERNAL))
            error_remedy(err, DB_DAMAGE_REMEDY);
        core_stop(core);
        return -1;
    }
    *ret = core;
    return 0;
}

void core_stop(struct core *core)
{
    if (!core)
        return;
    janitor_stop(core->janitor);
    audit_log_stop(core->audit_log);
    backups_stop(core->backups);
    set_keeper_stop(core->sets);
    lease_keeper_stop(core->leases);
    webhook_hub_stop(core->webhooks);
    ksm_tuner_stop(core->ksm_tuner);
    sampler_stop(core->sampler);
    history_stop(core->history);
    if (core->waits)
        wait_list_stop(core->waits);
    if (core->events)
        event_log_stop(core->events);
    stats_topic_stop(core->stats_topic);
    if (core->guests)
        guest_hub_stop(core->guests);
    op_engine_stop(core->ops);
    tracker_stop(core->tracker);
    notifier_stop(core->notifier);
    /* The operations' workers are gone, so nobody calls libvirt any more. */
    if (core->virt)
        virt_close(core->virt);
    access_stop(core->access);
    recorder_stop(core->recorder);
    console_hub_free(core->consoles);
    catalogue_close(core->catalogue);
    guest_hub_free(core->guests);
    image_registry_close(core->images);
    access_close(core->access);
    if (core->db) {
        db_set_event_hook(core->db, NULL, NULL);
        db_close(core->db);
    }
    host_stop_free(core->host_stop);
    set_keeper_free(core->sets);
    lease_keeper_free(core->leases);
    quota_close(core->quotas);
    project_close(core->projects);
    webhook_hub_free(core->webhooks);
    event_log_free(core->events);
    wait_list_free(core->waits);
    op_engine_free(core->ops);
    tracker_free(core->tracker);
    notices_free(core->notices);
    admission_free(core->admission);
    stats_topic_free(core->stats_topic);
    timing_free(core->timing);
    registry_free(core->registry);
    host_close(core->host);
    for (size_t i = 0; i < CHANGE_LOCKS; i++)
        pthread_mutex_destroy(&core->change_locks[i]);
    pthread_cond_destroy(&core->openings_changed);
    pthread_mutex_destroy(&core->openings_lock);
    free(core->state_dir);
    free(core);
}

static struct core_part part(const char *name, bool ok, const char *cause)
{
    struct core_part p = {.name = name, .ok = ok};

    str_copy_utf8(p.cause, sizeof(p.cause), ok ? "" : cause);
    return p;
}

size_t core_readiness(struct core *core, struct core_part *ret, size_t max)
{
    struct error err = ERROR_INIT;
    char reason[256] = "";
    uint64_t free_bytes = 0, total = 0;
    uint64_t floor = (uint64_t)core->settings->free_space_floor_mib << 20;
    bool ok;
    size_t n = 0;

    if (max < 4)
        return 0;
    ok = db_is_writable(core->db, &err) && !db_is_damaged(core->db);
    ret[n++] = part("database", ok, db_is_damaged(core->db) ? "it is damaged. " DB_DAMAGE_REMEDY : err.detail);
    ok = virt_is_up(core->virt, reason, sizeof(reason));
    ret[n++] = part("libvirt", ok, reason);
    ret[n++] = part("reconciled", tracker_is_reconciled(core->tracker),
                    "what runs has not been compared with what is stored yet");
    ok = host_disk_space(core->state_dir, &free_bytes, &total, &err) == 0 && free_bytes >= floor;
    snprintf(reason, sizeof(reason), "only %llu MiB are free below the state directory",
             (unsigned long long)(free_bytes >> 20));
    ret[n++] = part("disk_space", ok, reason);
    return n;
}

bool core_is_ready(struct core *core)
{
    struct core_part parts[4];
    size_t n = core_readiness(core, parts, 4);

    for (size_t i = 0; i < n; i++) {
        if (!parts[i].ok)
            return false;
    }
    return true;
}
