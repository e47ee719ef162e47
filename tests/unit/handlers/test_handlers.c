/*
 * Handlers of VMs and of embedded files, called directly.
 */
#include "service/base/str.h"
#include "service/json/doc.h"
#include "tests/support/test.h"
#include "tests/unit/handlers/fakes.h"

#define BODY(text) auto_json json_t *body = json_loads(text, 0, NULL)

static struct response answer;

static struct response *fresh(void)
{
    response_done(&answer);
    fakes_reset();
    return &answer;
}

static void list_of(size_t count)
{
    fake.list = xcalloc(count, sizeof(*fake.list));
    for (size_t i = 0; i < count; i++) {
        fake.list[i] = fake_vm("{\"name\": \"a\"}", VM_STATE_STOPPED);
        fake.list[i]->seq = (int64_t)i + 1;
    }
    fake.list_count = count;
}

/* ---- pages ---- */

TEST(a_page_with_more_to_come_links_to_the_next)
{
    struct response *res = fresh();
    struct request req = fake_request("GET", "/v1/vms");
    struct error err;

    fake_query("limit", "2");
    fake_query("cursor", "c5");
    fake_query("label", "a=b c&d");
    list_of(2);
    fake.list_more = true;
    CHECK_OK(handle_vm_list(&req, res, &err));
    CHECK_STR(response_header_value(res, "Link"),
              "</v1/vms?limit=2&label=a%3Db%20c%26d&cursor=c2>; rel=\"next\"");
    auto_json json_t *value = response_value(res);
    CHECK_STR(json_string_value(json_object_get(value, "next_cursor")), "c2");
    CHECK_INT(fake.filter.after_seq, 5);
    CHECK_INT(fake.filter.limit, 2);
    CHECK_INT(fake.filter.label_count, 1);
}

TEST(the_last_page_links_nowhere)
{
    struct response *res = fresh();
    struct request req = fake_request("GET", "/v1/vms");
    struct error err;

    list_of(1);
    CHECK_OK(handle_vm_list(&req, res, &err));
    CHECK(!response_header_value(res, "Link"));
    CHECK_INT(fake.filter.limit, PAGE_LIMIT_DEFAULT);
}

TEST(a_link_that_does_not_fit_is_left_out_and_the_cursor_stays)
{
    struct response *res = fresh();
    struct request req = fake_request("GET", "/v1/vms");
    struct error err;
    char label[256];

    memset(label, 'x', sizeof(label));
    memcpy(label, "k=", 2);
    label[255] = '\0';
    fake_query("label", label);
    list_of(1);
    fake.list_more = true;
    CHECK_OK(handle_vm_list(&req, res, &err));
    CHECK(!response_header_value(res, "Link"));
    auto_json json_t *value = response_value(res);
    CHECK_STR(json_string_value(json_object_get(value, "next_cursor")), "c1");
}

TEST(cursors_that_were_never_given_out_are_refused)
{
    static const char *const bad[] = {"", "5", "x5", "c", "c-5", "c5x", "c99999999999999999999"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct response *res = fresh();
        struct request req = fake_request("GET", "/v1/vms");
        struct error err;

        fake_query("cursor", bad[i]);
        CHECK_INT(handle_vm_list(&req, res, &err), -1);
        CHECK_STR(err.pointer, "cursor");
    }
}

/* ---- create ---- */

static int create(struct response *res, const char *text, struct error *err)
{
    struct request req = fake_request("POST", "/v1/vms");
    BODY(text);

    req.json = body;
    return handle_vm_create(&req, res, err);
}

TEST(create_answers_at_once)
{
    struct response *res = fresh();
    struct error err;

    fake.vm = fake_vm("{\"name\": \"a\"}", VM_STATE_STOPPED);
    fake.replayed = true;
    CHECK_OK(create(res, "{\"name\": \"a\"}", &err));
    CHECK_INT(res->status, 201);
    CHECK_STR(response_header_value(res, "Location"),
              "/v1/vms/7f1c0a52-94a5-4c0e-9f8f-0d3a2b1c4d5e");
    CHECK_STR(response_header_value(res, "ETag"), "\"7\"");
    CHECK_STR(response_header_value(res, "Idempotency-Replayed"), "true");
}

