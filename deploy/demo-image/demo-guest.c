/*
 * The demo guest's other ends: echoes on every virtio-serial port (except the guest agent's) and
 * on vsock port 1234. One thread, one poll; a full buffer means stop reading.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define VSOCK_PORT 1234
#define ECHOES_MAX 64
#define RETRY_MS   200 /* a port without a host on the other end is looked at this often */

struct echo {
    int fd; /* -1: free */
    bool port, idle; /* idle: a port whose host end is closed */
    char name[64];
    char data[4096];
    size_t len;
};

static struct echo echoes[ECHOES_MAX];

static struct echo *echo_new(int fd, bool port, const char *name)
{
    for (int i = 0; i < ECHOES_MAX; i++) {
        if (echoes[i].fd < 0) {
            echoes[i] = (struct echo){.fd = fd, .port = port};
            snprintf(echoes[i].name, sizeof(echoes[i].name), "%s", name);
            return &echoes[i];
        }
    }
    close(fd);
    return NULL;
}

static void echo_end(struct echo *e)
{
    close(e->fd);
    e->fd = -1;
}

static bool is_open(const char *name)
{
    for (int i = 0; i < ECHOES_MAX; i++) {
        if (echoes[i].fd >= 0 && strcmp(echoes[i].name, name) == 0)
            return true;
    }
    return false;
}

/* /sys/class/virtio-ports/vport1p1/name -> /dev/vport1p1, also as /dev/virtio-ports/NAME. */
static void ports_scan(void)
{
    DIR *dir = opendir("/sys/class/virtio-ports");
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        char path[320], link[160], name[128] = "";
        FILE *f;
        int fd;

        if (entry->d_name[0] == '.' || strlen(entry->d_name) > 60 || is_open(entry->d_name))
            continue;
        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry->d_name);
        f = fopen(path, "re");
        if (!f)
            continue;
        if (!fgets(name, sizeof(name), f))
            name[0] = '\0';
        fclose(f);
        name[strcspn(name, "\n")] = '\0';
        snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
        if (*name && !strchr(name, '/')) {
            mkdir("/dev/virtio-ports", 0755);
            snprintf(link, sizeof(link), "/dev/virtio-ports/%s", name);
            (void)!symlink(path, link);
        }
        if (strcmp(name, "org.qemu.guest_agent.0") == 0)
            continue;
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0)
            echo_new(fd, true, entry->d_name);
    }
    if (dir)
        closedir(dir);
}

/* The kernel's announcements of new devices. */
static int uevent_open(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int vsock_listen(void)
{
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = VSOCK_PORT};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 8))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void echo_serve(struct echo *e, short revents)
{
    ssize_t n;

    if (e->port && revents & POLLHUP) {
        e->idle = true;
        e->len = 0;
        return;
    }
    if (revents & (POLLIN | POLLHUP | POLLERR) && e->len < sizeof(e->data)) {
        n = read(e->fd, e->data + e->len, sizeof(e->data) - e->len);
        if (n > 0)
            e->len += (size_t)n;
        else if (n == 0 && e->port)
            e->idle = true;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            return echo_end(e);
    }
    if (e->len) {
        n = e->port ? write(e->fd, e->data, e->len) : send(e->fd, e->data, e->len, MSG_NOSIGNAL);
        if (n > 0) {
            e->len -= (size_t)n;
            memmove(e->data, e->data + n, e->len);
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return echo_end(e);
        }
    }
}

int main(void)
{
    int uevent, listener;

    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < ECHOES_MAX; i++)
        echoes[i].fd = -1;
    uevent = uevent_open();
    listener = vsock_listen();
    ports_scan();
    for (;;) {
        struct pollfd p[ECHOES_MAX + 2] = {{.fd = uevent, .events = POLLIN},
                                           {.fd = listener, .events = POLLIN}};
        int timeout = -1;

        for (int i = 0; i < ECHOES_MAX; i++) {
            struct echo *e = &echoes[i];

            p[i + 2].fd = e->idle ? -1 : e->fd;
            p[i + 2].events = (short)((e->len < sizeof(e->data) ? POLLIN : 0) | (e->len ? POLLOUT : 0));
            if (e->fd >= 0 && e->idle) {
                e->idle = false;
                timeout = RETRY_MS;
            }
        }
        if (poll(p, ECHOES_MAX + 2, timeout) < 0 && errno != EINTR)
            return 1;
        if (p[0].revents) {
            char drop[8192];

            while (recv(uevent, drop, sizeof(drop), 0) > 0)
                ;
            ports_scan();
        }
        if (p[1].revents) {
            int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

            if (fd >= 0)
                echo_new(fd, false, "");
        }
        for (int i = 0; i < ECHOES_MAX; i++) {
            if (p[i + 2].fd >= 0 && p[i + 2].revents)
                echo_serve(&echoes[i], p[i + 2].revents);
        }
    }
}
