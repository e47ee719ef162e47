/*
 * Shared by console*.c only: the hub, a stream, its upstream and its viewers.
 *
 * Locks, in order: hub->lock, then stream->lock, then hub->inbox_lock. Callbacks (notify,
 * on_first_output, on_ended) are called with none of them held.
 *
 *   hub ---- registry of streams, one reference each
 *   stream - ring, input buffer, at most one upstream, any number of viewers
 *   upstream the guest's descriptor; read and closed by the console thread alone, so that no other
 *            thread can close it while that one reads. It may be written under stream->lock
 *   viewer - a struct source with its own offset; holds a reference to its stream
 */
#ifndef DROVER_VM_CONSOLE_INTERNAL_H
#define DROVER_VM_CONSOLE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "service/vm/console.h"
#include "service/vm/console_ring.h"

#define CONSOLE_CHUNK       65536 /* one read from the guest, one input buffer */
#define CONSOLE_BUCKETS     512
#define CONSOLE_DRAIN_MS    250 /* after console_end, for the guest's last words to arrive */
#define CONSOLE_PATIENCE_MS 50  /* see console_pace.c */
#define CONSOLE_V1_TEXT_MAX 1024

struct stream;

struct upstream {
    struct stream *stream; /* a reference */
    int fd;
    bool is_socket;
    /* stream->lock: */
    enum { UPSTREAM_LIVE, UPSTREAM_ENDING, UPSTREAM_DEAD } state;
    bool paused;     /* see console_pace.c */
    uint32_t events; /* what epoll watches now; 0: not registered */
    /* hub->inbox_lock: */
    bool queued;
    STAILQ_ENTRY(upstream) inbox_link;
    /* the console thread's own: */
    bool timed;
    int64_t deadline_ms;
    TAILQ_ENTRY(upstream) timed_link;
};

enum viewer_end { VIEWER_STAYS, VIEWER_DRAINS, VIEWER_ENDS };

struct viewer {
    struct source source; /* first: a source is converted back by viewer_from() */
    uint32_t magic;
    struct stream *stream; /* a reference */
    char *name;
    enum console_protocol protocol;
    /* stream->lock: */
    uint64_t offset; /* of the next byte to hand out */
    TAILQ_ENTRY(viewer) link, idle_link, due_link;
    bool idle;       /* read found nothing, so the next byte is worth a notify */
    bool due;        /* a notify is owed */
    bool wants_room; /* write found the input buffer full */
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
    enum console_mode mode;
    bool hello_sent, viewers_changed, has_gap;
    uint64_t gap_from;
    size_t reply_len;
    char *reply; /* an answer to a control frame, not read yet */
};

TAILQ_HEAD(viewer_list, viewer);

struct stream {
    _Atomic unsigned refs;
    struct console_hub *hub; /* a reference */
    char *vm_id, *name;
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
    unsigned viewer_count;
    uint64_t pace_floor;     /* no trusted viewer is behind this */
    int64_t pace_allowed_ms; /* see console_pace.c */
};

LIST_HEAD(stream_list, stream);

struct console_hub {
    _Atomic unsigned refs; /* the owner and each stream */
    struct console_options options;
    _Atomic unsigned viewers_max;
    pthread_mutex_t lock;
    bool stopping;
    struct stream_list buckets[CONSOLE_BUCKETS];
    size_t stream_count;
    pthread_t thread;
    int epoll, wake; /* wake is an eventfd */
    pthread_mutex_t inbox_lock;
    STAILQ_HEAD(, upstream) inbox; /* upstreams the thread should look at */
    bool stop;
    TAILQ_HEAD(, upstream) timed; /* the thread's own */
    char *scratch;                /* the thread's own */
    _Atomic uint64_t viewers, bytes_out, bytes_in, dropped_viewers, gaps;
};

/* ---- console.c ---- */

void hub_unref(struct console_hub *hub);

/* ---- console_stream.c; "locked" means the caller holds s->lock ---- */

int stream_new(struct console_hub *hub, const char *vm_id, const char *name, struct stream **ret,
               struct error *err);
struct stream *stream_ref(struct stream *s);
void stream_unref(struct stream *s);
uint64_t stream_oldest_locked(const struct stream *s); /* the first byte a newcomer may see */
void stream_wake_idle_locked(struct stream *s);
void stream_wake_locked(struct viewer *v);
void stream_owe_locked(struct viewer *v); /* a notify, whether it waits or not */
/* Gives the lock back, then calls every notify that is owed. */
void stream_unlock_and_notify(struct stream *s);
/* Moves typed bytes to the guest as far as it takes them now. */
void stream_flush_input_locked(struct stream *s);
/* The boot is over: viewers read what is there and end. */
void stream_finish_locked(struct stream *s);
/* Ends viewers at once; name_prefix NULL means all. */
void stream_end_viewers_locked(struct stream *s, const char *name_prefix, int code,
                               const char *reason);
void stream_viewers_changed_locked(struct stream *s);

/* ---- console_viewer.c ---- */

struct source *viewer_attach_locked(struct stream *s, const struct console_attach *attach);

/* ---- console_loop.c ---- */

void *console_loop(void *hub);
void loop_wake(struct console_hub *hub);
/* Starts to read fd for s, which must have no upstream. Takes fd, also on failure. */
int upstream_attach_locked(struct stream *s, int fd, struct error *err);
/* s has no upstream any more; the thread will close the descriptor. */
void upstream_detach_locked(struct stream *s);
/* Tells epoll what the upstream waits for now. */
void upstream_watch_locked(struct upstream *up, bool want_write);
/* Asks the thread to look at up->state. */
void upstream_post(struct upstream *up);

/* ---- console_pace.c ---- */

/* How many bytes may be read now without overtaking a viewer that keeps up; 0: pause. */
size_t pace_room_locked(struct stream *s, int64_t now_ms);
/* A viewer moved or went: reads on if that was what the upstream waited for. */
void pace_moved_locked(struct stream *s);
/* A viewer has read everything there is. */
void pace_caught_up_locked(struct viewer *v);
/* The wait was in vain: whoever is behind is not waited for again soon. */
void pace_give_up_locked(struct stream *s, int64_t now_ms);

#endif
