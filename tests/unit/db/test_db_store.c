/* The typed functions, subject by subject: what goes in comes out, and what is refused. */
#include "tests/unit/db/db_fixture.h"

static struct db *db;
static struct error err;

/* One write whose body is a block of the test that asked for it. */
struct call {
    int (*fn)(struct db_tx *tx, const void *row, int64_t *ret, struct error *e);
    const void *row;
    int64_t ret;
};

static int run_call(struct db_tx *tx, void *arg, struct error *e)
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

static int cid_allocate_(struct db_tx *tx, const void *vm_id, int64_t *ret, struct error *e)
{
    uint32_t cid;

    if (store_cid_allocate(tx, HOST_LOCAL, vm_id, 1000, &cid, e))
        return -1;
    *ret = cid;
    return 0;
}

static int64_t cid_allocate(const char *vm_id)
{
    struct call c = {.fn = cid_allocate_, .row = vm_id};

    CHECK_OK(db_write(db, run_call, NULL, &c, &err));
    return c.ret;
}

static void start(void)
{
    fixture_new();
    err = ERROR_INIT;
    db = fixture_open();
}

static void stop(void)
{
    db_close(db);
    db = NULL;
}

/* ---- VMs ---- */

static struct vm_row seen_vms[16];
static int seen;

static int see_vm(void *arg, const struct vm_row *row)
{
    struct vm_row *v = &seen_vms[seen++];

    *v = *row;
    v->id = xstrdup(row->id);
    v->project_id = xstrdup(row->project_id);
    v->host_id = xstrdup(row->host_id);
    v->name = xstrdup(row->name);
    v->spec = xstrdup(row->spec);
    v->state = xstrdup(row->state);
    v->state_reason = xstrdup(row->state_reason);
    v->acceleration = xstrdup(row->acceleration);
    v->acceleration_reason = xstrdup(row->acceleration_reason);
    v->image_id = xstrdup(row->image_id);
    return arg && seen == *(int *)arg;
}

static void see_vms(int *stop_after)
{
    for (; seen > 0; seen--) {
        struct vm_row *v = &seen_vms[seen - 1];

        free((char *)(uintptr_t)v->id);
        free((char *)(uintptr_t)v->project_id);
        free((char *)(uintptr_t)v->host_id);
        free((char *)(uintptr_t)v->name);
        free((char *)(uintptr_t)v->spec);
        free((char *)(uintptr_t)v->state);
        free((char *)(uintptr_t)v->state_reason);
        free((char *)(uintptr_t)v->acceleration);
        free((char *)(uintptr_t)v->acceleration_reason);
        free((char *)(uintptr_t)v->image_id);
    }
    if (db)
        CHECK_OK(store_vm_each(db, see_vm, stop_after, &err));
}

static void stop_vms(void)
{
    stop();
    see_vms(NULL);
}

TEST(a_vm_comes_back_as_it_went_in)
{
    struct vm_row vm;
    int64_t seq;

    start();
    vm = fixture_vm("id-1", "web-1");
    vm.spec = "{\"description\":\"caf\xc3\xa9 'quoted' \\\"twice\\\"\"}";
    vm.state_reason = "new; DROP TABLE vms";
    CHECK_OK(vm_insert(&vm, &seq));
    CHECK_INT(seq, 1);
    vm.state = "running";
    vm.acceleration = "emulated";
    vm.acceleration_reason = "no /dev/kvm";
    vm.generation = 3;
    vm.defined_generation = 2;
    vm.running_generation = 1;
    vm.vsock_cid = 4294967294U;
    vm.updated_at = 2000;
    vm.started_at = 1900;
    CHECK_OK(vm_update(&vm, NULL));
    see_vms(NULL);
    CHECK_INT(seen, 1);
    CHECK_INT(seen_vms[0].seq, 1);
    CHECK_STR(seen_vms[0].id, "id-1");
    CHECK_STR(seen_vms[0].project_id, PROJECT_DEFAULT);
    CHECK_STR(seen_vms[0].host_id, HOST_LOCAL);
    CHECK_STR(seen_vms[0].name, "web-1");
    CHECK_STR(seen_vms[0].spec, vm.spec);
    CHECK_STR(seen_vms[0].state, "running");
    CHECK_STR(seen_vms[0].state_reason, vm.state_reason);
    CHECK_STR(seen_vms[0].acceleration, "emulated");
    CHECK_STR(seen_vms[0].acceleration_reason, "no /dev/kvm");
    CHECK_STR(seen_vms[0].image_id, "");
    CHECK_INT(seen_vms[0].generation, 3);
    CHECK_INT(seen_vms[0].defined_generation, 2);
    CHECK_INT(seen_vms[0].running_generation, 1);
    CHECK_INT(seen_vms[0].vsock_cid, 4294967294U);
    CHECK_INT(seen_vms[0].created_at, 1000);
    CHECK_INT(seen_vms[0].updated_at, 2000);
    CHECK_INT(seen_vms[0].started_at, 1900);
    CHECK_INT(seen_vms[0].deleted_at, 0);
    stop_vms();
}

