/* virt.h on libvirt's test driver: definitions, lifecycle, listing, ownership, statistics. */
#include "tests/unit/virt/virt_watch.h"

#include <dirent.h>

#define A "6f1c0f52-5a0a-4b43-9d0e-3f0f5d1c2a01"
#define B "6f1c0f52-5a0a-4b43-9d0e-3f0f5d1c2a02"

static struct virt *v;
static struct watch w = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct virt *open_as(const char *install, struct watch *watch)
{
    struct error err = ERROR_INIT;
    struct virt *ret = NULL;
    const struct virt_options options = {
        .uri = "test:///default",
        .state_dir = "/nonexistent",
        .install_id = install,
        .on_event = watch_event,
        .on_link = watch_link,
        .opaque = watch,
    };

    CHECK_OK(virt_open(&options, &ret, &err));
    return ret;
}

/* What the test driver knows for machines and types is different: it checks the arch. */
static struct virt_domain definition(const char *uuid, const char *name)
{
    return plain_domain(uuid, name);
}

static enum virt_state state_of(const char *uuid)
{
    struct virt_info info;
    struct error err = ERROR_INIT;

    CHECK_OK(virt_info(v, uuid, &info, &err));
    return info.state;
}

static const char *foreign_uuid(void)
{
    auto_free struct virt_info *list = NULL;
    struct error err = ERROR_INIT;
    static char uuid[UUID_TEXT];
    size_t count = 0;

    uuid[0] = '\0';
    CHECK_OK(virt_list(v, NULL, NULL, &list, &count, &err));
    for (size_t i = 0; i < count; i++) {
        if (!list[i].ours)
            memcpy(uuid, list[i].uuid, sizeof(uuid));
    }
    CHECK(*uuid);
    return uuid;
}

TEST(opening_comes_up_and_says_so)
{
    char reason[64];

    v = open_as(INSTALL, &w);
    EVENTUALLY(watch_ups(&w, 1), 5000);
    CHECK(virt_is_up(v, reason, sizeof(reason)));
    CHECK_STR(reason, "");
    CHECK(!watch_downs(&w, 1));
}

TEST(the_host_describes_itself)
{
    auto_free struct virt_host *host = xcalloc(1, sizeof(*host));
    struct error err = ERROR_INIT;

    CHECK_OK(virt_host_info(v, host, &err));
    CHECK_STR(host->driver, "TEST");
    CHECK_STR(host->uri, "test:///default");
    CHECK_STR(host->qemu_version, "");
    CHECK(*host->libvirt_version && *host->arch && *host->hostname);
}

TEST(a_domain_is_defined_any_number_of_times)
{
    struct virt_domain d = definition(A, "a");
    struct virt_info info;
    struct error err = ERROR_INIT;

    for (d.generation = 1; d.generation <= 3; d.generation++)
        CHECK_OK(virt_define(v, &d, &err));
    CHECK_OK(virt_info(v, A, &info, &err));
    CHECK_STR(info.name, "a");
    CHECK_STR(info.uuid, A);
    CHECK_INT(info.generation, 3);
    CHECK_INT(info.state, VIRT_STATE_SHUTOFF);
    CHECK_INT(info.pid, 0);
    CHECK(info.ours);
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_SHUTOFF, "defined"), 2000);
}

TEST(another_domains_name_is_refused)
{
    struct virt_domain d = definition(B, "test");
    struct error err = ERROR_INIT;

    CHECK_INT(virt_define(v, &d, &err), -1);
    CHECK_STR(error_slug(err.code), "name-in-use");
    CHECK_STR(err.pointer, "/name");
}

