/* Opening: what a fresh file looks like, what is refused, which indexes the queries use. */
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "db/db_internal.h"
#include "service/base/fd.h"
#include "tests/unit/db/db_fixture.h"

/* ---- the schema as text ---- */

/* Comments go, runs of white space become one blank: what is left is what SQLite understands. */
static char *normalised(const char *sql)
{
    struct strbuf b = {0};

    for (const char *p = sql; *p; p++) {
        if (p[0] == '-' && p[1] == '-') {
            while (p[1] && p[1] != '\n')
                p++;
        } else if (strchr(" \n\t", *p)) {
            if (b.len && b.data[b.len - 1] != ' ')
                strbuf_addc(&b, ' ');
        } else {
            /* A column added later begins with a comma where the last line ended. */
            if ((*p == ',' || *p == ')') && b.len && b.data[b.len - 1] == ' ')
                b.len--;
            strbuf_addc(&b, *p);
        }
    }
    return strbuf_take(&b);
}

static char *schema_of(sqlite3 *sq)
{
    struct strbuf b = {0};
    sqlite3_stmt *s;

    CHECK(sqlite3_prepare_v2(sq,
                             "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL "
                             "ORDER BY type, name",
                             -1, &s, NULL) == SQLITE_OK);
    while (sqlite3_step(s) == SQLITE_ROW) {
        auto_free char *sql = normalised((const char *)sqlite3_column_text(s, 2));

        strbuf_addf(&b, "%s %s: %s\n", sqlite3_column_text(s, 0), sqlite3_column_text(s, 1), sql);
    }
    sqlite3_finalize(s);
    return strbuf_take(&b);
}

static void exec(sqlite3 *sq, const char *sql)
{
    char *message = NULL;

    if (sqlite3_exec(sq, sql, NULL, NULL, &message) != SQLITE_OK)
        printf("# %s\n", message);
    CHECK(!message);
}

/* A second look at a closed file. */
static void alter(const char *sql)
{
    sqlite3 *sq;

    CHECK(sqlite3_open(fixture_path, &sq) == SQLITE_OK);
    exec(sq, sql);
    sqlite3_close(sq);
}

static char *source(const char *dir_variable, const char *name)
{
    const char *dir = getenv(dir_variable);
    auto_free char *path = xasprintf("%s/%s", dir ? dir : ".", name);
    struct error err = ERROR_INIT;
    char *text = NULL;

    CHECK_INT(file_read(path, 1 << 20, &text, NULL, &err), 1);
    return text;
}

TEST(a_fresh_file_equals_schema_sql)
{
    auto_free char *schema = source("DB_SOURCE_DIR", "schema.sql");
    auto_free char *want = NULL, *have = NULL;
    sqlite3 *sq;

    fixture_new();
    db_close(fixture_open());
    CHECK(sqlite3_open(":memory:", &sq) == SQLITE_OK);
    exec(sq, schema);
    want = schema_of(sq);
    sqlite3_close(sq);
    CHECK(sqlite3_open(fixture_path, &sq) == SQLITE_OK);
    have = schema_of(sq);
    sqlite3_close(sq);
    CHECK_STR(have, want);
    CHECK(strstr(have, "table vms:") && strstr(have, "STRICT"));
}

TEST(every_table_is_strict)
{
    struct error err = ERROR_INIT;
    struct db *db;
    int64_t tables, loose;

    fixture_new();
    db = fixture_open();
    CHECK_OK(conn_int(&db->writer,
                      "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' "
                      "AND name NOT LIKE 'sqlite_%'",
                      &tables, &err));
    CHECK_OK(conn_int(&db->writer,
                      "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' "
                      "AND name NOT LIKE 'sqlite_%' AND NOT strict",
                      &loose, &err));
    db_close(db);
    CHECK_INT(tables, 25);
    CHECK_INT(loose, 0);
}

/* fixtures/ has what every version left behind; every later schema must take it on. */
static void check_migrates(const char *fixture)
{
    auto_free char *dump = source("DB_FIXTURE_DIR", fixture);
    auto_free char *want = NULL, *have = NULL, *id = NULL;
    struct error err = ERROR_INIT;
    struct db *db;
    int64_t vms;

    fixture_new();
    db = fixture_open();
    want = schema_of(db->writer.sq);
    db_close(db);
    fixture_new();
    alter(dump);
    db = fixture_open();
    have = schema_of(db->writer.sq);
    CHECK_STR(have, want);
    CHECK_OK(conn_int(&db->writer,
                      "SELECT count(*) FROM vms JOIN operations ON vm_id = vms.id "
                      "JOIN events ON subject_id = vms.id",
                      &vms, &err));
    CHECK_INT(vms, 1);
    CHECK_INT(store_meta_get(db, "install_id", &id, &err), 1);
    CHECK_STR(id, "11111111-2222-4333-8444-555555555555");
    db_close(db);
}

