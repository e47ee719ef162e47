/* Asking for a VM, and finding the one that was asked for before. */
#include <stdio.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/cli/interrupt.h"
#include "service/cli/job.h"

#define WAIT_STEP_S   25
#define ASK_EVERY_MS  2000
#define SERVER_MS     10000 /* a server that restarts is back by then */
#define ATTEMPTS      20    /* of a job that a CI system tries again and again */
#define NAME_RANDOM   8
#define TTL_DEFAULT   60
#define TTL_LEAST     5
#define QUEUE_DEFAULT 600
#define BOOT_DEFAULT  300

int job_ask_read(const struct args *args, struct job_ask *ret, int64_t *ret_boot_s,
                 struct failure *fail)
{
    json_int_t ttl, queue, boot;

    *ret = (struct job_ask){.pool = args_text(args, "pool", NULL),
                            .image = args_text(args, "image", NULL)};
    if (ret->pool && ret->image)
        return failure_set(fail, CLI_USAGE, "--pool and --image exclude each other");
    if (args_number(args, "cpus", 1, 1024, 0, &ret->cpus, fail) ||
        args_number(args, "memory", 16, 1 << 26, 0, &ret->memory_mib, fail) ||
        args_number(args, "disk", 1, 1 << 20, 0, &ret->disk_gib, fail) ||
        args_lifetime(args, "lease", TTL_DEFAULT, &ttl, fail) ||
        args_lifetime(args, "queue", QUEUE_DEFAULT, &queue, fail) ||
        args_lifetime(args, "boot-timeout", BOOT_DEFAULT, &boot, fail))
        return -1;
    if (ttl < TTL_LEAST)
        return failure_set(fail, CLI_USAGE, "--lease must be at least %d seconds", TTL_LEAST);
    ret->ttl_s = ttl;
    ret->queue_s = queue;
    *ret_boot_s = boot;
    return 0;
}

/* The same for the same attempt at the same job, since a repeated request must be an equal one. */
static void name_vm(const struct job_ask *ask, int attempt, char ret[64])
{
    char random[UUID_TEXT];

    uuid_new(random);
    if (ask->key)
        snprintf(ret, 64, "%.48s-%d", ask->prefix, attempt);
    else
        snprintf(ret, 64, "%.48s-%.*s", ask->prefix, NAME_RANDOM, random);
    for (char *p = ret; *p; p++) {
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
        else if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789", *p))
            *p = '-';
    }
    if (*ret == '-')
        *ret = 'x';
}

static json_t *own_vm(const struct job_ask *ask, int attempt)
{
    char name[64];
    json_t *vm = NULL;

    name_vm(ask, attempt, name);
    vm = json_pack("{s:s, s:s, s:b}", "name", name, "image", ask->image, "guest_agent", 1);
    if (!vm)
        return NULL; /* not UTF-8 */
    if (ask->cpus)
        json_object_set_new(vm, "cpus", json_integer(ask->cpus));
    if (ask->memory_mib)
        json_object_set_new(vm, "memory_mib", json_integer(ask->memory_mib));
    if (ask->disk_gib)
        json_object_set_new(vm, "root_disk_gib", json_integer(ask->disk_gib));
    if (ask->labels)
        json_object_set_new(vm, "labels", json_deep_copy(ask->labels));
    if (ask->vm)
        json_object_update(vm, ask->vm);
    return vm;
}

static json_t *body_of(const struct job_ask *ask, int attempt)
{
    auto_value json_t *vm = ask->pool ? NULL : own_vm(ask, attempt);
    json_t *body;

    if (!ask->pool && !vm)
        return NULL;
    body = json_pack("{s:s*, s:O*, s:s*, s:O*, s:I}", "pool", ask->pool, "vm", vm, "holder",
                     ask->holder, "labels", ask->labels, "ttl_seconds", (json_int_t)ask->ttl_s);
    if (body && ask->max_s)
        json_object_set_new(body, "max_seconds", json_integer(ask->max_s));
    if (body && ask->pool && ask->queue_s)
        json_object_set_new(body, "queue_seconds", json_integer(ask->queue_s));
    return body;
}

/* What is over or full now, and may not be in a while. */
static bool full(const struct failure *fail)
{
    return *fail->code && str_has_word("quota-exceeded pool-exhausted insufficient-memory "
                                       "too-many-requests insufficient-storage", fail->code);
}

/*
 * Posts until the server takes it: for a moment while it cannot be reached, for as long as the queue
 * may take while it has no room. The key makes it one lease, however often it is sent.
 */
static int post(struct cli *cli, const struct job_ask *ask, const json_t *body, const char *key,
                struct answer *ret, struct failure *fail)
{
    auto_free char *header = xasprintf("Idempotency-Key: %s", key);
    const char *headers[] = {header, NULL};
    struct client_request r = {.method = "POST", .path = "/v1/leases", .body = body, .headers = headers};
    int64_t began = clock_monotonic_ms();
    bool told = false;

