/* /proc/PID/stat, whose second field the process itself chooses. */
#include <stdlib.h>
#include <string.h>

#include "service/host/host_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = size > 65536 ? NULL : malloc(size + 1);
    struct procstat st;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (parse_procstat(text, &st) && strlen(st.comm) >= sizeof(st.comm))
        abort();
    free(text);
    return 0;
}
