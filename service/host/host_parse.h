/*
 * Readers of the kernel's text files: pure functions on NUL-terminated text, tolerant of lines and
 * fields they do not know. Numbers that do not fit count as absent. Any thread.
 */
#ifndef DROVER_HOST_PARSE_H
#define DROVER_HOST_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/host/host.h"

/* One decimal integer, surrounded by white space at most. */
bool parse_integer(const char *text, int64_t *ret);

/* The value of a "NAME value" or "NAME: value" line; false when there is none, or it is no number.
 */
bool parse_line(const char *text, const char *name, int64_t *ret);
/* The first word after such a name. */
bool parse_word(const char *text, const char *name, char *ret, size_t size);

/* "scan-time [none]": the bracketed word. */
bool parse_choice(const char *text, char *ret, size_t size);

/* "0-3,8,10-11": how many numbers that names; 0 when it is not such a list. */
unsigned parse_cpu_list(const char *text);

/* /proc/PID/stat */
struct procstat {
    char comm[64];
    int64_t ppid;
    uint64_t flags; /* PF_* */
    uint64_t minor_faults, major_faults, user_ticks, system_ticks, start_ticks, virtual_bytes;
    int64_t resident_pages;
};
bool parse_procstat(const char *text, struct procstat *ret);

/* /proc/PID/ksm_stat, into the ksm members of ret. */
void parse_ksm_stat(const char *text, struct host_process *ret);

/* /proc/PID/smaps_rollup, into what it tells of ret. */
void parse_smaps_rollup(const char *text, struct host_process_memory *ret);
/* "some avg10=1.23 avg60=…", the first line of a pressure file. */
bool parse_pressure(const char *text, double *ret_percent);

/* The words of a cpuinfo "flags" line: is this one of them? */
bool parse_has_flag(const char *cpuinfo, const char *flag);

#endif
