/*
 * The writer thread. Takes what is queued, runs it in one transaction (each write in its own
 * savepoint), syncs once, tells memory what was committed, and only then lets the waiters go.
 *
 * A write that fails takes nobody with it. A transaction that fails takes its whole group: nothing
 * of it is on disk, everyone in it is told, and the next group starts afresh.
 */
#include "db/db_internal.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"

struct captured_event {
    struct captured_event *next;
    struct event_row row;
    char text[];
};

/* As stmt_text stores it: no text is empty text. */
static size_t text_size(const char *s)
{
    return s ? strlen(s) + 1 : 1;
}

static const char *put_text(char **p, const char *s)
{
    size_t size = text_size(s);
    char *start = memcpy(*p, s ? s : "", size);

    *p += size;
    return start;
}

void tx_capture_event(struct db_tx *tx, const struct event_row *row)
{
    size_t size = text_size(row->project_id) + text_size(row->host_id) + text_size(row->type) +
                  text_size(row->subject_kind) + text_size(row->subject_id) +
                  text_size(row->subject_name) + text_size(row->actor) +
                  text_size(row->request_id) + text_size(row->data);
    struct captured_event *e = xcalloc(1, sizeof(*e) + size);
    char *p = e->text;

    e->row.seq = row->seq;
    e->row.at = row->at;
    e->row.project_id = put_text(&p, row->project_id);
    e->row.host_id = put_text(&p, row->host_id);
    e->row.type = put_text(&p, row->type);
    e->row.subject_kind = put_text(&p, row->subject_kind);
    e->row.subject_id = put_text(&p, row->subject_id);
    e->row.subject_name = put_text(&p, row->subject_name);
    e->row.actor = put_text(&p, row->actor);
    e->row.request_id = put_text(&p, row->request_id);
    e->row.data = put_text(&p, row->data);
    *tx->write->events_tail = e;
    tx->write->events_tail = &e->next;
}

static void forget_events(struct write *w)
{
    while (w->events) {
        struct captured_event *e = w->events;

        w->events = e->next;
        free(e);
    }
    w->events_tail = &w->events;
}

/* ---- one group ---- */

/* 0 also when w failed: its savepoint is gone and the group goes on. -1: the transaction is lost.
 */
static int run_one(struct db *db, struct write *w, struct error *err)
{
    struct db_tx tx = {.db = db, .conn = &db->writer, .write = w};

    if (conn_exec(&db->writer, "SAVEPOINT w", err))
        return -1;
    w->rc = w->fn(&tx, w->arg, &w->err);
    if (!w->rc && w->companion)
        w->rc = w->companion->fn(&tx, w->companion->arg, &w->err);
    /* A full disk or an I/O error may make SQLite roll everything back by itself. */
    if (sqlite3_get_autocommit(db->writer.sq)) {
        if (w->rc)
            *err = w->err;
        else
            error_set(err, ERROR_DATABASE_FAILED, "the database cannot do that right now");
        return -1;
    }
    if (w->rc) {
        forget_events(w);
        if (conn_exec(&db->writer, "ROLLBACK TO w", err))
            return -1;
    }
    return conn_exec(&db->writer, "RELEASE w", err);
}

static int run_transaction(struct db *db, struct write *group, struct error *err)
{
    bool any = false;
    bool begun = SEEDED_BUG(LATE_COMMIT) && !sqlite3_get_autocommit(db->writer.sq);

    if (!begun && conn_exec(&db->writer, "BEGIN IMMEDIATE", err))
        return -1;
    for (struct write *w = group; w; w = w->next) {
        if (run_one(db, w, err))
            return -1;
        any |= w->rc == 0;
    }
    CRASH_POINT(DB_BEFORE_COMMIT);
    if (SEEDED_BUG(LATE_COMMIT) && db->stats.writes % 4)
        return 0;
    if (conn_exec(&db->writer, any ? "COMMIT" : "ROLLBACK", err))
        return -1;
    CRASH_POINT(DB_COMMITTED);
    return 0;
}

static void fail_group(struct db *db, struct write *group, const struct error *err)
{
    struct error ignored;

    /* What was synced must not come back by a later commit on the same transaction. */
    if (!sqlite3_get_autocommit(db->writer.sq))
        (void)conn_exec(&db->writer, "ROLLBACK", &ignored);
    for (struct write *w = group; w; w = w->next) {
        forget_events(w);
        if (w->rc == 0) {
            w->rc = -1;
            w->err = *err;
        }
    }
}

