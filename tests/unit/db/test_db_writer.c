/* The writer thread: groups, savepoints, the order in which others hear of a commit. */
#include <errno.h>
#include <stdatomic.h>

#include "db/db_internal.h"
#include "service/base/thread.h"
#include "tests/unit/db/db_fixture.h"

struct job {
    char id[UUID_TEXT];
    char name[64];
    int index;
    bool fail;
    int rc;
    int64_t event_seq;
    struct error err;
};

static void job_init(struct job *job, int index)
{
    *job = (struct job){.index = index};
    uuid_new(job->id);
    snprintf(job->name, sizeof(job->name), "vm-%d", index);
}

static int insert(struct db_tx *tx, void *arg, struct error *err)
{
    struct job *job = arg;
    struct vm_row vm = fixture_vm(job->id, job->name);
    struct event_row event = fixture_event(job->id);
    int64_t seq;

    if (store_vm_insert(tx, &vm, &seq, err) || store_event_append(tx, &event, &job->event_seq, err))
        return -1;
    if (job->fail)
        return error_set(err, ERROR_VM_STATE_CONFLICT, "changed my mind");
    return 0;
}

static int64_t count(struct db *db, const char *sql)
{
    auto_reader struct reader r = reader_take(db);
    struct error err = ERROR_INIT;
    int64_t n = -1;

    CHECK_OK(conn_int(r.conn, sql, &n, &err));
    return n;
}

TEST(a_write_is_visible_when_it_returns)
{
    struct error err = ERROR_INIT;
    struct db_stats stats;
    struct job job;
    struct db *db;

    fixture_new();
    db = fixture_open();
    job_init(&job, 1);
    CHECK_OK(db_write(db, insert, NULL, &job, &err));
    CHECK_INT(count(db, "SELECT count(*) FROM vms"), 1);
    db_stats_read(db, &stats);
    CHECK_INT(stats.commits, 1);
    CHECK_INT(stats.writes, 1);
    CHECK_INT(stats.failures, 0);
    CHECK_INT(stats.queued, 0);
    CHECK(stats.commit_seconds_total_ns > 0 && stats.file_bytes > 4096);
    db_close(db);
}

TEST(a_failing_write_leaves_nothing_and_says_its_own_error)
{
    struct error err = ERROR_INIT;
    struct db_stats stats;
    struct job job, again;
    struct db *db;

    fixture_new();
    db = fixture_open();
    job_init(&job, 1);
    job.fail = true;
    CHECK_INT(db_write(db, insert, NULL, &job, &err), -1);
    CHECK_INT(err.code, ERROR_VM_STATE_CONFLICT);
    CHECK_INT(count(db, "SELECT count(*) FROM vms"), 0);
    CHECK_INT(count(db, "SELECT count(*) FROM events"), 0);
    CHECK(db_is_writable(db, &err));
    db_stats_read(db, &stats);
    CHECK_INT(stats.failures, 0); /* not the database's */
    job_init(&again, 1);
    CHECK_OK(db_write(db, insert, NULL, &again, &err));
    db_close(db);
}

/* ---- groups ---- */

/* Holds the writer thread until told, so that what is queued meanwhile becomes one group. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    atomic_bool entered;
};

static void gate_init(struct gate *gate)
{
    mutex_init(&gate->lock);
    cond_init(&gate->changed);
    gate->open = false;
    atomic_store(&gate->entered, false);
}

static int wait_at_gate(struct db_tx *tx, void *arg, struct error *err)
{
    struct gate *gate = arg;

    atomic_store(&gate->entered, true);
    LOCK_SCOPE(&gate->lock);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    return 0;
}

static void open_gate(struct gate *gate)
{
    LOCK_SCOPE(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
}

#define JOBS 40
static struct db *shared;
static struct job jobs[JOBS];
static int told[2 * JOBS];
static int told_count;

static void tell(void *arg)
{
    const struct job *job = arg;

    told[told_count++] = job->index; /* on the writer thread only */
}

static void *write_job(void *arg)
{
    struct job *job = arg;

    job->rc = db_write(shared, insert, tell, job, &job->err);
    return NULL;
}

static uint32_t queued(void)
{
    struct db_stats stats;

    db_stats_read(shared, &stats);
    return stats.queued;
}

