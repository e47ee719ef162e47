/*
 * The frames of the subprotocol drover.exec.v1. Pure functions; any thread.
 *
 * To a client, a binary frame is one byte (1 stdout, 2 stderr) and the program's bytes; from it, bytes
 * for stdin. Text frames are JSON with a "type".
 */
#ifndef DROVER_VM_EXEC_V1_H
#define DROVER_VM_EXEC_V1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXEC_V1_NAME      "drover.exec.v1"
#define EXEC_V1_FRAME_MAX 4096 /* bytes of a text frame from a client */
#define EXEC_V1_TEXT_MAX  2048 /* bytes of one to a client */

enum exec_v1_output { EXEC_STDOUT, EXEC_STDERR, EXEC_OUTPUTS };

struct exec_v1_hello {
    const char *id, *state;
    uint64_t next[EXEC_OUTPUTS]; /* offsets of what is sent first */
    uint64_t input;              /* bytes of stdin that were taken so far */
};

struct exec_v1_exit {
    const char *state;           /* "ended" or "failed" */
    int exit_code, signal;       /* as in struct guest_outcome */
    bool timed_out, cut;         /* cut: not all of the output was read */
    int64_t duration_ms;
    uint64_t total[EXEC_OUTPUTS];
    const char *code, *detail;   /* of a failure, or NULL */
};

/* Each returns the length of the frame, at most max; a frame that does not fit is a bug. */
size_t exec_v1_hello(char *buf, size_t max, const struct exec_v1_hello *hello);
size_t exec_v1_gap(char *buf, size_t max, enum exec_v1_output which, uint64_t from, uint64_t to);
size_t exec_v1_stdin(char *buf, size_t max, uint64_t taken);
size_t exec_v1_exit(char *buf, size_t max, const struct exec_v1_exit *exit);
size_t exec_v1_error(char *buf, size_t max, const char *code, const char *detail);

enum exec_v1_type {
    EXEC_V1_ACK,  /* stdout and stderr are the client's up to these offsets */
    EXEC_V1_EOF,  /* of stdin */
    EXEC_V1_KILL, /* the program and its children */
    EXEC_V1_BAD,  /* anything else; problem says what */
};

struct exec_v1_frame {
    enum exec_v1_type type;
    uint64_t ack[EXEC_OUTPUTS];
    const char *problem; /* static text */
};
void exec_v1_parse(const void *data, size_t len, struct exec_v1_frame *ret);

/* "OUT,ERR": where a client goes on. */
bool exec_v1_from(const char *text, uint64_t ret[EXEC_OUTPUTS]);

#endif
