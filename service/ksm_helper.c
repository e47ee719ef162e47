/*
 * drover-ksm-helper: does for an unprivileged droverd the two things that need root: tells what a
 * QEMU process merges (/proc/PID/ksm_stat and its like) and turns the kernel's KSM knobs. Nothing else: no file
 * name, no other process, no other value comes from outside. systemd hands it its socket
 * (deploy/systemd/drover-ksm.socket), or it makes the one that --socket names.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/host/helper_request.h"

#define CLIENTS_MAX 4 /* one daemon, and one that is being replaced */

struct options {
    const char *socket, *root;
    uid_t user;
    bool has_user;
};

/* Up to Linux 6.3 this line of ksm_stat is a file of its own, of the same mode. */
static void add_merging_pages(int dir, char *out, size_t size)
{
    static const char name[] = "ksm_merging_pages";
    size_t len = strlen(out);
    char number[32];

    if (strstr(out, name) || file_read_at(dir, name, number, sizeof(number)) <= 0)
        return;
    if (snprintf(out + len, size - len, "%s %s", name, number) >= (int)(size - len))
        out[len] = '\0';
}

static int answer_stat(int root, int64_t pid, char *out, size_t size)
{
    char path[32], cmdline[512];
    ssize_t n;

    /* All is read through one directory: a pid that is reused meanwhile is another directory. */
    snprintf(path, sizeof(path), "proc/%d", (int)pid);
    auto_close int dir = openat(root, path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return errno;
    n = file_read_at(dir, "cmdline", cmdline, sizeof(cmdline)); /* its first word is enough */
    if (n < 0)
        return errno;
    if (!helper_is_qemu(cmdline, (size_t)n))
        return EPERM;
    if (file_read_at(dir, "ksm_stat", out, size) < 0)
        return errno;
    add_merging_pages(dir, out, size);
    return 0;
}

static int answer_set(int root, const struct helper_request *r)
{
    size_t len = strlen(r->value);
    char path[96];

    snprintf(path, sizeof(path), "sys/kernel/mm/ksm/%s", r->knob);
    auto_close int fd = openat(root, path, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return errno;
    return write(fd, r->value, len) == (ssize_t)len ? 0 : errno;
}

/* False: this client is done for. */
static bool serve(int root, int fd)
{
    char request[128], answer[HELPER_PACKET_MAX] = "";
    ssize_t n = recv(fd, request, sizeof(request), MSG_DONTWAIT | MSG_TRUNC);
    struct helper_request r;
    int rc;

    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    if ((size_t)n > sizeof(request) || !helper_request_parse(request, (size_t)n, &r))
        rc = EINVAL;
    else
        rc = r.sets ? answer_set(root, &r) : answer_stat(root, r.pid, answer + 1, sizeof(answer) - 1);
    if (rc)
        snprintf(answer, sizeof(answer), "%c%d", HELPER_BAD, rc);
    else
        answer[0] = HELPER_GOOD;
    /* A client that does not read is cut off. */
    return send(fd, answer, strlen(answer), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

static int accept_client(int listener, const struct options *o)
{
    auto_close int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
        return -1;
    if (peer.uid != 0 && (!o->has_user || peer.uid != o->user)) {
        fprintf(stderr, "<4>refused a connection of user %u\n", (unsigned)peer.uid);
        return -1;
    }
    return TAKE_FD(fd);
}

static int run(int listener, int root, const struct options *o)
{
    struct pollfd polled[1 + CLIENTS_MAX] = {{.fd = listener, .events = POLLIN}};
    nfds_t count = 1;

    for (;;) {
        polled[0].events = count <= CLIENTS_MAX ? POLLIN : 0;
        if (poll(polled, count, -1) < 0 && errno != EINTR)
            return 1;
        for (nfds_t i = count - 1; i > 0; i--) {
            if (!polled[i].revents || (polled[i].revents & POLLIN && serve(root, polled[i].fd)))
                continue;
            close(polled[i].fd);
            polled[i] = polled[--count];
        }
        if (polled[0].revents & POLLIN && count <= CLIENTS_MAX) {
            int fd = accept_client(listener, o);

            if (fd >= 0)
                polled[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
        }
    }
}

static int make_socket(const struct options *o)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || strlen(o->socket) >= sizeof(at.sun_path))
        return -1;
    memcpy(at.sun_path, o->socket, strlen(o->socket) + 1);
    unlink(o->socket);
    umask(0177);
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) ||
        (o->has_user && chown(o->socket, o->user, (gid_t)-1)) || listen(fd, CLIENTS_MAX))
        return -1;
    return TAKE_FD(fd);
}

static int find_user(const char *name, struct options *o)
{
    const struct passwd *entry = getpwnam(name);
    uint64_t number;

    if (!entry && !str_to_u64(name, UINT32_MAX - 1, &number))
        return -1;
    o->user = entry ? entry->pw_uid : (uid_t)number;
    o->has_user = true;
    return 0;
}

static int usage(void)
{
    fputs("usage: drover-ksm-helper [--user NAME] [--socket PATH] [--root DIR]\n"
          "Serves droverd of that user on the socket systemd hands over, or on PATH.\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    struct options o = {.root = "/"};
    int listener = SD_LISTEN_FDS_START, root;

    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            return usage();
        if (str_eq(argv[i], "--user") && find_user(argv[i + 1], &o) == 0)
            continue;
        if (str_eq(argv[i], "--socket"))
            o.socket = argv[i + 1];
        else if (str_eq(argv[i], "--root"))
            o.root = argv[i + 1];
        else
            return usage();
    }
    root = open(o.root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (o.socket)
        listener = make_socket(&o);
    else if (sd_listen_fds(1) != 1)
        return usage();
    if (root < 0 || listener < 0) {
        fprintf(stderr, "<3>cannot listen: %s\n", strerror(errno));
        return 1;
    }
    (void)sd_notify(0, "READY=1");
    return run(listener, root, &o);
}
