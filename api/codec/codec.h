/*
 * Values to JSON and small bodies to values: the shapes of openapi.yaml, one function each. Pure;
 * any thread. Encoders return a new reference (or blob) that the caller owns and never fail.
 */
#ifndef DROVER_API_CODEC_H
#define DROVER_API_CODEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "service/base/blob.h"
#include "service/base/error.h"
#include "service/host/host.h"
#include "service/virt/virt.h"
#include "service/vm/access.h"
#include "service/vm/admission.h"
#include "service/vm/core.h"
#include "service/vm/event.h"
#include "service/vm/audit_log.h"
#include "service/vm/history.h"
#include "service/vm/host_stop.h"
#include "service/vm/image.h"
#include "service/vm/ksm_tuner.h"
#include "service/vm/lease.h"
#include "service/vm/op.h"
#include "service/vm/recording.h"
#include "service/vm/sampler.h"
#include "service/vm/set.h"
#include "service/vm/vm.h"

/* ---- shared pieces ---- */

json_t *codec_time(int64_t wall_ms);  /* null for 0 */
json_t *codec_text(const char *text); /* null for NULL and "" */
/* {items, next_cursor}; steals items. next_cursor NULL: the last page. */
json_t *codec_list(json_t *items, const char *next_cursor);
/* The same from items that are rendered already, e.g. a snapshot's own JSON. */
struct blob *codec_list_rendered(struct blob *const *items, size_t count, const char *next_cursor);

/* ---- VMs ---- */

/* The VM as JSON, rendered once per snapshot and kept with it; a reference. */
struct blob *codec_vm(struct vm *vm);
struct blob *codec_vm_list(struct vm *const *vms, size_t count, const char *next_cursor);
/* How far its current or last boot came. */
json_t *codec_timeline(const struct vm *vm);
/* The VM with `operation`; op may be NULL. */
struct blob *codec_vm_created(struct vm *vm, const struct op *op);

/* ---- the other resources ---- */

json_t *codec_audit_entry(const struct audit_entry *e);
json_t *codec_op(const struct op *op);
json_t *codec_guest_shutdown(const struct host_stop_status *status);
json_t *codec_image(const struct image *image, unsigned used_by);
/* position 0: not queued */
json_t *codec_lease(const struct lease *lease, int64_t position);
json_t *codec_lease_record(const struct lease *lease, int64_t position, json_t *record);
json_t *codec_set(const struct set *set, const struct set_status *status);
/* With its members; vms as set_vms() gives them. */
json_t *codec_set_whole(const struct set *set, const struct set_status *status,
                        struct vm *const *vms);
json_t *codec_set_plan(const char *name, const struct set_spec *spec, const struct set_plan *plan);
/* The image with `operation`; op may be NULL. */
json_t *codec_image_created(const struct image *image, unsigned used_by, const struct op *op);
json_t *codec_image_checks(const struct image_checks *checks, const char *request_id);
json_t *codec_problem(const struct error *err, const char *request_id);
struct blob *codec_event_list(struct event *const *events, size_t count, const char *next_cursor,
                              int64_t last_seq);

/* Without the scope ksm:read figures of merged memory are coarse: see ksm_coarse(). */
enum codec_ksm { CODEC_KSM_EXACT, CODEC_KSM_COARSE };
enum codec_ksm codec_ksm_for(const struct principal *principal);

json_t *codec_pool(const struct pool *pool, const struct pool_status *status,
                   const struct pool_memory *memory, enum codec_ksm detail);

/* sample NULL: there are no figures, because of reason. */
json_t *codec_missing(const struct vm_sample *s); /* [{figures, reason}] */
json_t *codec_stats(const char *vm_id, const struct vm_sample *sample, const struct host_ksm *ksm,
                    enum codec_ksm detail, const char *reason);
json_t *codec_stats_list(const struct snapshot *snapshot, const char *project_id,
                         enum codec_ksm detail);
json_t *codec_vm_ksm(const struct vm_sample *sample, const struct host_ksm *ksm,
                     enum codec_ksm detail);