TEST(a_name_under_which_another_of_ours_runs_is_stood_in_for)
{
    struct virt_domain d = definition(B, "a");
    struct virt_info info;
    struct error err = ERROR_INIT;

    CHECK_OK(virt_start(v, A, VIRT_START_RUN, &err));
    CHECK_OK(virt_define(v, &d, &err));
    CHECK_OK(virt_info(v, B, &info, &err));
    CHECK(virt_name_fits(info.name, "a", B));
    CHECK(strncmp(info.name, "a.", 2) == 0);
    CHECK(strncmp(info.name + 2, B, 8) == 0);
    CHECK_INT(strlen(info.name), 10);
    CHECK(virt_name_fits("a", "a", B));
    CHECK(!virt_name_fits(info.name, "a", "00000000-5a0a-4b43-9d0e-3f0f5d1c2a02"));
    CHECK(!virt_name_fits(B, "a", B));
    /* Again, for as long as it has to be. */
    CHECK_OK(virt_define(v, &d, &err));
    CHECK_OK(virt_info(v, B, &info, &err));
    CHECK_INT(strlen(info.name), 10);
    CHECK_OK(virt_info(v, A, &info, &err));
    CHECK_STR(info.name, "a");
    CHECK_OK(virt_destroy(v, A, &err));
    CHECK_OK(virt_undefine(v, B, &err));
}

TEST(a_renamed_vm_that_is_off_gives_its_name_up)
{
    struct virt_domain d = definition(B, "a"), back = definition(A, "a");
    struct virt_info info;
    struct error err = ERROR_INIT;

    CHECK_OK(virt_define(v, &d, &err));
    CHECK_OK(virt_info(v, B, &info, &err));
    CHECK_STR(info.name, "a");
    CHECK_OK(virt_info(v, A, &info, &err));
    CHECK_STR(info.name, A);
    CHECK_OK(virt_undefine(v, B, &err));
    back.generation = 3;
    CHECK_OK(virt_define(v, &back, &err));
    CHECK_OK(virt_info(v, A, &info, &err));
    CHECK_STR(info.name, "a");
}

TEST(lifecycle_and_its_events)
{
    struct error err = ERROR_INIT;

    watch_forget(&w);
    CHECK_OK(virt_start(v, A, VIRT_START_PAUSED, &err));
    CHECK_INT(state_of(A), VIRT_STATE_PAUSED);
    CHECK_OK(virt_resume(v, A, &err));
    CHECK_INT(state_of(A), VIRT_STATE_RUNNING);
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_RUNNING, "booted"), 2000);
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_RUNNING, "resumed"), 2000);
    CHECK_OK(virt_suspend(v, A, &err));
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_PAUSED, "paused"), 2000);
    CHECK_OK(virt_resume(v, A, &err));
    CHECK_OK(virt_shutdown(v, A, &err));
    CHECK_INT(state_of(A), VIRT_STATE_SHUTOFF);
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_SHUTOFF, "shutdown"), 2000);
    CHECK_OK(virt_start(v, A, VIRT_START_RUN, &err));
    CHECK_OK(virt_destroy(v, A, &err));
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_SHUTOFF, "destroyed"), 2000);
}

TEST(a_second_start_and_a_second_stop_are_conflicts)
{
    struct error err = ERROR_INIT;

    CHECK_OK(virt_start(v, A, VIRT_START_RUN, &err));
    CHECK_INT(virt_start(v, A, VIRT_START_RUN, &err), -1);
    CHECK_STR(error_slug(err.code), "vm-state-conflict");
    CHECK_OK(virt_destroy(v, A, &err));
    CHECK_INT(virt_destroy(v, A, &err), -1);
    CHECK_STR(error_slug(err.code), "vm-state-conflict");
    CHECK(*err.cause);
}

TEST(saving_and_restoring)
{
    struct error err = ERROR_INIT;
    auto_free struct virt_info *list = NULL;
    size_t count = 0;
    bool listed = false;

    watch_forget(&w);
    CHECK_OK(virt_start(v, A, VIRT_START_RUN, &err));
    CHECK_OK(virt_save(v, A, &err));
    CHECK_INT(state_of(A), VIRT_STATE_SAVED);
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_SAVED, "saved"), 2000);
    CHECK_OK(virt_list(v, NULL, NULL, &list, &count, &err));
    for (size_t i = 0; i < count; i++)
        listed |= str_eq(list[i].uuid, A) && list[i].state == VIRT_STATE_SAVED;
    CHECK(listed);
    CHECK_OK(virt_drop_save(v, A, &err));
    CHECK_OK(virt_drop_save(v, A, &err)); /* nothing there: fine */
    CHECK_INT(state_of(A), VIRT_STATE_SHUTOFF);
}

