/*
 * The differences of two texts, line by line, as `diff -u` shows them. Pure but for the printing,
 * which goes through print_safe.
 */
#ifndef DROVER_CLI_UNIFIED_H
#define DROVER_CLI_UNIFIED_H

#include <stdbool.h>
#include <stdio.h>

/* Prints nothing when they are the same. Returns whether they differ. */
bool unified_print(FILE *out, const char *old_label, const char *old_text, const char *new_label,
                   const char *new_text);

#endif