/* The host's: counters, knobs, what it costs. */
/* tuner may be NULL. */
json_t *codec_ksm(const struct host_ksm *ksm, const struct ksm_tuner_status *tuner,
                  enum codec_ksm detail);

/* vm_id NULL: the host's. */
struct blob *codec_history(const char *vm_id, const struct history_answer *answer,
                           enum codec_ksm detail);

struct codec_density {
    const struct snapshot *snapshot;
    struct vm *const *vms;
    size_t count;
    const char *label; /* groups by its value; NULL: by set or by image */
    bool by_set;
    const struct admission_sum *admission;
    enum codec_ksm detail;
};
json_t *codec_density(const struct codec_density *density);

struct codec_host {
    unsigned cpus;
    char kernel[128], hostname[256];
    struct host_memory memory;
    uint64_t promised_bytes;
    struct host_kvm kvm;
    bool vsock;
    char vsock_cause[256];
    const struct host_ksm *ksm;
    bool has_disk;
    uint64_t disk_free_bytes, disk_total_bytes;
    bool libvirt_up;
    char libvirt_reason[256];
    const struct virt_host *virt; /* NULL when libvirt is not connected */
    size_t vms_total, vms_running;
};
json_t *codec_host(const struct codec_host *host);
json_t *codec_check(const struct host_check *check);

json_t *codec_principal(const struct principal *principal, const char *project_name);
json_t *codec_token(const struct token_info *token,
                    const char *secret); /* secret NULL: not shown */
/* ---- webhooks ---- */

struct webhook;
struct webhook_delivery;
json_t *codec_webhook(const struct webhook *w, const char *secret); /* secret NULL: not shown */
json_t *codec_webhook_delivery(const struct webhook_delivery *d);
struct codec_webhook_request {
    char *url, *events, *labels, *secret; /* NULL: not sent */
    int enabled;                          /* -1: not sent */
};
int codec_decode_webhook(const json_t *body, struct codec_webhook_request *ret, struct error *err);
int codec_decode_webhook_patch(const json_t *body, struct codec_webhook_request *ret,
                               struct error *err);
void codec_webhook_request_done(struct codec_webhook_request *r);
#define auto_webhook_request auto_scope(codec_webhook_request_done)
int codec_decode_redelivery(const json_t *body, int64_t *ret_from_seq, struct error *err);

/* ---- quotas ---- */

struct project;
json_t *codec_quota(const struct quota_limits *limits);
json_t *codec_usage(const struct quota_use *use);
/* What is absent stays as it is, null takes a limit away. */
int codec_decode_quota(const json_t *value, const char *pointer, struct quota_limits *io,
                       struct error *err);
int codec_decode_quota_patch(const json_t *body, struct quota_limits *io, struct error *err);

/* merge_with: an array of names, taken; NULL: not for this caller. */
json_t *codec_project(const struct project *project, const struct quota_use *use, json_t *merge_with);
struct codec_project_request {
    char *name;
    struct quota_limits limits; /* as they are before; the patch is applied to them */
    int memory_merge;           /* -1: not said */
    const char **merge_with;    /* NULL: not said; the texts are the body's */
    size_t merge_with_count;
};
int codec_decode_project(const json_t *body, struct codec_project_request *ret, struct error *err);
int codec_decode_project_patch(const json_t *body, struct codec_project_request *ret,
                               struct error *err);
void codec_project_request_done(struct codec_project_request *r);
#define auto_project_request auto_scope(codec_project_request_done)

struct codec_ticket_addresses {
    char secret[SECRET_RANDOM_TEXT], url[600], link[400];
};
json_t *codec_ticket(const struct ticket_info *ticket, const char *vm_name,
                     const struct codec_ticket_addresses *at); /* at NULL: not shown */
json_t *codec_ticket_lookup(const struct ticket_info *ticket, const char *vm_name);
json_t *codec_code(const char *code, const char *url, int64_t expires_at);

json_t *codec_liveness(void);
json_t *codec_readiness(const struct core_part *parts, size_t count, bool ready);
json_t *codec_api(void);

json_t *codec_recording(const struct recording *recording);

/* ---- bodies; VALIDATION_FAILED with a pointer ---- */