TEST(a_name_is_unique_among_the_living_and_free_after_the_tombstone)
{
    struct vm_row first, second, third;
    int64_t seq;

    start();
    first = fixture_vm("id-1", "web");
    second = fixture_vm("id-2", "web");
    third = fixture_vm("id-3", "db");
    CHECK_OK(vm_insert(&first, &seq));
    CHECK_INT(vm_insert(&second, NULL), -1);
    CHECK_INT(err.code, ERROR_NAME_IN_USE);
    CHECK_OK(vm_insert(&third, &seq));
    third.name = "web";
    CHECK_INT(vm_update(&third, NULL), -1);
    CHECK_INT(err.code, ERROR_NAME_IN_USE);
    first.deleted_at = 5000;
    first.state = "deleting";
    CHECK_OK(vm_update(&first, NULL));
    CHECK_OK(vm_insert(&second, &seq));
    see_vms(NULL);
    CHECK_INT(seen, 2);
    CHECK_STR(seen_vms[0].id, "id-3");
    CHECK_STR(seen_vms[1].id, "id-2");
    CHECK(seen_vms[1].seq > seen_vms[0].seq);
    /* A tombstone stays as it is. */
    first.deleted_at = 0;
    CHECK_INT(vm_update(&first, NULL), -1);
    CHECK_INT(err.code, ERROR_VM_NOT_FOUND);
    stop_vms();
}

TEST(an_id_drawn_twice_is_not_mistaken_for_a_name)
{
    struct vm_row vm;

    start();
    vm = fixture_vm("id-1", "web");
    CHECK_OK(vm_insert(&vm, NULL));
    vm.name = "other";
    CHECK_INT(vm_insert(&vm, NULL), -1);
    CHECK_INT(err.code, ERROR_INTERNAL);
    stop();
}

TEST(updating_a_vm_that_is_gone_says_so)
{
    struct vm_row vm;

    start();
    vm = fixture_vm("id-1", "web");
    CHECK_INT(vm_update(&vm, NULL), -1);
    CHECK_INT(err.code, ERROR_VM_NOT_FOUND);
    stop();
}

TEST(every_state_a_vm_can_have_is_accepted_and_no_other)
{
    static const char *const states[] = {
#define V(sym, name) name,
#include "service/vm/vm_states.def"
#undef V
    };
    struct vm_row vm;

    start();
    vm = fixture_vm("id-1", "web");
    CHECK_OK(vm_insert(&vm, NULL));
    for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++) {
        vm.state = states[i];
        CHECK_OK(vm_update(&vm, NULL));
    }
    vm.state = "levitating";
    CHECK_INT(vm_update(&vm, NULL), -1);
    CHECK_INT(err.code, ERROR_INTERNAL);
    vm.state = "stopped";
    vm.spec = "{not json";
    CHECK_INT(vm_update(&vm, NULL), -1);
    stop();
}