TEST(wait_without_start_is_refused_before_anything_is_made)
{
    struct response *res = fresh();
    struct error err;

    fake_query("wait", "running");
    CHECK_INT(create(res, "{\"name\": \"a\"}", &err),
              -1); /* vm_create would crash without fake.vm */
    CHECK_INT(err.code, ERROR_INVALID_ARGUMENT);
    CHECK_STR(err.pointer, "wait");
}

static struct response *parked_create(enum vm_state state, enum op_state op_state, const char *wait)
{
    struct response *res = fresh();
    struct error err;

    fake.vm = fake_vm("{\"name\": \"a\"}", state);
    fake.op = fake_op(op_state);
    fake_query("wait", wait);
    fake_query("timeout", "3");
    if (create(res, "{\"name\": \"a\", \"start\": true}", &err) != HANDLER_PARKED)
        abort();
    return res;
}

static int resume(struct response *res, enum wait_result result, struct error *err)
{
    struct request req = fake_request("POST", "/v1/vms");

    fake.wait_result = result;
    return fake.resume(&req, res, err);
}

TEST(a_wait_ends_when_the_vm_runs)
{
    struct response *res = parked_create(VM_STATE_STARTING, OP_PENDING, "running");
    struct error err;

    CHECK_INT(fake.parked_ms, 3000);
    CHECK(!fake.parked_on_op);
    fake.vm->state = VM_STATE_RUNNING;
    fake.vm->started_at = 2000;
    CHECK_OK(resume(res, WAIT_DONE, &err));
    CHECK_INT(res->status, 201);
}

TEST(a_guest_that_was_done_before_anybody_looked_did_run)
{
    struct response *res = parked_create(VM_STATE_STARTING, OP_PENDING, "running");
    struct error err;

    fake.vm->state = VM_STATE_STOPPED;
    fake.vm->started_at = 2000;
    CHECK_OK(resume(res, WAIT_DONE, &err));
    CHECK_INT(res->status, 201);
}

TEST(a_wait_that_takes_too_long_says_where_the_vm_is)
{
    struct response *res = parked_create(VM_STATE_STARTING, OP_RUNNING, "console");
    struct error err;

    fake.vm->state = VM_STATE_RUNNING;
    CHECK_INT(resume(res, WAIT_TIMEOUT, &err), -1);
    CHECK_INT(err.code, ERROR_TIMEOUT);
    CHECK(strstr(err.detail, "its console is silent"));
    CHECK(strstr(err.remedy, "7f1c0a52"));
}

TEST(a_console_that_spoke_ends_the_wait)
{
    struct response *res = parked_create(VM_STATE_STARTING, OP_RUNNING, "console");
    struct error err;

    fake.console_output = true;
    CHECK_OK(resume(res, WAIT_DONE, &err));
}

TEST(a_start_that_failed_is_answered_with_its_reason)
{
    struct response *res = parked_create(VM_STATE_STARTING, OP_PENDING, "running");
    struct error err;

    /* The VM's state first: the answer waits for the operation, which has the reason. */
    fake.vm->state = VM_STATE_FAILED;
    CHECK_INT(resume(res, WAIT_DONE, &err), HANDLER_PARKED);
    CHECK(fake.parked_on_op);
    fake.op->state = OP_FAILED;
    error_set(&fake.op->error, ERROR_HYPERVISOR_FAILED, "QEMU could not be started");
    CHECK_INT(resume(res, WAIT_DONE, &err), -1);
    CHECK_INT(err.code, ERROR_HYPERVISOR_FAILED);
    CHECK_STR(err.detail, "QEMU could not be started");
    CHECK(*err.remedy);
}

