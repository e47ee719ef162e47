/* Operations, events, tokens, images, keys: what goes in comes out. */
#include "tests/unit/db/store_rig.h"

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
