/* A refusal is not what is told of a request whose key has been used, or of which nobody can say whether it was. */
#include <string.h>

#include "db/db_internal.h"
#include "service/vm/core_internal.h"
#include "service/vm/idem.h"
#include "tests/unit/db/db_fixture.h"

static struct core core;
static struct error err;
static const struct actor actor = {"token:one", PROJECT_DEFAULT, "r-1"};
static char sha[65];
static const struct idem idem = {.key = "k", .request_sha256 = sha};

static int put(struct db_tx *tx, void *arg, struct error *e)
{
    return idem_put(tx, &actor, &idem, 202, "operation", arg, e);
}

/* Somebody else's connection to the same file. */
static void alter(const char *sql)
{
    sqlite3 *sq;

    CHECK(sqlite3_open(fixture_path, &sq) == SQLITE_OK);
    sqlite3_busy_timeout(sq, 5000);
    CHECK(sqlite3_exec(sq, sql, NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(sq);
}

/* A start that was refused, since the VM is not stopped; is it told so? */
static bool again(struct idem_found *found)
{
    error_set(&err, ERROR_VM_STATE_CONFLICT, "the VM is starting");
    return idem_again(&core, &actor, &idem, found, &err);
}

TEST(what_is_told_after_a_refusal)
{
    struct idem_found found = {0};

    memset(sha, 'a', 64);
    fixture_new();
    core.db = fixture_open();
    CHECK(!again(&found));
    CHECK_INT(err.code, ERROR_VM_STATE_CONFLICT);

    CHECK_OK(db_write(core.db, put, NULL, (char[]){"one"}, &err));
    CHECK(again(&found));
    CHECK_STR(found.id, "one");

    /* Nobody can look: the equal request may have been the very reason. */
    alter("ALTER TABLE idempotency RENAME TO elsewhere");
    CHECK(!again(&found));
    CHECK_INT(err.code, ERROR_INTERNAL);
    alter("ALTER TABLE elsewhere RENAME TO idempotency");
    CHECK(again(&found));

    sha[0] = 'b';
    CHECK(!again(&found));
    CHECK_INT(err.code, ERROR_KEY_REUSED);
    db_close(core.db);
}

TEST_MAIN();
