/*
 * The history of figures: blocks of bytes by series, level and time, in a database of its own. It
 * has one connection behind a lock; nothing in it is a promise, so a commit does not wait for the
 * disk (synchronous=NORMAL) and a damaged file is put aside and begun anew.
 *
 * Every function blocks on the disk: the history's own thread and request workers call them.
 */
#ifndef DROVER_DB_HISTORY_H
#define DROVER_DB_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"

struct history_db;

int history_db_open(const char *path, struct history_db **ret, struct error *err);
void history_db_close(struct history_db *db); /* NULL is fine */

struct history_row {
    const char *series;
    int level;
    int64_t start; /* seconds since the epoch */
    const void *data;
    size_t len;
    int64_t keep_after; /* blocks of this series and level that begin before are forgotten */
};
/* All or none. */
int history_db_put(struct history_db *db, const struct history_row *rows, size_t count,
                   struct error *err);
/* Blocks with since <= start <= until, in order; the data live during the call of fn. */
int history_db_read(struct history_db *db, const char *series, int level, int64_t since,
                    int64_t until, void (*fn)(void *, int64_t start, const void *data, size_t len),
                    void *arg, struct error *err);
/* Forgets the series that keep() does not want. */
int history_db_sweep(struct history_db *db, bool (*keep)(void *, const char *series), void *arg,
                     struct error *err);
uint64_t history_db_bytes(struct history_db *db); /* of the file and its journal */

#endif
