/* A guest's notification: whatever it says, a status is short, printable UTF-8. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/vm/notify_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct notify_message m;
    bool good = notify_parse((const char *)data, size, &m);

    if (size > NOTIFY_MESSAGE_MAX && good)
        abort();
    if (!memchr(m.status, '\0', sizeof(m.status)) || !str_is_utf8(m.status, strlen(m.status)))
        abort();
    for (const char *p = m.status; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            abort();
    }
    if (m.ready && !memmem(data, size, "READY=1", 7))
        abort();
    return 0;
}