/* Runs all jobs as one group, queued in their order. */
static void run_jobs_as_one_group(void)
{
    struct error err = ERROR_INIT;
    pthread_t threads[JOBS];
    struct gate gate;

    gate_init(&gate);
    told_count = 0;
    CHECK_OK(db_post(shared, wait_at_gate, NULL, NULL, &gate, &err));
    EVENTUALLY(atomic_load(&gate.entered), 5000);
    for (int i = 0; i < JOBS; i++) {
        CHECK_OK(thread_start(&threads[i], "job", write_job, &jobs[i], &err));
        EVENTUALLY(queued() == (uint32_t)i + 1, 5000);
    }
    open_gate(&gate);
    for (int i = 0; i < JOBS; i++)
        pthread_join(threads[i], NULL);
}

TEST(many_threads_share_a_commit_and_hear_of_it_in_order)
{
    struct db_stats before, after;
    int64_t last = 0;

    fixture_new();
    shared = fixture_open();
    for (int i = 0; i < JOBS; i++)
        job_init(&jobs[i], i);
    db_stats_read(shared, &before);
    run_jobs_as_one_group();
    db_stats_read(shared, &after);
    CHECK_INT(after.commits - before.commits, 1); /* the gate wrote nothing */
    CHECK_INT(after.writes - before.writes, JOBS + 1);
    CHECK_INT(told_count, JOBS);
    for (int i = 0; i < JOBS; i++) {
        CHECK_INT(jobs[i].rc, 0);
        CHECK_INT(told[i], i);
        CHECK(jobs[i].event_seq > last);
        last = jobs[i].event_seq;
    }
    CHECK_INT(count(shared, "SELECT count(*) FROM vms"), JOBS);
    db_close(shared);
}

TEST(a_failure_inside_a_group_takes_nobody_with_it)
{
    fixture_new();
    shared = fixture_open();
    for (int i = 0; i < JOBS; i++) {
        job_init(&jobs[i], i);
        jobs[i].fail = i % 3 == 1;
    }
    strcpy(jobs[9].name, jobs[0].name); /* and one that the database refuses */
    run_jobs_as_one_group();
    for (int i = 0, t = 0; i < JOBS; i++) {
        if (i == 9) {
            CHECK_INT(jobs[i].rc, -1);
            CHECK_INT(jobs[i].err.code, ERROR_NAME_IN_USE);
        } else if (i % 3 == 1) {
            CHECK_INT(jobs[i].rc, -1);
            CHECK_INT(jobs[i].err.code, ERROR_VM_STATE_CONFLICT);
        } else {
            CHECK_INT(jobs[i].rc, 0);
            CHECK_INT(told[t++], i);
        }
    }
    CHECK_INT(count(shared, "SELECT count(*) FROM vms"), told_count);
    CHECK_INT(count(shared, "SELECT count(*) FROM events"), told_count);
    db_close(shared);
}

static void *write_job_first(void *arg)
{
    struct job *job = arg;

    job->rc = db_write_first(shared, insert, tell, job, &job->err);
    return NULL;
}

/* Every fourth is in a hurry: those come first, in their own order, with few of the others. */
TEST(who_is_in_a_hurry_overtakes_and_shares_with_few)
{
    struct error err = ERROR_INIT;
    pthread_t threads[JOBS];
    struct db_stats before, after;
    struct gate gate;
    int hurried = 0, others = 0;

    fixture_new();
    shared = fixture_open();
    gate_init(&gate);
    told_count = 0;
    db_stats_read(shared, &before);
    CHECK_OK(db_post(shared, wait_at_gate, NULL, NULL, &gate, &err));
    EVENTUALLY(atomic_load(&gate.entered), 5000);
    for (int i = 0; i < JOBS; i++) {
        job_init(&jobs[i], i);
        CHECK_OK(thread_start(&threads[i], "job", i % 4 == 3 ? write_job_first : write_job, &jobs[i], &err));
        EVENTUALLY(queued() == (uint32_t)i + 1, 5000);
    }
    open_gate(&gate);
    for (int i = 0; i < JOBS; i++)
        pthread_join(threads[i], NULL);
    db_stats_read(shared, &after);
    CHECK_INT(after.commits - before.commits, 2); /* DB_FIRST_GROUP of them, and the rest */
    CHECK_INT(told_count, JOBS);
    for (int i = 0; i < JOBS; i++) {
        CHECK_INT(jobs[i].rc, 0);
        if (told[i] % 4 == 3) {
            CHECK_INT(told[i], 4 * hurried++ + 3);
            CHECK_INT(others, 0);
        } else {
            CHECK_INT(told[i], others / 3 * 4 + others % 3);
            others++;
        }
    }
    /* An empty queue has neither end left over from before. */
    job_init(&jobs[0], JOBS);
    CHECK_OK(db_write(shared, insert, NULL, &jobs[0], &err));
    job_init(&jobs[1], JOBS + 1);
    CHECK_OK(db_write_first(shared, insert, NULL, &jobs[1], &err));
    CHECK_INT(count(shared, "SELECT count(*) FROM vms"), JOBS + 2);
    db_close(shared);
}

