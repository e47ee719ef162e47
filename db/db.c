/*
 * The database as a whole: opening and closing in the right order, the pool of readers, figures.
 * Transactions are db_writer.c's, what is in the tables is the store_*.c files'.
 */
#include "db/db_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define LOCK_WAIT_MS 3000
#define LOCK_LOOK_MS 10

/* What SQLite has to say goes where everything goes. */
static void on_sqlite_log(void *opaque, int rc, const char *text)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_SCHEMA:
    case SQLITE_CONSTRAINT: /* a name is taken: the caller reports it */
        log_debug("sqlite: %s (%d)", text, rc);
        break;
    case SQLITE_NOTICE:
        log_info("sqlite: %s (%d)", text, rc);
        break;
    default:
        log_warning("sqlite: %s (%d)", text, rc);
        break;
    }
}

static void init_sqlite(void)
{
    if (sqlite3_config(SQLITE_CONFIG_LOG, on_sqlite_log, NULL) != SQLITE_OK)
        log_warning("sqlite: somebody else initialised it; its messages are not logged");
    if (!sqlite3_threadsafe())
        abort();
    if (sqlite3_initialize() != SQLITE_OK)
        out_of_memory(); /* it asks for nothing else */
#ifdef DROVER_CRASHPOINTS
    db_fault_vfs();
#endif
}

/*
 * A daemon that was killed may leave a child between its fork and its exec, and the lock is that
 * child's as well until then: it is waited for. 0 with the lock.
 */
static int wait_for_lock(int fd)
{
    int64_t until = clock_monotonic_ms() + LOCK_WAIT_MS;
    int rc;

    while ((rc = flock(fd, LOCK_EX | LOCK_NB)) && errno == EWOULDBLOCK && clock_monotonic_ms() < until)
        poll(NULL, 0, LOCK_LOOK_MS);
    return rc;
}

/* Creates the file before SQLite does, which would leave its mode to the umask; then locks it. */
static int lock_file(struct db *db, struct error *err)
{
    db->lock_fd = open(db->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (db->lock_fd < 0)
        error_errno(err, errno, "cannot open the database");
    else if (wait_for_lock(db->lock_fd) == 0)
        return 0;
    else if (errno == EWOULDBLOCK)
        error_set(err, ERROR_DATABASE_FAILED, "another process has the database open");
    else
        error_errno(err, errno, "cannot lock the database");
    if (err->code == ERROR_SYSTEM)
        err->code = ERROR_DATABASE_FAILED;
    error_prefix(err, "%s", db->path);
    return -1;
}

static int open_all(struct db *db, struct error *err)
{
    db->writer.damaged = &db->damaged;
    for (int i = 0; i < DB_READERS; i++)
        db->readers[i].damaged = &db->damaged;
    if (lock_file(db, err) || conn_open(&db->writer, db->path, CONN_WRITER, err) ||
        db_migrate(&db->writer, err) || conn_exec(&db->writer, "PRAGMA foreign_keys = ON", err) ||
        conn_prepare(&db->writer, CONN_WRITER, err))
        return -1;
    sqlite3_db_config(db->writer.sq, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* The journal's files stay, empty: on a disk that is full by then, they could not be made. */
    sqlite3_file_control(db->writer.sq, NULL, SQLITE_FCNTL_PERSIST_WAL, &(int){1});
    for (int i = 0; i < DB_READERS; i++) {
        if (conn_open(&db->readers[i], db->path, CONN_READER, err) ||
            conn_prepare(&db->readers[i], CONN_READER, err))
            return -1;
    }
    return writer_start(db, err);
}

int db_open(const char *path, struct db **ret, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct db *db = xcalloc(1, sizeof(*db));

    pthread_once(&once, init_sqlite);
    db->path = xstrdup(path);
    db->lock_fd = -1;
    db->tail = db->first_tail = &db->head;
    db->writable = true;
    mutex_init(&db->hook_lock);
    mutex_init(&db->lock);
    cond_init(&db->wake);
    mutex_init(&db->reader_lock);
    cond_init(&db->reader_free);
    if (open_all(db, err)) {
        db_close(db);
        return -1;
    }
    *ret = db;
    return 0;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    writer_stop(db);
    for (int i = 0; i < DB_READERS; i++)
        conn_close(&db->readers[i]);
    /* The last connection to go checkpoints: it has to be the writer's. */
    conn_close(&db->writer);
    /* Closing any descriptor of the file drops SQLite's own (POSIX) locks on it: after SQLite. */
    if (db->lock_fd >= 0)
        close(db->lock_fd);
    pthread_cond_destroy(&db->reader_free);
    pthread_mutex_destroy(&db->reader_lock);
    pthread_cond_destroy(&db->wake);
    pthread_mutex_destroy(&db->lock);
    pthread_mutex_destroy(&db->hook_lock);
    free(db->path);
    free(db);
}

bool db_is_damaged(struct db *db)
{
    return atomic_load(&db->damaged);
}

void db_note_damage(struct db *db)
{
    atomic_store(&db->damaged, true);
}

struct reader reader_take(struct db *db)
{
    LOCK_SCOPE(&db->reader_lock);
    for (;;) {
        for (int i = 0; i < DB_READERS; i++) {
            if (!db->reader_busy[i]) {
                db->reader_busy[i] = true;
                return (struct reader){.db = db, .conn = &db->readers[i]};
            }
        }
        if (pthread_cond_wait(&db->reader_free, &db->reader_lock))
            abort();
    }
}

void reader_done(struct reader *r)
{
    LOCK_SCOPE(&r->db->reader_lock);
    r->db->reader_busy[r->conn - r->db->readers] = false;
    pthread_cond_signal(&r->db->reader_free);
}

bool db_is_writable(struct db *db, struct error *why)
{
    LOCK_SCOPE(&db->lock);
    if (!db->writable)
        *why = db->why;
    return db->writable;
}

void db_set_event_hook(struct db *db, db_event_fn *fn, void *opaque)
{
    LOCK_SCOPE(&db->hook_lock);
    db->event_fn = fn;
    db->event_opaque = opaque;
}

void db_stats_read(struct db *db, struct db_stats *ret)
{
    auto_free char *wal = xasprintf("%s-wal", db->path);
    struct stat st;

    {
        LOCK_SCOPE(&db->lock);
        *ret = db->stats;
        ret->queued = db->queued;
    }
    ret->file_bytes = 0;
    if (stat(db->path, &st) == 0)
        ret->file_bytes += (uint64_t)st.st_size;
    if (stat(wal, &st) == 0)
        ret->file_bytes += (uint64_t)st.st_size;
}
