/*
 * Query strings: decoded once into name/value pairs. Pure; any thread.
 */
#ifndef DROVER_API_QUERY_H
#define DROVER_API_QUERY_H

#include <stddef.h>

#include "service/base/error.h"

#define QUERY_ARGS_MAX 64
#define QUERY_TEXT_MAX 4096

struct query {
    size_t count;
    struct {
        const char *name, *value; /* into text */
    } args[QUERY_ARGS_MAX];
    char text[QUERY_TEXT_MAX + 1];
};

/*
 * raw is what follows the '?'. "a" alone is an empty value; '+' and %20 are spaces.
 * INVALID_ARGUMENT for a bad escape, a control byte, text that is not UTF-8, or too much of it.
 */
int query_parse(const char *raw, struct query *ret, struct error *err);

/* The byte of two hex digits, or -1. */
int query_hex_byte(const char *p);

#endif