static void publish_events(struct db *db, struct write *w)
{
    LOCK_SCOPE(&db->hook_lock);
    for (struct captured_event *e = w->events; e && db->event_fn; e = e->next)
        db->event_fn(db->event_opaque, &e->row);
}

static void tell_memory(struct db *db, struct write *group)
{
    for (struct write *w = group; w; w = w->next) {
        if (w->rc == 0 && w->committed)
            w->committed(w->arg);
        CRASH_POINT(EVENT_STORED);
        if (w->events && !(SEEDED_BUG(FORGET_EVENT) && w->events->row.seq % 7 == 0))
            publish_events(db, w);
        forget_events(w);
    }
}

/* After this a waited-for write may be gone from its thread's stack. */
static void release(struct db *db, struct write *w)
{
    if (w->posted) {
        if (w->done)
            w->done(w->arg, w->rc, w->rc ? &w->err : NULL);
        free(w);
        return;
    }
    LOCK_SCOPE(&db->lock);
    w->finished = true;
    pthread_cond_signal(&w->wake);
}

static bool is_disk_error(const struct error *err)
{
    return err->code == ERROR_DATABASE_FAILED || err->code == ERROR_INSUFFICIENT_STORAGE;
}

/* A name that was taken is no failure of the database's. */
static void count_outcome(struct db *db, struct write *group, int rc, int64_t took_ns)
{
    for (struct write *w = group; w; w = w->next) {
        if (w->rc == 0)
            db->stats.writes++;
        else if (rc || is_disk_error(&w->err))
            db->stats.failures++;
    }
    if (db->wrote) {
        db->stats.commits++;
        db->stats.commit_seconds_total_ns += (uint64_t)took_ns;
    }
}

static void note_outcome(struct db *db, struct write *group, int rc, struct error *err,
                         int64_t took_ns)
{
    LOCK_SCOPE(&db->lock);
    count_outcome(db, group, rc, took_ns);
    if (rc == 0 && !db->writer.disk_refused) {
        /* Only what reached the disk shows that it takes writes again. */
        if (db->wrote && !db->writable) {
            log_info("database: can be written again");
            db->writable = true;
        }
        return;
    }
    if (err->code == ERROR_NONE)
        error_set(err, ERROR_DATABASE_FAILED, "the database cannot do that right now");
    if (db->writable)
        log_failure(LOG_LEVEL_ERROR, err, "database: cannot be written");
    db->writable = false;
    db->why = *err;
}

static void run_group(struct db *db, struct write *group)
{
    struct error err = ERROR_INIT;
    int64_t start = clock_monotonic_ns();
    int rc;

    db->writer.disk_refused = false;
    db->wrote = false;
    rc = run_transaction(db, group, &err);
    if (rc)
        fail_group(db, group, &err);
    /* A write can meet a disk error and leave the others unharmed; then its error tells. */
    for (struct write *w = group; w && !rc && db->writer.disk_refused; w = w->next) {
        if (w->rc &&
            (w->err.code == ERROR_DATABASE_FAILED || w->err.code == ERROR_INSUFFICIENT_STORAGE))
            err = w->err;
    }
    note_outcome(db, group, rc, &err, clock_monotonic_ns() - start);
    tell_memory(db, group);
    for (struct write *w = group, *next; w; w = next) {
        next = w->next;
        release(db, w);
    }
}

/* ---- the thread ---- */

static int write_probe(struct db_tx *tx, void *arg, struct error *err)
{
    return store_meta_set(tx, "write_probe", "", err);
}

/* While the disk refuses, a small write of our own finds out when it stops to. */
static void probe(struct db *db)
{
    struct write *w = xcalloc(1, sizeof(*w));

    w->fn = write_probe;
    w->posted = true;
    w->events_tail = &w->events;
    run_group(db, w);
}

/* With the lock held, until there is something to do. A checkpoint that was put off comes when it is calm. */
static void wait_for_work(struct db *db)
{
    while (!db->head && !db->closing) {
        int64_t until = clock_monotonic_ms() + (db->writable ? DB_CALM_MS : DB_PROBE_MS);

        if (db->writable && !checkpoint_is_wanted(db)) {
            if (pthread_cond_wait(&db->wake, &db->lock))
                abort();
        } else if (!cond_wait_until(&db->wake, &db->lock, until)) {
            return;
        }
    }
}

