/*
 * A private libvirtd (test driver, as nobody) that is killed and started again: the link goes
 * down and comes back by itself, calls in between say so, and nothing hangs.
 */
#include "tests/unit/virt/private_libvirtd.h"
#include "tests/unit/virt/virt_watch.h"

#include "service/base/thread.h"

#define A "6f1c0f52-5a0a-4b43-9d0e-3f0f5d1c2c01"

static struct virt *v;
static struct watch w = {.lock = PTHREAD_MUTEX_INITIALIZER};
static char uri[256];

TEST(it_waits_for_a_libvirt_that_comes_later)
{
    const struct virt_options options = {
        .uri = uri,
        .install_id = INSTALL,
        .on_event = watch_event,
        .on_link = watch_link,
        .opaque = &w,
    };
    struct error err = ERROR_INIT;

    prepare_daemon();
    snprintf(uri, sizeof(uri), "test+unix:///default?socket=%s", socket_path);
    CHECK_OK(virt_open(&options, &v, &err));
    EVENTUALLY(watch_downs(&w, 1), 5000);
    CHECK(!watch_ups(&w, 1));
    start_daemon();
    EVENTUALLY(file_exists(socket_path), 10000);
    EVENTUALLY(watch_ups(&w, 1), 5000);
    CHECK(virt_is_up(v, NULL, 0));
}

TEST(events_cross_the_socket)
{
    struct virt_domain d = plain_domain(A, "far");
    struct error err = ERROR_INIT;

    CHECK_OK(virt_define(v, &d, &err));
    CHECK_OK(virt_start(v, A, VIRT_START_RUN, &err));
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_RUNNING, "booted"), 2000);
}

TEST(a_killed_libvirtd_is_noticed_at_once)
{
    struct virt_info *list = NULL;
    struct error err = ERROR_INIT;
    char reason[256];
    size_t count;
    unsigned downs = watch_downs_now(&w);
    int64_t start = clock_monotonic_ms();

    kill_daemon();
    EVENTUALLY(watch_downs(&w, downs + 1), 2000);
    printf("# noticed after %lld ms\n", (long long)(clock_monotonic_ms() - start));
    EVENTUALLY(!virt_is_up(v, reason, sizeof(reason)), 1000);
    CHECK(*reason);
    CHECK_INT(virt_list(v, NULL, NULL, &list, &count, &err), -1);
    CHECK_STR(error_slug(err.code), "hypervisor-unavailable");
}

TEST(it_reconnects_within_two_seconds)
{
    struct virt_domain d = plain_domain(A, "far");
    struct error err = ERROR_INIT;
    int64_t start;
    unsigned ups = watch_ups_now(&w);

    start_daemon();
    EVENTUALLY(file_exists(socket_path), 10000);
    start = clock_monotonic_ms();
    EVENTUALLY(watch_ups(&w, ups + 1), 2000);
    start = clock_monotonic_ms() - start;
    printf("# back after %lld ms\n", (long long)start);
    CHECK(start < 2000);
    /* The test driver forgot everything; events must come on the new connection, too. */
    watch_forget(&w);
    CHECK_OK(virt_define(v, &d, &err));
    CHECK_OK(virt_start(v, A, VIRT_START_RUN, &err));
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_RUNNING, "booted"), 2000);
}

struct caller {
    _Atomic bool stop;
    _Atomic unsigned good, bad, wrong;
};

static void *call_all_the_time(void *arg)
{
    struct caller *c = arg;

    while (!c->stop) {
        struct virt_stats stats;
        auto_free struct virt_info *list = NULL;
        struct error err = ERROR_INIT;
        size_t count;

        if (virt_list(v, NULL, NULL, &list, &count, &err) == 0 &&
            (virt_stats_read(v, A, &stats, &err) == 0 || err.code == ERROR_VM_NOT_FOUND))
            c->good++;
        else if (err.code == ERROR_HYPERVISOR_UNAVAILABLE)
            c->bad++;
        else
            c->wrong++;
        poll(NULL, 0, 1);
    }
    return NULL;
}

TEST(calls_under_way_survive_kills_and_say_unavailable)
{
    static struct caller c;
    struct error err = ERROR_INIT;
    pthread_t threads[3];

    for (int i = 0; i < 3; i++)
        CHECK_OK(thread_start(&threads[i], "caller", call_all_the_time, &c, &err));
    for (int i = 0; i < 5; i++) {
        unsigned good = c.good, ups = watch_ups_now(&w);

        EVENTUALLY(c.good > good + 5, 5000);
        kill_daemon();
        start_daemon();
        EVENTUALLY(watch_ups(&w, ups + 1), 5000);
    }
    c.stop = true;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    printf("# %u good, %u unavailable, %u otherwise\n", c.good, c.bad, c.wrong);
    CHECK_INT(c.wrong, 0);
    CHECK(c.bad > 0);
}

TEST(it_closes_while_libvirtd_is_gone)
{
    if (daemon_pid)
        kill_daemon();
    virt_close(v);
    remove_tree(base);
    CHECK(!file_exists(base));
}

DAEMON_TEST_MAIN();