/* An I/O error in mid-transaction may make SQLite roll everything back by itself. */
static int lose_transaction(struct db_tx *tx, void *arg, struct error *err)
{
    return conn_exec(tx->conn, "ROLLBACK", err);
}

static void *write_loss(void *arg)
{
    struct job *job = arg;

    job->rc = db_write(shared, lose_transaction, tell, job, &job->err);
    return NULL;
}

TEST(a_lost_transaction_fails_its_whole_group_and_the_next_one_works)
{
    struct error err = ERROR_INIT;
    pthread_t threads[3];
    struct db_stats stats;
    struct gate gate;
    struct job after;

    fixture_new();
    shared = fixture_open();
    told_count = 0;
    gate_init(&gate);
    CHECK_OK(db_post(shared, wait_at_gate, NULL, NULL, &gate, &err));
    EVENTUALLY(atomic_load(&gate.entered), 5000);
    for (int i = 0; i < 3; i++) {
        job_init(&jobs[i], i);
        CHECK_OK(thread_start(&threads[i], "job", i == 1 ? write_loss : write_job, &jobs[i], &err));
        EVENTUALLY(queued() == (uint32_t)i + 1, 5000);
    }
    open_gate(&gate);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        CHECK_INT(jobs[i].rc, -1);
        CHECK_INT(jobs[i].err.code, ERROR_DATABASE_FAILED);
    }
    CHECK_INT(told_count, 0);
    CHECK_INT(count(shared, "SELECT count(*) FROM vms"), 0);
    CHECK(!db_is_writable(shared, &err));
    CHECK_INT(err.code, ERROR_DATABASE_FAILED);
    db_stats_read(shared, &stats);
    CHECK_INT(stats.failures, 3);
    job_init(&after, 7);
    CHECK_OK(db_write(shared, insert, NULL, &after, &err));
    CHECK(db_is_writable(shared, &err));
    db_close(shared);
}

TEST(the_writer_finds_out_by_itself_that_the_disk_is_well_again)
{
    struct error err = ERROR_INIT;
    struct job job;

    fixture_new();
    shared = fixture_open();
    told_count = 0;
    job_init(&job, 1);
    CHECK_INT(db_write(shared, lose_transaction, NULL, &job, &err), -1);
    CHECK(!db_is_writable(shared, &err));
    EVENTUALLY(db_is_writable(shared, &err), 10 * DB_PROBE_MS);
    db_close(shared);
}

/* ---- events ---- */

static int64_t hooked[4096];
static char hooked_ids[4096][UUID_TEXT];
static atomic_int hooked_count;

static void hook(void *opaque, const struct event_row *row)
{
    int n = atomic_load(&hooked_count);

    hooked[n] = row->seq;
    str_copy_utf8(hooked_ids[n], UUID_TEXT, row->subject_id);
    if (strcmp(row->type, "vm.created") != 0 || opaque != &shared)
        abort(); /* not the test's thread: a failed check could not jump back */
    atomic_store(&hooked_count, n + 1);
}

TEST(the_hook_sees_committed_events_only_and_in_order)
{
    int n = 0;

    fixture_new();
    shared = fixture_open();
    atomic_store(&hooked_count, 0);
    db_set_event_hook(shared, hook, &shared);
    for (int i = 0; i < JOBS; i++) {
        job_init(&jobs[i], i);
        jobs[i].fail = i % 4 == 2;
    }
    run_jobs_as_one_group();
    for (int i = 0; i < JOBS; i++) {
        if (jobs[i].fail)
            continue;
        CHECK_INT(hooked[n], jobs[i].event_seq);
        CHECK_STR(hooked_ids[n], jobs[i].id);
        if (n)
            CHECK(hooked[n] > hooked[n - 1]);
        n++;
    }
    CHECK_INT(atomic_load(&hooked_count), n);
    db_set_event_hook(shared, NULL, NULL);
    job_init(&jobs[0], 99);
    CHECK_INT((write_job(&jobs[0]), jobs[0].rc), 0);
    CHECK_INT(atomic_load(&hooked_count), n);
    db_close(shared);
}

