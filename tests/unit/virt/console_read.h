/* Reading a console in a test. */
#ifndef DROVER_TESTS_CONSOLE_READ_H
#define DROVER_TESTS_CONSOLE_READ_H

#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "tests/support/test.h"

/* Reads until the text has been seen; false at end of file or after the deadline. */
__attribute__((unused)) static bool read_until(int fd, const char *text, int timeout_ms)
{
    int64_t until = clock_monotonic_ms() + test_patience_ms(timeout_ms);
    char seen[4096];
    size_t len = 0;

    while (clock_monotonic_ms() < until) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (poll(&p, 1, 100) <= 0)
            continue;
        n = read(fd, seen + len, sizeof(seen) - 1 - len);
        if (n == 0)
            return false;
        if (n < 0)
            continue;
        len += (size_t)n;
        seen[len] = '\0';
        if (memmem(seen, len, text, strlen(text)))
            return true;
        if (len > sizeof(seen) / 2) {
            memmove(seen, seen + len - 64, 64);
            len = 64;
        }
    }
    return false;
}

__attribute__((unused)) static bool at_end(int fd, int timeout_ms)
{
    int64_t until = clock_monotonic_ms() + test_patience_ms(timeout_ms);
    char buf[4096];

    while (clock_monotonic_ms() < until) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (poll(&p, 1, 50) > 0 && read(fd, buf, sizeof(buf)) == 0)
            return true;
    }
    return false;
}

#endif
