/* Text frames of drover.console.v1 from a client. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/vm/console_v1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char type[64], reply[1024], detail[160];

    type[0] = '?';
    if (console_v1_parse(data, size, type, sizeof(type)) == CONSOLE_V1_UNKNOWN) {
        /* What a client named must fit into the answer, whatever it is. */
        snprintf(detail, sizeof(detail), "this server knows no control \"%s\"", type);
        if (!console_v1_error(reply, sizeof(reply), "unknown-control", detail))
            abort();
    } else if (*type) {
        abort();
    }
    return 0;
}
