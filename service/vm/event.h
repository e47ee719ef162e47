/*
 * The event log: one append-only table, a memory of the newest, and subscriptions that follow it.
 * An event is written in the transaction of what it tells; subscribers see it after the commit.
 */
#ifndef DROVER_VM_EVENT_H
#define DROVER_VM_EVENT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/blob.h"
#include "service/base/error.h"
#include "service/base/source.h"

struct core;

/* One event as a JSON object, {"seq":…,"at":…,"type":…,…}; immutable. */
struct event {
    _Atomic unsigned refs;
    int64_t seq;
    char project_id[40];
    char type[32];
    struct blob *json;
};

struct event *event_ref(struct event *e);
void event_unref(struct event *e);

/*
 * A page of events after `since`, oldest first; from memory when it reaches back far enough, else
 * from the database (request workers only). Caller unrefs each and frees the array.
 */
int event_page(struct core *core, const char *project_id, int64_t since, size_t limit,
               struct event ***ret, size_t *ret_count, struct error *err);
int64_t event_last_seq(struct core *core);

enum event_format { EVENT_FORMAT_SSE, EVENT_FORMAT_JSON };
/*
 * A source of text messages: one event each, as an SSE block or a JSON object. Starts after `since` (-1: only
 * new ones); what is older than memory is read from the database here, so call it on a request
 * worker. A subscriber that falls behind memory gets one `resync` event and the stream ends. rights:
 * what it came in by (access_rights); it is closed with 1008 when one of them ends.
 */
int event_subscribe(struct core *core, const char *project_id, const char *rights, int64_t since,
                    enum event_format format, struct source **ret, struct error *err);

#endif
