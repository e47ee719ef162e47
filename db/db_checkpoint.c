/*
 * When what is in the write-ahead log goes into the database. SQLite lets the log begin anew only at a moment when
 * no reader needs it: with readers that overlap there is never one by itself, and the log grew without an end.
 */
#include "db/db_internal.h"

#include "service/base/clock.h"
#include "service/base/fault.h"

static int on_wal_commit(void *opaque, sqlite3 *sq, const char *name, int pages)
{
    struct db *db = opaque;

    if (pages < db->wal_pages)
        db->wal_moved = 0; /* it has begun anew */
    db->wal_pages = pages;
    db->wrote = true;
    return SQLITE_OK;
}

void checkpoint_begin(struct db *db)
{
    sqlite3_wal_hook(db->writer.sq, on_wal_commit, db);
}

bool checkpoint_is_wanted(const struct db *db)
{
    return db->wal_pages - db->wal_moved >= DB_CHECKPOINT_PAGES;
}

/* It would keep who is in a hurry waiting for two more syncs. */
static bool can_wait(const struct db *db)
{
    return db->wal_pages - db->wal_moved < DB_CHECKPOINT_MOST && clock_monotonic_ms() - db->first_ms < DB_CALM_MS;
}

/* The longer it is, the longer we wait. */
static int patience_ms(const struct db *db)
{
    int ms = DB_READERS_MS * (db->wal_pages / DB_WAL_MOST);

    return ms < DB_READERS_MOST_MS ? ms : DB_READERS_MOST_MS;
}

/*
 * Passive as a rule: takes what no reader holds back, waits for nobody. A log that has become long is begun anew: who
 * reads from before is waited for, for a moment, and who comes then reads from the database itself. SQLite logs what
 * goes wrong; the pages stay in the log and later commits try again.
 */
void checkpoint_if_due(struct db *db)
{
    bool anew = db->wal_pages >= DB_WAL_MOST;

    if (!checkpoint_is_wanted(db) || can_wait(db))
        return;
    CRASH_POINT(DB_BEFORE_CHECKPOINT);
    if (anew)
        (void)sqlite3_busy_timeout(db->writer.sq, patience_ms(db));
    (void)sqlite3_wal_checkpoint_v2(db->writer.sq, NULL, anew ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE,
                                    NULL, NULL);
    (void)sqlite3_busy_timeout(db->writer.sq, DB_BUSY_MS);
    db->wal_moved = db->wal_pages;
}