    for (;;) {
        int64_t passed;
        bool unreachable;
        int rc;

        /* Not broken off by a signal: a lease whose id nobody has heard is one that nobody gives back. */
        client_interruptible(cli->client, false);
        rc = client_do(cli->client, &r, ret, fail);
        client_interruptible(cli->client, true);
        if (rc == 0)
            return 0;
        passed = clock_monotonic_ms() - began;
        unreachable = fail->exit == CLI_CONNECT || (fail->exit == CLI_TIMEOUT && !*fail->code) ||
                      str_has_word("unavailable shutting-down hypervisor-unavailable "
                                   "request-in-progress database-failed", fail->code);

        if (interrupt_signal() || !(unreachable ? passed < SERVER_MS
                                                : full(fail) && passed < ask->queue_s * 1000))
            return -1;
        if (!unreachable && !told) {
            job_say("waiting for room: %s", fail->detail);
            told = true;
        }
        if (!job_pause(ASK_EVERY_MS / (unreachable ? 4 : 1)))
            return failure_set(fail, CLI_FAILED, "interrupted");
    }
}

static void take(struct job *job, const json_t *lease)
{
    double ttl = 0;

    str_copy_utf8(job->lease, sizeof(job->lease), value_text(lease, "id", ""));
    str_copy_utf8(job->vm, sizeof(job->vm), value_text(lease, "vm.id", ""));
    str_copy_utf8(job->name, sizeof(job->name), value_text(lease, "vm.name", ""));
    str_copy_utf8(job->expires, sizeof(job->expires), value_text(lease, "expires_at", ""));
    (void)value_number(lease, "ttl_seconds", &ttl);
    job->ttl_s = (int64_t)ttl;
    job->own_vm = !value_text(lease, "pool", NULL);
}

/* From its place in the line to its VM. */
static int wait_in_line(struct job *job, const json_t *first, struct failure *fail)
{
    auto_free char *path = xasprintf("/v1/leases/%s?wait=%d", job->lease, WAIT_STEP_S);
    auto_value json_t *lease = json_deep_copy(first);
    double place = 0, told = 0;

    while (str_eq(value_text(lease, "state", ""), "queued")) {
        auto_answer struct answer a = {0};

        if (value_number(lease, "queue_position", &place) && place != told) {
            job_say("in line for a VM of pool %s, place %d", value_text(lease, "pool", "-"), (int)place);
            told = place;
        }
        if (client_get(job->cli->client, path, &a, fail) && (fail->exit != CLI_CONNECT || interrupt_signal()))
            return -1;
        if (a.value) {
            json_decref(lease);
            lease = json_incref(a.value);
        } else if (!job_pause(ASK_EVERY_MS)) {
            return failure_set(fail, CLI_FAILED, "interrupted");
        }
    }
    if (!str_eq(value_text(lease, "state", ""), "active"))
        return failure_set(fail, CLI_FAILED, "no VM was given: %s",
                           value_text(lease, "end_reason", "the lease ended"));
    take(job, lease);
    return 0;
}

/* 1: the key stands for a lease of an earlier attempt, which has ended. */
static int claim_once(struct cli *cli, const struct job_ask *ask, int attempt, struct job *ret,
                      struct failure *fail)
{
    auto_value json_t *body = body_of(ask, attempt);
    auto_free char *key = NULL;
    char random[UUID_TEXT];
    auto_answer struct answer a = {0};
    struct failure ignored;

    if (!body)
        return failure_set(fail, CLI_USAGE, "names must be UTF-8");
    uuid_new(random);
    key = ask->key ? xasprintf("%s#%d", ask->key, attempt) : xstrdup(random);
    if (post(cli, ask, body, key, &a, fail))
        return str_eq(fail->code, "lease-not-found") ? 1 : -1; /* so long ago that it is forgotten */
    *ret = (struct job){.cli = cli};
    take(ret, a.value);
    if (str_eq(value_text(a.value, "state", ""), "ended"))
        return 1;
    if (wait_in_line(ret, a.value, fail) == 0)
        return 0;
    (void)job_release(ret, &ignored); /* out of the line */
    return -1;
}

int job_claim(struct cli *cli, const struct job_ask *ask, struct job *ret, struct failure *fail)
{
    for (int attempt = 1; attempt <= ATTEMPTS; attempt++) {
        int rc = claim_once(cli, ask, attempt, ret, fail);

        if (rc <= 0)
            return rc;
    }
    return failure_set(fail, CLI_FAILED, "this job has had %d VMs already", ATTEMPTS);
}

int job_find(struct cli *cli, const char *state, const char *label, struct job *ret,
             struct failure *fail)
{
    auto_free char *escaped = url_escape(label);
    auto_free char *path = xasprintf("/v1/leases?state=%s&limit=1&label=%s", state, escaped);
    auto_answer struct answer a = {0};
    const json_t *lease;
    int64_t deadline = clock_monotonic_ms() + SERVER_MS;

    while (client_get(cli->client, path, &a, fail)) {
        if (fail->exit != CLI_CONNECT || clock_monotonic_ms() > deadline || !job_pause(ASK_EVERY_MS / 4))
            return -1;
    }
    lease = json_array_get(value_at(a.value, "items"), 0);
    if (!lease)
        return 0;
    *ret = (struct job){.cli = cli};
    take(ret, lease);
    return 1;
}
