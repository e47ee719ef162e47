/*
 * The log of one stream on the disk: records that carry their offset, in two segments of half the
 * bound each (PATH and the older PATH.1), so that old output goes without being copied. A record
 * that was not written whole, or was damaged, ends its segment; what is before it counts.
 *
 * Not locked; every function reads or writes the disk.
 */
#ifndef DROVER_VM_CONSOLE_FILE_H
#define DROVER_VM_CONSOLE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"

/* What must be known besides the bytes; each segment begins with it. */
struct console_state {
    uint64_t boot;     /* offset at which the current boot began */
    uint64_t next;     /* of the next byte */
    uint64_t reserved; /* no offset at or above it was ever given out */
    uint32_t rows, cols;
    uint32_t has_output, ended; /* 0 or 1 */
};

struct console_file {
    char *path; /* NULL: closed */
    uint64_t bound;
    uint64_t len; /* of the newer segment's whole records */
};

#define CONSOLE_FILE_DATA_MAX (1u << 20) /* of one record */

/* DIR/STREAM.log, with ':' for '/'; false when the stream's name cannot be a file's. */
bool console_file_path(const char *dir, const char *stream, char *ret, size_t size);
void console_file_open(struct console_file *f, const char *path, uint64_t bound);
void console_file_done(struct console_file *f);

struct console_visitor {
    void (*state)(void *opaque, const struct console_state *state); /* may be NULL */
    void (*data)(void *opaque, uint64_t offset, const char *data, size_t len);
    void *opaque;
};
/* Every record, oldest first. 1: there is something, 0: no file, -1. */
int console_file_scan(struct console_file *f, const struct console_visitor *visitor,
                      struct error *err);
/* Pure: the records of one segment; returns the length of what is whole. */
uint64_t console_file_parse(const char *segment, size_t len, const struct console_visitor *visitor);

/* Either may be absent (NULL, 0). A new segment gets the state in any case, so give it always. */
int console_file_append(struct console_file *f, const struct console_state *state, bool write_state,
                        uint64_t offset, const void *data, size_t len, struct error *err);
int console_file_sync(struct console_file *f, struct error *err);
/* Removes the bytes, keeps the state. */
int console_file_clear(struct console_file *f, const struct console_state *state,
                       struct error *err);

#endif
