/*
 * A stand-in for hosts without vsock, in test builds only: the directory named by the environment
 * variable DROVER_VSOCK_SHIM holds Unix sockets, "CID.PORT" where a guest listens and "host.PORT"
 * where we do. A guest that dials binds its end to "CID.anything" first, as the kernel would name
 * it. Once the variable is set, AF_VSOCK is not used at all.
 *
 * A release build does not contain this file, so nothing in the environment can make the daemon
 * talk to a file instead of a guest (meson_options.txt, vsock_shim).
 */
#include "service/vsock/vsock_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "service/base/str.h"

static const char *directory(void)
{
    return getenv("DROVER_VSOCK_SHIM");
}

/* A directory that others may write to would let them pose as guests. */
static int usable(void)
{
    const char *dir = directory();
    struct stat st;

    if (!dir || dir[0] != '/' || stat(dir, &st) || !S_ISDIR(st.st_mode))
        return ENOENT;
    return st.st_uid == geteuid() && (st.st_mode & 0022) == 0 ? 0 : EPERM;
}

static int open_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static int address(const char *name, struct sockaddr_storage *ret, socklen_t *ret_len)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", directory(), name);

    if (n < 0 || (size_t)n >= sizeof(a.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(ret, &a, sizeof(a));
    *ret_len = sizeof(a);
    return 0;
}

static int guest_address(uint32_t cid, uint32_t port, struct sockaddr_storage *ret,
                         socklen_t *ret_len)
{
    char name[32];

    snprintf(name, sizeof(name), "%u.%u", cid, port);
    return address(name, ret, ret_len);
}

static int host_address(uint32_t port, struct sockaddr_storage *ret, socklen_t *ret_len)
{
    struct sockaddr_un a;
    char name[32];

    snprintf(name, sizeof(name), "host.%u", port);
    if (address(name, ret, ret_len))
        return -1;
    memcpy(&a, ret, sizeof(a));
    return unlink(a.sun_path) && errno != ENOENT ? -1 : 0;
}

static uint32_t peer(const struct sockaddr_storage *from, socklen_t len)
{
    struct sockaddr_un a = {0};
    const char *slash;
    char *dot;
    uint64_t cid;

    memcpy(&a, from, len < sizeof(a) ? len : sizeof(a));
    a.sun_path[sizeof(a.sun_path) - 1] = '\0';
    slash = strrchr(a.sun_path, '/');
    dot = slash ? strchr(slash, '.') : NULL;
    if (!dot)
        return 0;
    *dot = '\0';
    return str_to_u64(slash + 1, UINT32_MAX, &cid) ? (uint32_t)cid : 0;
}

const struct vsock_family vsock_shim = {
    .usable = usable,
    .open = open_socket,
    .guest_address = guest_address,
    .host_address = host_address,
    .peer = peer,
};