TEST(purging_forgets_old_tombstones_only)
{
    struct vm_row old, young, alive;
    int64_t before = 3000;

    start();
    old = fixture_vm("id-1", "a");
    young = fixture_vm("id-2", "b");
    alive = fixture_vm("id-3", "c");
    CHECK_OK(vm_insert(&old, NULL));
    CHECK_OK(vm_insert(&young, NULL));
    CHECK_OK(vm_insert(&alive, NULL));
    CHECK_INT(cid_allocate("id-1"), 1000);
    CHECK_INT(cid_allocate("id-3"), 1001);
    old.deleted_at = 2000;
    young.deleted_at = 4000;
    CHECK_OK(vm_update(&old, NULL));
    CHECK_OK(vm_update(&young, NULL));
    CHECK_OK(vm_purge(&before, NULL));
    see_vms(NULL);
    CHECK_INT(seen, 1);
    /* Only the purged one's id is free. */
    old.deleted_at = 0;
    CHECK_OK(vm_insert(&old, NULL));
    young.deleted_at = 0;
    CHECK_INT(vm_insert(&young, NULL), -1);
    stop_vms();
}

TEST(a_callback_can_stop_the_walk)
{
    struct vm_row vm;
    int two = 2;

    start();
    for (int i = 0; i < 5; i++) {
        char id[16], name[16];

        snprintf(id, sizeof(id), "id-%d", i);
        snprintf(name, sizeof(name), "vm-%d", i);
        vm = fixture_vm(id, name);
        CHECK_OK(vm_insert(&vm, NULL));
    }
    see_vms(&two);
    CHECK_INT(seen, 2);
    see_vms(NULL);
    CHECK_INT(seen, 5);
    stop_vms();
}

TEST(a_cid_is_never_handed_out_twice)
{
    struct vm_row vm;
    int64_t before = 9000;

    start();
    CHECK_INT(cid_allocate("id-1"), 1000);
    CHECK_INT(cid_allocate("id-2"), 1001);
    CHECK_OK(cid_release("id-2", NULL));
    CHECK_INT(cid_allocate("id-3"), 1002);
    vm = fixture_vm("id-3", "c");
    CHECK_OK(vm_insert(&vm, NULL));
    vm.deleted_at = 2000;
    CHECK_OK(vm_update(&vm, NULL));
    CHECK_OK(vm_purge(&before, NULL));
    db_close(db);
    db = fixture_open();
    CHECK_INT(cid_allocate("id-4"), 1003);
    stop();
}

TEST(an_unknown_project_host_or_image_is_refused)
{
    struct vm_row vm;

    start();
    vm = fixture_vm("id-1", "web");
    vm.project_id = "nobody";
    CHECK_INT(vm_insert(&vm, NULL), -1);
    CHECK_INT(err.code, ERROR_INTERNAL);
    vm = fixture_vm("id-1", "web");
    vm.host_id = "nowhere";
    CHECK_INT(vm_insert(&vm, NULL), -1);
    vm = fixture_vm("id-1", "web");
    vm.image_id = "nothing";
    CHECK_INT(vm_insert(&vm, NULL), -1);
    CHECK_INT(err.code, ERROR_UNKNOWN_IMAGE);
    stop();
}

/* ---- operations ---- */

static char op_ids[256];
static struct op_row op_last;

static int see_op(void *arg, const struct op_row *row)
{
    strcat(op_ids, row->id);
    strcat(op_ids, " ");
    op_last = *row;
    if (arg)
        str_copy_utf8(arg, 64, row->error_detail);
    return 0;
}

static const char *ops(const struct op_filter *filter)
{
    *op_ids = '\0';
    CHECK_OK(store_op_list(db, filter, see_op, NULL, &err));
    return op_ids;
}

