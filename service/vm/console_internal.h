/*
 * Shared by console*.c only: the hub, a stream, its upstream, its viewers, and pipes.
 *
 * Locks, in order: a stream's file_lock, hub->lock, then stream->lock or pipe->lock, then the
 * leaves hub->inbox_lock and hub->log_lock. file_lock alone is held while a file is read or written.
 * Callbacks (notify, on_first_output, on_ended, on_notice) are called with none of them held.
 *
 *   hub ---- registry of streams, one reference each; list of pipes
 *   stream - ring, input buffer, at most one upstream, any number of viewers, a log file
 *   upstream the guest's descriptor; read and closed by the console thread alone, so that no other
 *            thread can close it while that one reads. It may be written under stream->lock
 *   viewer - a struct source with its own offset; holds a reference to its stream
 *   pipe --- a struct source around a descriptor of its own; the thread only says when it is ready
 */
#ifndef DROVER_VM_CONSOLE_INTERNAL_H
#define DROVER_VM_CONSOLE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "service/vm/console.h"
#include "service/vm/console_file.h"
#include "service/vm/console_ring.h"
#include "service/vm/console_scan.h"
#include "service/vm/console_v1.h"

#define CONSOLE_CHUNK       65536 /* one read from the guest, one input buffer */
#define CONSOLE_BUCKETS     512
#define CONSOLE_DRAIN_MS    250 /* after console_end, for the guest's last words to arrive */
#define CONSOLE_PATIENCE_MS 150 /* see console_pace.c */
#define CONSOLE_GATHER_NS   250000 /* the same */
#define CONSOLE_RESERVE     (UINT64_C(16) << 20) /* offsets, see console_log.c; at least */

struct stream;

/* What epoll hands back; the first member of what is watched. */
struct watch {
    void (*ready)(struct watch *w, uint32_t events);
};

struct upstream {
    struct watch watch; /* first */
    struct stream *stream; /* a reference */
    int fd;
    bool is_socket;
    /* stream->lock: */
    enum { UPSTREAM_LIVE, UPSTREAM_ENDING, UPSTREAM_DEAD } state;
    bool paused;     /* see console_pace.c */
    bool over_rate;  /* paused for printing too much */
    bool gathering;  /* paused for more to be there */
    bool typed;      /* since it was read: what comes may be the answer */
    int64_t read_ns; /* when it was */
    uint32_t events; /* what epoll watches now; 0: not registered */
    /* hub->inbox_lock: */
    bool queued;
    STAILQ_ENTRY(upstream) inbox_link;
    /* the console thread's own: */
    bool timed;
    int64_t deadline_ns;
    TAILQ_ENTRY(upstream) timed_link;
};

enum viewer_end { VIEWER_STAYS, VIEWER_DRAINS, VIEWER_ENDS };

struct viewer {
    struct source source; /* first: a source is converted back by viewer_from() */
    uint32_t magic;
    struct stream *stream; /* a reference */
    char *who, *name, *rights; /* as in struct console_attach */
    uint64_t id;
    enum console_protocol protocol;
    enum console_mode mode;
    /* stream->lock: */
    uint64_t offset; /* of the next byte to hand out */
    TAILQ_ENTRY(viewer) link, idle_link, due_link;
    bool idle;       /* read found nothing, so the next byte is worth a notify */
    bool due;        /* a notify is owed */
    bool wants_room; /* write found the input buffer full */
    bool recorder;   /* see struct console_attach */
    bool started;    /* has read once */
    bool trusted;    /* keeps up, so the ring may wait a moment for it; see console_pace.c */
    int64_t distrusted_until_ms;
    void (*notify)(void *opaque);
    void *opaque;
    unsigned notifying; /* calls of notify under way */
    enum viewer_end end;
    uint64_t end_offset; /* VIEWER_DRAINS: where */
    int end_code;
    const char *end_reason;
    /* drover.console.v1 */
    bool hello_sent, viewers_changed, control_changed, size_changed, has_gap;
    uint64_t gap_from;
    const char *gap_reason;
    uint64_t requested;       /* ascending with time; 0: does not ask for control */
    int64_t controls_paid_ms; /* see console_control.c */
    size_t reply_len;
    char *reply; /* an answer to a control frame, not read yet */
};

TAILQ_HEAD(viewer_list, viewer);

struct notice {
    STAILQ_ENTRY(notice) link;
    struct console_notice body;
    char *viewer, *name;
};

STAILQ_HEAD(notice_list, notice);

