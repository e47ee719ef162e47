/*
 * What the commands that open a WebSocket do alike.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_STREAM_H
#define DROVER_CLI_STREAM_H

#include "service/cli/command.h"
#include "service/cli/socket.h"

/* Fills *fail with why the server did not open the stream at path; returns -1. */
int stream_explain_refusal(struct cli *cli, const char *path, const struct socket_result *result,
                           struct failure *fail);
/* 0 when the end was an orderly one, else *fail says what it was. */
int stream_explain_close(const struct socket_result *result, struct failure *fail);

#endif