TEST(a_file_of_every_earlier_version_migrates)
{
    check_migrates("0001.sql");
    check_migrates("0002.sql");
    check_migrates("0008.sql");
}

TEST(vms_from_before_quotas_count_what_they_use)
{
    auto_free char *dump = source("DB_FIXTURE_DIR", "0008.sql");
    static const struct {
        const char *name;
        int64_t cpus, memory_mib, disk_bytes;
    } want[] = {{"of-image", 2, 512, 5000000000}, {"larger", 2, 512, 13LL << 30},
                {"blank", 1, 64, 3LL << 30}, {"gone", 0, 0, 0}};
    struct error err = ERROR_INIT;
    struct db *db;

    fixture_new();
    alter(dump);
    db = fixture_open();
    for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
        auto_free char *sql = xasprintf("SELECT cpus = %lld AND memory_mib = %lld AND disk_bytes = %lld "
                                        "FROM vms WHERE name = '%s'",
                                        (long long)want[i].cpus, (long long)want[i].memory_mib,
                                        (long long)want[i].disk_bytes, want[i].name);
        int64_t same = 0;

        CHECK_OK(conn_int(&db->writer, sql, &same, &err));
        if (!same)
            CHECK_STR(want[i].name, "counted right");
    }
    db_close(db);
}

TEST(opening_twice_changes_nothing)
{
    struct error err = ERROR_INIT;
    char first[UUID_TEXT], second[UUID_TEXT];
    struct db *db;
    int64_t rows;

    fixture_new();
    db = fixture_open();
    CHECK_OK(store_install_id(db, first, &err));
    db_close(db);
    db = fixture_open();
    CHECK_OK(store_install_id(db, second, &err));
    CHECK_OK(conn_int(&db->writer, "SELECT count(*) FROM migrations", &rows, &err));
    db_close(db);
    CHECK_STR(second, first);
    CHECK(uuid_is_valid(first));
    CHECK(first[14] == '4' && strchr("89ab", first[19]));
    CHECK_INT(rows, migration_count);
}

TEST(two_installations_have_two_ids)
{
    struct error err = ERROR_INIT;
    char first[UUID_TEXT], second[UUID_TEXT];
    struct db *db;

    fixture_new();
    db = fixture_open();
    CHECK_OK(store_install_id(db, first, &err));
    db_close(db);
    fixture_new();
    db = fixture_open();
    CHECK_OK(store_install_id(db, second, &err));
    db_close(db);
    CHECK(strcmp(first, second) != 0);
}

TEST(the_file_is_private_and_its_wal_is_empty_after_a_clean_close)
{
    auto_free char *wal = NULL;
    struct stat st;
    mode_t old = umask(0);
    struct db *db;

    fixture_new();
    wal = xasprintf("%s-wal", fixture_path);
    db = fixture_open();
    umask(old);
    CHECK(stat(fixture_path, &st) == 0);
    CHECK_INT(st.st_mode & 07777, 0600);
    CHECK(stat(wal, &st) == 0);
    CHECK_INT(st.st_mode & 07777, 0600);
    db_close(db);
    CHECK(stat(wal, &st) == 0 && st.st_size == 0);
}

/* ---- refusals ---- */

static void check_refused(enum error_code code, const char *words)
{
    struct error err = ERROR_INIT;
    struct db *db = NULL;

    CHECK_INT(db_open(fixture_path, &db, &err), -1);
    CHECK(!db);
    CHECK_STR(error_slug(err.code), error_slug(code));
    if (!strstr(err.detail, words))
        CHECK_STR(err.detail, words);
}

TEST(a_newer_version_is_refused_and_left_alone)
{
    sqlite3 *sq;
    sqlite3_stmt *s;

    fixture_new();
    db_close(fixture_open());
    alter("PRAGMA user_version = 99");
    check_refused(ERROR_CONFIG, "version 99");
    CHECK(sqlite3_open(fixture_path, &sq) == SQLITE_OK);
    CHECK(sqlite3_prepare_v2(sq, "PRAGMA user_version", -1, &s, NULL) == SQLITE_OK);
    CHECK(sqlite3_step(s) == SQLITE_ROW);
    CHECK_INT(sqlite3_column_int(s, 0), 99);
    sqlite3_finalize(s);
    sqlite3_close(sq);
}

