/* A write that goes along with the thread's next one: both are stored, or neither. */
#include "db/db_internal.h"
#include "service/base/thread.h"
#include "tests/unit/db/db_fixture.h"

struct note {
    const char *key;
    enum error_code fails; /* ERROR_NONE: it does not */
};

static int put(struct db_tx *tx, void *arg, struct error *err)
{
    const struct note *n = arg;

    if (store_meta_set(tx, n->key, "x", err))
        return -1;
    return n->fails ? error_set(err, n->fails, "changed my mind") : 0;
}

static bool there(struct db *db, const char *key)
{
    auto_free char *value = NULL;
    struct error err;

    return store_meta_get(db, key, &value, &err) == 1;
}

TEST(it_goes_along_once)
{
    struct note first = {"first", 0}, second = {"second", 0}, along = {"along", 0};
    struct db_companion c = {.fn = put, .arg = &along};
    struct error err = ERROR_INIT;
    struct db *db;

    fixture_new();
    db = fixture_open();
    db_accompany(&c);
    CHECK(!c.stored && !there(db, "along"));
    CHECK_OK(db_write(db, put, NULL, &first, &err));
    CHECK(c.stored && there(db, "first") && there(db, "along"));
    along.key = "again";
    CHECK_OK(db_write_first(db, put, NULL, &second, &err));
    CHECK(there(db, "second") && !there(db, "again"));
    db_close(db);
}

TEST(a_write_that_fails_leaves_it_for_the_next)
{
    struct note wrong = {"wrong", ERROR_VM_STATE_CONFLICT}, right = {"right", 0}, along = {"along", 0};
    struct db_companion c = {.fn = put, .arg = &along};
    struct error err = ERROR_INIT;
    struct db *db;

    fixture_new();
    db = fixture_open();
    db_accompany(&c);
    CHECK_INT(db_write(db, put, NULL, &wrong, &err), -1);
    CHECK(!c.stored && !there(db, "along") && !there(db, "wrong"));
    CHECK_OK(db_write(db, put, NULL, &right, &err));
    CHECK(c.stored && there(db, "along") && there(db, "right"));
    db_close(db);
}

TEST(when_it_fails_so_does_what_it_went_with)
{
    struct note note = {"note", 0}, along = {"along", ERROR_DATABASE_FAILED};
    struct db_companion c = {.fn = put, .arg = &along};
    struct error err = ERROR_INIT;
    struct db *db;

    fixture_new();
    db = fixture_open();
    db_accompany(&c);
    CHECK_INT(db_write(db, put, NULL, &note, &err), -1);
    CHECK_INT(err.code, ERROR_DATABASE_FAILED);
    CHECK(!c.stored && !there(db, "note") && !there(db, "along"));
    db_accompany(NULL);
    CHECK_OK(db_write(db, put, NULL, &note, &err));
    CHECK(!c.stored && there(db, "note") && !there(db, "along"));
    db_close(db);
}

static void *elsewhere(void *arg)
{
    struct error err = ERROR_INIT;
    struct note note = {"elsewhere", 0};

    CHECK_OK(db_write(arg, put, NULL, &note, &err));
    return NULL;
}

TEST(it_is_its_own_threads)
{
    struct note along = {"along", 0};
    struct db_companion c = {.fn = put, .arg = &along};
    struct error err = ERROR_INIT;
    pthread_t thread;
    struct db *db;

    fixture_new();
    db = fixture_open();
    db_accompany(&c);
    CHECK_OK(thread_start(&thread, "elsewhere", elsewhere, db, &err));
    pthread_join(thread, NULL);
    CHECK(!c.stored && there(db, "elsewhere") && !there(db, "along"));
    db_accompany(NULL);
    db_close(db);
}

TEST_MAIN();
