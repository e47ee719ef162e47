/*
 * The console hub: it alone reads a VM's byte streams, from power-on, into a ring with a 64-bit
 * offset, and fans them out to any number of viewers. Reading never stops because nobody looks;
 * memory is the ring's size and no more. What is in the ring is also written to a file of bounded
 * size, so that it outlives the daemon and, for a while, the VM. Streams that belong to one client
 * alone (a display, a vsock connection) pass through without a ring.
 *
 * One thread ("console") owns every upstream descriptor. Viewers are sources: each has its own
 * offset into the ring, so no viewer can slow the guest or another viewer.
 *
 * Who may type: README.md's section "Many viewers, one keyboard".
 */
#ifndef DROVER_VM_CONSOLE_H
#define DROVER_VM_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"
#include "service/base/source.h"

struct console_hub;

enum console_mode { CONSOLE_VIEW, CONSOLE_CONTROL };
/* CONSOLE_RAW: bytes only; too slow a viewer is closed with 1013. CONSOLE_V1: drover.console.v1 */
enum console_protocol { CONSOLE_RAW, CONSOLE_V1 };

/* By the name of the stream: "console…", "channels/NAME", "vsock/PORT", "display". */
enum console_kind {
    CONSOLE_KIND_CONSOLE,
    CONSOLE_KIND_CHANNEL,
    CONSOLE_KIND_VSOCK,
    CONSOLE_KIND_DISPLAY,
    CONSOLE_KIND_COUNT,
};
enum console_kind console_kind_of(const char *stream);
const char *console_kind_name(enum console_kind kind); /* "console", "channel", … */

/* What the audit log wants to know. The texts are borrowed for the call. */
enum console_what { CONSOLE_ATTACHED, CONSOLE_DETACHED, CONSOLE_HANDED };
struct console_notice {
    enum console_what what;
    const char *vm_id, *stream;
    const char *viewer, *name; /* as in struct console_attach; for CONSOLE_HANDED the new holder, */
    uint64_t viewer_id;        /* or 0 and "" when nobody holds it any more */
    enum console_mode mode;
    enum console_protocol protocol;
    const char *how; /* CONSOLE_HANDED: first, typed, requested, granted, taken, released, left */
};

struct console_options {
    size_t ring_bytes;
    unsigned viewers_max; /* of one stream */
    /* Directory for the logs, which must exist; copied. NULL: nothing outlives the hub. */
    const char *log_dir;
    uint64_t log_bytes; /* bound of one stream's files, about */
    /*
     * Bytes a second that are read from a guest no viewer keeps up with; as much may come at once.
     * 0: no bound. A guest that somebody watches is read as fast as its viewers read.
     */
    uint64_t rate_bytes;
    /* The first byte since power-on arrived; on the console thread, must not block. */
    void (*on_first_output)(void *opaque, const char *vm_id, const char *stream);
    /*
     * console_scan() found something: marks is 1 << enum vm_mark. Same thread, must not block. May be
     * NULL.
     */
    void (*on_marks)(void *opaque, const char *vm_id, const char *stream, unsigned marks);
    /* The upstream ended (guest stopped, console taken); same thread, must not block. */
    void (*on_ended)(void *opaque, const char *vm_id, const char *stream);
    /* Any thread, in order for each stream, must not block or call the hub. May be NULL. */
    void (*on_notice)(void *opaque, const struct console_notice *notice);
    void *opaque;
};

int console_hub_new(const struct console_options *options, struct console_hub **ret,
                    struct error *err);
/* Ends every viewer with 1001, writes the logs to their end, joins. */
void console_hub_free(struct console_hub *hub);

/*
 * stream is "console" or "channels/NAME". Attaches the guest's end; the hub owns fd from now on,
 * also on failure. fresh: a power-on, so what an earlier boot printed is not shown to newcomers and
 * "first output" counts anew; offsets go on and never repeat, also not after a crash of the daemon.
 * Not fresh: the same boot (after a daemon or libvirt restart); what came between is a gap when the
 * daemon was away. Any thread; waits for nothing but a short write to the log.
 */
int console_feed(struct console_hub *hub, const char *vm_id, const char *stream, int fd, bool fresh,
                 struct error *err);
/*
 * From here on the stream is searched for what tells how far the guest's boot came (wanted: 1 << enum
 * vm_mark), with ready (or NULL) as what says that it is ready. Each is told once. Any thread.
 */
int console_scan(struct console_hub *hub, const char *vm_id, const char *stream, unsigned wanted,
                 const char *ready, struct error *err);
bool console_is_fed(struct console_hub *hub, const char *vm_id, const char *stream);
bool console_has_output(struct console_hub *hub, const char *vm_id, const char *stream);
/*
 * The VM is stopped: closes the upstreams (after what they still hold was read, a quarter of a
 * second at most), keeps the rings; viewers read to the end, then close with 1000. This, and not
 * the end of an upstream, is what ends a viewer: one that is attached while libvirt restarts, or
 * while the guest reboots, stays. Pipes end after what has arrived was read.
 */
void console_end(struct console_hub *hub, const char *vm_id);
/* The VM is deleted: viewers and pipes end, rings go; the log files stay for console_logs_prune. */
void console_forget(struct console_hub *hub, const char *vm_id);

struct console_attach {
    const char *vm_id, *stream;
    enum console_mode mode;
    enum console_protocol protocol;
    bool has_from;
    uint64_t from;      /* resume here; CONSOLE_V1 is told of a gap, raw skips it */
    const char *viewer; /* who it is, for the audit log: "token:ID", … */
    const char *name;   /* shown to other viewers, at most 64 bytes of it; NULL: the same */
    const char *rights; /* what it came in by, for console_revoke, separated by spaces; NULL: viewer */
    /*
     * Not a person but a recorder: it counts as no viewer and is not in their list; they are told
     * that the console is recorded. Mode view; read with console_tap_read alone.
     */
    bool recorder;
    bool live; /* begin with what comes next, not with what is remembered */
};