TEST(operations_are_listed_by_project_vm_and_state_in_pages)
{
    static const char *const vms[] = {"vm-a", "vm-b", "vm-a", "", "vm-b", "vm-a"};
    struct op_filter filter = {.project_id = PROJECT_DEFAULT, .limit = 10};

    start();
    for (int i = 0; i < 6; i++) {
        char id[8];
        struct op_row op;

        snprintf(id, sizeof(id), "o%d", i + 1);
        op = fixture_op(id, vms[i]);
        CHECK_OK(op_insert(&op, NULL));
        if (i % 2) {
            op.state = "failed";
            op.started_at = 1500;
            op.finished_at = 2000 + i;
            op.error_code = "timeout";
            op.error_detail = "too late";
            CHECK_OK(op_update(&op, NULL));
        }
    }
    CHECK_STR(ops(&filter), "o6 o5 o4 o3 o2 o1 ");
    filter.limit = 2;
    CHECK_STR(ops(&filter), "o6 o5 ");
    filter.before_seq = op_last.seq;
    CHECK_STR(ops(&filter), "o4 o3 ");
    filter = (struct op_filter){.project_id = PROJECT_DEFAULT, .vm_id = "vm-a", .limit = 10};
    CHECK_STR(ops(&filter), "o6 o3 o1 ");
    filter.state = "failed";
    CHECK_STR(ops(&filter), "o6 ");
    filter.vm_id = NULL;
    CHECK_STR(ops(&filter), "o6 o4 o2 ");
    filter.project_id = "other";
    CHECK_STR(ops(&filter), "");
    *op_ids = '\0';
    CHECK_OK(store_op_unfinished(db, see_op, NULL, &err));
    CHECK_STR(op_ids, "o1 o3 o5 ");
    stop();
}

TEST(one_operation_is_found_by_id)
{
    struct op_row op;
    char detail[64] = "";

    start();
    op = fixture_op("o1", "vm-a");
    CHECK_OK(op_insert(&op, NULL));
    CHECK_INT(store_op_get(db, "o2", see_op, NULL, &err), 0);
    op.state = "failed";
    op.finished_at = 3000;
    op.error_detail = "the guest did not obey";
    CHECK_OK(op_update(&op, NULL));
    CHECK_INT(store_op_get(db, "o1", see_op, detail, &err), 1);
    CHECK_STR(detail, "the guest did not obey");
    CHECK_INT(op_last.finished_at, 3000);
    op.id = "o2";
    CHECK_INT(op_update(&op, NULL), -1);
    CHECK_INT(err.code, ERROR_OPERATION_NOT_FOUND);
    stop();
}

TEST(a_finished_operation_needs_its_time_and_an_unfinished_one_has_none)
{
    struct op_row op;

    start();
    op = fixture_op("o1", "");
    op.state = "succeeded";
    CHECK_INT(op_insert(&op, NULL), -1);
    op.state = "running";
    op.finished_at = 5;
    CHECK_INT(op_insert(&op, NULL), -1);
    op.finished_at = 0;
    CHECK_OK(op_insert(&op, NULL));
    stop();
}

TEST(pruning_operations_keeps_the_unfinished_and_the_young)
{
    struct op_filter filter = {.project_id = PROJECT_DEFAULT, .limit = 10};
    int64_t before = 3000;
    struct op_row op;

    start();
    op = fixture_op("unfinished", "");
    CHECK_OK(op_insert(&op, NULL));
    op = fixture_op("old", "");
    op.state = "succeeded";
    op.finished_at = 2000;
    CHECK_OK(op_insert(&op, NULL));
    op.id = "young";
    op.finished_at = 3000;
    CHECK_OK(op_insert(&op, NULL));
    CHECK_OK(op_prune(&before, NULL));
    CHECK_STR(ops(&filter), "young unfinished ");
    stop();
}

/* ---- events ---- */

static int64_t event_seqs[64];
static int event_count;
static char event_text[256];

static int see_event(void *arg, const struct event_row *row)
{
    event_seqs[event_count++] = row->seq;
    snprintf(event_text, sizeof(event_text), "%lld %s %s %s %s %s %s %s %s %s", (long long)row->at,
             row->project_id, row->host_id, row->type, row->subject_kind, row->subject_id,
             row->subject_name, row->actor, row->request_id, row->data);
    return 0;
}

