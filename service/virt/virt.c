/*
 * Opening and closing the libvirt wall, and the thread that runs libvirt's event loop. What the
 * loop does is elsewhere: events in virt_event.c, pumps in virt_pump.c, the link in virt_link.c.
 */
#include "service/virt/virt_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/virt/domxml.h"

#define WAKE_MS  20
/*
 * For the link thread to let go of libvirt. A driver inside our own process always answers in the
 * end: at worst it is in the middle of asking QEMU what it can do.
 */
#define CLOSE_MS          2000
#define CLOSE_EMBEDDED_MS 20000

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool library_ready;

/* The event implementation must be there before the first connection and cannot be replaced. */
static void init_library(void)
{
    /*
     * The embedded driver logs to stderr in a format of its own; failures reach us as errors
     * anyway. Whoever debugs libvirt sets the variable himself.
     */
    setenv("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null", 0);
    virt_error_init();
    domxml_init();
    library_ready = virInitialize() == 0 && virEventRegisterDefaultImpl() == 0;
}

void virt_wake(struct virt *v)
{
    if (fd_wake(v->wake_fd))
        log_warning("cannot wake libvirt's loop: %s", strerror(errno));
}

static void on_wake(int watch, int fd, int events, void *opaque)
{
    struct virt *v = opaque;
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof(count));

    (void)watch;
    (void)events;
    (void)n;
    if (v->magic != VIRT_MAGIC)
        abort();
    virt_pump_turn(v);
    virt_link_notify(v);
}

static void *loop_thread(void *arg)
{
    struct virt *v = arg;

    while (!atomic_load(&v->loop_stop))
        (void)virEventRunDefaultImpl();
    /* libvirt frees what was removed in an idle round; give it a few. */
    for (int i = 0; i < 4; i++) {
        virt_wake(v);
        (void)virEventRunDefaultImpl();
    }
    LOCK_SCOPE(&v->lock);
    v->loop_ended = true;
    pthread_cond_broadcast(&v->changed);
    return NULL;
}

static bool is_local(const char *uri)
{
    const char *scheme_end = strstr(uri, "://");
    const char *plus = scheme_end ? memchr(uri, '+', (size_t)(scheme_end - uri)) : NULL;

    if (!scheme_end)
        return false;
    if (plus && strncmp(plus, "+unix:", 6) != 0)
        return false;
    return scheme_end[3] == '/';
}

/* Where the driver that answers the URI keeps NAME.pid. */
static char *run_dir_for(const char *uri)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (!is_local(uri) || !str_starts(uri, "qemu"))
        return NULL;
    if (strstr(uri, ":///session"))
        return runtime ? xasprintf("%s/libvirt/qemu/run", runtime) : NULL;
    return xstrdup("/run/libvirt/qemu");
}

static void virt_free(struct virt *v)
{
    if (!v)
        return;
    free(v->root_link);
    if (v->wake_fd >= 0)
        close(v->wake_fd);
    pthread_cond_destroy(&v->line_freed);
    pthread_cond_destroy(&v->changed);
    pthread_mutex_destroy(&v->lock);
    free(v->uri);
    free(v->state_dir);
    free(v->install_id);
    free(v->run_dir);
    free(v->log_dir);
    free(v->save_dir);
    free(v->host);
    v->magic = 0;
    free(v);
}

DEFINE_CLEANUP(virt, struct virt *, virt_free);
#define auto_virt auto_scope(cleanup_virt)

static struct virt *virt_new(const struct virt_options *options)
{
    struct virt *v = xcalloc(1, sizeof(*v));

    v->magic = VIRT_MAGIC;
    v->uri = xstrdup(options->uri ? options->uri : "");
    v->state_dir = xstrdup(options->state_dir ? options->state_dir : "");
    v->install_id = xstrdup(options->install_id);
    v->on_event = options->on_event;
    v->on_link = options->on_link;
    v->opaque = options->opaque;
    v->lifecycle_id = v->reboot_id = v->wake_watch = -1;
    str_copy_utf8(v->reason, sizeof(v->reason), "not connected yet");
    mutex_init(&v->lock);
    cond_init(&v->changed);
    cond_init(&v->line_freed);
    v->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return v;
}

static bool loop_ends(struct virt *v)
{
    const int64_t until = clock_monotonic_ms() + WAKE_MS;

    LOCK_SCOPE(&v->lock);
    while (!v->loop_ended) {
        if (!cond_wait_until(&v->changed, &v->lock, until))
            return v->loop_ended;
    }
    return true;
}

static void stop_loop(struct virt *v)
{
    atomic_store(&v->loop_stop, true);
    do {
        /* Again and again: a second loop in this process, as tests have it, may take the wake. */
        virt_wake(v);
    } while (!loop_ends(v));
    pthread_join(v->loop_thread, NULL);
}

int virt_open(const struct virt_options *options, struct virt **ret, struct error *err)
{
    auto_virt struct virt *v = NULL;

    pthread_once(&once, init_library);
    if (!library_ready)
        return virt_fail(NULL, err, "initialise libvirt");
    v = virt_new(options);
    if (v->wake_fd < 0)
        return error_errno(err, errno, "cannot make an event descriptor");
    v->embedded = !*v->uri || strstr(v->uri, ":///embed");
    v->in_process = v->embedded || str_starts(v->uri, "test:///");
    if (!v->embedded) {
        v->run_dir = run_dir_for(v->uri);
        v->local = is_local(v->uri);
    } else if (virt_embed_prepare(v, err)) {
        return -1;
    }
    v->wake_watch = virEventAddHandle(v->wake_fd, VIR_EVENT_HANDLE_READABLE, on_wake, v, NULL);
    if (v->wake_watch < 0)
        return virt_fail(NULL, err, "watch an event descriptor");
    if (thread_start(&v->loop_thread, "virt", loop_thread, v, err))
        goto undo_watch;
    if (v->embedded && virt_reap_start(v, err))
        goto undo_loop;
    if (thread_start(&v->link_thread, "virt-link", virt_link_thread, v, err))
        goto undo_reap;
    *ret = TAKE_PTR(v);
    return 0;
undo_reap:
    virt_reap_stop(v);
undo_loop:
    stop_loop(v);
undo_watch:
    virEventRemoveHandle(v->wake_watch);
    return -1;
}

/* false: it is stuck in a call that libvirt has no way to end. */
static bool wait_for_link(struct virt *v)
{
    const int64_t until = clock_monotonic_ms() + (v->embedded ? CLOSE_EMBEDDED_MS : CLOSE_MS);

    LOCK_SCOPE(&v->lock);
    v->stopping = true;
    pthread_cond_broadcast(&v->changed);
    virt_wake(v);
    /* A question of which nobody waits for the answer any more still uses v. */
    while (!v->link_ended || v->errands) {
        if (!cond_wait_until(&v->changed, &v->lock, until))
            return v->link_ended && !v->errands;
    }
    return true;
}

void virt_close(struct virt *v)
{
    bool ended;

    if (!v)
        return;
    ended = wait_for_link(v); /* with pumps gone and connections closed */
    virt_reap_stop(v);
    stop_loop(v);
    if (!ended) {
        /* Connecting to a libvirt that hangs: the thread ends with the process, and so does v. */
        log_warning("libvirt does not answer; stopping without it");
        pthread_detach(v->link_thread);
        return;
    }
    pthread_join(v->link_thread, NULL);
    virEventRemoveHandle(v->wake_watch);
    virt_owner_clear(v);
    virt_free(v);
}