/* NULL: closing, or nothing came for a while. */
static struct write *take_group(struct db *db, bool *ret_closing)
{
    struct write *group, **end = &db->head;
    uint32_t n = 0, most = DB_GROUP_MAX;

    LOCK_SCOPE(&db->lock);
    wait_for_work(db);
    *ret_closing = db->closing && !db->head;
    if (db->head && db->head->first) {
        most = DB_FIRST_GROUP;
        db->first_ms = clock_monotonic_ms();
    }
    for (; *end && (n < most || ((*end)->first && n < DB_GROUP_MAX)); end = &(*end)->next, n++) {
        db->queued--;
        if ((*end)->posted)
            db->posted--;
    }
    group = db->head;
    db->head = *end;
    if (db->tail == end)
        db->tail = &db->head;
    if (!db->head || !db->head->first)
        db->first_tail = &db->head;
    if (n)
        *end = NULL;
    return n ? group : NULL;
}

static bool is_writable(struct db *db)
{
    LOCK_SCOPE(&db->lock);
    return db->writable;
}

static void *writer_main(void *arg)
{
    struct db *db = arg;
    bool closing = false;

    while (!closing) {
        struct write *group = take_group(db, &closing);

        if (group)
            run_group(db, group);
        else if (!closing && !is_writable(db))
            probe(db);
        checkpoint_if_due(db);
    }
    return NULL;
}

int writer_start(struct db *db, struct error *err)
{
    checkpoint_begin(db);
    if (thread_start(&db->thread, "db-writer", writer_main, db, err))
        return -1;
    db->thread_runs = true;
    return 0;
}

void writer_stop(struct db *db)
{
    if (!db->thread_runs)
        return;
    {
        LOCK_SCOPE(&db->lock);
        db->closing = true;
        pthread_cond_signal(&db->wake);
    }
    pthread_join(db->thread, NULL);
    db->thread_runs = false;
}

/* ---- for everybody else ---- */

/* Called with the lock held. */
static void enqueue(struct db *db, struct write *w)
{
    struct write **at = w->first ? db->first_tail : db->tail;

    w->events_tail = &w->events;
    w->next = *at;
    *at = w;
    if (db->tail == at)
        db->tail = &w->next;
    if (w->first)
        db->first_tail = &w->next;
    db->queued++;
    if (w->posted)
        db->posted++;
    pthread_cond_signal(&db->wake);
}

static _Thread_local struct db_companion *companion;

void db_accompany(struct db_companion *c)
{
    companion = c;
}

static int wait_for(struct db *db, struct write *w, struct error *err)
{
    w->companion = companion;
    /* It would wait for itself. */
    if (pthread_equal(pthread_self(), db->thread))
        abort();
    cond_init(&w->wake);
    {
        LOCK_SCOPE(&db->lock);
        if (db->closing) {
            w->rc = error_set(&w->err, ERROR_UNAVAILABLE, "the database is closing");
        } else {
            enqueue(db, w);
            while (!w->finished) {
                if (pthread_cond_wait(&w->wake, &db->lock))
                    abort();
            }
        }
    }
    pthread_cond_destroy(&w->wake);
    if (w->rc) {
        *err = w->err;
    } else if (companion) {
        companion->stored = true;
        companion = NULL;
    }
    return w->rc;
}

int db_write(struct db *db, db_write_fn *fn, db_committed_fn *committed, void *arg,
             struct error *err)
{
    struct write w = {.fn = fn, .committed = committed, .arg = arg};

    return wait_for(db, &w, err);
}

int db_write_first(struct db *db, db_write_fn *fn, db_committed_fn *committed, void *arg,
                   struct error *err)
{
    struct write w = {.fn = fn, .committed = committed, .arg = arg, .first = true};

    return wait_for(db, &w, err);
}

int db_post(struct db *db, db_write_fn *fn, db_committed_fn *committed, db_done_fn *done, void *arg,
            struct error *err)
{
    LOCK_SCOPE(&db->lock);
    if (db->closing)
        return error_set(err, ERROR_UNAVAILABLE, "the database is closing");
    if (db->posted >= DB_POSTED_MAX)
        return error_set(err, ERROR_UNAVAILABLE, "too many writes are waiting");

    struct write *w = xcalloc(1, sizeof(*w));

    w->fn = fn;
    w->committed = committed;
    w->done = done;
    w->arg = arg;
    w->posted = true;
    enqueue(db, w);
    return 0;
}
