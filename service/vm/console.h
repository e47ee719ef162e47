/*
 * The console hub: it alone reads a VM's byte streams, from power-on, into a ring with a 64-bit
 * offset, and fans them out to any number of viewers. Reading never stops because nobody looks;
 * memory is the ring's size and no more.
 *
 * One thread ("console") owns every upstream descriptor. Viewers are sources: each has its own
 * offset into the ring, so no viewer can slow the guest or another viewer.
 */
#ifndef DROVER_VM_CONSOLE_H
#define DROVER_VM_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"
#include "service/base/source.h"

struct console_hub;

struct console_options {
    size_t ring_bytes;
    unsigned viewers_max; /* of one stream */
    /* The first byte since power-on arrived; on the console thread, must not block. */
    void (*on_first_output)(void *opaque, const char *vm_id, const char *stream);
    /* The upstream ended (guest stopped, console taken); same thread, must not block. */
    void (*on_ended)(void *opaque, const char *vm_id, const char *stream);
    void *opaque;
};

int console_hub_new(const struct console_options *options, struct console_hub **ret,
                    struct error *err);
void console_hub_free(struct console_hub *hub); /* ends every viewer with 1001, joins */

/*
 * stream is "console" or "channels/NAME". Attaches the guest's end; the hub owns fd from now on,
 * also on failure. fresh: a power-on, so what an earlier boot printed is dropped and
 * "first output" counts anew; offsets go on and never repeat.
 * Not fresh: the same boot (after a daemon or libvirt restart). Any thread, does not block.
 */
int console_feed(struct console_hub *hub, const char *vm_id, const char *stream, int fd, bool fresh,
                 struct error *err);
bool console_is_fed(struct console_hub *hub, const char *vm_id, const char *stream);
bool console_has_output(struct console_hub *hub, const char *vm_id, const char *stream);
/*
 * The VM is stopped: closes the upstreams (after what they still hold was read, a quarter of a
 * second at most), keeps the rings; viewers read to the end, then close with 1000. This, and not
 * the end of an upstream, is what ends a viewer: one that is attached while libvirt restarts, or
 * while the guest reboots, stays.
 */
void console_end(struct console_hub *hub, const char *vm_id);
/* The VM is deleted: viewers end, rings go. */
void console_forget(struct console_hub *hub, const char *vm_id);

enum console_mode { CONSOLE_VIEW, CONSOLE_CONTROL };
/* CONSOLE_RAW: bytes only; too slow a viewer is closed with 1013. CONSOLE_V1: drover.console.v1 */
enum console_protocol { CONSOLE_RAW, CONSOLE_V1 };

struct console_attach {
    const char *vm_id, *stream;
    enum console_mode mode;
    enum console_protocol protocol;
    bool has_from;
    uint64_t from;      /* resume here; CONSOLE_V1 is told of a gap, raw skips it */
    const char *viewer; /* shown to other viewers */
};

/*
 * A viewer. Close codes: 1000 the VM stopped or was deleted, 1001 the daemon stops, 1008 revoked,
 * 1013 too slow (CONSOLE_RAW only). A `from` beyond the end is an offset of an earlier daemon: it
 * counts as none. Without `from` it starts at the ring's oldest byte of this boot.
 * STREAM_UNAVAILABLE when the stream is neither fed nor remembered, TOO_MANY_VIEWERS. In
 * CONSOLE_VIEW the source has no write function: it cannot type, by construction.
 */
int console_attach(struct console_hub *hub, const struct console_attach *attach,
                   struct source **ret, struct error *err);

struct console_log {
    char *data; /* caller frees; len bytes */
    size_t len;
    uint64_t offset;       /* of data[0] */
    uint64_t oldest, next; /* the ring's bounds: [oldest, next) */
};
/* Copies what the ring holds from `from` on, at most max bytes. */
int console_log_read(struct console_hub *hub, const char *vm_id, const char *stream, uint64_t from,
                     size_t max, struct console_log *ret, struct error *err);
int console_log_clear(struct console_hub *hub, const char *vm_id, const char *stream,
                      struct error *err);

struct console_stats {
    uint64_t viewers, streams; /* now; streams that are fed or remembered */
    uint64_t bytes_out;        /* printed by guests */
    uint64_t bytes_in;         /* typed into guests */
    uint64_t dropped_viewers, gaps;
};
void console_stats_read(struct console_hub *hub, struct console_stats *ret);
/* Viewers of one VM's stream, 0 when there is none. */
unsigned console_viewers(struct console_hub *hub, const char *vm_id, const char *stream);
/* Ends the viewers whose name starts with prefix (1008): their right was revoked. */
void console_revoke(struct console_hub *hub, const char *viewer_prefix);

/* How many viewers one stream may have from now on; those who are there stay. */
void console_set_viewers_max(struct console_hub *hub, unsigned viewers_max);

#endif