TEST(another_checksum_is_refused)
{
    fixture_new();
    db_close(fixture_open());
    alter("UPDATE migrations SET checksum = replace(checksum, substr(checksum, 1, 1), 'x')");
    check_refused(ERROR_CONFIG, "another migration 1");
}

TEST(a_missing_migration_row_is_refused)
{
    fixture_new();
    db_close(fixture_open());
    alter("DELETE FROM migrations");
    check_refused(ERROR_CONFIG, "another migration 1");
}

TEST(somebody_elses_database_is_refused)
{
    fixture_new();
    alter("CREATE TABLE notes (text)");
    check_refused(ERROR_CONFIG, "not one of Drover's");
}

TEST(a_file_that_is_no_database_is_refused)
{
    static const char text[] = "name,age\nthis is a spreadsheet that somebody put in the way\n";
    struct error err = ERROR_INIT;
    auto_free char *now = NULL;
    auto_free char *rows = xcalloc(1, 8192);

    fixture_new();
    for (int i = 0; i < 100; i++)
        strcat(rows, text);
    CHECK_OK(file_write_atomic(fixture_path, rows, strlen(rows), 0600, &err));
    check_refused(ERROR_DATABASE_FAILED, "the database");
    CHECK_INT(file_read(fixture_path, 8192, &now, NULL, &err), 1);
    CHECK_STR(now, rows);
}

TEST(a_second_opener_is_refused)
{
    struct db *db;

    fixture_new();
    db = fixture_open();
    check_refused(ERROR_DATABASE_FAILED, "another process");
    db_close(db);
    db_close(fixture_open());
}

/* A killed daemon's child, between its fork and its exec, has the lock as well. */
TEST(a_lock_that_is_about_to_go_is_waited_for)
{
    char ready;
    int pipe_fd[2];
    pid_t child;

    fixture_new();
    db_close(fixture_open());
    CHECK(pipe(pipe_fd) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int fd = open(fixture_path, O_RDWR | O_CLOEXEC);

        if (fd < 0 || flock(fd, LOCK_EX) || write(pipe_fd[1], "x", 1) != 1)
            _exit(1);
        poll(NULL, 0, 300);
        _exit(0);
    }
    CHECK(read(pipe_fd[0], &ready, 1) == 1);
    db_close(fixture_open());
    CHECK(waitpid(child, NULL, 0) == child);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}

TEST(a_missing_directory_is_an_error)
{
    fixture_new();
    snprintf(fixture_path, sizeof(fixture_path), "%s/no/such/drover.db", fixture_dir);
    check_refused(ERROR_DATABASE_FAILED, "cannot open");
}

/* ---- statements ---- */

TEST(readers_cannot_write)
{
    struct error err = ERROR_INIT;
    struct db *db;
    int writes = 0;

    fixture_new();
    db = fixture_open();
    for (int i = 0; i < QUERY_COUNT; i++) {
        CHECK(db->writer.stmts[i]);
        for (int r = 0; r < DB_READERS; r++) {
            CHECK((db->readers[r].stmts[i] != NULL) ==
                  (sqlite3_stmt_readonly(db->writer.stmts[i]) != 0));
        }
        writes += !sqlite3_stmt_readonly(db->writer.stmts[i]);
    }
    CHECK(writes > 20 && writes < QUERY_COUNT);
    CHECK_INT(conn_exec(&db->readers[0], "DELETE FROM vms", &err), -1);
    CHECK_INT(sqlite3_db_readonly(db->readers[0].sq, "main"), 1);
    db_close(db);
}

TEST(connections_have_the_settings_the_promises_rest_on)
{
    struct error err = ERROR_INIT;
    struct db *db;
    int64_t v;

    fixture_new();
    db = fixture_open();
    CHECK_OK(conn_int(&db->writer, "PRAGMA synchronous", &v, &err));
    CHECK_INT(v, 2); /* FULL */
    CHECK_OK(conn_int(&db->writer, "PRAGMA foreign_keys", &v, &err));
    CHECK_INT(v, 1);
    CHECK_OK(
        conn_int(&db->writer, "SELECT journal_mode = 'wal' FROM pragma_journal_mode", &v, &err));
    CHECK_INT(v, 1);
    CHECK_OK(conn_int(&db->writer, "PRAGMA busy_timeout", &v, &err));
    CHECK(v > 0);
    CHECK_OK(conn_int(&db->readers[0], "PRAGMA wal_autocheckpoint", &v, &err));
    CHECK_INT(v, 0);
    db_close(db);
}

