/* Time: thin names over clock_gettime(2), and RFC 3339 text. */
#include "service/base/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t read_ns(clockid_t id)
{
    struct timespec ts;

    if (clock_gettime(id, &ts))
        abort();
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t clock_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000;
}

int64_t clock_monotonic_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

int64_t clock_monotonic_ms(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t clock_boottime_ms(void)
{
    return read_ns(CLOCK_BOOTTIME) / 1000000;
}

const char *clock_format(int64_t wall_ms, char buf[CLOCK_TEXT_SIZE])
{
    time_t sec = (time_t)(wall_ms / 1000);
    int ms = (int)(wall_ms % 1000);
    struct tm tm;
    size_t n;

    if (ms < 0) {
        ms += 1000;
        sec--;
    }
    gmtime_r(&sec, &tm);
    n = strftime(buf, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf + n, CLOCK_TEXT_SIZE - n, ".%03dZ", ms);
    return buf;
}

bool clock_parse(const char *text, int64_t *ret_wall_ms)
{
    struct tm tm = {0};
    const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t ms = 0;
    int digits = 0;

    if (!p)
        return false;
    if (*p == '.') {
        for (p++; isdigit((unsigned char)*p); p++, digits++) {
            if (digits < 3)
                ms = ms * 10 + (*p - '0');
        }
        if (digits < 1 || digits > 9)
            return false;
        for (; digits < 3; digits++)
            ms *= 10;
    }
    if (strcmp(p, "Z") != 0)
        return false;
    *ret_wall_ms = (int64_t)timegm(&tm) * 1000 + ms;
    return true;
}

struct timespec clock_deadline(int64_t ms)
{
    int64_t at = read_ns(CLOCK_MONOTONIC) + ms * 1000000;

    return (struct timespec){.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
}
