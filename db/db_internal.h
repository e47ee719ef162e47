/*
 * What the files of db/ share. The only header that includes sqlite3.h; nobody outside db/ and its
 * tests includes this one.
 *
 * A connection is used by one thread at a time: the writer's by db_open() and then the writer
 * thread, a reader's by whoever took it from the pool.
 */
#ifndef DROVER_DB_DB_INTERNAL_H
#define DROVER_DB_DB_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "db/db.h"
#include "db/sql_gen.h"
#include "db/store.h"
#include "service/base/cleanup.h"

#define DB_APPLICATION_ID   0x44525652 /* "DRVR", in the file's header */
#define DB_READERS          3          /* reads are rare: hot state is in memory */
#define DB_POSTED_MAX       8192       /* writes nobody waits for */
#define DB_GROUP_MAX        512        /* writes that share a commit */
#ifdef DROVER_CRASHPOINTS
#define DB_CHECKPOINT_PAGES 60 /* often enough to be killed in it */
#define DB_CHECKPOINT_MOST  60
#define DB_WAL_MOST         240
#else
#define DB_CHECKPOINT_PAGES 1000 /* WAL pages after which the writer checkpoints... */
#define DB_CHECKPOINT_MOST  8000 /* ...at the latest: who is in a hurry comes first */
#define DB_WAL_MOST         8000 /* and from which on readers are waited for, so that it can begin anew */
#endif
#define DB_READERS_MS       50         /* for so long, and for each time so many pages again... */
#define DB_READERS_MOST_MS  500        /* ...at most: a copy of the database reads for longer */
#define DB_BUSY_MS          5000       /* other processes may look */
#define DB_FIRST_GROUP      32         /* in a commit that somebody is in a hurry for, all in all */
#define DB_CALM_MS          100        /* after such a commit no checkpoint that can wait */
#define DB_PROBE_MS         1000       /* between two tries while the disk refuses */

/* ---- a connection and its statements ---- */

struct conn {
    sqlite3 *sq;
    sqlite3_stmt *stmts[QUERY_COUNT];
    bool disk_refused; /* some statement failed for a reason that is not the statement's */
    _Atomic bool *damaged; /* set when one met damage; or NULL */
};

enum conn_mode { CONN_WRITER, CONN_READER };
/* The writer's may create the file; half-open connections are closed by conn_close, too. */
int conn_open(struct conn *c, const char *path, enum conn_mode mode, struct error *err);
/* Prepares what `mode` may run: a reader only what cannot write. */
int conn_prepare(struct conn *c, enum conn_mode mode, struct error *err);
void conn_close(struct conn *c);
/* One or several statements without parameters or results. */
int conn_exec(struct conn *c, const char *sql, struct error *err);
/* The first column of the first row as a number. */
int conn_int(struct conn *c, const char *sql, int64_t *ret, struct error *err);
/* Fills err from a result code and the connection's last message; returns -1. */
int conn_error(struct conn *c, int rc, struct error *err, const char *doing);

/* A prepared statement in use; given back (reset, parameters forgotten) at the end of its scope. */
struct stmt {
    struct conn *conn;
    sqlite3_stmt *s;
    int rc;     /* extended result of the last step */
    int column; /* the next to be read */
};
struct stmt stmt_use(struct conn *c, enum query query);
void stmt_done(struct stmt *s);
#define auto_stmt auto_scope(stmt_done)

/* The text is not copied: it must live until the scope ends. NULL binds the empty text. */
void stmt_text(struct stmt *s, const char *name, const char *value);
void stmt_text_or_null(struct stmt *s, const char *name, const char *value);
void stmt_int(struct stmt *s, const char *name, int64_t value);
/* 1: a row is there, columns are read from the left; 0: no more; -1. */
int stmt_row(struct stmt *s, struct error *err);
/* For statements without a result. */
int stmt_run(struct stmt *s, struct error *err);
int stmt_changes(const struct stmt *s);     /* rows the last stmt_run touched */
const char *stmt_next_text(struct stmt *s); /* until the next row; never NULL */
int64_t stmt_next_int(struct stmt *s);

/* ---- readers ---- */

struct reader {
    struct db *db;
    struct conn *conn;
};
struct reader reader_take(struct db *db); /* waits for a free one */
void reader_done(struct reader *r);
#define auto_reader auto_scope(reader_done)

/* ---- writes ---- */

struct captured_event; /* a row for the event hook, waiting for its commit */

struct write {
    struct write *next;
    db_write_fn *fn;
    db_committed_fn *committed;
    db_done_fn *done; /* of a posted write */
    void *arg;
    struct db_companion *companion; /* or NULL */
    bool posted; /* on the heap, nobody waits */
    bool first;  /* db_write_first() */
    bool finished;
    pthread_cond_t wake; /* of a write somebody waits for */
    int rc;
    struct error err;
    struct captured_event *events, **events_tail;
};

struct db_tx {
    struct db *db;
    struct conn *conn;
    struct write *write;
};

/* Remembers a row for the hook; forgotten when its write or its group fails. */
void tx_capture_event(struct db_tx *tx, const struct event_row *row);

struct db {
    char *path;
    _Atomic bool damaged; /* what was met is there until somebody mends it: never taken back */
    int lock_fd; /* flock: one process at a time. Closed last: see db_close */
    struct conn writer;
    pthread_t thread;
    bool thread_runs;
    /* Writer thread only: */
    int wal_pages;    /* after the last commit */
    int wal_moved;    /* of those, when we last checkpointed */
    bool wrote;       /* the group in progress reached the disk */
    int64_t first_ms; /* monotonic: of the last group with a write that was in a hurry */

    pthread_mutex_t reader_lock; /* leaf */
    pthread_cond_t reader_free;
    struct conn readers[DB_READERS];
    bool reader_busy[DB_READERS];

    pthread_mutex_t hook_lock; /* held while the hook runs: outside of whatever it locks */
    db_event_fn *event_fn;
    void *event_opaque;

    pthread_mutex_t lock; /* leaf; guards what follows */
    pthread_cond_t wake;  /* the writer */
    struct write *head, **tail, **first_tail; /* those in a hurry, in their order, come first */
    uint32_t queued, posted;
    bool closing;
    bool writable;
    struct error why; /* when not writable */
    struct db_stats stats;
};

int db_migrate(struct conn *c, struct error *err);
/* Is it ours, and not from the future? Before anything is written to it. */
int db_check_identity(struct conn *c, struct error *err);
/* Was it made by the migrations that this program has, as many as it says? */
int db_check_applied(struct conn *c, int64_t version, struct error *err);

#ifdef DROVER_CRASHPOINTS
/* Before the first connection: what SQLite writes can be cut off. See fault_vfs.c. */
void db_fault_vfs(void);
#endif

/* db_checkpoint.c, all of it for the writer's thread but the first, which comes before it. */
void checkpoint_begin(struct db *db);
bool checkpoint_is_wanted(const struct db *db); /* now, or once nobody is in a hurry */
void checkpoint_if_due(struct db *db);

int writer_start(struct db *db, struct error *err);
void writer_stop(struct db *db);

#endif