struct codec_recording_request {
    char *stream; /* NULL: not given */
};
int codec_decode_recording(const json_t *body, struct codec_recording_request *ret,
                           struct error *err);
void codec_recording_request_done(struct codec_recording_request *r);
#define auto_recording_request auto_scope(codec_recording_request_done)

struct codec_image_request {
    char *name, *description, *cmdline;
    int kind, format;
    bool has_format;
    const json_t *source_value; /* borrowed */
    struct image_source *source; /* or NULL */
    char *source_vm;             /* its `vm` as sent, or NULL */
};
int codec_decode_image(const json_t *body, struct codec_image_request *ret, struct error *err);
void codec_image_request_done(struct codec_image_request *r);
#define auto_image_request auto_scope(codec_image_request_done)

struct codec_lease_request {
    char *pool, *holder;
    struct vm_spec *vm;
    json_t *labels;
    int64_t ttl_seconds, max_seconds, idle_seconds, queue_seconds;
    int on_expiry;
};
int codec_decode_lease(const json_t *body, struct codec_lease_request *ret, struct error *err);
void codec_lease_request_done(struct codec_lease_request *r);
#define auto_lease_request auto_scope(codec_lease_request_done)
struct codec_set_act {
    bool start, has_start;
    const json_t *images; /* borrowed; or NULL */
};
/* body may be NULL; images: they may be given. */
int codec_decode_set_act(const json_t *body, bool images, struct codec_set_act *ret,
                         struct error *err);
int codec_decode_set_patch(const json_t *body, int64_t *ret_ttl_seconds, struct error *err);
int codec_decode_renewal(const json_t *body, int64_t *ret_ttl_seconds, struct error *err);
struct codec_label_request { /* {image, keep?}, and {image} alone */
    char *image;
    int64_t keep; /* -1: not sent */
};
int codec_decode_label(const json_t *body, struct codec_label_request *ret, struct error *err);
int codec_decode_rebase(const json_t *body, struct codec_label_request *ret, struct error *err);
void codec_label_request_done(struct codec_label_request *r);
#define auto_label_request auto_scope(codec_label_request_done)

struct codec_token_request {
    char *name;
    int role;
    unsigned scopes;
    int64_t expires_in_seconds;
    bool has_quota;
    struct quota_limits limits;
};
int codec_decode_token(const json_t *body, struct codec_token_request *ret, struct error *err);
void codec_token_request_done(struct codec_token_request *r);
#define auto_token_request auto_scope(codec_token_request_done)

struct codec_ticket_request {
    char *vm, *stream, *name;
    int mode; /* 0 control, 1 view */
    bool single_use;
    int64_t expires_in_seconds;
};
int codec_decode_ticket(const json_t *body, struct codec_ticket_request *ret, struct error *err);
void codec_ticket_request_done(struct codec_ticket_request *r);
#define auto_ticket_request auto_scope(codec_ticket_request_done)

struct codec_ticket_lookup {
    char *ticket;
};
int codec_decode_ticket_lookup(const json_t *body, struct codec_ticket_lookup *ret,
                               struct error *err);
void codec_ticket_lookup_done(struct codec_ticket_lookup *r);
#define auto_ticket_lookup auto_scope(codec_ticket_lookup_done)

struct codec_sign_in {
    char *code, *token; /* exactly one of them */
};
int codec_decode_sign_in(const json_t *body, struct codec_sign_in *ret, struct error *err);
void codec_sign_in_done(struct codec_sign_in *r);
#define auto_sign_in auto_scope(codec_sign_in_done)

int codec_decode_ksm(const json_t *body, struct ksm_tuner_patch *ret, struct error *err);

/*
 * The SHA-256 of a Content-Digest header (may be NULL) as hex; *ret_found false when it has none.
 * INVALID_ARGUMENT.
 */
int codec_content_digest(const char *header, char ret[SECRET_SHA256_TEXT], bool *ret_found,
                         struct error *err);

/* Console output for reading: no escape sequences, no control characters, UTF-8. Caller frees. */
char *codec_console_text(const char *data, size_t len, size_t *ret_len);

#endif
