/*
 * A database for tests of the typed functions, and CALL for one write of a test.
 */
#ifndef DROVER_TESTS_STORE_RIG_H
#define DROVER_TESTS_STORE_RIG_H

#include "tests/unit/db/db_fixture.h"

static struct db *db;
static struct error err;

/* One write whose body is a block of the test that asked for it. */
struct call {
    int (*fn)(struct db_tx *tx, const void *row, int64_t *ret, struct error *e);
    const void *row;
    int64_t ret;
};

static inline int run_call(struct db_tx *tx, void *arg, struct error *e)
{
    struct call *c = arg;

    return c->fn(tx, c->row, &c->ret, e);
}

#define CALL(name, type, body)                                                                     \
    static int name##_(struct db_tx *tx, const void *p, int64_t *ret, struct error *e)             \
    {                                                                                              \
        const type *row = p;                                                                       \
        return body;                                                                               \
    }                                                                                              \
    __attribute__((unused)) static int name(const type *row, int64_t *ret)                         \
    {                                                                                              \
        struct call c = {.fn = name##_, .row = row};                                               \
        int rc = db_write(db, run_call, NULL, &c, &err);                                           \
        if (ret)                                                                                   \
            *ret = c.ret;                                                                          \
        return rc;                                                                                 \
    }                                                                                              \
    struct name##_needs_semicolon

CALL(vm_insert, struct vm_row, store_vm_insert(tx, row, ret, e));
CALL(vm_update, struct vm_row, store_vm_update(tx, row, e));
CALL(vm_purge, int64_t, store_vm_purge_tombstones(tx, *row, e));
CALL(op_insert, struct op_row, store_op_insert(tx, row, e));
CALL(op_update, struct op_row, store_op_update(tx, row, e));
CALL(op_prune, int64_t, store_op_prune(tx, *row, e));
CALL(event_append, struct event_row, store_event_append(tx, row, ret, e));
CALL(event_prune, int64_t, store_event_prune(tx, *row, e));
CALL(token_insert, struct token_row, store_token_insert(tx, row, e));
CALL(token_delete, char, store_token_delete(tx, row, e));
CALL(token_touch, char, store_token_touch(tx, row, 777, e));
CALL(session_insert, struct session_row, store_session_insert(tx, row, e));
CALL(session_delete, char, store_session_delete(tx, row, e));
CALL(session_touch, char, store_session_touch(tx, row, 777, e));
CALL(image_insert, struct image_row, store_image_insert(tx, row, ret, e));
CALL(image_update, struct image_row, store_image_update(tx, row, e));
CALL(image_delete, char, store_image_delete(tx, row, e));
CALL(image_file_put, struct image_file_row, store_image_file_put(tx, row, e));
CALL(idem_put, struct idem_row, store_idem_put(tx, row, e));
CALL(idem_prune, int64_t, store_idem_prune(tx, *row, e));
CALL(meta_set, char, store_meta_set(tx, "boot_id", row, e));
CALL(cid_release, char, store_cid_release(tx, row, 5000, e));

static inline int cid_allocate_(struct db_tx *tx, const void *vm_id, int64_t *ret, struct error *e)
{
    uint32_t cid;

    if (store_cid_allocate(tx, HOST_LOCAL, vm_id, 1000, &cid, e))
        return -1;
    *ret = cid;
    return 0;
}

static inline int64_t cid_allocate(const char *vm_id)
{
    struct call c = {.fn = cid_allocate_, .row = vm_id};

    CHECK_OK(db_write(db, run_call, NULL, &c, &err));
    return c.ret;
}

static inline void start(void)
{
    fixture_new();
    err = ERROR_INIT;
    db = fixture_open();
}

static inline void stop(void)
{
    db_close(db);
    db = NULL;
}

#endif
