/*
 * Time. Wall time is for people and stored as UTC milliseconds; deadlines use monotonic time.
 * Any thread.
 */
#ifndef DROVER_BASE_CLOCK_H
#define DROVER_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_TEXT_SIZE 32

int64_t clock_wall_ms(void);      /* since 1970-01-01T00:00:00Z */
int64_t clock_monotonic_ns(void); /* CLOCK_MONOTONIC; arbitrary origin */
int64_t clock_monotonic_ms(void);
int64_t clock_boottime_ms(void); /* CLOCK_BOOTTIME: counts suspend, too */

/* RFC 3339 UTC with milliseconds, "2026-01-31T12:00:00.000Z"; returns buf. */
const char *clock_format(int64_t wall_ms, char buf[CLOCK_TEXT_SIZE]);
/* Accepts what clock_format writes, with 0 to 9 fractional digits. */
bool clock_parse(const char *text, int64_t *ret_wall_ms);
/* A CLOCK_MONOTONIC timespec `ms` from now, for pthread_cond_clockwait. */
struct timespec clock_deadline(int64_t ms);

#endif
