/*
 * What a command prints for programs instead of a table: the server's JSON, the same as YAML, or
 * names alone, one on a line, in the form that other commands take (for xargs).
 *
 * Main thread only: a process has one standard output, and one form for it.
 */
#ifndef DROVER_CLI_OUTPUT_H
#define DROVER_CLI_OUTPUT_H

#include <stdbool.h>

#include "service/cli/failure.h"
#include "service/cli/value.h"

enum output_form { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_YAML, OUTPUT_NAME };

/* "table", "json", "yaml", "name"; NULL is a table. */
int output_choose(const char *text, enum output_form *ret, struct failure *fail);
/* words: the command that runs, which decides what its things are called. */
void output_start(enum output_form form, const char *words);
enum output_form output_form(void);

/* Prints a value in that form (a table's form counts as JSON: the caller wanted data). */
void output_value(const json_t *value);
/* What output_value could not do; 0 if nothing. */
int output_end(struct failure *fail);

/* What a command with these words calls such a thing, or NULL. The caller frees it. Pure. */
char *output_name_of(const char *words, const json_t *thing);

#endif
