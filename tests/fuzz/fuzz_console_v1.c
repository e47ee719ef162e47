/* Text frames of drover.console.v1 from a client. */
#include <stdlib.h>
#include <string.h>

#include "service/vm/console_v1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_members(const struct console_v1_frame *f)
{
    if (f->type == CONSOLE_V1_GRANT_CONTROL && (!f->to || f->to > INT64_MAX))
        abort();
    if (f->type == CONSOLE_V1_SIZE && (f->rows < 1 || f->rows > CONSOLE_V1_SIZE_MAX ||
                                       f->cols < 1 || f->cols > CONSOLE_V1_SIZE_MAX))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char reply[CONSOLE_V1_TEXT_MAX];
    struct console_v1_frame f;

    console_v1_parse(data, size, &f);
    /* What a client named must fit into the answer, whatever it is. */
    if (f.type > CONSOLE_V1_EOF && !console_v1_refusal(reply, sizeof(reply), &f))
        abort();
    if ((f.type == CONSOLE_V1_MALFORMED || f.type == CONSOLE_V1_TOO_LARGE) && *f.name)
        abort();
    check_members(&f);
    return 0;
}