/*
 * A viewer. Close codes: 1000 the VM stopped or was deleted, 1001 the daemon stops, 1008 revoked,
 * 1013 too slow (CONSOLE_RAW only). A `from` beyond the end counts as none. Without `from` it
 * starts at the ring's oldest byte of this boot.
 * STREAM_UNAVAILABLE when the stream is neither fed nor remembered, TOO_MANY_VIEWERS.
 * In CONSOLE_VIEW it cannot type, by construction: a raw source has no write function, and that of
 * CONSOLE_V1 knows no way to the guest; it refuses what comes in words.
 */
int console_attach(struct console_hub *hub, const struct console_attach *attach,
                   struct source **ret, struct error *err);

/* What a recorder reads next. */
struct console_tapped {
    enum { TAP_NOTHING, TAP_BYTES, TAP_GAP, TAP_SIZE, TAP_ENDED } what; /* nothing: notify follows */
    size_t len;          /* TAP_BYTES: that many in buf */
    uint64_t lost;       /* TAP_GAP: bytes that came too fast, or while nobody read */
    unsigned rows, cols; /* TAP_SIZE */
    int code;            /* TAP_ENDED */
};
void console_tap_read(struct source *recorder, void *buf, size_t max, struct console_tapped *ret);
/* The size that was last said; 0: none was. */
void console_size(struct console_hub *hub, const char *vm_id, const char *stream, unsigned *ret_rows,
                  unsigned *ret_cols);

/*
 * A stream of one client alone, "display" or "vsock/PORT": a source around a connected socket, no
 * ring and no replay. Takes fd, also on failure.
 *
 * CONSOLE_RAW: the guest's end of file closes with 1000 once everything before it was read.
 * CONSOLE_V1: text frames {"type":"eof"} say it in both directions, each without ending the other;
 * `hello` comes first. CONSOLE_VIEW is for the display only: the client's RFB messages are parsed,
 * and keys, pointer, clipboard, power and size never pass; closed with 1008 when they cannot be
 * read (an encrypted or unknown dialect). It asks for a shared display in any case.
 * TOO_MANY_VIEWERS, INVALID_ARGUMENT (view of anything but a display). Close codes as above.
 */
struct console_pipe {
    const char *vm_id, *stream;
    int fd;
    enum console_mode mode;
    enum console_protocol protocol;
    const char *viewer, *name, *rights; /* as in struct console_attach */
};
int console_pipe(struct console_hub *hub, const struct console_pipe *pipe, struct source **ret,
                 struct error *err);

#define CONSOLE_LOG_GAPS 32

struct console_log {
    char *data; /* caller frees; len bytes */
    size_t len;
    uint64_t offset;       /* of data[0] */
    uint64_t end;          /* after the last byte of data: where to go on reading */
    uint64_t oldest, next; /* of this boot: [oldest, next) is what there is */
    struct console_log_gap {
        size_t at; /* index into data before which these offsets are missing */
        uint64_t from, to;
    } gaps[CONSOLE_LOG_GAPS];
    size_t gap_count;
};
/*
 * Copies what is known from `from` on, at most max bytes: what the file holds and the ring does
 * not, then the ring. Also of a VM that is gone, while its files are kept. Blocks on the disk.
 */
int console_log_read(struct console_hub *hub, const char *vm_id, const char *stream, uint64_t from,
                     size_t max, struct console_log *ret, struct error *err);
/* The ring and the file. Blocks on the disk. */
int console_log_clear(struct console_hub *hub, const char *vm_id, const char *stream,
                      struct error *err);
/*
 * Removes the logs of VMs that is_alive denies and that nothing was written to for keep_ms. Blocks
 * on the disk.
 */
int console_logs_prune(struct console_hub *hub, int64_t keep_ms,
                       bool (*is_alive)(void *opaque, const char *vm_id), void *opaque,
                       struct error *err);

struct console_kind_stats {
    uint64_t viewers;     /* now */
    uint64_t connections; /* ever */
    uint64_t bytes_out;   /* printed by guests; of a pipe, read by its client */
    uint64_t bytes_in;    /* typed into guests */
};
struct console_stats {
    uint64_t viewers, streams; /* now; streams that are fed or remembered */
    uint64_t bytes_out, bytes_in; /* the sums of what follows */
    uint64_t dropped_viewers, gaps;
    uint64_t log_bytes, log_skipped; /* written to files; printed too fast to be written */
    uint64_t log_errors;             /* writes that failed */
    struct console_kind_stats kinds[CONSOLE_KIND_COUNT];
};
void console_stats_read(struct console_hub *hub, struct console_stats *ret);
/* Viewers of one VM's stream, 0 when there is none. */
unsigned console_viewers(struct console_hub *hub, const char *vm_id, const char *stream);
/* Is anybody connected to any stream of it, display and vsock ports too? */
bool console_in_use(struct console_hub *hub, const char *vm_id);
/* When somebody last attached to any stream of the VM, in wall-clock ms; 0: not since we started. */
int64_t console_last_attached(struct console_hub *hub, const char *vm_id);
/* Ends the viewers and pipes that have this among their rights (1008): it was revoked or expired. */
void console_revoke(struct console_hub *hub, const char *right);

/* How many viewers one stream may have from now on; those who are there stay. */
void console_set_viewers_max(struct console_hub *hub, unsigned viewers_max);

#endif
