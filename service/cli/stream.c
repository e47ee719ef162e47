/* What a stream's end means to the user, whichever command opened it. */
#include "service/cli/stream.h"

#include "service/base/str.h"

/*
 * The server's problem document: libwebsockets drops the body of a refused upgrade, so the same
 * request is sent once more by the REST client, which keeps it.
 */
int stream_explain_refusal(struct cli *cli, const char *path, const struct socket_result *result,
                           struct failure *fail)
{
    static const char *const headers[] = {"Connection: Upgrade", "Upgrade: websocket",
                                          "Sec-WebSocket-Version: 13",
                                          "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", NULL};
    struct client_request r = {.path = path, .headers = headers, .timeout_s = 5};
    auto_answer struct answer a = {0};

    if (client_do(cli->client, &r, &a, fail) && (*fail->title || fail->exit == CLI_CONNECT))
        return -1;
    return failure_set(fail, CLI_FAILED, "the stream could not be opened: %s", result->detail);
}

int stream_explain_close(const struct socket_result *result, struct failure *fail)
{
    if (result->end == SOCKET_LOST)
        return failure_set(fail, CLI_CONNECT, "the connection to the server broke off");
    if (result->code == 1000)
        return 0;
    if (result->code == 1008)
        return failure_set(fail, CLI_AUTH, "the server closed the stream: %s", result->detail);
    return failure_set(fail, CLI_FAILED, "the server closed the stream (%d): %s", result->code,
                       result->detail);
}