struct stream {
    _Atomic unsigned refs;
    struct console_hub *hub; /* a reference */
    char *vm_id, *name;
    enum console_kind kind;
    LIST_ENTRY(stream) link; /* hub->lock */
    pthread_mutex_t lock;
    pthread_cond_t quiet; /* some viewer's notify returned */
    struct ring ring;
    uint64_t boot_offset; /* where the current boot began; nothing older is shown to newcomers */
    bool has_output;      /* since boot_offset */
    bool ended;           /* the VM is stopped, until the next feed */
    bool forgotten;
    struct upstream *up; /* NULL: nobody feeds it */
    char *input;         /* CONSOLE_CHUNK bytes, from the first key press on; a ring */
    size_t input_head, input_len;
    struct viewer_list viewers, idle, due;
    unsigned viewer_count, recorder_count;
    char *viewers_frame; /* the list of viewers, rendered; NULL: anew */
    size_t viewers_frame_len;
    struct notice_list notices; /* on_notice is owed */
    bool noticing;                 /* some thread is at it */
    /* console_control.c */
    struct viewer *holder;
    bool exclusive;
    uint64_t last_request;
    unsigned rows, cols;
    struct console_scan scan; /* of the boot that goes on */
    /* console_pace.c */
    uint64_t pace_floor; /* no trusted viewer is behind this */
    int64_t pace_allowed_ms;
    int64_t rate_paid_us; /* what was read is paid for until then */
    /* console_log.c */
    bool restored;       /* from a file, and nothing was fed since */
    bool log_queued;     /* in hub->log_queue */
    bool log_hurried;    /* the log thread was told not to wait */
    bool state_changed;  /* since the last state record */
    bool log_trusted;    /* the ring may wait a moment for the file, as for a viewer */
    uint64_t logged;     /* up to here the file has it, or never will */
    uint64_t reserved;   /* offsets below it may have been given out, says the file */
    uint64_t reserve_step;
    int64_t reserved_at_ms, log_retry_ms, log_distrusted_until_ms;
    int64_t log_paid_ms; /* what was written is paid for until then */
    STAILQ_ENTRY(stream) log_link; /* hub->log_lock */
    pthread_mutex_t file_lock;
    struct console_file file; /* file_lock; path NULL: no log */
};

LIST_HEAD(stream_list, stream);
STAILQ_HEAD(stream_queue, stream);
struct pipe;
LIST_HEAD(pipe_list, pipe);

/* When somebody last attached to a VM. */
struct seen {
    LIST_ENTRY(seen) link;
    char *vm_id;
    int64_t at;
};

struct kind_counters {
    _Atomic uint64_t viewers, connections, bytes_out, bytes_in;
};

struct console_hub {
    _Atomic unsigned refs; /* the owner, each stream and each pipe */
    struct console_options options;
    _Atomic unsigned viewers_max;
    _Atomic uint64_t last_id; /* of a viewer */
    pthread_mutex_t lock;
    bool stopping;
    struct stream_list buckets[CONSOLE_BUCKETS];
    LIST_HEAD(, seen) seen[CONSOLE_BUCKETS];
    size_t stream_count;
    struct pipe_list pipes;
    pthread_t thread;
    int epoll, wake; /* wake is an eventfd */
    pthread_mutex_t inbox_lock;
    STAILQ_HEAD(, upstream) inbox;   /* upstreams the thread should look at */
    STAILQ_HEAD(, pipe) dead_pipes;  /* closed: freed once no event can point to them */
    bool stop, stopped;
    TAILQ_HEAD(, upstream) timed; /* the thread's own */
    char *scratch;                /* the thread's own */
    /* console_log.c */
    char *log_dir;
    pthread_t log_thread;
    bool has_log_thread;
    pthread_mutex_t log_lock;
    pthread_cond_t log_news;
    struct stream_queue log_queue; /* a reference each */
    bool log_hurry, log_stop;
    _Atomic uint64_t log_bytes, log_skipped, log_errors;
    _Atomic uint64_t dropped_viewers, gaps;
    struct kind_counters kinds[CONSOLE_KIND_COUNT];
};

static inline void count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- console.c ---- */

struct console_hub *hub_ref(struct console_hub *hub);
void hub_unref(struct console_hub *hub);
/* A reference. HUB_OPEN_KNOWN: one that is there or has a log, or STREAM_UNAVAILABLE. Reads the disk. */
enum hub_open { HUB_OPEN_NEW, HUB_OPEN_KNOWN };
int hub_open(struct console_hub *hub, const char *vm_id, const char *name, enum hub_open how,
             struct stream **ret, struct error *err);
/* Takes the reference: viewers end, the guest's end is closed, the log is written to its end. */
void hub_forget_stream(struct stream *s, int code, const char *reason);
struct stream *hub_find(struct console_hub *hub, const char *vm_id, const char *name);
size_t hub_bucket(const char *vm_id); /* all streams of a VM are in one */
enum hub_pick { PICK_ONLY, PICK_AND_REMOVE };
/* References to one VM's streams, or to all of them (vm_id NULL); the caller frees the array. */
struct stream **hub_pick(struct console_hub *hub, const char *vm_id, enum hub_pick pick,
                         size_t *ret_count);

/* ---- console_attach.c ---- */

void hub_seen_locked(struct console_hub *hub, const char *vm_id); /* hub->lock */

/* ---- console_stream.c; "locked" means the caller holds s->lock ---- */

int stream_new(struct console_hub *hub, const char *vm_id, const char *name, struct stream **ret,
               struct error *err);
