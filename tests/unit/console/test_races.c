/* Everything at once: what the thread sanitiser should look at, and that nothing is left behind. */
#include <dirent.h>

#include "service/vm/console_v1.h"
#include "tests/unit/console/rig.h"

static struct rig rig;
static atomic_bool stop;

static int open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    CHECK(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void *attach_detach(void *opaque)
{
    unsigned seed = (unsigned)(uintptr_t)opaque;
    atomic_int told = 0;

    while (!atomic_load(&stop)) {
        const struct console_attach attach = {.vm_id = VM,
                                              .stream = "console",
                                              .viewer = "racer",
                                              .mode = CONSOLE_CONTROL,
                                              .protocol =
                                                  rand_r(&seed) % 2 ? CONSOLE_V1 : CONSOLE_RAW};
        struct error err = ERROR_INIT;
        enum source_kind kind;
        struct source *s;
        static const char *const frames[] = {"{\"type\":\"take-control\"}", "x\n",
                                             "{\"type\":\"request-control\"}",
                                             "{\"type\":\"size\",\"rows\":5,\"cols\":7}"};
        static _Thread_local char buf[CONSOLE_V1_VIEWERS_MAX];

        if (console_attach(rig.hub, &attach, &s, &err))
            continue; /* forgotten or full at this moment */
        s->set_notify(s, rig_told, &told);
        for (int i = rand_r(&seed) % 20; i > 0; i--) {
            if (s->read(s, buf, sizeof(buf), &kind) < 0)
                break;
            const char *text = frames[rand_r(&seed) % 4];

            (void)s->write(s, rand_r(&seed) % 2 ? SOURCE_TEXT : SOURCE_BYTES, text, strlen(text));
        }
        s->close(s);
    }
    return NULL;
}

/* Connections that come, talk and go while the VM is stopped and deleted again and again. */
static void *pass_through(void *opaque)
{
    unsigned seed = 11;
    atomic_int told = 0;

    while (!atomic_load(&stop)) {
        struct error err = ERROR_INIT;
        static _Thread_local char buf[CONSOLE_V1_VIEWERS_MAX];
        enum source_kind kind;
        struct source *s;
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
            abort();
        const struct console_pipe pipe = {.vm_id = VM,
                                          .stream = rand_r(&seed) % 2 ? "display" : "vsock/7",
                                          .fd = pair[1],
                                          .mode = CONSOLE_CONTROL,
                                          .protocol = rand_r(&seed) % 2 ? CONSOLE_V1 : CONSOLE_RAW,
                                          .viewer = "token:racer"};
        if (console_pipe(rig.hub, &pipe, &s, &err) == 0) {
            s->set_notify(s, rig_told, &told);
            for (int i = rand_r(&seed) % 6; i > 0; i--) {
                if (s->read(s, buf, sizeof(buf), &kind) < 0)
                    break;
                (void)s->write(s, SOURCE_BYTES, "in", 2);
                (void)!write(pair[0], "out", 3);
            }
            if (rand_r(&seed) % 2)
                console_revoke(rig.hub, "token:racer");
            s->close(s);
        }
        close(pair[0]);
    }
    return NULL;
}

static atomic_int attached, detached;

static void count_notice(void *opaque, const struct console_notice *notice)
{
    atomic_fetch_add(&attached, notice->what == CONSOLE_ATTACHED);
    atomic_fetch_add(&detached, notice->what == CONSOLE_DETACHED);
}

static void *read_log(void *opaque)
{
    while (!atomic_load(&stop)) {
        struct error err = ERROR_INIT;
        struct console_log log;
        struct console_stats stats;

        if (console_log_read(rig.hub, VM, "console", 0, 5000, &log, &err) == 0) {
            if (log.offset + log.len > log.next)
                abort();
            free(log.data);
        }
        console_stats_read(rig.hub, &stats);
        console_viewers(rig.hub, VM, "console");
        console_revoke(rig.hub, "nobody");
        console_log_clear(rig.hub, VM, "console", &err);
    }
    return NULL;
}

/* Power cycles, libvirt restarts and deletions of one VM, each with output and a hang-up. */
static void *power_cycle(void *opaque)
{
    unsigned seed = 3;
    static char text[3000];

    memset(text, 'p', sizeof(text));
    for (int i = 0; i < 400; i++) {
        struct error err = ERROR_INIT;
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
            abort();
        if (console_feed(rig.hub, VM, "console", pair[1], rand_r(&seed) % 2, &err))
            abort();
        for (int j = rand_r(&seed) % 8; j > 0; j--) {
            if (send(pair[0], text, sizeof(text), MSG_NOSIGNAL) < 0)
                break;
        }
        switch (rand_r(&seed) % 4) {
        case 0:
            console_end(rig.hub, VM);
            break;
        case 1:
            console_forget(rig.hub, VM);
            break;
        default:
            break;
        }
        close(pair[0]);
    }
    return NULL;
}

TEST(everything_at_once_is_safe_and_leaves_nothing_open)
{
    struct error err = ERROR_INIT;
    pthread_t threads[6];
    int before = open_fds();

    rig.log_dir = rig_log_dir();
    rig.log_bytes = 32768;
    rig.rate_bytes = 1 << 20;
    rig.on_notice = count_notice;
    rig_open(&rig, 8192, 4);
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < 3; i++)
        CHECK_OK(thread_start(&threads[i], "racer", attach_detach, (void *)(i + 1), &err));
    CHECK_OK(thread_start(&threads[3], "log", read_log, NULL, &err));
    CHECK_OK(thread_start(&threads[4], "power", power_cycle, NULL, &err));
    CHECK_OK(thread_start(&threads[5], "pipes", pass_through, NULL, &err));
    pthread_join(threads[4], NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < 6; i++) {
        if (i != 4)
            pthread_join(threads[i], NULL);
    }
    rig_close(&rig);
    CHECK(atomic_load(&attached) > 0);
    CHECK_INT(atomic_load(&attached), atomic_load(&detached));
    rig_log_dir_remove(&rig);
    CHECK_INT(open_fds(), before);
}

TEST(ten_thousand_viewers_one_after_another_leave_nothing)
{
    struct console_stats stats;

    rig_open(&rig, 4096, 2);
    rig_print(&rig, "x");
    for (int i = 0; i < 10000; i++) {
        struct source *s = rig_attach(&rig);

        CHECK_STR(rig_read_text(s), "x");
        rig_detach(s);
    }
    console_stats_read(rig.hub, &stats);
    CHECK_INT(stats.viewers, 0);
    CHECK_INT(stats.streams, 1);
    rig_close(&rig);
}

TEST(close_waits_for_a_notify_that_is_under_way)
{
    rig_open(&rig, 4096, 4);
    for (int i = 0; i < 2000; i++) {
        struct error err = ERROR_INIT;
        atomic_int *told = xcalloc(1, sizeof(*told));
        struct source *s = rig_attach(&rig);

        s->set_notify(s, rig_told, told);
        CHECK_OK(fd_write_all(rig.guest, "y", 1, &err));
        rig_detach(s);
        free(told); /* a notify after this is a use after free */
    }
    rig_close(&rig);
}

TEST(starting_and_stopping_hubs_leaves_no_descriptor)
{
    int before = open_fds();

    for (int i = 0; i < 200; i++) {
        rig_open(&rig, 4096, 4);
        rig_close(&rig);
    }
    CHECK_INT(open_fds(), before);
}

TEST_MAIN();
