/*
 * The failure gate: how often an address failed to sign in within a minute. A bounded table; when
 * it is full the address with the fewest failures goes, so that a crowd of strangers does not free
 * one that is being held back.
 */
#include "service/vm/access_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"

#define WINDOW_MS 60000

/* One IPv6 customer has a /64 to choose addresses from: they count as one. */
static void make_key(const char *address, char ret[ADDRESS_KEY])
{
    struct in6_addr v6;
    char text[INET6_ADDRSTRLEN];

    str_copy_utf8(ret, ADDRESS_KEY, address);
    if (inet_pton(AF_INET6, address, &v6) != 1)
        return;
    if (IN6_IS_ADDR_V4MAPPED(&v6)) {
        inet_ntop(AF_INET, &v6.s6_addr[12], text, sizeof(text));
        str_copy_utf8(ret, ADDRESS_KEY, text);
        return;
    }
    memset(&v6.s6_addr[8], 0, 8);
    inet_ntop(AF_INET6, &v6, text, sizeof(text));
    snprintf(ret, ADDRESS_KEY, "%s/64", text);
}

static bool is_over(const struct access_address *address, int64_t now)
{
    return now - address->since_ms >= WINDOW_MS;
}

static void drop(struct access *a, struct access_address *address)
{
    HASH_DEL(a->addresses, address);
    free(address);
}

static void make_room(struct access *a, int64_t now)
{
    struct access_address *address, *next, *least = NULL;

    if (HASH_COUNT(a->addresses) < ACCESS_ADDRESSES_MAX)
        return;
    HASH_ITER(hh, a->addresses, address, next)
    {
        if (is_over(address, now))
            drop(a, address);
        else if (!least || address->failures < least->failures)
            least = address;
    }
    if (least && HASH_COUNT(a->addresses) >= ACCESS_ADDRESSES_MAX)
        drop(a, least);
}

int access_failure_gate(struct access *a, const char *address, struct error *err)
{
    int64_t now = clock_monotonic_ms();
    struct access_address *known;
    char key[ADDRESS_KEY];

    make_key(address, key);
    LOCK_SCOPE(&a->lock);
    HASH_FIND_STR(a->addresses, key, known);
    if (!known || is_over(known, now) || known->failures < a->settings->auth_failures_per_minute)
        return 0;
    error_set(err, ERROR_TOO_MANY_REQUESTS, "too many failed sign-ins from this address");
    error_remedy(err, "Wait %lld seconds.",
                 (long long)(WINDOW_MS - (now - known->since_ms)) / 1000 + 1);
    return -1;
}

void access_failure_count(struct access *a, const char *address)
{
    int64_t now = clock_monotonic_ms();
    struct access_address *known;
    char key[ADDRESS_KEY];

    make_key(address, key);
    LOCK_SCOPE(&a->lock);
    HASH_FIND_STR(a->addresses, key, known);
    if (known && !is_over(known, now)) {
        known->failures++;
        return;
    }
    if (known)
        drop(a, known);
    make_room(a, now);
    known = xcalloc(1, sizeof(*known));
    memcpy(known->key, key, sizeof(key));
    known->since_ms = now;
    known->failures = 1;
    HASH_ADD_STR(a->addresses, key, known);
}

int access_failed(struct access *a, const char *address, struct error *err)
{
    if (access_failure_gate(a, address, err) == 0)
        access_failure_count(a, address);
    return -1;
}

void access_gate_clear(struct access *a)
{
    struct access_address *address, *next;

    HASH_ITER(hh, a->addresses, address, next)
    {
        drop(a, address);
    }
}
