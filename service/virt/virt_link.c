/*
 * The link to libvirt: connects, notices a break, reconnects with growing pauses. Everything here
 * that can block runs on the thread "virt-link", so that the event loop keeps turning; on_link is
 * then called by the virt thread.
 */
#include "service/virt/virt_internal.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"

#define BACKOFF_MIN_MS       100
#define BACKOFF_MAX_MS       5000
#define BACKOFF_MAX_LOCAL_MS 1000 /* a Unix socket costs nothing to try, and in sync means 2 s */
#define KEEPALIVE_SECONDS    5
#define BROKEN               "libvirt closed the connection"
#define PING_MS              2000
#define SILENT_MS            5000 /* an answer that takes longer: libvirt hangs */
#define KEEPALIVE_COUNT      3

int virt_link_fail(const struct virt *v, struct error *err)
{
    error_set(err, ERROR_HYPERVISOR_UNAVAILABLE, "there is no connection to libvirt");
    error_remedy(err, "check that libvirt runs; Drover reconnects by itself");
    error_cause(err, "%s", v->reason);
    return -1;
}

bool virt_is_up(struct virt *v, char *ret_reason, size_t size)
{
    int64_t now = clock_monotonic_ms(), silent;

    LOCK_SCOPE(&v->lock);
    silent = v->ping_since_ms ? now - v->ping_since_ms : 0;
    if (ret_reason && silent > SILENT_MS)
        snprintf(ret_reason, size, "libvirt has not answered for %lld seconds",
                 (long long)silent / 1000);
    else if (ret_reason) /* between the break and the link thread's hearing of it there is no reason yet */
        str_copy_utf8(ret_reason, size, v->broken && !*v->reason ? BROKEN : v->reason);
    return v->conn && !v->broken && silent <= SILENT_MS;
}

/* Records a change; the virt thread tells. Repeating the same reason says nothing new. */
static void set_link(struct virt *v, enum virt_link link, const char *reason)
{
    {
        LOCK_SCOPE(&v->lock);
        if (link == VIRT_LINK_DOWN && str_eq(v->reason, reason) && !v->up_pending)
            return;
        if (link == VIRT_LINK_DOWN) {
            v->down_pending = true;
            v->up_pending = false;
        } else {
            v->up_pending = true;
        }
        str_copy_utf8(v->reason, sizeof(v->reason), reason);
    }
    virt_wake(v);
}

void virt_link_notify(struct virt *v)
{
    char reason[sizeof(v->reason)];
    bool down, up;

    {
        LOCK_SCOPE(&v->lock);
        down = v->down_pending;
        up = v->up_pending;
        v->down_pending = v->up_pending = false;
        memcpy(reason, v->reason, sizeof(reason));
    }
    if (down && v->on_link)
        v->on_link(v->opaque, VIRT_LINK_DOWN, up ? "the connection to libvirt broke" : reason);
    if (up && v->on_link)
        v->on_link(v->opaque, VIRT_LINK_UP, "");
}

static void on_close(virConnectPtr conn, int reason, void *opaque)
{
    struct virt *v = opaque;

    (void)reason;
    virt_pump_end_all(v, conn);
    LOCK_SCOPE(&v->lock);
    if (v->conn != conn)
        return; /* one line alone; its user gets the error, and the next one another line */
    v->broken = true;
    pthread_cond_broadcast(&v->changed);
    pthread_cond_broadcast(&v->line_freed);
}

virConnectPtr virt_link_open(struct virt *v, struct error *err)
{
    virConnectPtr conn = virConnectOpen(v->uri);

    if (!conn) {
        virt_fail(NULL, err, "connect to libvirt");
        return NULL;
    }
    /*
     * A Unix socket tells by itself when the other side is gone; there, a libvirt that hangs is
     * waited for. A keepalive is sent by the virt thread, beside whoever uses the connection. Drivers
     * inside our own process have neither a keepalive nor a close callback.
     */
    if (!v->local)
        (void)virConnectSetKeepAlive(conn, KEEPALIVE_SECONDS, KEEPALIVE_COUNT);
    (void)virConnectRegisterCloseCallback(conn, on_close, v, NULL);
    return conn;
}

void virt_link_close(virConnectPtr conn)
{
    if (!conn)
        return;
    (void)virConnectUnregisterCloseCallback(conn, on_close);
    (void)virConnectClose(conn);
}

static void disconnect(struct virt *v)
{
    virConnectPtr conn;

    {
        LOCK_SCOPE(&v->lock);
        conn = TAKE_PTR(v->conn);
        v->era++; /* whoever gives back an older line closes it */
        pthread_cond_broadcast(&v->line_freed);
    }
    virt_pump_end_all(v, NULL);
    virt_lines_close(v);
    if (conn)
        virt_event_deregister(v, conn);
    virt_link_close(conn);
    virt_owner_clear(v);
}