/* Every step of the plan names an index or the key, none scans or sorts. */
static void check_plan(struct db *db, enum query query, const char *index)
{
    auto_free char *sql = xasprintf("EXPLAIN QUERY PLAN %s", query_texts[query].sql);
    bool found = false;
    sqlite3_stmt *s;

    CHECK(sqlite3_prepare_v2(db->writer.sq, sql, -1, &s, NULL) == SQLITE_OK);
    while (sqlite3_step(s) == SQLITE_ROW) {
        const char *step = (const char *)sqlite3_column_text(s, 3);

        if (strstr(step, "SCAN") || strstr(step, "TEMP B-TREE"))
            printf("# %s: %s\n", query_texts[query].name, step);
        CHECK(!strstr(step, "SCAN") && !strstr(step, "TEMP B-TREE"));
        found |= strstr(step, index) != NULL;
    }
    sqlite3_finalize(s);
    if (!found)
        CHECK_STR(query_texts[query].name, index);
}

TEST(hot_queries_use_an_index)
{
    static const struct {
        enum query query;
        const char *index;
    } hot[] = {
        {QUERY_VM_UPDATE, "sqlite_autoindex_vms_1"},
        {QUERY_VM_NAME_TAKEN, "vms_living_name"},
        {QUERY_VM_PURGE, "vms_tombstones"},
        {QUERY_CID_NEXT, "PRIMARY KEY"},
        {QUERY_CID_RELEASE, "cids_vm"},
        {QUERY_OP_UPDATE, "sqlite_autoindex_operations_1"},
        {QUERY_OP_GET, "sqlite_autoindex_operations_1"},
        {QUERY_OP_CREATED, "operations_vm"},
        {QUERY_OP_LIST, "operations_project"},
        {QUERY_OP_LIST_STATE, "operations_state"},
        {QUERY_OP_LIST_VM, "operations_vm"},
        {QUERY_OP_PRUNE, "operations_finished"},
        {QUERY_EVENT_LIST, "events_project"},
        {QUERY_IDEM_GET, "PRIMARY KEY"},
        {QUERY_IDEM_PRUNE, "idempotency_age"},
        {QUERY_TOKEN_TOUCH, "PRIMARY KEY"},
        {QUERY_TOKEN_DELETE, "PRIMARY KEY"},
        {QUERY_SESSION_TOUCH, "PRIMARY KEY"},
        {QUERY_SESSION_DELETE, "PRIMARY KEY"},
        {QUERY_IMAGE_UPDATE, "sqlite_autoindex_images_1"},
        {QUERY_IMAGE_FORGET, "vms_image"},
        {QUERY_QUOTA_VMS, "COVERING INDEX vms_quota"},
        {QUERY_QUOTA_LEASES, "COVERING INDEX leases_quota"},
        {QUERY_WEBHOOK_PROGRESS, "sqlite_autoindex_webhooks_1"},
        {QUERY_WEBHOOK_DELIVERY_LIST, "webhook_deliveries_webhook"},
        {QUERY_META_GET, "PRIMARY KEY"},
    };
    struct db *db;

    fixture_new();
    db = fixture_open();
    for (size_t i = 0; i < sizeof(hot) / sizeof(*hot); i++)
        check_plan(db, hot[i].query, hot[i].index);
    db_close(db);
}

TEST(unfinished_operations_come_from_their_own_index)
{
    auto_free char *sql = xasprintf("EXPLAIN QUERY PLAN %s", query_texts[QUERY_OP_UNFINISHED].sql);
    struct db *db;
    sqlite3_stmt *s;

    fixture_new();
    db = fixture_open();
    CHECK(sqlite3_prepare_v2(db->writer.sq, sql, -1, &s, NULL) == SQLITE_OK);
    CHECK(sqlite3_step(s) == SQLITE_ROW);
    CHECK(strstr((const char *)sqlite3_column_text(s, 3), "operations_unfinished"));
    sqlite3_finalize(s);
    db_close(db);
}

TEST_MAIN();
