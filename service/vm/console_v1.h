/*
 * The JSON text frames of the subprotocol drover.console.v1. Pure functions; any thread.
 */
#ifndef DROVER_VM_CONSOLE_V1_H
#define DROVER_VM_CONSOLE_V1_H

#include <stddef.h>
#include <stdint.h>

#include "service/vm/console.h"

/* Each returns the length of the frame, at most max; a frame that does not fit is a bug. */
size_t console_v1_hello(char *buf, size_t max, uint64_t offset, uint64_t oldest, unsigned viewers,
                        enum console_mode mode);
size_t console_v1_gap(char *buf, size_t max, uint64_t from, uint64_t to);
size_t console_v1_viewers(char *buf, size_t max, unsigned count);
size_t console_v1_error(char *buf, size_t max, const char *code, const char *detail);

/* What a client asks for. A new control frame is a row here, in the table and in the viewer. */
enum console_v1_control {
    CONSOLE_V1_MALFORMED, /* not a JSON object with a string "type" */
    CONSOLE_V1_TOO_LARGE,
    CONSOLE_V1_UNKNOWN, /* well formed, but this version has no such control */
};

#define CONSOLE_V1_FRAME_MAX 4096 /* bytes of a control frame from a client */

/* ret_type gets the frame's "type", cut to size, or "" when it has none. */
enum console_v1_control console_v1_parse(const void *data, size_t len, char *ret_type, size_t size);

#endif
