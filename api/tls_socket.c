/*
 * The four calls by which libmicrohttpd touches a client's socket. The library can be given neither functions
 * for them nor another TLS than its own, so the program's definitions come before libc's in the dynamic
 * linker's search: on the http thread, for a socket that a TLS client has, the bytes go through OpenSSL;
 * everywhere else this is one branch, and libc's call. tls_sockets_check() makes sure of it before anybody is
 * let in, and no request is read, nor answered, on a connection whose bytes came another way (http_conn.c).
 *
 * Without it a socket pair and a copy each way are between, and a request costs twice the time.
 */
/* Each name is itself here. */
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "api/tls_internal.h"
#include "service/base/str.h"

struct tls_sockets {
    struct tls_link **links; /* by descriptor */
    size_t count;
};

static _Thread_local struct tls_sockets *mine; /* of the http thread, with a certificate */

#define FOUND_AT_LINKING __attribute__((visibility("default"), noinline))

/* Behind us in the search: libc's, or what a sanitizer or a test puts before it. */
static void *next(void *_Atomic *known, const char *name)
{
    void *found = atomic_load_explicit(known, memory_order_relaxed);

    if (found)
        return found;
    found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    atomic_store_explicit(known, found, memory_order_relaxed);
    return found;
}

#define NEXT(name)                                                                                 \
    ({                                                                                             \
        static void *_Atomic known;                                                                \
        __typeof__(&name) found;                                                                   \
        void *address = next(&known, #name);                                                       \
        memcpy(&found, &address, sizeof(found));                                                   \
        found;                                                                                     \
    })

static struct tls_link *link_of(int fd)
{
    return mine && fd >= 0 && (size_t)fd < mine->count ? mine->links[fd] : NULL;
}

ssize_t tls_real_recv(int fd, void *data, size_t len, int flags)
{
    return NEXT(recv)(fd, data, len, flags);
}

ssize_t tls_real_send(int fd, const void *data, size_t len, int flags)
{
    return NEXT(send)(fd, data, len, flags);
}

int tls_real_shutdown(int fd, int how)
{
    return NEXT(shutdown)(fd, how);
}

FOUND_AT_LINKING ssize_t recv(int fd, void *data, size_t len, int flags)
{
    struct tls_link *l = link_of(fd);

    return l ? tls_link_read(l, data, len) : NEXT(recv)(fd, data, len, flags);
}

FOUND_AT_LINKING ssize_t send(int fd, const void *data, size_t len, int flags)
{
    struct tls_link *l = link_of(fd);
    struct iovec one = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

    return l ? tls_link_write(l, &one, 1) : NEXT(send)(fd, data, len, flags);
}

FOUND_AT_LINKING ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct tls_link *l = link_of(fd);

    return l ? tls_link_write(l, msg->msg_iov, msg->msg_iovlen) : NEXT(sendmsg)(fd, msg, flags);
}

FOUND_AT_LINKING int shutdown(int fd, int how)
{
    struct tls_link *l = link_of(fd);

    if (l && how != SHUT_RD)
        tls_link_end(l);
    return NEXT(shutdown)(fd, how);
}

int tls_sockets_check(struct error *err)
{
    static const struct {
        const char *name;
        void *ours;
    } calls[] = {
#define OURS(name) {#name, (void *)(uintptr_t)&name}
        OURS(recv), OURS(send), OURS(sendmsg), OURS(shutdown),
    };

    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
        if (dlsym(RTLD_DEFAULT, calls[i].name) != calls[i].ours)
            return error_set(err, ERROR_INTERNAL, "%s() of this program is not found by its libraries: no TLS.",
                             calls[i].name);
    }
    return 0;
}

void tls_sockets_begin(void)
{
    mine = xcalloc(1, sizeof(*mine));
}

void tls_sockets_end(void)
{
    if (!mine)
        return;
    free((void *)mine->links);
    free(mine);
    mine = NULL;
}

void tls_sockets_set(int fd, struct tls_link *l)
{
    size_t count = (size_t)fd + 1;

    if (!mine)
        abort();
    if (count > mine->count) {
        count += count / 2 + 64;
        mine->links = xrealloc((void *)mine->links, count * sizeof(*mine->links));
        memset((void *)(mine->links + mine->count), 0, (count - mine->count) * sizeof(*mine->links));
        mine->count = count;
    }
    mine->links[fd] = l;
}
