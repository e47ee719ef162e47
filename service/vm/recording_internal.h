/*
 * Shared by recorder.c (the thread), recording.c (what is stored) and recording_read.c (downloads).
 * The recorder's lock and that of downloads are leaves; no disk and no database with either held.
 */
#ifndef DROVER_VM_RECORDING_INTERNAL_H
#define DROVER_VM_RECORDING_INTERNAL_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "service/vm/cast.h"
#include "service/vm/core_internal.h"
#include "service/vm/recording.h"

/* Ends after which a boot's recording goes on when the daemon comes back. */
#define REASON_VM_STOPPED     "the VM stopped"
#define REASON_DAEMON_STOPPED "the daemon stopped"
#define REASON_DAEMON_KILLED  "the daemon was killed; what came after is missing"

/* A recording that is being made. */
struct tape {
    TAILQ_ENTRY(tape) link, due_link;
    struct recorder *recorder;
    struct recording info; /* size_bytes, state and state_reason: the recorder's lock */
    /* the recorder's lock: */
    bool due;
    bool stop; /* somebody asked for its end */
    char stopped_by[48];
    /* the thread's own: */
    struct source *source; /* NULL: closed */
    int fd;
    int64_t started_us; /* monotonic */
    int64_t retry_ms;   /* the database refused: again then; 0: not */
    bool ended, full;   /* full: not a line more */
    struct cast_text text;
    struct strbuf out;
};

TAILQ_HEAD(tape_list, tape);

struct download;
STAILQ_HEAD(download_list, download);

struct recorder {
    struct core *core;
    char *dir;
    _Atomic int64_t bytes; /* of all recordings together */
    pthread_mutex_t lock;
    pthread_cond_t news, gone; /* something is due; a tape has left the list */
    struct tape_list tapes, due;
    bool stopping;
    pthread_t thread;
    bool has_thread;
    /* recording_read.c */
    pthread_mutex_t read_lock;
    pthread_cond_t read_news;
    struct download_list reads;
    bool read_stopping;
    pthread_t read_thread;
    bool has_read_thread;
};

/* ---- recorder.c ---- */

/* The tape with this id as it is now; false: it is not being made. */
bool recorder_look(struct recorder *r, const char *id, struct recording *ret);

/* ---- recording.c ---- */

char *recording_path(const struct recorder *r, const char *id); /* caller frees */
/* The state a finished tape is stored with, its event; blocks on the disk. */
int recording_store_end(struct core *core, const struct recording *end, const char *actor_id,
                        struct error *err);
int recording_store_begin(struct core *core, const struct actor *actor, const struct recording *rec,
                          struct error *err);
/* Deletes the oldest finished ones until `more` bytes fit; false: they do not. Blocks on the disk.
 */
bool recording_make_room(struct recorder *r, int64_t more);
/* Closes what a killed daemon left open, removes files nobody knows, counts the bytes. */
int recording_recover(struct recorder *r, struct error *err);

/* ---- recording_read.c ---- */

int recording_read_start(struct recorder *r, struct error *err);
void recording_read_stop(struct recorder *r);

#endif