TEST(a_reason_that_does_not_come_is_not_waited_for_twice)
{
    struct response *res = parked_create(VM_STATE_STARTING, OP_PENDING, "running");
    struct error err;

    fake.vm->state = VM_STATE_FAILED;
    CHECK_INT(resume(res, WAIT_DONE, &err), HANDLER_PARKED);
    CHECK_INT(resume(res, WAIT_TIMEOUT, &err), -1);
    CHECK_INT(err.code, ERROR_VM_STATE_CONFLICT);
}

TEST(a_vm_that_was_deleted_meanwhile_is_a_conflict)
{
    struct response *res = parked_create(VM_STATE_STARTING, OP_SUCCEEDED, "running");
    struct error err;

    vm_unref(TAKE_PTR(fake.vm));
    CHECK_INT(resume(res, WAIT_DONE, &err), -1);
    CHECK_INT(err.code, ERROR_VM_STATE_CONFLICT);
    CHECK(strstr(err.detail, "deleted"));
}

TEST(a_stopping_daemon_ends_the_wait)
{
    struct response *res = parked_create(VM_STATE_STARTING, OP_PENDING, "running");
    struct error err;

    CHECK_INT(resume(res, WAIT_STOPPING, &err), -1);
    CHECK_INT(err.code, ERROR_SHUTTING_DOWN);
}

/* ---- actions ---- */

TEST(the_route_names_the_verb)
{
    static const struct {
        const char *path;
        enum vm_verb verb;
    } rows[] = {{"/v1/vms/{vm}/start", VM_VERB_START},
                {"/v1/vms/{vm}/save", VM_VERB_SAVE},
                {"/v1/vms/{vm}/shutdown", VM_VERB_SHUTDOWN}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct response *res = fresh();
        struct request req = fake_request("POST", rows[i].path);
        struct error err;

        fake_param(&req, "vm", "a");
        fake.op = fake_op(OP_PENDING);
        CHECK_OK(handle_vm_action(&req, res, &err));
        CHECK_INT(fake.verb, rows[i].verb);
        CHECK_INT(res->status, 202);
        CHECK_STR(response_header_value(res, "Location"),
                  "/v1/operations/0b9a1c3e-5d7f-4a2b-8c6d-1e3f5a7b9c0d");
    }
}

TEST(an_action_that_is_waited_for_answers_200_when_finished_and_202_when_not)
{
    static const struct {
        enum op_state state;
        int status;
    } rows[] = {{OP_SUCCEEDED, 200}, {OP_FAILED, 200}, {OP_RUNNING, 202}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct response *res = fresh();
        struct request req = fake_request("POST", "/v1/vms/{vm}/start");
        struct error err;

        fake_param(&req, "vm", "a");
        fake_query("wait", "5");
        fake.op = fake_op(OP_PENDING);
        CHECK_INT(handle_vm_action(&req, res, &err), HANDLER_PARKED);
        CHECK_INT(fake.parked_ms, 5000);
        fake.op->state = rows[i].state;
        CHECK_OK(fake.resume(&req, res, &err));
        CHECK_INT(res->status, rows[i].status);
    }
}

TEST(a_bad_wait_is_refused_before_the_work)
{
    struct response *res = fresh();
    struct request req = fake_request("POST", "/v1/vms/{vm}/stop");
    struct error err;

    fake_param(&req, "vm", "a");
    fake_query("wait", "601");
    fake.verb = VM_VERB_COUNT;
    CHECK_INT(handle_vm_action(&req, res, &err), -1);
    CHECK_INT(fake.verb, VM_VERB_COUNT);
}

TEST(delete_passes_force_and_if_match_on)
{
    struct response *res = fresh();
    struct request req = fake_request("DELETE", "/v1/vms/{vm}");
    struct error err;

    fake_param(&req, "vm", "a");
    fake_query("force", "true");
    fake_header("If-Match", "\"7\"");
    fake.op = fake_op(OP_PENDING);
    CHECK_OK(handle_vm_delete(&req, res, &err));
    CHECK(fake.force && fake.generation == 7 && fake.verb == VM_VERB_DELETE);
}

