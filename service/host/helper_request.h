/*
 * What droverd asks its KSM helper for, one packet each way: "stat PID" (the answer is the process's
 * ksm_stat) and "set KNOB VALUE". Shared by both ends; pure.
 */
#ifndef DROVER_HOST_HELPER_REQUEST_H
#define DROVER_HOST_HELPER_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HELPER_SOCKET     "run/drover-ksm.sock" /* below the root */
#define HELPER_PACKET_MAX 1024
#define HELPER_GOOD       '+' /* then what was asked for */
#define HELPER_BAD        '-' /* then an errno as text */

struct helper_request {
    bool sets;
    int64_t pid;
    char knob[40], value[16];
};
/* False: nothing that the helper does. Only the knobs a tuner turns, and only their values. */
bool helper_request_parse(const char *text, size_t len, struct helper_request *ret);
/* A command line as /proc gives it, of a QEMU that runs a machine. */
bool helper_is_qemu(const char *cmdline, size_t len);

#endif
