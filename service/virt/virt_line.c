/*
 * Lines to libvirt: connections that one thread at a time uses, kept for the next one.
 *
 * libvirt's client allows several threads on one connection, but up to 9.7 a thread that is woken by
 * another one's request may leave a watch behind that points into its own stack (mended upstream by
 * "rpc: ensure temporary GSource is removed from client event loop"); Debian 12 has 9.0. So nobody
 * shares: a call, an open stream and the listener to events each have a connection to themselves.
 * Drivers inside our own process have no such client, and all share the one connection.
 */
#include "service/virt/virt_internal.h"

#include "service/base/clock.h"

#define LINE_MAGIC  0x6c696e65u
#define KEEP_MS     30000 /* an unused line is closed after that */
/*
 * libvirtd has twenty workers for all its clients and hangs in one for as long as a guest's agent or
 * monitor does (max_workers; one client had five of them, max_client_requests). Who hangs in one
 * kind of call must not take the workers of the others.
 */
#define USE_MAX   5
#define SHORT_MAX 4

static int open_line(struct virt *v, struct virt_line *line, struct error *err)
{
    line->conn = virt_link_open(v, err);
    if (line->conn)
        return 0;
    err->code = ERROR_HYPERVISOR_UNAVAILABLE;
    return -1;
}

static void free_line(struct virt_line *line)
{
    virt_link_close(line->conn);
    line->magic = 0;
    free(line);
}

/* Lock held. */
static bool is_full(const struct virt *v, enum virt_use use)
{
    return !v->in_process && use != VIRT_USE_STREAM &&
           v->in_use[use] >= (use == VIRT_USE_SHORT ? SHORT_MAX : USE_MAX);
}

/* Lock held. A free line, or a new one without a connection. */
static struct virt_line *take_line(struct virt *v, enum virt_use use)
{
    struct virt_line *line = v->free_lines;

    if (line) {
        v->free_lines = line->next;
        line->next = NULL;
    } else {
        line = xcalloc(1, sizeof(*line));
        line->magic = LINE_MAGIC;
        line->v = v;
        line->era = v->era;
        if (v->in_process && virConnectRef(v->conn) == 0)
            line->conn = v->conn;
    }
    line->use = use;
    v->in_use[use]++;
    return line;
}

int virt_acquire(struct virt *v, enum virt_use use, struct virt_line **ret, struct error *err)
{
    struct virt_line *line;

    {
        LOCK_SCOPE(&v->lock);
        while (v->conn && !v->broken && is_full(v, use))
            pthread_cond_wait(&v->line_freed, &v->lock);
        if (!v->conn || v->broken)
            return virt_link_fail(v, err);
        line = take_line(v, use);
    }
    if (line->conn && virConnectIsAlive(line->conn) == 0)
        virt_link_close(TAKE_PTR(line->conn)); /* this one broke, which happens to one alone */
    if (!line->conn && open_line(v, line, err)) {
        virt_release(line);
        return -1;
    }
    *ret = line;
    return 0;
}

void virt_release(struct virt_line *line)
{
    struct virt *v = line->v;
    bool keep;

    if (line->magic != LINE_MAGIC)
        abort();
    {
        LOCK_SCOPE(&v->lock);
        v->in_use[line->use]--;
        keep = line->conn && !v->in_process && line->era == v->era && !v->broken && !v->stopping;
        if (keep) {
            line->free_since_ms = clock_monotonic_ms();
            line->next = v->free_lines;
            v->free_lines = line;
        }
        pthread_cond_broadcast(&v->line_freed);
    }
    if (keep)
        return;
    if (v->in_process && line->conn)
        (void)virConnectClose(TAKE_PTR(line->conn)); /* one reference of many */
    free_line(line);
}

/* Cuts off the free lines that nobody has used since then; the newest come first. */
static struct virt_line *cut(struct virt *v, int64_t since_ms)
{
    struct virt_line **at = &v->free_lines, *old;

    LOCK_SCOPE(&v->lock);
    while (*at && (*at)->free_since_ms >= since_ms)
        at = &(*at)->next;
    old = *at;
    *at = NULL;
    return old;
}

static void free_all(struct virt_line *line)
{
    while (line) {
        struct virt_line *next = line->next;

        free_line(line);
        line = next;
    }
}

void virt_lines_trim(struct virt *v)
{
    free_all(cut(v, clock_monotonic_ms() - KEEP_MS));
}

void virt_lines_close(struct virt *v)
{
    free_all(cut(v, INT64_MAX));
}
