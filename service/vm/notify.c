/*
 * Guests that say themselves how far they are: systemd connects to the address it finds in the
 * credential vmm.notify_socket and sends one message per connection. Who it is, the kernel says: the
 * peer's CID cannot be forged by a guest. What it says may be a lie, about itself.
 *
 * One thread; a fixed number of connections, few for each guest, each with a small buffer and a
 * deadline. What does not fit is closed.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"
#include "service/vm/notify_parse.h"
#include "service/vsock/vsock.h"

#define CONNECTIONS_MAX 64
#define PER_GUEST_MAX   4
#define MESSAGE_MS      5000
#define AFTER_ERROR_MS  1000

struct connection {
    int fd; /* -1: free */
    uint32_t cid;
    int64_t deadline; /* monotonic ms */
    size_t len;
    char data[NOTIFY_MESSAGE_MAX];
};

struct notifier {
    struct core *core;
    uint32_t port;
    int listener, wake;
    struct connection connections[CONNECTIONS_MAX];
    pthread_t thread;
};

uint32_t notifier_port(const struct notifier *n)
{
    return n ? n->port : 0;
}

/* The running VM of ours that has this CID; a reference or NULL. */
static struct vm *vm_by_cid(struct core *core, uint32_t cid)
{
    auto_free struct vm **vms = NULL;
    struct vm *found = NULL;
    size_t count = 0;

    registry_all(core->registry, &vms, &count);
    for (size_t i = 0; i < count; i++) {
        bool on = vms[i]->state == VM_STATE_STARTING || vms[i]->state == VM_STATE_RUNNING ||
                  vms[i]->state == VM_STATE_STOPPING;

        if (!found && on && vms[i]->vsock_cid == cid)
            found = vms[i];
        else
            vm_unref(vms[i]);
    }
    return found;
}

static bool is_news(const struct vm *vm, const struct notify_message *m)
{
    return (m->ready && !vm->marks[VM_MARK_READY]) || !vm->marks[VM_MARK_USERLAND] ||
           (m->has_status && !str_eq(m->status, vm->boot_status));
}

static void handle(struct core *core, const struct connection *c)
{
    auto_vm struct vm *vm = vm_by_cid(core, c->cid);
    int64_t now = clock_wall_ms();
    struct notify_message m;
    struct error err;

    if (!vm || !notify_parse(c->data, c->len, &m) || !is_news(vm, &m))
        return;
    /* Another hypervisor's guest may have the address while ours runs without its device. */
    if (vm_require_vsock(core, vm, &err)) {
        log_failure(LOG_LEVEL_DEBUG, &err, "a message from CID %u is not believed", c->cid);
        return;
    }
    if (((m.ready || m.unit || m.has_status) &&
         vm_mark(core, vm->id, VM_MARK_USERLAND, "notify", now, &err)) ||
        (m.has_status && vm_boot_status(core, vm->id, m.status, &err)) ||
        (m.ready && vm_mark(core, vm->id, VM_MARK_READY, "notify", now, &err))) {
        if (err.code != ERROR_VM_NOT_FOUND)
            log_failure(LOG_LEVEL_WARNING, &err, "cannot store what VM %s says", vm->id);
    }
}

static void finish(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
}

static void receive(struct notifier *n, struct connection *c)
{
    ssize_t got = recv(c->fd, c->data + c->len, sizeof(c->data) - c->len, 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0) {
        c->len += (size_t)got;
        if (c->len == sizeof(c->data)) /* longer than any message */
            finish(c);
        return;
    }
    if (got == 0)
        handle(n->core, c);
    finish(c);
}

static void take(struct notifier *n, int fd, uint32_t cid)
{
    struct connection *free_one = NULL;
    unsigned same = 0;

    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &n->connections[i];

        if (c->fd < 0)
            free_one = c;
        else
            same += c->cid == cid;
    }
    if (!free_one || same >= PER_GUEST_MAX) {
        close(fd);
        return;
    }
    free_one->fd = fd;
    free_one->cid = cid;
    free_one->len = 0;
    free_one->deadline = clock_monotonic_ms() + MESSAGE_MS;
}

/* Those that are waiting; false: it cannot accept for now (no descriptors are left). */
static bool accept_all(struct notifier *n)
{
    uint32_t cid = 0;
    struct error err;
    int fd = -1, rc;

    while ((rc = vsock_accept(n->listener, &fd, &cid, &err)) > 0)
        take(n, fd, cid);
    if (rc < 0)
        log_failure(LOG_LEVEL_WARNING, &err, "guests cannot report");
    return rc == 0;
}

static int64_t expire(struct notifier *n)
{
    int64_t now = clock_monotonic_ms(), next = INT64_MAX;

    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &n->connections[i];

        if (c->fd >= 0 && c->deadline <= now)
            finish(c);
        if (c->fd >= 0 && c->deadline < next)
            next = c->deadline;
    }
    return next;
}

static void *notify_thread(void *arg)
{
    struct notifier *n = arg;
    int64_t deaf_until = 0;

    for (;;) {
        struct pollfd fds[CONNECTIONS_MAX + 2] = {{.fd = n->wake, .events = POLLIN}};
        int64_t next = expire(n), now = clock_monotonic_ms();
        bool deaf = now < deaf_until;

        fds[1] = (struct pollfd){.fd = deaf ? -1 : n->listener, .events = POLLIN};
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
            fds[i + 2] = (struct pollfd){.fd = n->connections[i].fd, .events = POLLIN};
        if (deaf && deaf_until < next)
            next = deaf_until;
        if (poll(fds, CONNECTIONS_MAX + 2, next == INT64_MAX ? -1 : (int)(next - now)) < 0)
            continue;
        if (fds[0].revents)
            return NULL;
        for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
            if (fds[i + 2].revents)
                receive(n, &n->connections[i]);
        }
        if (fds[1].revents && !accept_all(n))
            deaf_until = clock_monotonic_ms() + AFTER_ERROR_MS;
    }
}

static void notifier_free(struct notifier *n)
{
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (n->connections[i].fd >= 0)
            close(n->connections[i].fd);
    }
    if (n->listener >= 0)
        close(n->listener);
    if (n->wake >= 0)
        close(n->wake);
    free(n);
}

int notifier_start(struct core *core, struct notifier **ret, struct error *err)
{
    uint32_t port = (uint32_t)core->settings->notify_port;
    struct notifier *n;
    char cause[256];

    *ret = NULL;
    if (!port)
        return 0;
    if (!vsock_usable(cause, sizeof(cause))) {
        log_debug("guests cannot report: %s", cause);
        return 0;
    }
    n = xcalloc(1, sizeof(*n));
    n->core = core;
    n->port = port;
    n->wake = -1;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        n->connections[i].fd = -1;
    if (vsock_listen(port, &n->listener, err)) {
        n->listener = -1;
        /* Most likely another daemon's: VMs are as good without it. */
        log_failure(LOG_LEVEL_WARNING, err, "guests cannot report");
        notifier_free(n);
        return 0;
    }
    n->wake = eventfd(0, EFD_CLOEXEC);
    if (n->wake < 0) {
        error_errno(err, errno, "cannot make an eventfd");
        notifier_free(n);
        return -1;
    }
    if (thread_start(&n->thread, "notify", notify_thread, n, err)) {
        notifier_free(n);
        return -1;
    }
    *ret = n;
    return 0;
}

void notifier_stop(struct notifier *n)
{
    if (!n)
        return;
    (void)fd_wake(n->wake);
    pthread_join(n->thread, NULL);
    notifier_free(n);
}