struct stream *stream_ref(struct stream *s);
void stream_unref(struct stream *s);
uint64_t stream_oldest_locked(const struct stream *s); /* the first byte a newcomer may see */
void stream_wake_idle_locked(struct stream *s);
void stream_wake_locked(struct viewer *v);
void stream_owe_locked(struct viewer *v); /* a notify, whether it waits or not */
/* Gives the lock back, then calls every notify and on_notice that is owed. */
void stream_unlock_and_notify(struct stream *s);
/* v NULL: nobody. */
void stream_notice_locked(struct stream *s, enum console_what what, const struct viewer *v,
                          const char *how);
/* Moves typed bytes to the guest as far as it takes them now. */
void stream_flush_input_locked(struct stream *s);
/* The boot is over: viewers read what is there and end. */
void stream_finish_locked(struct stream *s);
/* Ends viewers at once; right NULL means all. */
void stream_end_viewers_locked(struct stream *s, const char *right, int code, const char *reason);
void stream_viewers_changed_locked(struct stream *s);

/* ---- console_viewer.c ---- */

struct source *viewer_attach_locked(struct stream *s, const struct console_attach *attach);
struct viewer *viewer_from(struct source *source);
ssize_t viewer_ended_locked(struct viewer *v); /* -1, with the close code */

/* ---- console_input.c: write functions ---- */

ssize_t viewer_write(struct source *source, enum source_kind kind, const void *data, size_t len);
/* Of a viewer that may only watch. */
ssize_t viewer_write_watcher(struct source *source, enum source_kind kind, const void *data,
                             size_t len);

/* ---- console_control.c: who may type ---- */

void control_arrived_locked(struct viewer *v);
void control_left_locked(struct viewer *v); /* it is not in the list any more */
bool control_may_type_locked(struct viewer *v);
/* Obeys a control frame; returns the length of the answer in buf, 0 for none. */
size_t control_obey_locked(struct viewer *v, const struct console_v1_frame *frame, char *buf,
                           size_t max);

/* ---- console_frames.c ---- */

/* The next text frame that is due, or 0. */
size_t frames_next_locked(struct viewer *v, char *buf, size_t max);

/* ---- console_pipe.c ---- */

unsigned pipes_count_locked(struct console_hub *hub, const char *vm_id, const char *stream);
/* vm_id or right NULL: any. drain: what has arrived is still read. */
void pipes_end(struct console_hub *hub, const char *vm_id, const char *right, bool drain, int code,
               const char *reason);
void pipe_reap(struct pipe *p); /* on the console thread */
struct pipe *pipe_next_dead_locked(struct console_hub *hub); /* hub->inbox_lock */

/* ---- console_loop.c ---- */

void *console_loop(void *hub);
void loop_wake(struct console_hub *hub);
void upstream_ready(struct watch *w, uint32_t events);

/* ---- console_upstream.c ---- */

/* Starts to read fd for s, which must have no upstream. Takes fd, also on failure. */
int upstream_attach_locked(struct stream *s, int fd, struct error *err);
/* s has no upstream any more; the thread will close the descriptor. */
void upstream_detach_locked(struct stream *s);
/* Tells epoll what the upstream waits for now. */
void upstream_watch_locked(struct upstream *up, bool want_write);
/* Asks the thread to look at up->state. */
void upstream_post(struct upstream *up);

/* ---- console_pace.c ---- */

/*
 * How many bytes may be read now without overtaking a viewer that keeps up, and within the rate
 * of what nobody watches; 0: pause for *ret_wait_ms.
 */
size_t pace_room_locked(struct stream *s, int64_t now_ms, int64_t *ret_wait_ms);
void pace_read_locked(struct stream *s, size_t len);
/* Of what was just read. True: s->up is paused, for CONSOLE_GATHER_NS; the console thread. */
bool pace_gather_locked(struct stream *s, size_t len);
void pace_gathered_locked(struct upstream *up); /* it does not wait for more; any thread */
/* A viewer moved or went: reads on if that was what the upstream waited for. */
void pace_moved_locked(struct stream *s);
/* A viewer has read everything there is. */
void pace_caught_up_locked(struct viewer *v);
/* The wait was in vain: whoever is behind is not waited for again soon. */
void pace_give_up_locked(struct stream *s, int64_t now_ms);

/* ---- console_restore.c ---- */

/* Fills a new stream with what the file remembers; false: there is no file. Reads the disk. */
bool log_restore(struct stream *s);

/* ---- console_log.c: what outlives the daemon ---- */

int log_start(struct console_hub *hub, struct error *err);
void log_stop(struct console_hub *hub);
/* Before a feed: after this no offset that is given out can repeat. Writes to the disk. */
void log_reserve(struct stream *s);
void log_note_locked(struct stream *s); /* there is something to write */
struct console_state log_state_locked(const struct stream *s);
/* The directory of its VM's files. */
int log_dir_ensure(const struct stream *s, struct error *err);
/* Everything up to now, at once; if nobody feeds it, the file says that nothing is missing. */
void log_flush(struct stream *s);

#endif
