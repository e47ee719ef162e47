/*
 * Asking a guest agent: one question at a time, each with a deadline.
 *
 * The protocol has no ids, so an answer that came too late would be taken for the next one's. After
 * anything unexpected the link is dirty, and the next question begins with guest-sync-delimited:
 * whatever arrives before its echo is thrown away, up to a bound.
 */
#include "service/vm/guest_internal.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/conf/settings.h"
#include "service/json/doc.h"

#define STALE_MAX     (16 * 1024 * 1024) /* thrown away before a sync's echo */
#define SYNC_AGAIN_MS 3000               /* an unanswered sync the guest has read is repeated */
#define SLICE_MS      250

void guest_answer_done(struct guest_answer *a)
{
    json_decref(a->value);
    *a = (struct guest_answer){0};
}

int64_t guest_deadline(struct core *core)
{
    return clock_monotonic_ms() + core->settings->agent_timeout_seconds * 1000;
}

/* ---- the turn ---- */

static int went_off(struct error *err)
{
    return error_set(err, ERROR_VM_STATE_CONFLICT, "the guest went off");
}

static int enter(struct guest_link *link, int64_t deadline, struct error *err)
{
    LOCK_SCOPE(&link->lock);
    while (link->busy && !link->ended) {
        if (!cond_wait_until(&link->idle, &link->lock, deadline)) {
            error_set(err, ERROR_TIMEOUT, "the guest agent is busy with another request");
            return -1;
        }
    }
    if (link->ended)
        return went_off(err);
    link->busy = true;
    return 0;
}

static void leave(struct guest_link *link)
{
    LOCK_SCOPE(&link->lock);
    link->busy = false;
    pthread_cond_signal(&link->idle);
}

static void note_contact(struct guest_link *link)
{
    LOCK_SCOPE(&link->lock);
    link->contact_at = clock_wall_ms();
    link->trouble[0] = '\0';
}

static void note_trouble(struct guest_link *link, const char *what)
{
    LOCK_SCOPE(&link->lock);
    str_copy_utf8(link->trouble, sizeof(link->trouble), what);
}

/* ---- the connection ---- */

static void set_fd(struct guest_link *link, int fd)
{
    LOCK_SCOPE(&link->lock);
    if (link->fd >= 0)
        close(link->fd);
    link->fd = fd;
    link->dirty = true;
    link->sync_sent = false;
    link->in_at = link->in_len = 0;
    guest_line_reset(&link->line);
}

/* libvirt's embedded driver is in our own process, and would like to have the agent as well. */
static bool is_ourselves(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || peer.pid == getpid();
}

static void accept_waiting(struct guest_link *link)
{
    int fd;

    while ((fd = accept4(link->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        if (is_ourselves(fd))
            close(fd);
        else
            set_fd(link, fd); /* the newest is the one that is alive */
    }
}

/* 1: events are there, 0: the deadline passed, -1: the daemon stops. */
static int wait_for(struct guest_link *link, int fd, short events, int64_t deadline,
                    struct error *err)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = fd, .events = events},
                               {.fd = link->hub->stop_fd, .events = POLLIN},
                               {.fd = fd == link->listen_fd ? -1 : link->listen_fd, .events = POLLIN}};
        int64_t left = deadline - clock_monotonic_ms();
        int n = poll(fds, 3, left > 0 ? (int)left : 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (fds[1].revents)
            return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
        if (fds[0].revents)
            return 1;
        if (n <= 0 || left <= 0)
            return 0;
        /* QEMU came anew, or libvirt knocked: the latter must not end a wait. */
        accept_waiting(link);
        if (link->fd != fd && fd != link->listen_fd)
            return 1;
    }
}

static int connected(struct guest_link *link, int64_t deadline, struct error *err)
{
    accept_waiting(link);
    while (link->fd < 0) {
        int rc = wait_for(link, link->listen_fd, POLLIN, deadline, err);

        if (rc < 0)
            return -1;
        if (link->ended)
            return went_off(err);
        if (rc == 0) {
            error_set(err, ERROR_AGENT_UNAVAILABLE, "the guest agent is not ready: no contact yet");
            error_cause(err, "QEMU has not connected the agent's channel");
            return -1;
        }
        accept_waiting(link);
    }
    return 0;
}

static int lost(struct guest_link *link, struct error *err)
{
    bool ended;

    {
        LOCK_SCOPE(&link->lock);
        ended = link->ended;
    }
    set_fd(link, -1);
    return ended ? went_off(err)
                 : error_set(err, ERROR_AGENT_FAILED, "the connection to the guest agent was lost");
}

static int send_all(struct guest_link *link, const char *data, size_t len, int64_t deadline,
                    struct error *err)
{
    size_t at = 0;

