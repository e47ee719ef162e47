/*
 * The JSON text frames of the subprotocol drover.console.v1. Pure functions; any thread.
 */
#ifndef DROVER_VM_CONSOLE_V1_H
#define DROVER_VM_CONSOLE_V1_H

#include <stddef.h>
#include <stdint.h>

#include "service/vm/console.h"

#define CONSOLE_V1_FRAME_MAX   4096 /* bytes of a control frame from a client */
#define CONSOLE_V1_TEXT_MAX    1024 /* bytes of a frame to a client, but for the list of viewers */
#define CONSOLE_V1_VIEWERS_MAX 16384
#define CONSOLE_V1_NAME_MAX    64
#define CONSOLE_V1_LISTED      100 /* viewers in one frame */
#define CONSOLE_V1_REQUESTS    8   /* pending ones in a control frame */
#define CONSOLE_V1_SIZE_MAX    9999

/* Ids are texts to a client: "v1", "v2", … 0 is nobody, JSON's null. */
struct console_v1_hello {
    uint64_t id, offset, oldest, next;
    unsigned viewers, rows, cols; /* rows and cols 0: nobody said */
    enum console_mode mode;
    uint64_t holder;
    bool exclusive;
    bool recording; /* what is printed is being recorded */
};

/* Each returns the length of the frame, at most max; a frame that does not fit is a bug. */
size_t console_v1_hello(char *buf, size_t max, const struct console_v1_hello *hello);
/* The first frame of a pipe. */
size_t console_v1_pipe_hello(char *buf, size_t max, uint64_t id, enum console_mode mode);
size_t console_v1_gap(char *buf, size_t max, uint64_t from, uint64_t to, const char *reason);
size_t console_v1_control(char *buf, size_t max, uint64_t holder, bool exclusive,
                          const uint64_t *requests, size_t request_count);
size_t console_v1_size(char *buf, size_t max, unsigned rows, unsigned cols);
size_t console_v1_eof(char *buf, size_t max);
size_t console_v1_error(char *buf, size_t max, const char *code, const char *detail);

struct console_v1_viewer {
    uint64_t id;
    const char *name;
    enum console_mode mode;
    enum console_protocol protocol;
    bool holder;
};
/* count may be larger than what is listed: a name takes up to six times its length. */
size_t console_v1_viewers(char *buf, size_t max, unsigned count, bool recording,
                          const struct console_v1_viewer *listed, size_t listed_count);

/* What a client asks for. A new control frame is a row here, in the table and in its user. */
enum console_v1_type {
    CONSOLE_V1_REQUEST_CONTROL,
    CONSOLE_V1_GRANT_CONTROL, /* to */
    CONSOLE_V1_RELEASE_CONTROL,
    CONSOLE_V1_TAKE_CONTROL, /* exclusive */
    CONSOLE_V1_SIZE,         /* rows, cols */
    CONSOLE_V1_EOF,
    CONSOLE_V1_MALFORMED, /* not a JSON object with a string "type" */
    CONSOLE_V1_TOO_LARGE,
    CONSOLE_V1_UNKNOWN, /* well formed, but this version has no such control */
    CONSOLE_V1_INVALID, /* known, but a member is missing or wrong */
};

struct console_v1_frame {
    enum console_v1_type type;
    char name[64]; /* the frame's "type", cut; "" when it has none */
    uint64_t to;
    bool exclusive;
    unsigned rows, cols;
};

void console_v1_parse(const void *data, size_t len, struct console_v1_frame *ret);
/* The answer to a frame that is none of the above's first six; its length. */
size_t console_v1_refusal(char *buf, size_t max, const struct console_v1_frame *frame);

#endif