#define STORM_THREADS 8
#define STORM_WRITES  60

static void *storm(void *arg)
{
    int base = *(int *)arg;
    int64_t last = 0;

    for (int i = 0; i < STORM_WRITES; i++) {
        struct error err = ERROR_INIT;
        struct job job;

        job_init(&job, base + i);
        job.fail = i % 10 == 3;
        if ((db_write(shared, insert, NULL, &job, &err) != 0) != job.fail)
            return (void *)1;
        if (!job.fail && job.event_seq <= last)
            return (void *)2;
        if (!job.fail)
            last = job.event_seq;
    }
    return NULL;
}

TEST(a_storm_of_writers_gets_strictly_increasing_events_and_few_commits)
{
    struct error err = ERROR_INIT;
    pthread_t threads[STORM_THREADS];
    int bases[STORM_THREADS];
    struct db_stats stats;
    int good = STORM_THREADS * STORM_WRITES * 9 / 10;

    fixture_new();
    shared = fixture_open();
    atomic_store(&hooked_count, 0);
    db_set_event_hook(shared, hook, &shared);
    for (int i = 0; i < STORM_THREADS; i++) {
        bases[i] = i * 1000;
        CHECK_OK(thread_start(&threads[i], "storm", storm, &bases[i], &err));
    }
    for (int i = 0; i < STORM_THREADS; i++) {
        void *result;

        pthread_join(threads[i], &result);
        CHECK(!result);
    }
    CHECK_INT(count(shared, "SELECT count(*) FROM vms"), good);
    CHECK_INT(count(shared, "SELECT count(*) FROM events"), good);
    CHECK_INT(atomic_load(&hooked_count), good);
    for (int i = 1; i < good; i++)
        CHECK(hooked[i] > hooked[i - 1]);
    db_stats_read(shared, &stats);
    printf("# %d writes in %llu commits\n", good, (unsigned long long)stats.commits);
    CHECK_INT(stats.writes, good);
    CHECK(stats.commits < (uint64_t)good);
    db_close(shared);
}

/* ---- posting and closing ---- */

static atomic_int done_count, done_failed;

static void done(void *arg, int rc, const struct error *err)
{
    if ((rc != 0) != (err != NULL))
        abort();
    if (rc)
        atomic_fetch_add(&done_failed, 1);
    atomic_fetch_add(&done_count, 1);
    free(arg);
}

TEST(posted_writes_report_their_outcome_and_are_not_lost_by_closing)
{
    struct error err = ERROR_INIT;
    struct gate gate;

    fixture_new();
    shared = fixture_open();
    gate_init(&gate);
    atomic_store(&done_count, 0);
    atomic_store(&done_failed, 0);
    CHECK_OK(db_post(shared, wait_at_gate, NULL, NULL, &gate, &err));
    for (int i = 0; i < 100; i++) {
        struct job *job = xcalloc(1, sizeof(*job));

        job_init(job, i);
        job->fail = i % 10 == 0;
        CHECK_OK(db_post(shared, insert, NULL, done, job, &err));
    }
    open_gate(&gate);
    db_close(shared);
    CHECK_INT(atomic_load(&done_count), 100);
    CHECK_INT(atomic_load(&done_failed), 10);
    shared = fixture_open();
    CHECK_INT(count(shared, "SELECT count(*) FROM vms"), 90);
    db_close(shared);
}

static int nothing(struct db_tx *tx, void *arg, struct error *err)
{
    return 0;
}

TEST(a_full_queue_refuses_and_leaves_the_argument_to_the_caller)
{
    struct error err = ERROR_INIT;
    struct gate gate;
    int taken = 0;

    fixture_new();
    shared = fixture_open();
    gate_init(&gate);
    CHECK_OK(db_post(shared, wait_at_gate, NULL, NULL, &gate, &err));
    EVENTUALLY(atomic_load(&gate.entered), 5000);
    while (db_post(shared, nothing, NULL, NULL, &taken, &err) == 0)
        taken++;
    CHECK_INT(taken, DB_POSTED_MAX);
    CHECK_INT(err.code, ERROR_UNAVAILABLE);
    open_gate(&gate);
    EVENTUALLY(queued() == 0, 10000);
    CHECK_OK(db_post(shared, nothing, NULL, NULL, &taken, &err));
    db_close(shared);
}

TEST_MAIN();
