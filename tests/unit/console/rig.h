/*
 * A hub with guests made of socket pairs, and clients that pull like a socket's carrier does.
 */
#ifndef DROVER_TESTS_CONSOLE_RIG_H
#define DROVER_TESTS_CONSOLE_RIG_H

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/vm/console.h"
#include "tests/support/test.h"

#define VM "11111111-2222-4333-8444-555555555555"

/* Everything here is used by some test programs and not by others. */
#pragma GCC diagnostic ignored "-Wunused-function"

struct rig {
    struct console_hub *hub;
    int guest; /* our end of the VM's console, blocking */
    atomic_int first_output, ended;
    const char *log_dir; /* what follows goes into the next rig_open's options */
    uint64_t log_bytes, rate_bytes;
    void (*on_notice)(void *opaque, const struct console_notice *notice);
};

static void rig_first_output(void *opaque, const char *vm_id, const char *stream)
{
    atomic_fetch_add(&((struct rig *)opaque)->first_output, 1);
}

static void rig_ended(void *opaque, const char *vm_id, const char *stream)
{
    atomic_fetch_add(&((struct rig *)opaque)->ended, 1);
}

static int rig_pair(int *ret_hub_end)
{
    int pair[2];

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *ret_hub_end = pair[1];
    return pair[0];
}

static void rig_power_on(struct rig *rig, const char *vm_id, const char *stream, bool fresh)
{
    struct error err = ERROR_INIT;
    int fd;

    if (rig->guest >= 0)
        close(rig->guest);
    rig->guest = rig_pair(&fd);
    CHECK_OK(console_feed(rig->hub, vm_id, stream, fd, fresh, &err));
}

static void rig_open(struct rig *rig, size_t ring_bytes, unsigned viewers_max)
{
    struct error err = ERROR_INIT;
    const struct console_options options = {
        .ring_bytes = ring_bytes,
        .viewers_max = viewers_max,
        .on_first_output = rig_first_output,
        .on_ended = rig_ended,
        .log_dir = rig->log_dir,
        .log_bytes = rig->log_bytes,
        .rate_bytes = rig->rate_bytes,
        .on_notice = rig->on_notice,
        .opaque = rig,
    };

    rig->guest = -1;
    rig->first_output = rig->ended = 0;
    CHECK_OK(console_hub_new(&options, &rig->hub, &err));
    rig_power_on(rig, VM, "console", true);
}

static const char *rig_log_dir(void)
{
    static char dir[64];

    snprintf(dir, sizeof(dir), "/tmp/drover-console-XXXXXX");
    CHECK(mkdtemp(dir));
    return dir;
}

/* Removes what the VM's streams may have left there; other rigs are without logs again. */
static void rig_log_dir_remove(struct rig *rig)
{
    struct error err = ERROR_INIT;
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", rig->log_dir, VM);
    for (const char *const *f = (const char *const[]){"console.log", "console.log.1",
                                                      "channels:org.example.0.log", NULL};
         *f; f++) {
        char file[160];

        snprintf(file, sizeof(file), "%s/%s", path, *f);
        CHECK_OK(file_remove(file, &err));
    }
    rmdir(path);
    CHECK_INT(rmdir(rig->log_dir), 0);
    rig->log_dir = NULL;
    rig->rate_bytes = 0;
    rig->on_notice = NULL;
}

static void rig_close(struct rig *rig)
{
    console_hub_free(rig->hub);
    if (rig->guest >= 0)
        close(rig->guest);
}

static uint64_t rig_printed(struct rig *rig)
{
    struct console_stats stats;

    console_stats_read(rig->hub, &stats);
    return stats.bytes_out;
}

/* The guest prints, and the hub has it. */
static void rig_print_bytes(struct rig *rig, const void *data, size_t len)
{
    uint64_t before = rig_printed(rig);
    struct error err = ERROR_INIT;

    CHECK_OK(fd_write_all(rig->guest, data, len, &err));
    EVENTUALLY(rig_printed(rig) == before + len, 5000);
}

static void rig_print(struct rig *rig, const char *text)
{
    rig_print_bytes(rig, text, strlen(text));
}

/*
 * A byte that depends on its offset, with a period that no ring divides, so that a hole shows. From
 * a table, because clients that compute for long are slow clients, above all under a sanitiser.
 */
#define PATTERN_PERIOD 1000003u

static unsigned char pattern_table[PATTERN_PERIOD + 65536];

static void pattern_make(void)
{
    for (size_t i = 0; i < sizeof(pattern_table); i++)
        pattern_table[i] = (unsigned char)((i % PATTERN_PERIOD) * 2654435761u >> 13);
}

static const unsigned char *pattern_at(uint64_t offset)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, pattern_make);
    return pattern_table + offset % PATTERN_PERIOD;
}

static unsigned char pattern(uint64_t offset)
{
    return *pattern_at(offset);
}

static void pattern_fill(unsigned char *buf, uint64_t offset, size_t len)
{
    CHECK(len <= 65536);
    memcpy(buf, pattern_at(offset), len);
}

