/* Sources for tests of the carriers: each does one thing a real one can do. */
#ifndef DROVER_TESTS_SOURCES_H
#define DROVER_TESTS_SOURCES_H

#include <stdint.h>

#include "service/base/source.h"

extern const char test_vm_json[];

void test_sources_start(void);
struct source *test_source_echo(void);  /* gives back what it is given, in kind */
struct source *test_source_slow(void);  /* takes 1000 bytes at a time, then says "full" for 2 ms */
struct source *test_source_flood(void); /* always has bytes; 1013 once a reader lags by a second */
struct source *test_source_bye(void);   /* "hello", then the end with 4001 "so long" */
struct source *test_source_ticks(int64_t count, int64_t every_ms); /* messages, then the end */
long test_sources_open(void);                                      /* made and not closed */

#endif
