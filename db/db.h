/*
 * The SQLite wall: open, migrate, one writer thread that groups commits, read-only readers. No
 * other folder includes sqlite3.h or contains SQL.
 *
 * Exactly one connection writes and checkpoints (SQLite 3.40.1 can corrupt a WAL when two do:
 * https://sqlite.org/wal.html#walreset); readers are opened read-only with auto-checkpoint off.
 * synchronous=FULL: when db_write() returns 0, the change is on disk.
 */
#ifndef DROVER_DB_DB_H
#define DROVER_DB_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "service/base/error.h"

struct db;
struct db_tx; /* a transaction in progress; only on the writer thread, only inside the callback */

/*
 * Opens or creates path (0600), applies missing migrations, prepares every statement and starts
 * the writer thread. Waits a moment for another process that has it open. CONFIG when the file
 * comes from a newer Drover or a migration's checksum differs; DATABASE_FAILED otherwise.
 */
int db_open(const char *path, struct db **ret, struct error *err);
void db_close(struct db *db); /* finishes queued writes, checkpoints, joins */

typedef int db_write_fn(struct db_tx *tx, void *arg, struct error *err);
typedef void db_committed_fn(void *arg);

/*
 * Runs fn in a savepoint of the current group on the writer thread and waits until the group is
 * committed and synced. If fn returns -1 only its own savepoint is rolled back and its error is
 * returned. committed (may be NULL) runs on the writer thread after the commit, in commit order,
 * before db_write returns: this is where in-memory state follows. It must not block or write.
 * Any thread except the writer's.
 */
int db_write(struct db *db, db_write_fn *fn, db_committed_fn *committed, void *arg,
             struct error *err);

/*
 * db_write() for what somebody waits for in milliseconds: it goes before what is queued, shares its
 * commit with few others, and puts off checkpoints for a moment. Not for what must follow something
 * that was only posted.
 */
int db_write_first(struct db *db, db_write_fn *fn, db_committed_fn *committed, void *arg,
                   struct error *err);

/*
 * A write that goes along: with the next db_write() or db_write_first() of the calling thread that succeeds,
 * after it and in its savepoint, so that either both are stored or neither; db_write() returns its error
 * when that is what failed. It goes along once: `stored` says that it has, on disk. fn gets arg, on the
 * writer thread, while the caller waits. NULL takes it away; the caller keeps it in memory until then.
 */
struct db_companion {
    db_write_fn *fn;
    void *arg;
    bool stored;
};
void db_accompany(struct db_companion *c);

/*
 * db_write() without waiting; arg is handed to done (on the writer thread) with the outcome, which
 * frees it. For facts that come from events. Returns -1 (UNAVAILABLE) when the queue is full or
 * closing; then the caller keeps arg.
 */
typedef void db_done_fn(void *arg, int rc, const struct error *err);
int db_post(struct db *db, db_write_fn *fn, db_committed_fn *committed, db_done_fn *done, void *arg,
            struct error *err);

/*
 * Calls fn on the writer thread, after the commit, for every row that store_event_append added in
 * it: in order of seq, each write's events after its committed callback and before any db_write of
 * the group returns. The row lives only during the call. fn must not block or write. One hook; set
 * it before the first write whose events matter. NULL takes it away. When this returns, the former
 * hook is not running and is never called again; so not from a hook, nor with a lock held that the
 * hook takes.
 */
struct event_row; /* see store.h */
typedef void db_event_fn(void *opaque, const struct event_row *row);
void db_set_event_hook(struct db *db, db_event_fn *fn, void *opaque);

#define DB_DAMAGE_REMEDY                                                                           \
    "Stop droverd: `drover db check` says what is wrong, `drover db restore` brings back the "     \
    "newest good copy, `drover db rebuild` makes a new database from what libvirt knows. Guests "  \
    "keep running."

/* Did anybody meet damage in it since it was opened? It stays so: a page that is broken stays broken. */
bool db_is_damaged(struct db *db);
void db_note_damage(struct db *db); /* a caller found it in what was read; any thread */

/* Can the database be written right now? The last failure and its reason, for /readyz. */
bool db_is_writable(struct db *db, struct error *why);

/*
 * For /metrics. commits: groups that reached the disk; writes: functions whose work was committed;
 * failures: functions that the database failed, not those that gave up by themselves.
 */
struct db_stats {
    uint64_t commits, writes, failures;
    uint64_t commit_seconds_total_ns;
    uint32_t queued;
    uint64_t file_bytes;
};
void db_stats_read(struct db *db, struct db_stats *ret);

#endif
