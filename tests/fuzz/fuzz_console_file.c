/* A log segment as it may be after a crash, or damaged. */
#include <stdlib.h>
#include <string.h>

#include "service/vm/console_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned char sink;

static void on_state(void *opaque, const struct console_state *state)
{
    sink = (unsigned char)state->next;
}

static void on_data(void *opaque, uint64_t offset, const char *data, size_t len)
{
    if (!len || len > CONSOLE_FILE_DATA_MAX || offset > INT64_MAX)
        abort();
    sink = (unsigned char)(data[0] + data[len - 1]);
    ++*(size_t *)opaque;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t records = 0, again = 0;
    const struct console_visitor visitor = {on_state, on_data, &records},
                                 second = {on_state, on_data, &again};
    char *copy = malloc(size ? size : 1); /* exactly as long, so that an overrun is seen */
    uint64_t whole;

    if (size)
        memcpy(copy, data, size);
    whole = console_file_parse(copy, size, &visitor);
    /* What it calls whole is whole. */
    if (whole > size || console_file_parse(copy, whole, &second) != whole || records != again)
        abort();
    free(copy);
    return 0;
}
