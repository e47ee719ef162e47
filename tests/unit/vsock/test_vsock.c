/*
 * The vsock wall over its stand-in. Nothing here may reach the kernel's vsock: DROVER_VSOCK_SHIM is
 * set before the first call and stays so.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "service/base/cleanup.h"
#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vsock/vsock_internal.h"
#include "tests/support/test.h"

#define CID 1000u

static char dir[] = "/tmp/drover-test-vsock-XXXXXX";

/* What connect() fails with next, instead of being called; 0: nothing. The linker leads every call here. */
static int next_failure;

int __real_connect(int fd, const struct sockaddr *to, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t len);

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t len)
{
    if (!next_failure)
        return __real_connect(fd, to, len);
    errno = next_failure;
    next_failure = 0;
    return -1;
}

static void set_up(void)
{
    static bool done;

    if (!done)
        CHECK(mkdtemp(dir));
    done = true;
    setenv("DROVER_VSOCK_SHIM", dir, 1);
}

static struct sockaddr_un address(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", dir, name);
    return a;
}

static int bound(const char *name, bool listening)
{
    struct sockaddr_un a = address(name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    unlink(a.sun_path);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    if (listening)
        CHECK(listen(fd, 4) == 0);
    return fd;
}

/* A guest that dials the host. */
static int guest_dials(const char *name, const char *to)
{
    struct sockaddr_un a = address(to);
    int fd = bound(name, false);

    CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    return fd;
}

TEST(what_is_no_guest_is_never_dialled)
{
    static const uint32_t bad[] = {0, 1, 2, 3, 999, 4294967295u};
    struct error err = ERROR_INIT;
    int fd = -1;

    set_up();
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        char name[32];

        snprintf(name, sizeof(name), "%u.22", bad[i]);
        auto_close int trap = bound(name, true);
        struct pollfd p = {.fd = trap, .events = POLLIN};

        CHECK_INT(vsock_dial(bad[i], 22, 1000, &fd, &err), -1);
        CHECK_INT(err.code, ERROR_INVALID_ARGUMENT);
        CHECK_INT(poll(&p, 1, 0), 0);
    }
    CHECK_INT(vsock_dial(CID, 0, 1000, &fd, &err), -1);
    CHECK_INT(err.code, ERROR_INVALID_ARGUMENT);
    CHECK_INT(vsock_dial(CID, 4294967295u, 1000, &fd, &err), -1);
    CHECK_INT(err.code, ERROR_INVALID_ARGUMENT);
}

TEST(a_guests_port_is_reached)
{
    struct error err = ERROR_INIT;
    int fd = -1;
    char buf[8];

    set_up();
    auto_close int listener = bound("1000.22", true);
    CHECK_OK(vsock_dial(CID, 22, 1000, &fd, &err));
    auto_close int guest = accept(listener, NULL, NULL);
    auto_close int host = fd;
    CHECK_INT(write(host, "hi", 2), 2);
    CHECK_INT(read(guest, buf, sizeof(buf)), 2);
    CHECK_INT(read(host, buf, sizeof(buf)), -1);
    CHECK_INT(errno, EAGAIN); /* it does not block */
}