static struct source *rig_attach_as(struct rig *rig, enum console_mode mode,
                                    enum console_protocol protocol, const char *viewer)
{
    struct error err = ERROR_INIT;
    struct source *s;
    const struct console_attach attach = {
        .vm_id = VM, .stream = "console", .mode = mode, .protocol = protocol, .viewer = viewer};

    CHECK_OK(console_attach(rig->hub, &attach, &s, &err));
    return s;
}

static struct source *rig_attach(struct rig *rig)
{
    return rig_attach_as(rig, CONSOLE_CONTROL, CONSOLE_RAW, "test");
}

static struct source *rig_attach_from(struct rig *rig, enum console_protocol protocol,
                                      uint64_t from)
{
    struct error err = ERROR_INIT;
    struct source *s;
    const struct console_attach attach = {.vm_id = VM,
                                          .stream = "console",
                                          .mode = CONSOLE_CONTROL,
                                          .protocol = protocol,
                                          .has_from = true,
                                          .from = from,
                                          .viewer = "test"};

    CHECK_OK(console_attach(rig->hub, &attach, &s, &err));
    return s;
}

/* Reads bytes until there are none; returns them as text. */
static const char *rig_read_text(struct source *s)
{
    static char buf[1 << 16];
    size_t len = 0;
    enum source_kind kind;
    ssize_t n;

    while ((n = s->read(s, buf + len, sizeof(buf) - 1 - len, &kind)) > 0) {
        CHECK_INT(kind, SOURCE_BYTES);
        len += (size_t)n;
    }
    buf[len] = '\0';
    return buf;
}

/* Exactly len bytes, or what comes before the end; says how many. */
static size_t rig_read_all(struct source *s, void *buf, size_t len)
{
    size_t got = 0;
    enum source_kind kind;
    ssize_t n;

    while (got < len && (n = s->read(s, (char *)buf + got, len - got, &kind)) > 0)
        got += (size_t)n;
    return got;
}

static void rig_told(void *opaque)
{
    atomic_fetch_add((atomic_int *)opaque, 1);
}

/* One text frame. */
static const char *rig_read_frame(struct source *s)
{
    static char buf[16385];
    enum source_kind kind = SOURCE_BYTES;
    ssize_t n = s->read(s, buf, sizeof(buf) - 1, &kind);

    CHECK(n > 0);
    CHECK_INT(kind, SOURCE_TEXT);
    buf[n] = '\0';
    return buf;
}

/* What a viewer of drover.console.v1 hears first: hello, and who is there. */
static void rig_greet(struct source *s)
{
    CHECK(strstr(rig_read_frame(s), "\"hello\""));
    CHECK(strstr(rig_read_frame(s), "\"viewers\""));
}

static ssize_t rig_type(struct source *s, const char *text)
{
    return s->write(s, SOURCE_TEXT, text, strlen(text));
}

static void rig_detach(struct source *s)
{
    s->close(s);
}

/* ---- a client on a thread of its own, as a carrier drives it ---- */

struct client {
    struct source *source;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool poked, stop;
    atomic_bool started;
    _Atomic uint64_t received;
    uint64_t wrong_at; /* UINT64_MAX: every byte was as the pattern says */
    uint64_t base;     /* offset of the first byte */
    int close_code;
};

static void client_notify(void *opaque)
{
    struct client *c = opaque;

    LOCK_SCOPE(&c->lock);
    c->poked = true;
    pthread_cond_signal(&c->cond);
}

static bool client_wait(struct client *c)
{
    LOCK_SCOPE(&c->lock);
    while (!c->poked && !c->stop)
        pthread_cond_wait(&c->cond, &c->lock);
    c->poked = false;
    return !c->stop;
}

static void *client_run(void *opaque)
{
    struct client *c = opaque;
    unsigned char *buf = xcalloc(1, 65536);
    enum source_kind kind;

    for (;;) {
        ssize_t n = c->source->read(c->source, buf, 65536, &kind);
        uint64_t at = c->base + c->received;

        atomic_store(&c->started, true);
        if (n < 0) {
            c->close_code = c->source->close_code;
            break;
        }
        if (n == 0) {
            if (!client_wait(c))
                break;
            continue;
        }
        if (c->wrong_at == UINT64_MAX && memcmp(buf, pattern_at(at), (size_t)n) != 0)
            c->wrong_at = at;
        c->received += (size_t)n;
    }
    free(buf);
    return NULL;
}

static void client_start(struct client *c, struct source *source)
{
    struct error err = ERROR_INIT;

    *c = (struct client){.source = source, .wrong_at = UINT64_MAX};
    mutex_init(&c->lock);
    cond_init(&c->cond);
    source->set_notify(source, client_notify, c);
    CHECK_OK(thread_start(&c->thread, "client", client_run, c, &err));
    EVENTUALLY(atomic_load(&c->started), 5000);
}

/* Waits for the end the hub gives it, or makes it stop; then detaches. */
static void client_join(struct client *c, bool stop)
{
    if (stop) {
        LOCK_SCOPE(&c->lock);
        c->stop = true;
        pthread_cond_signal(&c->cond);
    }
    pthread_join(c->thread, NULL);
    c->source->close(c->source);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->cond);
}

#endif
