/* Text frames of drover.exec.v1 from a client, and its ?from=. */
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/vm/exec_v1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char reply[EXEC_V1_TEXT_MAX];
    uint64_t from[EXEC_OUTPUTS];
    struct exec_v1_frame f;
    auto_free char *text = xstrndup((const char *)data, size);

    exec_v1_parse(data, size, &f);
    if ((f.type == EXEC_V1_BAD) != (f.problem != NULL))
        abort();
    if (f.problem && !exec_v1_error(reply, sizeof(reply), "invalid-frame", f.problem))
        abort();
    if (f.type == EXEC_V1_ACK && (f.ack[EXEC_STDOUT] > INT64_MAX || f.ack[EXEC_STDERR] > INT64_MAX))
        abort();
    if (exec_v1_from(text, from) && (from[EXEC_STDOUT] > INT64_MAX || from[EXEC_STDERR] > INT64_MAX))
        abort();
    return 0;
}