static int reconnect(struct virt *v, struct error *err)
{
    virConnectPtr conn;

    {
        LOCK_SCOPE(&v->lock);
        v->broken = false; /* from here on, a break is news about the new connections */
    }
    conn = virt_link_open(v, err);
    if (!conn)
        return -1;
    if (virt_event_register(v, conn, err)) {
        virt_link_close(conn);
        return -1;
    }
    {
        LOCK_SCOPE(&v->lock);
        v->conn = conn;
        v->host_wanted = true; /* it may be another libvirt than before */
    }
    if (virConnectIsAlive(conn) == 0)
        on_close(conn, VIR_CONNECT_CLOSE_REASON_EOF, v); /* it broke before it was known as ours */
    set_link(v, VIRT_LINK_UP, "");
    return 0;
}

static void note_ping(struct virt *v, int64_t since_ms)
{
    LOCK_SCOPE(&v->lock);
    v->ping_since_ms = since_ms;
}

/*
 * A question that no guest and no other call can hold up. How long the answer takes is what
 * virt_is_up() looks at; a driver in our own process needs no asking.
 */
static void ping(struct virt *v)
{
    auto_line struct virt_line *line = NULL;
    struct error ignored = ERROR_INIT;
    unsigned long version;

    if (v->in_process)
        return;
    note_ping(v, clock_monotonic_ms());
    if (virt_acquire(v, VIRT_USE_PING, &line, &ignored) == 0)
        (void)virConnectGetLibVersion(line->conn, &version);
    note_ping(v, 0);
}

static void describe(const struct error *err, char *ret, size_t size)
{
    char text[600];

    snprintf(text, sizeof(text), "%s", *err->cause ? err->cause : err->detail);
    str_copy_utf8(ret, size, text);
}

/* Until the deadline (0: for ever), or until there is something to do. */
static void wait_for_news(struct virt *v, int64_t deadline_ms)
{
    LOCK_SCOPE(&v->lock);
    while (!v->stopping && virt_pump_is_buried(v) && !(v->broken && v->conn) &&
           !(v->host_wanted && v->conn)) {
        if (!deadline_ms)
            pthread_cond_wait(&v->changed, &v->lock);
        else if (!cond_wait_until(&v->changed, &v->lock, deadline_ms))
            return;
    }
}

void *virt_link_thread(void *arg)
{
    struct virt *v = arg;
    const int64_t max_ms = v->local ? BACKOFF_MAX_LOCAL_MS : BACKOFF_MAX_MS;
    int64_t pause_ms = BACKOFF_MIN_MS, next_try_ms = 0;
    bool stopping = false, pumps = false, have, broken, ask;

    /* At the end, stay until the virt thread has given up every pump and its stream is aborted. */
    while (!stopping || pumps) {
        struct error err = ERROR_INIT;

        virt_pump_bury(v);
        {
            LOCK_SCOPE(&v->lock);
            stopping = v->stopping;
            pumps = v->pumps != NULL;
            broken = v->broken && v->conn;
            have = v->conn && !broken;
            ask = have && v->host_wanted;
            if (stopping && pumps && virt_pump_is_buried(v))
                pthread_cond_wait(&v->changed, &v->lock);
        }
        if (stopping)
            continue;
        if (broken) {
            set_link(v, VIRT_LINK_DOWN, BROKEN);
            disconnect(v);
            next_try_ms = 0;
            pause_ms = BACKOFF_MIN_MS;
        }
        if (have) {
            ping(v);
            virt_lines_trim(v);
        }
        if (ask)
            virt_host_refresh(v);
        if (!have && clock_monotonic_ms() >= next_try_ms) {
            have = reconnect(v, &err) == 0;
            if (!have) {
                char reason[256];

                describe(&err, reason, sizeof(reason));
                set_link(v, VIRT_LINK_DOWN, reason);
                next_try_ms = clock_monotonic_ms() + pause_ms;
                pause_ms = pause_ms * 2 < max_ms ? pause_ms * 2 : max_ms;
            } else {
                pause_ms = BACKOFF_MIN_MS;
            }
        }
        wait_for_news(v, !have ? next_try_ms : v->in_process ? 0 : clock_monotonic_ms() + PING_MS);
    }
    disconnect(v);
    {
        LOCK_SCOPE(&v->lock);
        v->link_ended = true;
        pthread_cond_broadcast(&v->changed);
    }
    return NULL;
}