static void see_events(int64_t since, int limit)
{
    event_count = 0;
    CHECK_OK(store_event_list(db, PROJECT_DEFAULT, since, limit, see_event, NULL, &err));
}

TEST(events_are_paged_and_their_seq_is_never_used_again)
{
    int64_t seq = 0, last = -1, everything = 1LL << 60, before = 1005;
    struct event_row event;

    start();
    CHECK_OK(store_event_last(db, &last, &err));
    CHECK_INT(last, 0);
    for (int i = 0; i < 10; i++) {
        event = fixture_event("vm-a");
        event.at = 1000 + i;
        CHECK_OK(event_append(&event, &seq));
        CHECK_INT(seq, i + 1);
    }
    see_events(0, 100);
    CHECK_INT(event_count, 10);
    CHECK_STR(event_text, "1009 default local vm.created vm vm-a web token:abc r-1 {}");
    see_events(4, 3);
    CHECK_INT(event_count, 3);
    CHECK_INT(event_seqs[0], 5);
    CHECK_INT(event_seqs[2], 7);
    CHECK_OK(event_prune(&before, NULL));
    see_events(0, 100);
    CHECK_INT(event_count, 5);
    CHECK_INT(event_seqs[0], 6);
    CHECK_OK(event_prune(&everything, NULL));
    see_events(0, 100);
    CHECK_INT(event_count, 0);
    CHECK_OK(store_event_last(db, &last, &err));
    CHECK_INT(last, 10);
    db_close(db);
    db = fixture_open();
    event.request_id = NULL; /* nobody asked: stored as empty text */
    CHECK_OK(event_append(&event, &seq));
    CHECK_INT(seq, 11);
    see_events(0, 100);
    CHECK_STR(event_text, "1009 default local vm.created vm vm-a web token:abc  {}");
    stop();
}

/* ---- tokens and sessions ---- */

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HASH_C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static struct token_row a_token(const char *id)
{
    return (struct token_row){.id = id,
                              .project_id = PROJECT_DEFAULT,
                              .name = "ci",
                              .role = "operator",
                              .scopes = "vm:read",
                              .hash = HASH_A,
                              .created_by = "system",
                              .created_at = 1000};
}

static char seen_text[512];

static int see_token(void *arg, const struct token_row *row)
{
    snprintf(seen_text, sizeof(seen_text), "%s %s %s %s %s %s %s %lld %lld %lld", row->id,
             row->project_id, row->name, row->role, row->scopes, row->hash, row->created_by,
             (long long)row->created_at, (long long)row->expires_at, (long long)row->last_used_at);
    ++*(int *)arg;
    return 0;
}

static int see_session(void *arg, const struct session_row *row)
{
    snprintf(seen_text, sizeof(seen_text), "%s %s %lld %lld", row->hash, row->token_id,
             (long long)row->created_at, (long long)row->last_used_at);
    ++*(int *)arg;
    return 0;
}

static int sessions(void)
{
    int n = 0;

    CHECK_OK(store_session_each(db, see_session, &n, &err));
    return n;
}

TEST(tokens_come_back_and_take_their_sessions_along)
{
    struct token_row token = a_token("AAAAAAAAAAAA");
    struct session_row session = {
        .hash = HASH_B, .token_id = "AAAAAAAAAAAA", .created_at = 2000, .last_used_at = 2000};
    int n = 0;

    start();
    CHECK_OK(token_insert(&token, NULL));
    CHECK_OK(token_touch("AAAAAAAAAAAA", NULL));
    CHECK_OK(store_token_each(db, see_token, &n, &err));
    CHECK_INT(n, 1);
    CHECK_STR(seen_text, "AAAAAAAAAAAA default ci operator vm:read " HASH_A " system 1000 0 777");
    CHECK_OK(session_insert(&session, NULL));
    CHECK_OK(session_touch(HASH_B, NULL));
    session.hash = HASH_C;
    session.token_id = "";
    CHECK_OK(session_insert(&session, NULL));
    CHECK_INT(sessions(), 2);
    session.hash = HASH_A;
    session.token_id = "BBBBBBBBBBBB";
    CHECK_INT(session_insert(&session, NULL), -1);
    CHECK_INT(err.code, ERROR_TOKEN_NOT_FOUND);
    CHECK_OK(token_delete("AAAAAAAAAAAA", NULL));
    CHECK_INT(sessions(), 1);
    CHECK_STR(seen_text, HASH_C "  2000 2000");
    CHECK_INT(token_delete("AAAAAAAAAAAA", NULL), -1);
    CHECK_INT(err.code, ERROR_TOKEN_NOT_FOUND);
    CHECK_OK(session_delete(HASH_C, NULL));
    CHECK_INT(sessions(), 0);
    stop();
}

