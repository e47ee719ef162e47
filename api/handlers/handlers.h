/*
 * The handlers, one file per resource, and what they share. A handler holds only its own business:
 * who may call it, how large its body is and which thread it runs on are in api/routes.c.
 */
#ifndef DROVER_API_HANDLERS_H
#define DROVER_API_HANDLERS_H

#include "api/request.h"
#include "service/vm/image.h"
#include "service/vm/op.h"
#include "web/assets.h"

/* meta.c */
handler_fn handle_livez, handle_readyz, handle_api;
/* assets.c */
handler_fn handle_dashboard, handle_asset, handle_openapi_yaml, handle_openapi_json, handle_docs,
    handle_problem;
/* metrics.c */
handler_fn handle_metrics;
/* host.c */
handler_fn handle_host, handle_host_checks;
/* host_guests.c */
handler_fn handle_guest_shutdown, handle_guests_shut_down, handle_guests_start;
/* vms.c */
handler_fn handle_vm_list, handle_vm_create, handle_vm_get, handle_vm_patch, handle_vm_delete,
    handle_vm_action, handle_vm_timeline, handle_user_data;
/* wait.c */
handler_fn handle_vm_wait;
/* consoles.c */
handler_fn handle_console_open, handle_serial_open, handle_channel_open, handle_vsock_open,
    handle_display_open, handle_screenshot, handle_console_log, handle_console_clear;
/* recordings.c */
handler_fn handle_recording_start, handle_recording_stop, handle_recording_list,
    handle_recording_get, handle_recording_delete, handle_recording_content;
/* guest.c */
handler_fn handle_dirty_rate;
handler_fn handle_agent_get, handle_freeze, handle_thaw, handle_time, handle_password,
    handle_ssh_keys, handle_addresses, handle_exec, handle_exec_list, handle_exec_get,
    handle_exec_kill, handle_exec_open, handle_file_get;
extern const struct upload_ops guest_file_upload;
/* stats.c */
handler_fn handle_vm_stats, handle_stats, handle_ksm, handle_ksm_patch,
    handle_density;
/* history.c */
handler_fn handle_vm_history, handle_host_history;
/* images.c */
handler_fn handle_image_list, handle_image_create, handle_image_get, handle_image_delete;
handler_fn handle_image_patch, handle_image_run, handle_image_screenshot, handle_image_screenshot_delete;
/* catalogue.c */
handler_fn handle_catalogue_sources, handle_catalogue_source_create, handle_catalogue_source_refresh,
    handle_catalogue_source_delete, handle_catalogue_list, handle_catalogue_get,
    handle_catalogue_screenshot, handle_catalogue_run;
/* image_labels.c */
handler_fn handle_label_list, handle_label_get, handle_label_put, handle_label_delete,
    handle_image_verify, handle_vm_flatten, handle_vm_rebase;
extern const struct upload_ops image_content_upload, image_kernel_upload, image_initrd_upload;
extern const struct upload_ops image_screenshot_upload;
/* pools.c, leases.c */
handler_fn handle_pool_list, handle_pool_get, handle_pool_put, handle_pool_delete,
    handle_pool_user_data, handle_lease_list,
    handle_lease_create, handle_lease_get, handle_lease_renew, handle_lease_release,
    handle_lease_record;
/* sets.c */
handler_fn handle_set_list, handle_set_create, handle_set_get, handle_set_patch, handle_set_delete,
    handle_set_start, handle_set_stop, handle_set_reimage, handle_set_reset;
/* events.c */
handler_fn handle_events;
/* operations.c */
handler_fn handle_op_list, handle_op_get, handle_op_cancel;
/* webhooks.c */
handler_fn handle_webhook_list, handle_webhook_create, handle_webhook_get, handle_webhook_patch,
    handle_webhook_delete, handle_webhook_redeliver, handle_webhook_deliveries, handle_webhook_test;
/* quotas.c */
handler_fn handle_quotas;
/* projects.c */
handler_fn handle_project_list, handle_project_create, handle_project_get, handle_project_patch,
    handle_project_delete;
struct project;
json_t *project_json(struct request *req, const struct project *p); /* as this caller may see it */
/* tokens.c, tickets.c, session.c */
handler_fn handle_audit_list;
handler_fn handle_token_list, handle_token_create, handle_token_get, handle_token_patch,
    handle_token_revoke, handle_ticket_create,
    handle_ticket_list, handle_ticket_revoke, handle_ticket_lookup, handle_session_get,
    handle_session_create, handle_session_end, handle_code_create;

/* ---- common.c ---- */

#define PAGE_LIMIT_DEFAULT 100
#define PAGE_LIMIT_MAX     1000
#define WAIT_MAX_SECONDS   600

struct page {
    int64_t limit;
    int64_t after; /* the seq in the cursor, 0 from the start */
};
int page_read(const struct request *req, struct page *ret, struct error *err);
#define PAGE_CURSOR_SIZE 24
/* The cursor that goes on after seq; also puts it into the Link header. Returns buf. */
const char *page_next(const struct request *req, struct response *res, int64_t seq,
                      char buf[PAGE_CURSOR_SIZE]);

/* ?wait=SECONDS in ms; 0: not asked for. */
int wait_read(const struct request *req, int64_t *ret_ms, struct error *err);
/* Answers with the operation: at once, or parked until it is finished. Takes op. */
int answer_op(struct request *req, struct response *res, struct op *op, bool replayed,
              struct error *err);

/* ---- queue.c ---- */

/* ?queue_seconds= must be a number before anything is done. */
int queue_check(const struct request *req, struct error *err);
/*
 * What a handler returns whose start was refused with *err: parked, to be tried again from its
 * beginning, if it is for want of memory and the request would rather wait; else -1. Before that the
 * handler may keep nothing (request_keep).
 */
int queue_for_memory(struct request *req, handler_fn *again, struct error *err);

/* A time as RFC 3339 or in seconds since 1970; *ret_ms untouched when absent. INVALID_ARGUMENT. */
int time_argument(const struct request *req, const char *name, int64_t *ret_ms, struct error *err);
/* ?vm= as an id, of a deleted VM, too; "" when absent. INVALID_ARGUMENT. */
int vm_argument(const struct request *req, char ret[UUID_TEXT], struct error *err);

void answer_etag(struct response *res, const struct vm *vm);
void answer_image_etag(struct response *res, const struct image *image);
void answer_replayed(struct response *res, bool replayed);

/* The address browsers reach us at, without a slash at the end; scheme "http" or "ws". */
void public_base(const struct request *req, const char *scheme, char *ret, size_t size);
/* Whether a comma-separated header holds the token (parameters after ';' do not count). */
bool header_list_has(const char *header, const char *token);

/* ---- assets.c ---- */

/* With ETag, 304 and gzip; csp: a page. */
void answer_asset(const struct request *req, struct response *res, const struct web_asset *asset);

/* The contract and its page, generated at build time by api/handlers/embed_contract.py. */
extern const struct web_asset contract_openapi_yaml, contract_openapi_json, contract_docs,
    contract_docs_css;

#endif
