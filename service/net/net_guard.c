/* The guard on addresses as curl asks for it: see net_internal.h. */
#include "service/net/net_internal.h"

#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/net/fetch.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void begin(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        out_of_memory(); /* it asks for nothing else */
}

void net_curl_begin(void)
{
    pthread_once(&once, begin);
}

static curl_socket_t open_socket(void *opaque, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct net_guard *guard = opaque;
    int fd;

    (void)purpose;
    if (!guard->allow_private && !fetch_address_is_public(&address->addr)) {
        const void *at = address->family == AF_INET6
                             ? (const void *)((const char *)&address->addr +
                                              offsetof(struct sockaddr_in6, sin6_addr))
                             : (const void *)((const char *)&address->addr +
                                              offsetof(struct sockaddr_in, sin_addr));

        if (!inet_ntop(address->family, at, guard->refused, sizeof(guard->refused)))
            str_copy_utf8(guard->refused, sizeof(guard->refused), "of an unknown family");
        return CURL_SOCKET_BAD;
    }
    if (address->family != AF_INET && address->family != AF_INET6)
        return CURL_SOCKET_BAD;
    fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

void net_guard_set(CURL *curl, struct net_guard *guard)
{
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(curl, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, NET_USER_AGENT);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, guard);
}
