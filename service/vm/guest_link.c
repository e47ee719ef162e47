/*
 * Links to guest agents: where QEMU finds us, and which of them there are.
 */
#include "service/vm/guest_internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"

#define BACKLOG 4

static struct guest_link *find_locked(struct guest_hub *hub, const char *vm_id)
{
    struct guest_link *link = hub->links;

    while (link && strcmp(link->vm_id, vm_id) != 0)
        link = link->next;
    return link;
}

static struct guest_link *link_new(struct guest_hub *hub, const char *vm_id)
{
    struct guest_link *link = xcalloc(1, sizeof(*link));

    atomic_init(&link->refs, 1);
    link->hub = hub;
    str_copy_utf8(link->vm_id, sizeof(link->vm_id), vm_id);
    mutex_init(&link->lock);
    cond_init(&link->idle);
    link->listen_fd = link->fd = -1;
    link->dirty = true;
    return link;
}

void guest_link_unref(struct guest_link *link)
{
    if (!link || atomic_fetch_sub_explicit(&link->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (link->listen_fd >= 0)
        close(link->listen_fd);
    if (link->fd >= 0)
        close(link->fd);
    guest_line_done(&link->line);
    free(link->in);
    pthread_cond_destroy(&link->idle);
    pthread_mutex_destroy(&link->lock);
    free(link);
}

/* The one of this power-on, made when there is none; a reference. */
static struct guest_link *link_ensure(struct guest_hub *hub, const char *vm_id)
{
    struct guest_link *link;

    LOCK_SCOPE(&hub->lock);
    link = find_locked(hub, vm_id);
    if (!link) {
        link = link_new(hub, vm_id);
        link->next = hub->links;
        hub->links = link;
    }
    atomic_fetch_add(&link->refs, 1);
    return link;
}

static int listen_at(const char *path, int *ret_fd, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return error_errno(err, errno, "cannot make a socket");
    memcpy(address.sun_path, path, strlen(path) + 1);
    /* What an earlier daemon left behind; its directory is ours alone. */
    if (file_remove(path, err))
        return -1;
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) || chmod(path, 0600) ||
        listen(fd, BACKLOG))
        return error_errno(err, errno, "cannot listen for the guest agent");
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int guest_listen(struct core *core, const struct vm *vm, struct error *err)
{
    auto_free char *path = NULL;
    auto_guest_link struct guest_link *link = NULL;
    auto_close int fd = -1;

    if (!vm->spec->guest_agent || !virt_is_embedded(core->virt))
        return 0;
    path = vm_stream_socket(core, vm->id, GUEST_STREAM);
    if (!path)
        return 0;
    link = link_ensure(core->guests, vm->id);
    LOCK_SCOPE(&link->lock);
    if (link->listen_fd >= 0)
        return 0;
    if (listen_at(path, &fd, err))
        return -1;
    link->listen_fd = TAKE_FD(fd);
    return 0;
}

/* Whoever waits on it notices at once; the descriptors go with the last reference. */
static void link_end(struct guest_link *link)
{
    {
        LOCK_SCOPE(&link->lock);
        link->ended = true;
        if (link->fd >= 0)
            (void)shutdown(link->fd, SHUT_RDWR);
        if (link->listen_fd >= 0)
            (void)shutdown(link->listen_fd, SHUT_RDWR);
        pthread_cond_broadcast(&link->idle);
    }
    guest_link_unref(link);
}

void guest_end(struct core *core, const char *vm_id)
{
    struct guest_hub *hub = core->guests;
    struct guest_link *found = NULL;

    if (!hub)
        return;
    {
        LOCK_SCOPE(&hub->lock);
        for (struct guest_link **at = &hub->links; *at; at = &(*at)->next) {
            if (strcmp((*at)->vm_id, vm_id) == 0) {
                found = *at;
                *at = found->next;
                break;
            }
        }
    }
    if (found)
        link_end(found);
}

void guest_rebooted(struct core *core, const char *vm_id)
{
    struct guest_hub *hub = core->guests;
    auto_guest_link struct guest_link *link = NULL;

    {
        LOCK_SCOPE(&hub->lock);
        link = find_locked(hub, vm_id);
        if (link)
            atomic_fetch_add(&link->refs, 1);
    }
    if (!link)
        return;
    LOCK_SCOPE(&link->lock);
    link->contact_at = 0;
    link->trouble[0] = '\0';
}

static bool is_on(const struct vm *vm)
{
    return vm->state == VM_STATE_RUNNING || vm->state == VM_STATE_STOPPING;
}

int guest_link_get(struct core *core, const char *vm_id, struct guest_link **ret,
                   enum guest_state *ret_off, struct error *err)
{
    auto_vm struct vm *vm = registry_get(core->registry, vm_id);

    if (ret_off)
        *ret_off = GUEST_OFF;
    if (!vm)
        return error_set(err, ERROR_VM_NOT_FOUND, "the VM is gone");
    if (!vm->spec->guest_agent) {
        if (ret_off)
            *ret_off = GUEST_ABSENT;
        error_set(err, ERROR_AGENT_UNAVAILABLE, "VM %s has no channel for a guest agent",
                  vm->spec->name);
        error_remedy(err, "Set guest_agent to true and start the VM anew.");
        return -1;
    }
    if (!is_on(vm)) {
        error_set(err, ERROR_VM_STATE_CONFLICT, "VM %s is %s", vm->spec->name,
                  vm_state_name(vm->state));
        error_remedy(err, vm->state == VM_STATE_PAUSED ? "Resume it first." : "Start it first.");
        return -1;
    }
    *ret = link_ensure(core->guests, vm->id);
    return 0;
}

int guest_pause(struct guest_hub *hub, int64_t ms, struct error *err)
{
    struct pollfd p = {.fd = hub->stop_fd, .events = POLLIN};

    if (poll(&p, 1, (int)ms) > 0)
        return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
    return 0;
}

int guest_hub_new(struct core *core, struct guest_hub **ret, struct error *err)
{
    struct guest_hub *hub = xcalloc(1, sizeof(*hub));

    hub->core = core;
    hub->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    hub->thaw_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (hub->stop_fd < 0 || hub->thaw_fd < 0) {
        if (hub->stop_fd >= 0)
            close(hub->stop_fd);
        free(hub);
        return error_errno(err, errno, "cannot make an eventfd");
    }
    mutex_init(&hub->lock);
    cond_init(&hub->fewer);
    *ret = hub;
    return 0;
}

void guest_hub_free(struct guest_hub *hub)
{
    struct guest_link *link, *next;

    if (!hub)
        return;
    exec_forget_all(hub);
    for (link = hub->links; link; link = next) {
        next = link->next;
        guest_link_unref(link);
    }
    close(hub->stop_fd);
    close(hub->thaw_fd);
    pthread_cond_destroy(&hub->fewer);
    pthread_mutex_destroy(&hub->lock);
    free(hub);
}
