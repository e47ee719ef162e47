/*
 * What people read: aligned tables, human units, and text from a server without its control
 * characters (a VM's name or description must not be able to drive the terminal).
 *
 * Main thread only. Tables and rows go to stdout.
 */
#ifndef DROVER_CLI_PRINT_H
#define DROVER_CLI_PRINT_H

#include <stdint.h>
#include <stdio.h>

#include "service/base/cleanup.h"

/* Writes text with control characters (C0, DEL, C1) and invalid UTF-8 replaced by '?'. */
void print_safe(FILE *out, const char *text);
/* Columns the text takes on a terminal after that replacement. */
size_t print_width(const char *text);

/* "1.5 GiB"; "512 B". Caller frees. */
char *print_bytes(double bytes);
/* "3d 4h", "12m 5s", "850ms". Caller frees. */
char *print_duration(double seconds);
/* How long ago an RFC 3339 time was, or "-" when it is NULL or not a time. Caller frees. */
char *print_age(const char *rfc3339);

struct table;

/* A column's title begins with '>' when its cells are aligned to the right. Copies. */
struct table *table_new(const char *const *titles, size_t columns);
/* The next cell of the current row, left to right; NULL or "" shows as "-". Copies. */
void table_cell(struct table *t, const char *text);
void table_cell_take(struct table *t, char *text); /* frees text */
/* Prints titles and rows; no rows prints `empty` on stderr instead. */
void table_print(const struct table *t, FILE *out, const char *empty);
void table_free(struct table *t);
DEFINE_CLEANUP(table, struct table *, table_free);
#define auto_table auto_scope(cleanup_table)

#endif