static int prune_sessions_(struct db_tx *tx, const void *row, int64_t *ret, struct error *e)
{
    return store_session_prune(tx, 1500, 3000, e);
}

TEST(pruning_sessions_looks_at_age_and_at_idleness)
{
    struct session_row old = {
        .hash = HASH_A, .token_id = "", .created_at = 1000, .last_used_at = 9000};
    struct session_row idle = {
        .hash = HASH_B, .token_id = "", .created_at = 2000, .last_used_at = 2000};
    struct session_row good = {
        .hash = HASH_C, .token_id = "", .created_at = 2000, .last_used_at = 3000};
    struct call c = {.fn = prune_sessions_};

    start();
    CHECK_OK(session_insert(&old, NULL));
    CHECK_OK(session_insert(&idle, NULL));
    CHECK_OK(session_insert(&good, NULL));
    CHECK_OK(db_write(db, run_call, NULL, &c, &err));
    CHECK_INT(sessions(), 1);
    CHECK(strncmp(seen_text, HASH_C, 64) == 0);
    stop();
}

/* ---- images ---- */

static struct image_row an_image(const char *id, const char *name)
{
    return (struct image_row){.id = id,
                              .project_id = PROJECT_DEFAULT,
                              .host_id = HOST_LOCAL,
                              .name = name,
                              .kind = "disk",
                              .format = "qcow2",
                              .cmdline = "",
                              .description = "",
                              .state = "empty",
                              .state_reason = "",
                              .created_at = 1000,
                              .updated_at = 1000};
}

static int see_image(void *arg, const struct image_row *row)
{
    snprintf(seen_text, sizeof(seen_text), "%s %s %s %s %s %s %s %lld", row->id, row->name,
             row->kind, row->format, row->cmdline, row->description, row->state,
             (long long)row->updated_at);
    ++*(int *)arg;
    return 0;
}

static int see_image_file(void *arg, const struct image_file_row *row)
{
    snprintf(seen_text, sizeof(seen_text), "%s %s %s %lld %lld", row->image_id, row->role,
             row->sha256, (long long)row->size_bytes, (long long)row->virtual_size_bytes);
    ++*(int *)arg;
    return 0;
}

static int image_files(void)
{
    int n = 0;

    CHECK_OK(store_image_file_each(db, see_image_file, &n, &err));
    return n;
}

