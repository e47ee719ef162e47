/*
 * The route table, in the order of openapi.yaml. "Who may call what" is answered by reading this
 * file; tests/contract compares it with the document.
 */
#include "api/handlers/handlers.h"
#include "service/vm/access.h"

#define INLINE ROUTE_INLINE
#define PUBLIC ROUTE_PUBLIC
#define BODY   ROUTE_BODY

/* clang-format off */
const struct route routes[] = {
    /* about the daemon */
    {"GET",    "/livez",            "getLiveness",    0, INLINE | PUBLIC, handle_livez},
    {"GET",    "/readyz",           "getReadiness",   0, PUBLIC, handle_readyz},
    {"GET",    "/metrics",          "getMetrics",     ACCESS_METRICS_READ, 0, handle_metrics},
    {"GET",    "/openapi.yaml",     "getOpenapiYaml", 0, INLINE | PUBLIC, handle_openapi_yaml},
    {"GET",    "/openapi.json",     "getOpenapiJson", 0, INLINE | PUBLIC, handle_openapi_json},
    {"GET",    "/docs",             "getDocs",        0, INLINE | PUBLIC, handle_docs},
    {"GET",    "/problems/{slug}",  "getProblem",     0, INLINE | PUBLIC, handle_problem},
    {"GET",    "/",                 "getDashboard",   0, INLINE | PUBLIC, handle_dashboard},
    {"GET",    "/assets/{file}",    "getAsset",       0, INLINE | PUBLIC, handle_asset},
    {"GET",    "/v1",               "getApi",         0, INLINE, handle_api},

    /* the host */
    {"GET",    "/v1/host",          "getHost",        ACCESS_HOST_READ, 0, handle_host},
    {"GET",    "/v1/host/checks",   "listHostChecks", ACCESS_HOST_READ, 0, handle_host_checks},
    {"GET",    "/v1/host/shutdown-guests", "getGuestShutdown", ACCESS_HOST_WRITE, 0, handle_guest_shutdown},
    {"POST",   "/v1/host/shutdown-guests", "shutdownGuests",   ACCESS_HOST_WRITE, 0, handle_guests_shut_down},
    {"POST",   "/v1/host/start-guests",    "startGuests",      ACCESS_HOST_WRITE, 0, handle_guests_start},

    /* VMs */
    {"GET",    "/v1/vms",               "listVms",    ACCESS_VM_READ,  INLINE, handle_vm_list},
    {"POST",   "/v1/vms",               "createVm",   ACCESS_VM_WRITE, BODY | ROUTE_LARGE_BODY, handle_vm_create},
    {"GET",    "/v1/vms/{vm}",          "getVm",      ACCESS_VM_READ,  INLINE, handle_vm_get},
    {"PATCH",  "/v1/vms/{vm}",          "patchVm",    ACCESS_VM_WRITE, BODY | ROUTE_LARGE_BODY, handle_vm_patch},
    {"DELETE", "/v1/vms/{vm}",          "deleteVm",   ACCESS_VM_WRITE, 0,      handle_vm_delete},
    {"POST",   "/v1/vms/{vm}/start",    "startVm",    ACCESS_VM_WRITE, 0,      handle_vm_action},
    {"POST",   "/v1/vms/{vm}/shutdown", "shutdownVm", ACCESS_VM_WRITE, 0,      handle_vm_action},
    {"POST",   "/v1/vms/{vm}/stop",     "stopVm",     ACCESS_VM_WRITE, 0,      handle_vm_action},
    {"POST",   "/v1/vms/{vm}/reboot",   "rebootVm",   ACCESS_VM_WRITE, 0,      handle_vm_action},
    {"POST",   "/v1/vms/{vm}/reset",    "resetVm",    ACCESS_VM_WRITE, 0,      handle_vm_action},
    {"POST",   "/v1/vms/{vm}/pause",    "pauseVm",    ACCESS_VM_WRITE, 0,      handle_vm_action},
    {"POST",   "/v1/vms/{vm}/resume",   "resumeVm",   ACCESS_VM_WRITE, 0,      handle_vm_action},
    {"POST",   "/v1/vms/{vm}/save",     "saveVm",     ACCESS_VM_WRITE, 0,      handle_vm_action},
    {"POST",   "/v1/vms/{vm}/flatten",  "flattenVm",  ACCESS_VM_WRITE, 0,      handle_vm_flatten},
    {"POST",   "/v1/vms/{vm}/rebase",   "rebaseVm",   ACCESS_VM_WRITE, BODY,   handle_vm_rebase},
    {"GET",    "/v1/vms/{vm}/timeline", "getVmTimeline", ACCESS_VM_READ, INLINE, handle_vm_timeline},

    /* streams; the handlers also check console:control, which depends on ?mode= */
    {"GET",    "/v1/vms/{vm}/console",            "openConsole", ACCESS_CONSOLE_VIEW,
     ROUTE_UPGRADE | ROUTE_TICKET, handle_console_open},
    {"GET",    "/v1/vms/{vm}/channels/{channel}", "openChannel", ACCESS_CONSOLE_VIEW,
     ROUTE_UPGRADE | ROUTE_TICKET, handle_channel_open},
    {"GET",    "/v1/vms/{vm}/serial/{port}",      "openSerial",  ACCESS_CONSOLE_VIEW,
     ROUTE_UPGRADE | ROUTE_TICKET, handle_serial_open},
    {"GET",    "/v1/vms/{vm}/vsock/{port}",       "openVsock",   ACCESS_CONSOLE_VIEW,
     ROUTE_UPGRADE | ROUTE_TICKET, handle_vsock_open},
    {"GET",    "/v1/vms/{vm}/display",            "openDisplay", ACCESS_CONSOLE_VIEW,
     ROUTE_UPGRADE | ROUTE_TICKET, handle_display_open},
    {"GET",    "/v1/vms/{vm}/display.png", "getScreenshot",   ACCESS_CONSOLE_VIEW,    0, handle_screenshot},
    {"GET",    "/v1/vms/{vm}/console/log", "getConsoleLog",   ACCESS_CONSOLE_VIEW,    0, handle_console_log},
    {"DELETE", "/v1/vms/{vm}/console/log", "clearConsoleLog", ACCESS_CONSOLE_CONTROL, 0, handle_console_clear},

    /* recordings of consoles */
    {"POST",   "/v1/vms/{vm}/recordings",       "startRecording",  ACCESS_CONSOLE_CONTROL,
     ROUTE_BODY_OPTIONAL, handle_recording_start},
    {"GET",    "/v1/recordings", "listRecordings", ACCESS_CONSOLE_VIEW, 0, handle_recording_list},
    {"GET",    "/v1/recordings/{recording}", "getRecording",
     ACCESS_CONSOLE_VIEW,    0, handle_recording_get},
    {"DELETE", "/v1/recordings/{recording}", "deleteRecording",
     ACCESS_CONSOLE_CONTROL, 0, handle_recording_delete},
    {"POST",   "/v1/recordings/{recording}/stop", "stopRecording",
     ACCESS_CONSOLE_CONTROL, 0, handle_recording_stop},
    {"GET",    "/v1/recordings/{recording}/content", "getRecordingContent",
     ACCESS_CONSOLE_VIEW,    0, handle_recording_content},

    /* the guest's inside, and waiting for it */
    {"GET",    "/v1/vms/{vm}/user-data",      "getVmUserData",    ACCESS_VM_WRITE, 0,    handle_user_data},
    {"GET",    "/v1/vms/{vm}/wait",           "waitForVm",        ACCESS_VM_READ,  0,    handle_vm_wait},
    {"GET",    "/v1/vms/{vm}/agent",          "getVmAgent",       ACCESS_VM_READ,  0,    handle_agent_get},
    {"POST",   "/v1/vms/{vm}/agent/freeze",   "freezeVm",         ACCESS_VM_WRITE, BODY, handle_freeze},
    {"POST",   "/v1/vms/{vm}/agent/thaw",     "thawVm",           ACCESS_VM_WRITE, 0,    handle_thaw},
    {"POST",   "/v1/vms/{vm}/agent/time",     "setVmTime",        ACCESS_VM_WRITE, 0,    handle_time},
    {"POST",   "/v1/vms/{vm}/agent/password", "setGuestPassword", ACCESS_VM_EXEC,  BODY, handle_password},
    {"POST",   "/v1/vms/{vm}/agent/ssh-keys", "addGuestSshKeys",  ACCESS_VM_EXEC,  BODY, handle_ssh_keys},
    {"GET",    "/v1/vms/{vm}/addresses",      "listVmAddresses",  ACCESS_VM_READ,  0,    handle_addresses},
    {"GET",    "/v1/vms/{vm}/exec",           "listVmExecs",      ACCESS_VM_EXEC,  0,    handle_exec_list},
    {"POST",   "/v1/vms/{vm}/exec",           "execInVm",         ACCESS_VM_EXEC,  BODY | ROUTE_LARGE_BODY,
     handle_exec},
    {"GET",    "/v1/vms/{vm}/exec/{exec}",    "getVmExec",        ACCESS_VM_EXEC,  0,    handle_exec_get},
    {"DELETE", "/v1/vms/{vm}/exec/{exec}",    "killVmExec",       ACCESS_VM_EXEC,  0,    handle_exec_kill},
    {"GET",    "/v1/vms/{vm}/exec/{exec}/stream", "openVmExec",   ACCESS_VM_EXEC,
     ROUTE_UPGRADE | ROUTE_TICKET, handle_exec_open},
    {"GET",    "/v1/vms/{vm}/files",          "getVmFile",        ACCESS_VM_EXEC,  0,    handle_file_get},
    {"PUT",    "/v1/vms/{vm}/files",          "putVmFile",        ACCESS_VM_EXEC,  ROUTE_UPLOAD,
     .upload = &guest_file_upload},

    /* figures */
    {"GET",    "/v1/vms/{vm}/stats", "getVmStats", ACCESS_VM_READ,    INLINE, handle_vm_stats},
    {"GET",    "/v1/vms/{vm}/stats/history", "getVmHistory", ACCESS_VM_READ, 0, handle_vm_history},
    {"POST",   "/v1/vms/{vm}/dirty-rate", "measureDirtyRate", ACCESS_VM_WRITE, BODY, handle_dirty_rate},
    {"GET",    "/v1/host/history",   "getHostHistory", ACCESS_HOST_READ, 0, handle_host_history},
    {"GET",    "/v1/stats",          "listStats",  ACCESS_VM_READ,    ROUTE_UPGRADE_OPTIONAL, handle_stats},
    {"GET",    "/v1/ksm",            "getKsm",     ACCESS_HOST_READ,  INLINE, handle_ksm},
    {"PATCH",  "/v1/ksm",            "patchKsm",   ACCESS_HOST_WRITE, BODY,   handle_ksm_patch},
    {"GET",    "/v1/ksm/density",    "getDensity", ACCESS_HOST_READ, 0, handle_density},

    /* images */
    {"GET",    "/v1/images",         "listImages",  ACCESS_IMAGE_READ,  0,    handle_image_list},
    {"POST",   "/v1/images",         "createImage", ACCESS_IMAGE_WRITE, BODY, handle_image_create},
    {"GET",    "/v1/images/{image}", "getImage",    ACCESS_IMAGE_READ,  0,    handle_image_get},
    {"PATCH",  "/v1/images/{image}", "patchImage",  ACCESS_IMAGE_WRITE, BODY, handle_image_patch},
    {"DELETE", "/v1/images/{image}", "deleteImage", ACCESS_IMAGE_WRITE, 0,    handle_image_delete},
    {"PUT",    "/v1/images/{image}/content",        "putImageContent", ACCESS_IMAGE_WRITE, ROUTE_UPLOAD,
     .upload = &image_content_upload},
    {"PUT",    "/v1/images/{image}/content/kernel", "putImageKernel",  ACCESS_IMAGE_WRITE, ROUTE_UPLOAD,
     .upload = &image_kernel_upload},
    {"PUT",    "/v1/images/{image}/content/initrd", "putImageInitrd",  ACCESS_IMAGE_WRITE, ROUTE_UPLOAD,
     .upload = &image_initrd_upload},
    {"GET",    "/v1/images/{image}/screenshot", "getImageScreenshot", ACCESS_IMAGE_READ, 0, handle_image_screenshot},
    {"PUT",    "/v1/images/{image}/screenshot", "putImageScreenshot", ACCESS_IMAGE_WRITE, ROUTE_UPLOAD,
     .upload = &image_screenshot_upload},
    {"DELETE", "/v1/images/{image}/screenshot", "deleteImageScreenshot", ACCESS_IMAGE_WRITE, 0,
     handle_image_screenshot_delete},
    {"POST",   "/v1/images/{image}/run", "runImage", ACCESS_VM_WRITE, ROUTE_BODY_OPTIONAL | ROUTE_LARGE_BODY,
     handle_image_run},
    {"POST",   "/v1/images/{image}/verify",     "verifyImage",      ACCESS_IMAGE_WRITE, 0,    handle_image_verify},
    {"GET",    "/v1/image-labels",              "listImageLabels",  ACCESS_IMAGE_READ,  0,    handle_label_list},
    {"GET",    "/v1/image-labels/{label}",      "getImageLabel",    ACCESS_IMAGE_READ,  0,    handle_label_get},
    {"PUT",    "/v1/image-labels/{label}",      "putImageLabel",    ACCESS_IMAGE_WRITE, BODY, handle_label_put},
    {"DELETE", "/v1/image-labels/{label}",      "deleteImageLabel", ACCESS_IMAGE_WRITE, 0,    handle_label_delete},

    /* the catalogue; running an entry may also bring its image */
    {"GET",    "/v1/catalogue",                    "listCatalogue",     ACCESS_IMAGE_READ, 0, handle_catalogue_list},
    {"GET",    "/v1/catalogue/{entry}",            "getCatalogueEntry", ACCESS_IMAGE_READ, 0, handle_catalogue_get},
    {"GET",    "/v1/catalogue/{entry}/screenshot", "getScreenshotOfEntry", ACCESS_IMAGE_READ, 0,
     handle_catalogue_screenshot},
    {"POST",   "/v1/catalogue/{entry}/run",        "runCatalogueEntry", ACCESS_VM_WRITE,
     BODY | ROUTE_LARGE_BODY, handle_catalogue_run},
    {"GET",    "/v1/catalogue-sources",            "listCatalogueSources",  ACCESS_IMAGE_READ,  0,
     handle_catalogue_sources},
    {"POST",   "/v1/catalogue-sources",            "createCatalogueSource", ACCESS_IMAGE_WRITE, BODY,
     handle_catalogue_source_create},
    {"DELETE", "/v1/catalogue-sources/{source}",   "deleteCatalogueSource", ACCESS_IMAGE_WRITE, 0,
     handle_catalogue_source_delete},
    {"POST",   "/v1/catalogue-sources/{source}/refresh", "refreshCatalogueSource", ACCESS_IMAGE_WRITE, 0,
     handle_catalogue_source_refresh},

    /* VMs with a death date */
    {"GET",    "/v1/pools",                 "listPools",    ACCESS_VM_READ,     INLINE, handle_pool_list},
    {"GET",    "/v1/pools/{pool}",          "getPool",      ACCESS_VM_READ,     INLINE, handle_pool_get},
    {"PUT",    "/v1/pools/{pool}",          "putPool",      ACCESS_VM_WRITE,    BODY | ROUTE_LARGE_BODY,
     handle_pool_put},
    {"DELETE", "/v1/pools/{pool}",          "deletePool",   ACCESS_VM_WRITE,    0,      handle_pool_delete},
    {"GET",    "/v1/pools/{pool}/user-data", "getPoolUserData", ACCESS_VM_WRITE, 0,     handle_pool_user_data},
    {"GET",    "/v1/leases",                "listLeases",   ACCESS_VM_READ,     0,      handle_lease_list},
    {"POST",   "/v1/leases",                "createLease",  ACCESS_LEASE_WRITE, BODY | ROUTE_LARGE_BODY,
     handle_lease_create},
    {"GET",    "/v1/leases/{lease}",        "getLease",     ACCESS_VM_READ,     0,      handle_lease_get},
    {"PATCH",  "/v1/leases/{lease}",        "renewLease",   ACCESS_LEASE_WRITE, BODY,   handle_lease_renew},
    {"DELETE", "/v1/leases/{lease}",        "releaseLease", ACCESS_LEASE_WRITE, 0,      handle_lease_release},
    {"GET",    "/v1/leases/{lease}/record", "getLeaseRecord", ACCESS_VM_READ,   0,      handle_lease_record},
    {"GET",    "/v1/sets",                  "listSets",     ACCESS_VM_READ,     0,      handle_set_list},
    {"POST",   "/v1/sets",                  "createSet",    ACCESS_VM_WRITE, BODY | ROUTE_LARGE_BODY,
     handle_set_create},
    {"GET",    "/v1/sets/{set}",            "getSet",       ACCESS_VM_READ,     0,      handle_set_get},
    {"PATCH",  "/v1/sets/{set}",            "extendSet",    ACCESS_VM_WRITE,    BODY,   handle_set_patch},
    {"DELETE", "/v1/sets/{set}",            "deleteSet",    ACCESS_VM_WRITE,    0,      handle_set_delete},
    {"POST",   "/v1/sets/{set}/start",      "startSet",     ACCESS_VM_WRITE,    0,      handle_set_start},
    {"POST",   "/v1/sets/{set}/stop",       "stopSet",      ACCESS_VM_WRITE,    0,      handle_set_stop},
    {"POST",   "/v1/sets/{set}/reimage",    "reimageSet",   ACCESS_VM_WRITE, ROUTE_BODY_OPTIONAL, handle_set_reimage},
    {"POST",   "/v1/sets/{set}/members/{member}/reset", "resetSetMember", ACCESS_VM_WRITE, ROUTE_BODY_OPTIONAL,
     handle_set_reset},

    /* what happened and what is being done */
    {"GET",    "/v1/events",                 "listEvents",      ACCESS_VM_READ,  ROUTE_UPGRADE_OPTIONAL, handle_events},
    {"GET",    "/v1/operations",             "listOperations",  ACCESS_VM_READ,  0, handle_op_list},
    {"GET",    "/v1/operations/{operation}", "getOperation",    ACCESS_VM_READ,  0, handle_op_get},
    {"DELETE", "/v1/operations/{operation}", "cancelOperation", ACCESS_VM_WRITE, 0, handle_op_cancel},

    /* events, posted to other servers */
    {"GET",    "/v1/webhooks",           "listWebhooks",  ACCESS_WEBHOOK_WRITE, 0,    handle_webhook_list},
    {"POST",   "/v1/webhooks",           "createWebhook", ACCESS_WEBHOOK_WRITE, BODY, handle_webhook_create},
    {"GET",    "/v1/webhooks/{webhook}", "getWebhook",    ACCESS_WEBHOOK_WRITE, 0,    handle_webhook_get},
    {"PATCH",  "/v1/webhooks/{webhook}", "patchWebhook",  ACCESS_WEBHOOK_WRITE, BODY, handle_webhook_patch},
    {"DELETE", "/v1/webhooks/{webhook}", "deleteWebhook", ACCESS_WEBHOOK_WRITE, 0,    handle_webhook_delete},
    {"POST",   "/v1/webhooks/{webhook}/redeliver",  "redeliverWebhook",      ACCESS_WEBHOOK_WRITE, BODY,
     handle_webhook_redeliver},
    {"POST",   "/v1/webhooks/{webhook}/test",       "testWebhook",           ACCESS_WEBHOOK_WRITE, 0,
     handle_webhook_test},
    {"GET",    "/v1/webhooks/{webhook}/deliveries", "listWebhookDeliveries", ACCESS_WEBHOOK_WRITE, 0,
     handle_webhook_deliveries},

    /* what may be used at the same time */
    {"GET",    "/v1/quotas",             "getQuotas",    0,                 0,    handle_quotas},

    /* who owns things; of his own project anybody may read */
    {"GET",    "/v1/projects",           "listProjects",  ACCESS_HOST_READ,     0,    handle_project_list},
    {"POST",   "/v1/projects",           "createProject", ACCESS_PROJECT_WRITE, BODY, handle_project_create},
    {"GET",    "/v1/projects/{project}", "getProject",    ACCESS_HOST_READ,     0,    handle_project_get},
    {"PATCH",  "/v1/projects/{project}", "patchProject",  ACCESS_PROJECT_WRITE, BODY, handle_project_patch},
    {"DELETE", "/v1/projects/{project}", "deleteProject", ACCESS_PROJECT_WRITE, 0,    handle_project_delete},

    /* access; a scope of 0 without PUBLIC: any credential */
    {"GET",    "/v1/tokens",         "listTokens",  ACCESS_TOKEN_WRITE,  0,    handle_token_list},
    {"POST",   "/v1/tokens",         "createToken", ACCESS_TOKEN_WRITE,  BODY, handle_token_create},
    {"GET",    "/v1/tokens/{token}", "getToken",    ACCESS_TOKEN_WRITE,  0,    handle_token_get},
    {"PATCH",  "/v1/tokens/{token}", "patchToken",  ACCESS_TOKEN_WRITE,  BODY, handle_token_patch},
    {"DELETE", "/v1/tokens/{token}", "revokeToken", ACCESS_TOKEN_WRITE,  0,    handle_token_revoke},
    {"GET",    "/v1/audit",          "listAudit",   ACCESS_TOKEN_WRITE,  0,    handle_audit_list},
    {"GET",    "/v1/tickets",          "listTickets",  ACCESS_CONSOLE_VIEW, 0,    handle_ticket_list},
    {"POST",   "/v1/tickets",          "createTicket", ACCESS_CONSOLE_VIEW, BODY, handle_ticket_create},
    {"DELETE", "/v1/tickets/{ticket}", "revokeTicket", ACCESS_CONSOLE_VIEW, 0,    handle_ticket_revoke},
    {"POST",   "/v1/tickets/lookup",   "lookupTicket", 0, PUBLIC | BODY,          handle_ticket_lookup},
    {"GET",    "/v1/session",        "getSession",    0, INLINE,        handle_session_get},
    {"POST",   "/v1/session",        "createSession", 0, PUBLIC | BODY, handle_session_create},
    {"DELETE", "/v1/session",        "endSession",    0, 0,             handle_session_end},
    {"POST",   "/v1/session/codes",  "createSessionCode", 0, 0,         handle_code_create},
    {0},
};
/* clang-format on */
