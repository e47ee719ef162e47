/* Reading asciicast v2 lines, as `recording play` does. Pure. */
#ifndef DROVER_CLI_CAST_H
#define DROVER_CLI_CAST_H

#include <stdbool.h>
#include <stddef.h>

#include "service/cli/value.h"

struct cast_event {
    double at;        /* seconds since the recording began */
    char code;        /* 'o', 'r', 'm', … */
    const char *text; /* len bytes, with NUL after them; borrowed from value */
    size_t len;
    json_t *value; /* the caller frees it with value_free() */
};

/* "version": 2. */
bool cast_is_header(const char *line, size_t len);
/* False: it is not a line [time, code, text] with a time that is not below zero. */
bool cast_read(const char *line, size_t len, struct cast_event *ret);

#endif
