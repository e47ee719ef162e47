/* Streams of guests, opened by several threads at a time: the guest is a socket that counts who comes. */
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"
#include "tests/support/test.h"

#define VM      "7f1c0a52-94a5-4c0e-9f8f-0d3a2b1c4d5e"
#define ROUNDS  200
#define VIEWERS 4

static char state_dir[] = "/tmp/drover-streams-XXXXXX";
static struct core core = {.state_dir = state_dir};
static pthread_barrier_t together;

static void *come_back(void *opaque)
{
    struct error err = ERROR_INIT;

    pthread_barrier_wait(&together);
    return core_stream_ensure(&core, VM, "console", &err) ? opaque : NULL;
}

static int listen_as_guest(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    memcpy(address.sun_path, path, strlen(path) + 1);
    CHECK_INT(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    CHECK_INT(listen(fd, 2 * VIEWERS), 0);
    return fd;
}

/* The second would throw the first out, and with it what that had read of the guest. */
TEST(who_comes_at_the_same_time_opens_it_once)
{
    const struct console_options options = {.ring_bytes = 4096, .viewers_max = 4};
    auto_free char *path = NULL, *dir = NULL, *vms = NULL;
    struct error err = ERROR_INIT;
    int listener;

    CHECK(mkdtemp(state_dir));
    vms = xasprintf("%s/vms", state_dir);
    dir = vm_dir(&core, VM);
    path = vm_stream_socket(&core, VM, "console");
    CHECK_OK(dir_ensure(vms, 0700, &err));
    CHECK_OK(dir_ensure(dir, 0700, &err));
    mutex_init(&core.openings_lock);
    cond_init(&core.openings_changed);
    listener = listen_as_guest(path);
    CHECK_INT(pthread_barrier_init(&together, NULL, VIEWERS), 0);
    for (int i = 0; i < ROUNDS; i++) {
        pthread_t threads[VIEWERS];
        void *failed;
        int guest;

        CHECK_OK(console_hub_new(&options, &core.consoles, &err));
        for (int t = 0; t < VIEWERS; t++)
            CHECK_INT(pthread_create(&threads[t], NULL, come_back, &core), 0);
        for (int t = 0; t < VIEWERS; t++) {
            CHECK_INT(pthread_join(threads[t], &failed), 0);
            CHECK(!failed);
        }
        guest = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        CHECK(guest >= 0);
        CHECK_INT(accept4(listener, NULL, NULL, SOCK_CLOEXEC), -1); /* nobody else came */
        close(guest);
        console_hub_free(core.consoles);
    }
    close(listener);
    unlink(path);
    rmdir(dir);
    rmdir(vms);
    CHECK_INT(rmdir(state_dir), 0);
}

TEST_MAIN();
