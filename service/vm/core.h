/*
 * The core: what main builds once and everything above works through. Holds the parts; has no
 * behaviour of its own but start, stop and readiness.
 */
#ifndef DROVER_VM_CORE_H
#define DROVER_VM_CORE_H

#include <stdbool.h>
#include <stddef.h>

#include "service/base/error.h"

struct access;
struct audit_log;
struct console_hub;
struct core;
struct db;
struct history;
struct host;
struct ksm_tuner;
struct sampler;
struct timing;
struct settings;
struct virt;

struct core_options {
    struct settings *settings; /* borrowed, outlives the core */
    const char *state_dir;
};

/*
 * Opens the database, loads the registry, connects libvirt (in the background), starts the
 * executor, hub and sampler. Afterwards reads work; operations wait for libvirt.
 */
int core_start(const struct core_options *options, struct core **ret, struct error *err);
/* Reverse order; parked waits end with WAIT_STOPPING; guests keep running. */
void core_stop(struct core *core);

const struct settings *core_settings(struct core *core);
const char *core_state_dir(struct core *core);
const char *core_install_id(struct core *core);
struct db *core_db(struct core *core);
struct virt *core_virt(struct core *core);
struct host *core_host(struct core *core);
struct access *core_access(struct core *core);
struct console_hub *core_consoles(struct core *core);
struct sampler *core_sampler(struct core *core);
struct ksm_tuner *core_ksm_tuner(struct core *core);
struct history *core_history(struct core *core);
struct timing *core_timing(struct core *core);
struct backups *core_backups(struct core *core);
struct audit_log *core_audit_log(struct core *core);

/* For /readyz: one entry per part. */
struct core_part {
    const char *name; /* "database", "libvirt", "reconciled", "disk_space" */
    bool ok;
    char cause[256];
};
size_t core_readiness(struct core *core, struct core_part *ret, size_t max);
bool core_is_ready(struct core *core);
/* Opens a console's or channel's upstream if the VM runs and nobody feeds it yet. Blocks on libvirt. */
int core_stream_ensure(struct core *core, const char *vm_id, const char *stream, struct error *err);

#endif
