/*
 * Test sources. One thread calls every notify function every few milliseconds, which is harsher
 * than any real producer.
 */
#include "tests/unit/api/test_sources.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define ECHO_MAX 65536

const char test_vm_json[] =
    "{\"id\":\"0b7f6a52-4a3e-4c57-9d0e-5f1c2a8e7b11\",\"name\":\"web-1\",\"description\":\"\","
    "\"labels\":{\"ci.job\":\"4711\"},\"cpus\":2,\"memory_mib\":512,\"machine\":\"q35\","
    "\"firmware\":\"bios\",\"acceleration\":\"auto\",\"image\":\"demo\",\"root_disk_gib\":10,"
    "\"disks\":[{\"size_gib\":5}],\"networks\":[{\"mode\":\"user\",\"mac\":\"02:00:00:00:00:01\"}],"
    "\"channels\":[\"org.example.0\"],\"guest_agent\":true,\"vsock\":true,\"display\":false,"
    "\"memory_merge\":true,\"autostart\":false,\"record_console\":false,\"state\":\"running\",\"state_reason\":\"started\","
    "\"effective_acceleration\":\"kvm\",\"acceleration_reason\":null,\"pending_changes\":false,"
    "\"etag\":\"7\",\"created_at\":\"2026-01-31T12:00:00.000Z\","
    "\"updated_at\":\"2026-01-31T12:00:00.000Z\",\"started_at\":\"2026-01-31T12:00:01.000Z\"}";

enum behaviour { ECHO, SLOW, FLOOD, BYE, TICKS };

struct test_source {
    struct source source;
    struct test_source *next;
    enum behaviour does;
    void (*notify)(void *);
    void *opaque;
    enum source_kind kind;
    size_t len;
    char data[ECHO_MAX];
    int64_t full_until_ms, last_read_ms, next_tick_ms;
    int64_t count, every_ms, sent;
    bool greeted;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the list, and closing against notify */
static struct test_source *all;
static _Atomic long open_count;

long test_sources_open(void)
{
    return atomic_load(&open_count);
}

static ssize_t end(struct test_source *t, int code, const char *reason)
{
    t->source.close_code = code;
    snprintf(t->source.close_reason, sizeof(t->source.close_reason), "%s", reason);
    return -1;
}

static ssize_t read_echo(struct test_source *t, char *buf, size_t max)
{
    size_t n = t->len < max ? t->len : max;

    memcpy(buf, t->data, n);
    memmove(t->data, t->data + n, t->len - n);
    t->len -= n;
    return (ssize_t)n;
}

static ssize_t read_flood(struct test_source *t, char *buf, size_t max)
{
    int64_t now = clock_monotonic_ms();
    int64_t late = t->last_read_ms ? now - t->last_read_ms : 0;

    t->last_read_ms = now;
    if (late > 1000)
        return end(t, 1013, "too slow");
    memset(buf, 'x', max);
    return (ssize_t)max;
}

static ssize_t read_bye(struct test_source *t, char *buf)
{
    if (t->greeted)
        return end(t, 4001, "so long");
    t->greeted = true;
    memcpy(buf, "hello", 5);
    return 5;
}

static ssize_t read_ticks(struct test_source *t, char *buf, size_t max)
{
    int64_t now = clock_monotonic_ms();

    if (t->sent == t->count)
        return end(t, 1000, "that was all");
    if (now < t->next_tick_ms)
        return 0;
    t->next_tick_ms = now + t->every_ms;
    t->sent++;
    return snprintf(buf, max, "id: %lld\ndata: {\"n\":%lld}\n\n", (long long)t->sent,
                    (long long)t->sent);
}

static ssize_t source_read(struct source *s, void *buf, size_t max, enum source_kind *ret_kind)
{
    struct test_source *t = (struct test_source *)s;

    LOCK_SCOPE(&lock);
    *ret_kind = t->does == TICKS ? SOURCE_TEXT : t->does == ECHO ? t->kind : SOURCE_BYTES;
    switch (t->does) {
    case FLOOD:
        return read_flood(t, buf, max);
    case BYE:
        return read_bye(t, buf);
    case TICKS:
        return read_ticks(t, buf, max);
    default:
        return read_echo(t, buf, max);
    }
}

static ssize_t source_write(struct source *s, enum source_kind kind, const void *data, size_t len)
{
    struct test_source *t = (struct test_source *)s;
    size_t room;

    LOCK_SCOPE(&lock);
    if (t->does == SLOW && clock_monotonic_ms() < t->full_until_ms)
        return 0;
    room = sizeof(t->data) - t->len;
    if (t->does == SLOW) {
        t->full_until_ms = clock_monotonic_ms() + 2;
        room = room < 1000 ? room : 1000;
    }
    if (len > room)
        len = room;
    memcpy(t->data + t->len, data, len);
    t->len += len;
    t->kind = kind;
    return (ssize_t)len;
}

static void source_set_notify(struct source *s, void (*notify)(void *opaque), void *opaque)
{
    struct test_source *t = (struct test_source *)s;

    LOCK_SCOPE(&lock);
    t->notify = notify;
    t->opaque = opaque;
}

static void source_close(struct source *s)
{
    struct test_source *t = (struct test_source *)s;
    struct test_source **at;

    {
        LOCK_SCOPE(&lock);
        for (at = &all; *at != t; at = &(*at)->next)
            ;
        *at = t->next;
    }
    atomic_fetch_sub(&open_count, 1);
    free(t);
}

/* notify is called under this file's lock, which no carrier ever wants from inside notify. */
static void *notifier(void *arg)
{
    (void)arg;
    for (;;) {
        {
            LOCK_SCOPE(&lock);
            for (struct test_source *t = all; t; t = t->next) {
                if (t->notify)
                    t->notify(t->opaque);
            }
        }
        poll(NULL, 0, 2);
    }
    return NULL;
}

void test_sources_start(void)
{
    pthread_t thread;
    struct error err;

    if (thread_start(&thread, "notifier", notifier, NULL, &err) < 0)
        abort();
    pthread_detach(thread);
}

static struct test_source *make(enum behaviour does)
{
    struct test_source *t = xcalloc(1, sizeof(*t));

    t->does = does;
    t->source.read = source_read;
    t->source.write = does == ECHO || does == SLOW ? source_write : NULL;
    t->source.set_notify = source_set_notify;
    t->source.close = source_close;
    atomic_fetch_add(&open_count, 1);
    LOCK_SCOPE(&lock);
    t->next = all;
    all = t;
    return t;
}

struct source *test_source_echo(void)
{
    return &make(ECHO)->source;
}

struct source *test_source_slow(void)
{
    return &make(SLOW)->source;
}

struct source *test_source_flood(void)
{
    return &make(FLOOD)->source;
}

struct source *test_source_bye(void)
{
    return &make(BYE)->source;
}

struct source *test_source_ticks(int64_t count, int64_t every_ms)
{
    struct test_source *t = make(TICKS);

    t->count = count;
    t->every_ms = every_ms;
    return &t->source;
}