    while (at < len) {
        ssize_t n = send(link->fd, data + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        int rc;

        if (n > 0) {
            at += (size_t)n;
            continue;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return lost(link, err);
        rc = wait_for(link, link->fd, POLLOUT, deadline, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            return error_set(err, ERROR_TIMEOUT, "the guest agent does not read");
    }
    return 0;
}

/* More bytes into link->in. 1, 0: the deadline passed, -1. */
static int receive(struct guest_link *link, int64_t deadline, struct error *err)
{
    for (;;) {
        ssize_t n;
        int rc;

        if (!link->in)
            link->in = xcalloc(1, GUEST_IN_SIZE);
        n = recv(link->fd, link->in, GUEST_IN_SIZE, MSG_DONTWAIT);
        if (n > 0) {
            link->in_at = 0;
            link->in_len = (size_t)n;
            return 1;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            return lost(link, err);
        rc = wait_for(link, link->fd, POLLIN, deadline, err);
        if (rc <= 0)
            return rc;
    }
}

/* A whole line in link->line. 1, 0: the deadline passed, -1. *budget counts what was read. */
static int read_line(struct guest_link *link, int64_t deadline, size_t *budget, struct error *err)
{
    guest_line_reset(&link->line);
    for (;;) {
        size_t used = 0;
        enum guest_line_state state;

        if (link->in_at == link->in_len) {
            int rc = receive(link, deadline, err);

            if (rc <= 0)
                return rc;
        }
        state = guest_line_feed(&link->line, link->in + link->in_at, link->in_len - link->in_at,
                                &used);
        link->in_at += used;
        if (state == GUEST_LINE_DONE)
            return 1;
        if (used > *budget || state == GUEST_LINE_TOO_LONG || clock_monotonic_ms() > deadline)
            return error_set(err, ERROR_AGENT_FAILED, "the guest agent sends without end");
        *budget -= used;
    }
}

/* ---- sync ---- */

static int send_sync(struct guest_link *link, int64_t deadline, struct error *err)
{
    char text[128];
    int unread = 0, len;

    /* A guest that does not read gets no second one: they would pile up. */
    if (link->sync_sent && (clock_monotonic_ms() - link->sync_at < SYNC_AGAIN_MS ||
                            ioctl(link->fd, SIOCOUTQ, &unread) || unread))
        return 0;
    secret_random(&link->sync_id, sizeof(link->sync_id));
    link->sync_id &= 0x7fffffff;
    len = snprintf(text, sizeof(text),
                   "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%u}}\n",
                   link->sync_id);
    if (send_all(link, text, (size_t)len, deadline, err))
        return -1;
    link->sync_sent = true;
    link->sync_at = clock_monotonic_ms();
    return 0;
}

static bool is_echo(struct guest_link *link)
{
    auto_json json_t *value = NULL;
    struct error ignored;
    bool nonsense;

    return guest_reply_parse(link->line.data, link->line.len, &value, &nonsense, &ignored) == 0 &&
           json_is_integer(value) && json_integer_value(value) == link->sync_id;
}

static int not_ready(struct guest_link *link, struct error *err)
{
    LOCK_SCOPE(&link->lock);
    if (!link->contact_at) {
        error_set(err, ERROR_AGENT_UNAVAILABLE, "the guest agent is not ready: no contact yet");
        error_remedy(err, "Wait for it with GET /v1/vms/{vm}/wait?for=agent, or install "
                          "qemu-guest-agent in the guest.");
    } else {
        error_set(err, ERROR_AGENT_UNAVAILABLE, "the guest agent does not answer any more");
        str_copy_utf8(link->trouble, sizeof(link->trouble), "it does not answer any more");
    }
    return -1;
}

static int sync_up(struct guest_link *link, int64_t deadline, struct error *err)
{
    size_t budget = STALE_MAX;

    for (;;) {
        int64_t now = clock_monotonic_ms(), slice = now + SLICE_MS;
        int rc;

        if (send_sync(link, deadline, err))
            return -1;
        rc = read_line(link, slice < deadline ? slice : deadline, &budget, err);
        if (rc < 0) {
            note_trouble(link, err->detail);
            return -1;
        }
        if (rc > 0 && is_echo(link)) {
            link->dirty = link->sync_sent = false;
            note_contact(link);
            return 0;
        }
        if (rc == 0 && clock_monotonic_ms() >= deadline)
            return not_ready(link, err);
    }
}

/* Ready for a question; the link is busy with us. */
static int prepare(struct guest_link *link, int64_t deadline, struct error *err)
{
    char unasked;

    if (connected(link, deadline, err))
        return -1;
    if (link->in_at < link->in_len ||
        recv(link->fd, &unasked, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
        link->dirty = true; /* nobody asked */
    return link->dirty ? sync_up(link, deadline, err) : 0;
}

/* ---- asking ---- */

static char *command_text(const char *execute, json_t *arguments, size_t *ret_len)
{
    auto_json json_t *command = json_pack("{s:s}", "execute", execute);
    char *text;

    if (arguments && json_object_set(command, "arguments", arguments))
        abort();
    text = json_dumps(command, JSON_COMPACT);
    if (!text)
        abort(); /* what we pack is UTF-8 */
    *ret_len = strlen(text);
    text[*ret_len] = '\n'; /* in place of the NUL: the length says where it ends */
    ++*ret_len;
    return text;
}

static int unanswered(struct guest_link *link, const char *execute, struct error *err)
{
    char what[200];

    snprintf(what, sizeof(what), "it did not answer %s in time", execute);
    note_trouble(link, what);
    return error_set(err, ERROR_TIMEOUT, "the guest agent did not answer %s in time", execute);
}

static int ask(struct guest_link *link, const char *execute, json_t *arguments, int64_t deadline,
               struct guest_answer *ret, struct error *err)
{
    size_t len, budget = SIZE_MAX; /* of one line; it has a bound of its own */
    auto_free char *text = NULL;
    bool nonsense = false;
    int rc;

    if (prepare(link, deadline, err))
        return -1;
    text = command_text(execute, arguments, &len);
    link->dirty = true; /* until the answer is there */
    if (send_all(link, text, len, deadline, err))
        return -1;
    rc = read_line(link, deadline, &budget, err);
    if (rc == 0)
        return unanswered(link, execute, err);
    if (rc < 0) {
        note_trouble(link, err->detail);
        return -1;
    }
    rc = guest_reply_parse(link->line.data, link->line.len, &ret->value, &nonsense, err);
    ret->cut = link->line.cut;
    guest_line_reset(&link->line);
    link->dirty = nonsense;
    if (nonsense)
        note_trouble(link, err->detail);
    else
        note_contact(link);
    return rc;
}

/* The agent is libvirt's. */
static int ask_libvirt(struct guest_link *link, const char *execute, json_t *arguments,
                       int64_t deadline, struct guest_answer *ret, struct error *err)
{
    size_t len;
    auto_free char *text = command_text(execute, arguments, &len), *reply = NULL;
    int64_t left = deadline - clock_monotonic_ms();
    bool nonsense = false;
    int rc;

    text[len - 1] = '\0';
    if (virt_agent_command(link->hub->core->virt, link->vm_id, text,
                           left > 1000 ? (int)(left / 1000) : 1, &reply, err)) {
        if (err->code == ERROR_TIMEOUT || err->code == ERROR_AGENT_UNAVAILABLE) {
            not_ready(link, err);
        } else if (err->code == ERROR_AGENT_FAILED) {
            note_trouble(link, err->detail);
        }
        return -1;
    }
    rc = guest_reply_parse(reply, strlen(reply), &ret->value, &nonsense, err);
    if (nonsense)
        note_trouble(link, err->detail);
    else
        note_contact(link);
    return rc;
}

static bool is_libvirts(struct guest_link *link)
{
    LOCK_SCOPE(&link->lock);
    return link->listen_fd < 0;
}

int guest_call(struct guest_link *link, const char *execute, json_t *taken, int64_t deadline,
               struct guest_answer *ret, struct error *err)
{
    auto_guest_answer struct guest_answer own = {0};
    auto_json json_t *arguments = taken;
    int rc;

    if (!ret)
        ret = &own;
    if (enter(link, deadline, err))
        return -1;
    rc = is_libvirts(link) ? ask_libvirt(link, execute, arguments, deadline, ret, err)
                           : ask(link, execute, arguments, deadline, ret, err);
    leave(link);
    return rc;
}

/* An error comes at once; success is silence. */
static int tell(struct guest_link *link, const char *execute, json_t *arguments, struct error *err)
{
    size_t len, budget = GUEST_LINE_MAX;
    auto_free char *text = NULL;
    auto_json json_t *value = NULL;
    int64_t deadline = guest_deadline(link->hub->core);
    bool nonsense;

    if (prepare(link, deadline, err))
        return -1;
    text = command_text(execute, arguments, &len);
    link->dirty = true;
    if (send_all(link, text, len, deadline, err))
        return -1;
    if (read_line(link, clock_monotonic_ms() + SLICE_MS, &budget, err) <= 0)
        return 0; /* silence, or it is gone already */
    return guest_reply_parse(link->line.data, link->line.len, &value, &nonsense, err);
}

int guest_tell(struct guest_link *link, const char *execute, json_t *taken, struct error *err)
{
    auto_json json_t *arguments = taken;
    auto_guest_answer struct guest_answer unused = {0};
    int rc;

    if (enter(link, guest_deadline(link->hub->core), err))
        return -1;
    rc = is_libvirts(link) ? ask_libvirt(link, execute, arguments,
                                         guest_deadline(link->hub->core), &unused, err)
                           : tell(link, execute, arguments, err);
    leave(link);
    return rc;
}

int guest_reach(struct guest_link *link, int64_t deadline, struct error *err)
{
    int rc;

    if (is_libvirts(link))
        return guest_call(link, "guest-ping", NULL, deadline, NULL, err);
    if (enter(link, deadline, err))
        return -1;
    link->dirty = true;
    rc = connected(link, deadline, err) || sync_up(link, deadline, err) ? -1 : 0;
    leave(link);
    return rc;
}
