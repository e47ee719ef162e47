/*
 * A program in a guest whose output comes here while it runs. A connection that breaks is taken up
 * where it stopped, for half a minute.
 *
 * Main thread only; the callbacks run inside exec_stream_follow.
 */
#ifndef DROVER_CLI_EXEC_STREAM_H
#define DROVER_CLI_EXEC_STREAM_H

#include <stdbool.h>

#include "service/base/str.h"
#include "service/cli/command.h"

struct exec_stream {
    /* What the caller sets; the rest begins with zero. */
    bool has_input;                   /* stdin is passed on */
    bool (*wants_kill)(void *opaque); /* has the program killed and goes on to its end; or NULL */
    bool (*wants_stop)(void *opaque); /* leaves the program alone and returns; or NULL */
    void *opaque;
    /* What the caller reads. */
    unsigned long long have[2]; /* of stdout and stderr: written here */
    bool stopped, output_failed;
    json_t *exit; /* the last frame, or NULL */
    /* Nobody else's. */
    unsigned long long acked[2], sent, sent_before; /* sent: of stdin; over connections that ended */
    int output;                                     /* which of the two the message at hand is for */
    bool in_message, input_ended, eof_sent, kill_sent, input_lost;
    struct strbuf control;
    char text[160];
};

void exec_stream_done(struct exec_stream *s);
#define auto_exec_stream auto_scope(exec_stream_done)

/* To its exit frame, or until it is to stop; stream: "/v1/vms/VM/exec/ID/stream". */
int exec_stream_follow(struct cli *cli, const char *stream, struct exec_stream *s, struct failure *fail);

#endif
