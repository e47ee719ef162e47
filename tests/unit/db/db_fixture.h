/* What the database's test programs share: a private directory and an open database in it. */
#ifndef DROVER_TESTS_DB_FIXTURE_H
#define DROVER_TESTS_DB_FIXTURE_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db/db.h"
#include "db/store.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "tests/support/test.h"
#include "tests/unit/db/db_rows.h"

static char fixture_dir[64];
static char fixture_path[96];

static int fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void fixture_remove(void)
{
    if (*fixture_dir)
        nftw(fixture_dir, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    *fixture_dir = '\0';
}

/* A fresh directory; the one before it goes. Returns the path for a database in it. */
__attribute__((unused)) static const char *fixture_new(void)
{
    static bool registered;

    if (!registered && atexit(fixture_remove))
        abort();
    registered = true;
    fixture_remove();
    log_set_level(LOG_LEVEL_ERROR);
    strcpy(fixture_dir, "/tmp/drover-db-XXXXXX");
    if (!mkdtemp(fixture_dir))
        abort();
    snprintf(fixture_path, sizeof(fixture_path), "%s/drover.db", fixture_dir);
    return fixture_path;
}

__attribute__((unused)) static struct db *fixture_open(void)
{
    struct error err = ERROR_INIT;
    struct db *db = NULL;

    CHECK_OK(db_open(fixture_path, &db, &err));
    return db;
}

#endif