TEST(nobody_listens)
{
    struct error err = ERROR_INIT;
    int fd = -1;

    set_up();
    CHECK_INT(vsock_dial(CID, 23, 1000, &fd, &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_UNAVAILABLE);
    CHECK(*err.remedy);
    close(bound("1000.24", true));
    CHECK_INT(vsock_dial(CID, 24, 1000, &fd, &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_UNAVAILABLE);
}

TEST(each_refusal_has_its_words)
{
    static const struct {
        int failure;
        int64_t timeout_ms;
        enum error_code code;
        const char *words;
    } cases[] = {
        {ECONNRESET, 1000, ERROR_STREAM_UNAVAILABLE, "nothing listens on vsock port 22"},
        {ETIMEDOUT, 1000, ERROR_TIMEOUT, "does not answer on vsock port 22"},
        {EINPROGRESS, 0, ERROR_TIMEOUT, "does not answer on vsock port 22"},
        {ENODEV, 1000, ERROR_STREAM_UNAVAILABLE, "vsock device is not there"},
        {EHOSTUNREACH, 1000, ERROR_STREAM_UNAVAILABLE, "vsock device is not there"},
        {ENETUNREACH, 1000, ERROR_STREAM_UNAVAILABLE, "vsock device is not there"},
        {EACCES, 1000, ERROR_SYSTEM, "cannot connect to vsock port 22"},
    };

    set_up();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = ERROR_INIT;
        int fd = -1;

        next_failure = cases[i].failure;
        CHECK_INT(vsock_dial(CID, 22, cases[i].timeout_ms, &fd, &err), -1);
        CHECK_INT(fd, -1);
        CHECK_STR(error_slug(err.code), error_slug(cases[i].code));
        if (!strstr(err.detail, cases[i].words))
            CHECK_STR(err.detail, cases[i].words);
    }
}

TEST(a_guest_that_is_slow_to_answer_is_waited_for)
{
    struct error err = ERROR_INIT;
    int fd = -1;

    set_up();
    auto_close int listener = bound("1000.25", true);
    CHECK(listener >= 0);
    for (int i = 0; i < 5; i++) { /* until its backlog is full */
        auto_close int queued = -1;

        CHECK_OK(vsock_dial(CID, 25, 1000, &queued, &err));
    }
    CHECK_INT(vsock_dial(CID, 25, 1000, &fd, &err), -1);
    CHECK_INT(err.code, ERROR_TIMEOUT);
    next_failure = EINPROGRESS; /* the socket says at once that it can be written to: it is over */
    CHECK_OK(vsock_dial(CID, 25, 1000, &fd, &err));
    close(fd);
}

/* Not one of its sockets is connected or bound here. */
TEST(the_kernels_addresses_are_a_guests_and_the_hosts_and_no_others)
{
    const struct vsock_family *f = &vsock_kernel;
    struct sockaddr_storage a = {0};
    struct sockaddr_vm vm;
    socklen_t len = 0;

    CHECK_INT(f->guest_address(CID, 22, &a, &len), 0);
    CHECK_INT(len, sizeof(vm));
    memcpy(&vm, &a, sizeof(vm));
    CHECK_INT(vm.svm_family, AF_VSOCK);
    CHECK_INT(vm.svm_cid, CID);
    CHECK_INT(vm.svm_port, 22);
    CHECK_INT(f->peer(&a, len), CID);
    CHECK_INT(f->peer(&a, len - 1), 0);
    a.ss_family = AF_UNIX;
    CHECK_INT(f->peer(&a, len), 0);

    CHECK_INT(f->host_address(8460, &a, &len), 0);
    memcpy(&vm, &a, sizeof(vm));
    CHECK_INT(vm.svm_cid, VMADDR_CID_HOST); /* and not any */
    CHECK_INT(vm.svm_port, 8460);

    CHECK_INT(f->usable() == 0, access("/dev/vhost-vsock", R_OK | W_OK) == 0);
}

TEST(without_the_hosts_side_nothing_is_dialled)
{
    struct error err = ERROR_INIT;
    char cause[256];
    int fd = -1;

    set_up();
    setenv("DROVER_VSOCK_SHIM", "/nonexistent", 1);
    CHECK(!vsock_usable(cause, sizeof(cause)));
    CHECK(*cause);
    CHECK_INT(vsock_dial(CID, 22, 1000, &fd, &err), -1);
    CHECK_INT(err.code, ERROR_NOT_SUPPORTED_BY_HOST);
    CHECK_INT(vsock_listen(22, &fd, &err), -1);
    CHECK_INT(err.code, ERROR_NOT_SUPPORTED_BY_HOST);
}

TEST(a_directory_that_others_may_write_to_is_no_stand_in)
{
    char cause[256];

    set_up();
    CHECK(chmod(dir, 0777) == 0);
    CHECK(!vsock_usable(cause, sizeof(cause)));
    CHECK(chmod(dir, 0700) == 0);
    CHECK(vsock_usable(cause, sizeof(cause)));
    setenv("DROVER_VSOCK_SHIM", "relative", 1);
    CHECK(!vsock_usable(cause, sizeof(cause)));
}

TEST(who_dials_us_is_known)
{
    struct error err = ERROR_INIT;
    uint32_t cid = 0;
    int listener, fd = -1;

    set_up();
    CHECK_OK(vsock_listen(8460, &listener, &err));
    CHECK_INT(vsock_accept(listener, &fd, &cid, &err), 0);
    close(guest_dials("1007.a", "host.8460"));
    CHECK_INT(vsock_accept(listener, &fd, &cid, &err), 1);
    CHECK_INT(cid, 1007);
    close(fd);
    /* The host itself, its loopback, and who has no address at all. */
    close(guest_dials("2.a", "host.8460"));
    CHECK_INT(vsock_accept(listener, &fd, &cid, &err), 0);
    close(guest_dials("1.a", "host.8460"));
    CHECK_INT(vsock_accept(listener, &fd, &cid, &err), 0);
    close(guest_dials("x.a", "host.8460"));
    CHECK_INT(vsock_accept(listener, &fd, &cid, &err), 0);
    close(listener);
}

TEST(nothing_is_left)
{
    auto_free char *command = xasprintf("rm -r %s", dir);

    CHECK(system(command) == 0);
}

TEST_MAIN();