TEST(images_have_unique_names_and_take_their_files_along)
{
    struct image_row image = an_image("i-1", "debian"), twin = an_image("i-2", "debian");
    struct image_file_row file = {
        .image_id = "i-1", .role = "content", .sha256 = HASH_A, .size_bytes = 100};
    int n = 0;

    start();
    CHECK_OK(image_insert(&image, NULL));
    CHECK_INT(image_insert(&twin, NULL), -1);
    CHECK_INT(err.code, ERROR_NAME_IN_USE);
    CHECK_OK(image_file_put(&file, NULL));
    file.sha256 = HASH_B;
    file.virtual_size_bytes = 1000;
    CHECK_OK(image_file_put(&file, NULL));
    CHECK_INT(image_files(), 1);
    CHECK_STR(seen_text, "i-1 content " HASH_B " 100 1000");
    image.state = "ready";
    image.description = "bookworm";
    image.updated_at = 2000;
    CHECK_OK(image_update(&image, NULL));
    CHECK_OK(store_image_each(db, see_image, &n, &err));
    CHECK_INT(n, 1);
    CHECK_STR(seen_text, "i-1 debian disk qcow2  bookworm ready 2000");
    /* On its way out, an image gives its name back. */
    image.state = "deleting";
    CHECK_OK(image_update(&image, NULL));
    CHECK_OK(image_insert(&twin, NULL));
    CHECK_OK(image_delete("i-1", NULL));
    CHECK_INT(image_files(), 0);
    CHECK_INT(image_delete("i-1", NULL), -1);
    CHECK_INT(err.code, ERROR_IMAGE_NOT_FOUND);
    CHECK_INT(image_update(&image, NULL), -1);
    CHECK_INT(err.code, ERROR_IMAGE_NOT_FOUND);
    CHECK_INT(image_file_put(&file, NULL), -1);
    CHECK_INT(err.code, ERROR_IMAGE_NOT_FOUND);
    stop();
}

TEST(an_image_outlives_living_vms_but_not_tombstones)
{
    struct image_row image = an_image("i-1", "debian");
    struct vm_row vm = fixture_vm("id-1", "web");

    start();
    CHECK_OK(image_insert(&image, NULL));
    vm.image_id = "i-1";
    CHECK_OK(vm_insert(&vm, NULL));
    CHECK_INT(image_delete("i-1", NULL), -1);
    CHECK_INT(err.code, ERROR_IMAGE_IN_USE);
    vm.deleted_at = 5000;
    CHECK_OK(vm_update(&vm, NULL));
    CHECK_OK(image_delete("i-1", NULL));
    stop();
}

/* ---- idempotency and facts ---- */

static int see_idem(void *arg, const struct idem_row *row)
{
    snprintf(seen_text, sizeof(seen_text), "%s %s %s %d %s %s %lld", row->actor, row->key,
             row->request_sha256, row->status, row->resource_kind, row->resource_id,
             (long long)row->created_at);
    return 0;
}

static int idem_get_(struct db_tx *tx, const void *key, int64_t *ret, struct error *e)
{
    *ret = store_idem_get(tx, "token:abc", key, see_idem, NULL, e);
    return *ret < 0 ? -1 : 0;
}

static int64_t idem_get(const char *key)
{
    struct call c = {.fn = idem_get_, .row = key};

    CHECK_OK(db_write(db, run_call, NULL, &c, &err));
    return c.ret;
}

TEST(a_key_is_remembered_once_until_it_is_pruned)
{
    struct idem_row row = {.actor = "token:abc",
                           .key = "k1",
                           .request_sha256 = HASH_A,
                           .status = 201,
                           .resource_kind = "vm",
                           .resource_id = "id-1",
                           .created_at = 1000};
    int64_t before = 1000;

    start();
    CHECK_INT(idem_get("k1"), 0);
    CHECK_OK(idem_put(&row, NULL));
    CHECK_INT(idem_get("k1"), 1);
    CHECK_STR(seen_text, "token:abc k1 " HASH_A " 201 vm id-1 1000");
    CHECK_INT(idem_put(&row, NULL), -1);
    row.actor = "token:xyz";
    CHECK_OK(idem_put(&row, NULL));
    CHECK_OK(idem_prune(&before, NULL));
    CHECK_INT(idem_get("k1"), 1);
    before = 1001;
    CHECK_OK(idem_prune(&before, NULL));
    CHECK_INT(idem_get("k1"), 0);
    stop();
}

TEST(facts_are_replaced)
{
    char *value = NULL;

    start();
    CHECK_INT(store_meta_get(db, "boot_id", &value, &err), 0);
    CHECK_OK(meta_set("one", NULL));
    CHECK_OK(meta_set("two", NULL));
    CHECK_INT(store_meta_get(db, "boot_id", &value, &err), 1);
    CHECK_STR(value, "two");
    free(value);
    stop();
}

TEST_MAIN();
