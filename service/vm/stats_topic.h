/*
 * The live topic: main figures of all VMs, one set of messages per tick, made once however many
 * listen, and only if somebody does. A listener holds a position, not a queue: one that is slow
 * finishes the tick it is at and goes on with the newest.
 */
#ifndef DROVER_VM_STATS_TOPIC_H
#define DROVER_VM_STATS_TOPIC_H

#include <stdbool.h>

#include "service/base/error.h"
#include "service/base/source.h"

struct core;
struct snapshot;
struct stats_topic;

struct stats_topic *stats_topic_new(void);
void stats_topic_stop(struct stats_topic *t); /* ends the subscriptions */
void stats_topic_free(struct stats_topic *t);
/* The sampler's thread, after each tick. */
void stats_topic_publish(struct stats_topic *t, struct snapshot *now);

enum stats_format { STATS_FORMAT_SSE, STATS_FORMAT_JSON };
/*
 * A source of text messages about the VMs of one project, at most 12 KiB each:
 * {"tick":…,"sampled_at":…,"part":…,"parts":…,"items":[…]}. exact: with figures of merged memory
 * to the byte, else rounded down to 64 MiB.
 */
struct source *stats_subscribe(struct core *core, const char *project_id, bool exact,
                               enum stats_format format);

#endif