/* ---- embedded files ---- */

static void get_asset(struct response *res, const char *file)
{
    struct request req = fake_request("GET", "/assets/{file}");
    struct error err;

    fake_param(&req, "file", file);
    CHECK_OK(handle_asset(&req, res, &err));
}

TEST(files_with_a_hash_in_their_name_are_kept_for_ever)
{
    struct response *res = fresh();

    get_asset(res, "app-1.js");
    CHECK_INT(res->status, 200);
    CHECK(strstr(response_header_value(res, "Cache-Control"), "immutable"));
    CHECK_STR(res->body->data, "alert");
    CHECK(!response_header_value(res, "Content-Encoding"));
    CHECK(!response_header_value(res, "Content-Security-Policy"));
}

TEST(gzip_is_sent_to_who_takes_it)
{
    struct response *res = fresh();

    fake_header("Accept-Encoding", "br;q=1.0, gzip;q=0.5");
    get_asset(res, "app-1.js");
    CHECK_STR(response_header_value(res, "Content-Encoding"), "gzip");
    CHECK_STR(res->body->data, "gz");
}

TEST(what_the_client_has_is_not_sent_again)
{
    struct response *res = fresh();

    fake_header("If-None-Match", "\"other\", \"js\"");
    get_asset(res, "app-1.js");
    CHECK_INT(res->status, 304);
    CHECK(!res->body);
    CHECK_STR(response_header_value(res, "ETag"), "\"js\"");
}

TEST(the_style_of_the_docs_is_found_among_the_assets)
{
    struct response *res = fresh();

    get_asset(res, "docs.css");
    CHECK_STR(res->body->data, "body{}");
}

TEST(pages_have_a_policy)
{
    struct response *res = fresh();
    struct request req = fake_request("GET", "/");
    struct error err;

    CHECK_OK(handle_dashboard(&req, res, &err));
    CHECK(strstr(response_header_value(res, "Content-Security-Policy"), "default-src 'none'"));
    CHECK(!strstr(response_header_value(res, "Content-Security-Policy"), "unsafe"));
    CHECK_STR(response_header_value(res, "Cache-Control"), "no-cache");
}

TEST(files_that_do_not_exist_are_not_found)
{
    struct response *res = fresh();
    struct request req = fake_request("GET", "/assets/{file}");
    struct error err;

    fake_param(&req, "file", "index.html");
    CHECK_INT(handle_asset(&req, res, &err), -1);
    CHECK_INT(err.code, ERROR_NOT_FOUND);
}

TEST(problems_redirect_to_their_paragraph)
{
    struct response *res = fresh();
    struct request req = fake_request("GET", "/problems/{slug}");
    struct error err;

    fake_param(&req, "slug", "vm-not-found");
    CHECK_OK(handle_problem(&req, res, &err));
    CHECK_INT(res->status, 302);
    CHECK_STR(response_header_value(res, "Location"), "/docs#problem-vm-not-found");
    req = fake_request("GET", "/problems/{slug}");
    fake_param(&req, "slug", "none");
    CHECK_INT(handle_problem(&req, res, &err), -1);
}

TEST(header_lists_are_taken_apart)
{
    CHECK(header_list_has("gzip", "gzip"));
    CHECK(header_list_has("a, GZIP ; q=1", "gzip"));
    CHECK(header_list_has("text/event-stream,*/*", "text/event-stream"));
    CHECK(!header_list_has("gzipped", "gzip"));
    CHECK(!header_list_has("a;x=gzip", "gzip"));
    CHECK(!header_list_has("", "gzip"));
    CHECK(!header_list_has(NULL, "gzip"));
    CHECK(!header_list_has(",,,", "gzip"));
    fresh();
}

TEST_MAIN();
