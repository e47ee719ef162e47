/*
 * What a command prints for programs instead of a table: the server's JSON, the same as YAML, or
 * names alone, one on a line, in the form that other commands take (for xargs).
 *
 * Main thread only: a process has one standard output, and one form for it.
 */
#ifndef DROVER_CLI_FORM_H
#define DROVER_CLI_FORM_H

#include <stdbool.h>

#include "service/cli/failure.h"
#include "service/cli/value.h"

enum form { FORM_TABLE, FORM_JSON, FORM_YAML, FORM_NAME };

/* "table", "json", "yaml", "name"; NULL is a table. */
int form_choose(const char *text, enum form *ret, struct failure *fail);
/* words: the command that runs, which decides what its things are called. */
void form_start(enum form form, const char *words);
enum form form_current(void);

/* Prints a value in that form (a table's form counts as JSON: the caller wanted data). */
void form_value(const json_t *value);
/* What form_value could not do; 0 if nothing. */
int form_end(struct failure *fail);

/* What a command with these words calls such a thing, or NULL. The caller frees it. Pure. */
char *form_name_of(const char *words, const json_t *thing);

#endif
