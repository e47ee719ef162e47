/* What a request may wait for; shared by createVm and waitForVm. */
#ifndef DROVER_API_HANDLERS_WAIT_H
#define DROVER_API_HANDLERS_WAIT_H

#include "api/request.h"
#include "service/vm/guest.h"

enum wait_for {
    WAIT_FOR_NOTHING,
    WAIT_FOR_RUNNING,
    WAIT_FOR_CONSOLE,
    WAIT_FOR_READY,
    WAIT_FOR_IP,
    WAIT_FOR_AGENT,
    WAIT_FOR_PATTERN, /* the console printed something that matches */
    WAIT_FOR_COUNT,
};

struct wait_request {
    enum wait_for what;
    const char *pattern; /* the request's */
    int64_t seconds;
};

/* ?NAME=running|…, ?PATTERN_NAME=REGEX, ?timeout=SECONDS. */
int wait_for_read(const struct request *req, const char *name, const char *pattern_name,
                  struct wait_request *ret, struct error *err);
/* A task for what only a look at the guest can tell (IP, AGENT, PATTERN). */
int wait_for_guest(struct request *req, const char *vm_id, const struct wait_request *wait,
                   int64_t timeout_ms, struct guest_task **ret, struct error *err);

#endif