TEST(the_listing_has_ours_and_foreign)
{
    auto_free struct virt_info *list = NULL;
    struct error err = ERROR_INIT;
    size_t count = 0, ours = 0;

    CHECK_OK(virt_list(v, NULL, NULL, &list, &count, &err));
    CHECK_INT(count, 2); /* the test driver brings a domain called "test" */
    for (size_t i = 0; i < count; i++) {
        if (list[i].ours) {
            ours++;
            CHECK_STR(list[i].uuid, A);
            CHECK_INT(list[i].generation, 3);
        } else {
            CHECK_STR(list[i].name, "test");
            CHECK_INT(list[i].state, VIRT_STATE_RUNNING);
        }
    }
    CHECK_INT(ours, 1);
}

static bool wants_running(void *opaque, const struct virt_info *info)
{
    unsigned *asked = opaque;

    ++*asked;
    CHECK(*info->uuid && *info->name && !info->owner_read);
    return info->state == VIRT_STATE_RUNNING;
}

TEST(owners_are_read_where_somebody_wants_to_know)
{
    auto_free struct virt_info *list = NULL;
    struct error err = ERROR_INIT;
    unsigned asked = 0;
    size_t count = 0;

    CHECK_OK(virt_list(v, wants_running, &asked, &list, &count, &err));
    CHECK_INT(count, 2);
    CHECK_INT(asked, 2);
    for (size_t i = 0; i < count; i++) {
        CHECK_INT(list[i].owner_read, list[i].state == VIRT_STATE_RUNNING);
        CHECK(!list[i].ours && !list[i].generation);
    }
    CHECK(strcmp(list[0].uuid, list[1].uuid) < 0);
}

TEST(a_foreign_domain_is_never_touched)
{
    static int (*const verbs[])(struct virt *, const char *, struct error *) = {
        virt_shutdown, virt_destroy, virt_reboot,    virt_reset,   virt_suspend,
        virt_resume,   virt_save,    virt_drop_save, virt_undefine};
    const char *uuid = foreign_uuid();
    struct virt_domain d = definition(uuid, "stolen");
    struct error err = ERROR_INIT;
    int fd = -1;

    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        err = ERROR_INIT;
        CHECK_INT(verbs[i](v, uuid, &err), -1);
        CHECK_STR(error_slug(err.code), "vm-not-found");
    }
    CHECK_INT(virt_start(v, uuid, VIRT_START_RUN, &err), -1);
    CHECK_INT(virt_console_open(v, uuid, NULL, &fd, &err), -1);
    CHECK_STR(error_slug(err.code), "vm-not-found");
    CHECK_INT(virt_define(v, &d, &err), -1);
    CHECK_STR(error_slug(err.code), "vm-state-conflict");
    CHECK_INT(state_of(uuid), VIRT_STATE_RUNNING);
}

TEST(another_installations_domain_is_foreign)
{
    struct watch w2 = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct virt *other = open_as("other-install", &w2);
    struct virt_info info;
    struct error err = ERROR_INIT;

    EVENTUALLY(watch_ups(&w2, 1), 5000);
    CHECK_OK(virt_info(other, A, &info, &err));
    CHECK(!info.ours);
    CHECK_INT(virt_start(other, A, VIRT_START_RUN, &err), -1);
    CHECK_STR(error_slug(err.code), "vm-not-found");
    virt_close(other);
    CHECK_INT(state_of(A), VIRT_STATE_SHUTOFF);
}

TEST(a_domain_that_is_not_there_is_not_found)
{
    struct virt_info info;
    struct error err = ERROR_INIT;

    CHECK_INT(virt_info(v, B, &info, &err), -1);
    CHECK_STR(error_slug(err.code), "vm-not-found");
    CHECK_INT(virt_start(v, B, VIRT_START_RUN, &err), -1);
    CHECK_STR(error_slug(err.code), "vm-not-found");
    CHECK_OK(virt_undefine(v, B, &err));
}

