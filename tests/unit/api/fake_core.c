/*
 * The parts of the service that the transport calls, small enough to see through. Chosen at link
 * time.
 */
#include "tests/unit/api/fake_core.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/vm/access.h"
#include "service/vm/audit_log.h"
#include "service/vm/core.h"
#include "service/vm/project.h"
#include "service/vm/wait.h"

struct core {
    struct settings *settings;
};

struct fake_wait {
    struct fake_wait *next;
    int64_t deadline_ms;
    bool done;
    char id[UUID_TEXT];
    wait_fn *fn;
    void *opaque;
};

static struct core core;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_wait *waits;
static _Atomic unsigned failures;

struct core *fake_core(struct settings *settings)
{
    core.settings = settings;
    return &core;
}

const struct settings *core_settings(struct core *c)
{
    return c->settings;
}

struct access *core_access(struct core *c)
{
    return (struct access *)c;
}

struct audit_log *core_audit_log(struct core *c)
{
    (void)c;
    return NULL;
}

void audit_log_add(struct audit_log *a, const struct audit_entry *e)
{
    (void)a;
    json_decref(e->params);
}

void audit_ride_begin(struct audit_ride *r, const struct audit_entry *e)
{
    (void)r;
    json_decref(e->params);
}

int64_t audit_ride_end(struct audit_ride *r)
{
    (void)r;
    return 0;
}

/* ---- access ---- */

static int known(struct principal *ret, const char *id, enum access_role role)
{
    *ret = (struct principal){.role = role, .scopes = access_role_scopes(role)};
    snprintf(ret->id, sizeof(ret->id), "%s", id);
    snprintf(ret->project_id, sizeof(ret->project_id), "11111111-1111-4111-8111-111111111111");
    return 0;
}

unsigned access_role_scopes(enum access_role role)
{
    return role == ACCESS_ADMIN ? (1U << ACCESS_SCOPE_COUNT) - 1 : ACCESS_VM_READ;
}

int access_by_token(struct access *a, const char *token, struct principal *ret, struct error *err)
{
    (void)a;
    if (str_eq_secret(token, FAKE_TOKEN))
        return known(ret, "token:admin", ACCESS_ADMIN);
    if (str_eq_secret(token, FAKE_VIEWER_TOKEN))
        return known(ret, "token:viewer", ACCESS_VIEWER);
    return error_set(err, ERROR_UNAUTHENTICATED, "The token is not valid.");
}

int access_by_session(struct access *a, const char *cookie, struct principal *ret,
                      struct error *err)
{
    (void)a;
    if (str_eq_secret(cookie, FAKE_SESSION))
        return known(ret, "session:one", ACCESS_ADMIN);
    return error_set(err, ERROR_UNAUTHENTICATED, "The session is over.");
}

void access_by_socket(struct access *a, unsigned uid, struct principal *ret)
{
    char id[32];

    (void)a;
    snprintf(id, sizeof(id), "socket:%u", uid);
    known(ret, id, ACCESS_ADMIN);
}

int access_require(const struct principal *p, unsigned scope, struct error *err)
{
    if ((p->scopes & scope) == scope)
        return 0;
    return error_set(err, ERROR_FORBIDDEN, "The credential lacks a scope.");
}

int access_failure_gate(struct access *a, const char *address, struct error *err)
{
    (void)address;
    if (atomic_load(&failures) < (unsigned)((struct core *)a)->settings->auth_failures_per_minute)
        return 0;
    return error_set(err, ERROR_TOO_MANY_REQUESTS, "Too many failed sign-ins.");
}

void access_failure_count(struct access *a, const char *address)
{
    (void)a;
    (void)address;
    atomic_fetch_add(&failures, 1);
}

int access_failed(struct access *a, const char *address, struct error *err)
{
    if (access_failure_gate(a, address, err) == 0)
        access_failure_count(a, address);
    return -1;
}

int access_by_certificate(struct access *a, const char *name, struct principal *ret,
                          struct error *err)
{
    char id[48];

    (void)a;
    if (strcmp(name, "AdminToken01") != 0)
        return error_set(err, ERROR_UNAUTHENTICATED, "nobody");
    snprintf(id, sizeof(id), "token:%s", name);
    known(ret, id, ACCESS_ADMIN);
    return 0;
}

bool access_uid_is_admin(unsigned uid)
{
    return uid == 0 || uid == geteuid();
}

/* ---- waits: one thread that looks every few milliseconds ---- */

static void *watch(void *arg)
{
    (void)arg;
    for (;;) {
        struct fake_wait *due = NULL;
        int64_t now = clock_monotonic_ms();

        {
            LOCK_SCOPE(&lock);
            for (struct fake_wait **at = &waits; *at;) {
                struct fake_wait *w = *at;

                if (!w->done && w->deadline_ms > now) {
                    at = &w->next;
                    continue;
                }
                *at = w->next;
                w->next = due;
                due = w;
            }
        }
        while (due) {
            struct fake_wait *w = due;

            due = w->next;
            w->fn(w->opaque, w->done ? WAIT_DONE : WAIT_TIMEOUT);
            free(w);
        }
        poll(NULL, 0, 2);
    }
    return NULL;
}

void fake_core_start(void)
{
    pthread_t thread;
    struct error err;

    if (thread_start(&thread, "fake-wait", watch, NULL, &err) < 0)
        abort();
    pthread_detach(thread);
}

void fake_core_finish_op(const char *id)
{
    LOCK_SCOPE(&lock);
    for (struct fake_wait *w = waits; w; w = w->next)
        w->done |= strcmp(w->id, id) == 0;
}

void fake_core_stop(void)
{
    struct fake_wait *all;

    {
        LOCK_SCOPE(&lock);
        all = waits;
        waits = NULL;
    }
    while (all) {
        struct fake_wait *w = all;

        all = w->next;
        w->fn(w->opaque, WAIT_STOPPING);
        free(w);
    }
}

void wait_for_op(struct core *c, const char *op_id, int64_t deadline_monotonic_ms, wait_fn *fn,
                 void *opaque)
{
    struct fake_wait *w = xcalloc(1, sizeof(*w));

    (void)c;
    if (strcmp(op_id, "done") == 0) {
        free(w);
        fn(opaque, WAIT_DONE);
        return;
    }
    w->deadline_ms = deadline_monotonic_ms;
    w->fn = fn;
    w->opaque = opaque;
    snprintf(w->id, sizeof(w->id), "%s", op_id);
    LOCK_SCOPE(&lock);
    w->next = waits;
    waits = w;
}

void wait_for_vm(struct core *c, const char *vm_id, enum wait_vm what,
                 int64_t deadline_monotonic_ms, wait_fn *fn, void *opaque)
{
    (void)what;
    wait_for_op(c, vm_id, deadline_monotonic_ms, fn, opaque);
}

void wait_for_lease(struct core *c, const char *lease_id, int64_t deadline_monotonic_ms,
                    wait_fn *fn, void *opaque)
{
    wait_for_op(c, lease_id, deadline_monotonic_ms, fn, opaque);
}

int project_find(struct core *c, const char *ref, struct project *ret, struct error *err)
{
    (void)c;
    (void)ret;
    return error_set(err, ERROR_PROJECT_NOT_FOUND, "there is no project %s", ref);
}

bool access_enter_project(struct principal *io, const char *project_id)
{
    (void)io;
    (void)project_id;
    return false;
}
