/*
 * JSON as the commands see it: an answer's members by path, absent when they are absent. The only
 * place of this folder that includes jansson.
 *
 * Main thread only. Everything returned by value_* without "auto" or "new" is borrowed from the
 * document it came from.
 */
#ifndef DROVER_CLI_VALUE_H
#define DROVER_CLI_VALUE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "service/base/cleanup.h"

static inline void value_free(json_t *value)
{
    json_decref(value);
}

DEFINE_CLEANUP(value, json_t *, value_free);
#define auto_value auto_scope(cleanup_value)

/* NULL when the text is not one JSON value. The caller owns it. */
json_t *value_parse(const char *text, size_t len);

/* "cpu.usage_seconds"; NULL when a member on the way is absent or null. */
const json_t *value_at(const json_t *value, const char *path);
/* The string there, or fallback. */
const char *value_text(const json_t *value, const char *path, const char *fallback);
bool value_true(const json_t *value, const char *path);
/* A number as a double; false when there is none. */
bool value_number(const json_t *value, const char *path, double *ret);

/* The value as short text for a person ("-" for absent); units from the name's suffix. Caller frees. */
char *value_show(const char *name, const json_t *value);
/* Rows "name: value", nested objects as "outer.inner", lists one line per element. */
void value_print_rows(const json_t *object);

#endif