TEST(consoles_are_not_supported_by_this_driver)
{
    struct error err = ERROR_INIT;
    int fd = -1;

    CHECK_OK(virt_start(v, A, VIRT_START_RUN, &err));
    CHECK_INT(virt_console_open(v, A, NULL, &fd, &err), -1);
    CHECK_STR(error_slug(err.code), "not-supported-by-host");
    CHECK_INT(fd, -1);
    CHECK_OK(virt_destroy(v, A, &err));
}

TEST(statistics_are_of_ours_only)
{
    struct virt_stats stats = {0};
    struct error err = ERROR_INIT;

    CHECK_INT(virt_stats_read(v, foreign_uuid(), &stats, &err), -1); /* it runs, but is not ours */
    CHECK_INT(err.code, ERROR_VM_NOT_FOUND);
    CHECK_INT(virt_stats_read(v, A, &stats, &err), -1); /* ours, but does not run */
    CHECK_INT(err.code, ERROR_VM_NOT_FOUND);
    CHECK_OK(virt_start(v, A, VIRT_START_RUN, &err));
    CHECK_OK(virt_stats_read(v, A, &stats, &err));
    CHECK_STR(stats.uuid, A);
    CHECK_INT(stats.state, VIRT_STATE_RUNNING);
    CHECK_OK(virt_destroy(v, A, &err));
}

TEST(undefining_is_final_and_repeatable)
{
    struct virt_info info;
    struct error err = ERROR_INIT;

    watch_forget(&w);
    CHECK_OK(virt_undefine(v, A, &err));
    CHECK_OK(virt_undefine(v, A, &err));
    CHECK_INT(virt_info(v, A, &info, &err), -1);
    EVENTUALLY(watch_saw(&w, A, VIRT_STATE_GONE, "undefined"), 2000);
}

static unsigned entries(const char *path)
{
    auto_closedir DIR *dir = opendir(path);
    unsigned n = 0;

    while (dir && readdir(dir))
        n++;
    return n;
}

TEST(opening_and_closing_leaks_no_descriptor_and_no_thread)
{
    unsigned fds, threads;

    virt_close(v);
    v = NULL;
    fds = entries("/proc/self/fd");
    threads = entries("/proc/self/task");
    for (unsigned i = 0; i < 50; i++) {
        struct watch w2 = {.lock = PTHREAD_MUTEX_INITIALIZER};

        v = open_as(INSTALL, &w2);
        if (i % 2) /* closing must also work before the connection is there */
            EVENTUALLY(watch_ups(&w2, 1), 5000);
        virt_close(v);
        v = NULL;
    }
    EVENTUALLY(entries("/proc/self/task") <= threads, 2000);
    CHECK(entries("/proc/self/fd") <= fds + 1); /* the loop keeps one of its own */
}

TEST(a_libvirt_that_is_away_is_reported_not_fatal)
{
    struct watch w2 = {.lock = PTHREAD_MUTEX_INITIALIZER};
    const struct virt_options options = {
        .uri = "test+unix:///default?socket=/nonexistent/libvirt-sock",
        .install_id = INSTALL,
        .on_link = watch_link,
        .opaque = &w2,
    };
    struct virt_info *list = NULL;
    struct error err = ERROR_INIT;
    char reason[256];
    size_t count;

    CHECK_OK(virt_open(&options, &v, &err));
    EVENTUALLY(watch_downs(&w2, 1), 5000);
    CHECK(!virt_is_up(v, reason, sizeof(reason)));
    CHECK(strstr(reason, "/nonexistent/libvirt-sock"));
    CHECK_INT(virt_list(v, NULL, NULL, &list, &count, &err), -1);
    CHECK_STR(error_slug(err.code), "hypervisor-unavailable");
    CHECK(*err.remedy);
    virt_close(v);
    CHECK_INT(w2.ups, 0);
}

TEST_MAIN();
