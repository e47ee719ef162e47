/*
 * Who may open which stream in which mode, and what a ticket is worth.
 */
#include "service/json/doc.h"
#include "tests/support/test.h"
#include "tests/unit/handlers/fakes.h"

static struct response answer;

static struct response *fresh(enum vm_state state)
{
    response_done(&answer);
    fakes_reset();
    fake.vm = fake_vm("{\"name\": \"web\", \"channels\": [\"org.example.0\"]}", state);
    return &answer;
}

static int open_console(struct response *res, bool principal, struct error *err)
{
    struct request req = fake_request("GET", "/v1/vms/{vm}/console");

    fake_param(&req, "vm", "web");
    req.has_principal = principal;
    if (!principal)
        req.principal = (struct principal){0};
    return handle_console_open(&req, res, err);
}

TEST(a_running_vms_console_is_opened_raw_and_for_typing)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    CHECK_OK(open_console(res, true, &err));
    CHECK_INT(res->status, 101);
    CHECK(res->stream);
    CHECK_STR(res->subprotocol, "");
    CHECK_INT(fake.attach.mode, CONSOLE_CONTROL);
    CHECK_INT(fake.attach.protocol, CONSOLE_RAW);
    CHECK(!fake.attach.has_from);
    CHECK_INT(fake.ensured, 1);
    CHECK_STR(fake.attached_viewer, "token:AbCdEf123456");
}

TEST(a_stopped_vms_console_is_read_from_memory)
{
    struct response *res = fresh(VM_STATE_STOPPED);
    struct error err;

    CHECK_OK(open_console(res, true, &err));
    CHECK_INT(fake.ensured, 0);
}

TEST(a_stopped_vm_without_memory_says_what_to_do)
{
    struct response *res = fresh(VM_STATE_STOPPED);
    struct error err;

    fake.not_attached = true;
    CHECK_INT(open_console(res, true, &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_UNAVAILABLE);
    CHECK(strstr(err.detail, "stopped"));
    CHECK(*err.remedy);
}

TEST(from_and_mode_are_passed_on)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    fake_query("from", "4096");
    fake_query("mode", "view");
    CHECK_OK(open_console(res, true, &err));
    CHECK(fake.attach.has_from && fake.attach.from == 4096);
    CHECK_INT(fake.attach.mode, CONSOLE_VIEW);
}

TEST(subprotocols)
{
    static const struct {
        const char *offered, *chosen;
        enum console_protocol protocol;
    } rows[] = {
        {"binary", "binary", CONSOLE_RAW},
        {"drover.console.v1", "drover.console.v1", CONSOLE_V1},
        {"binary, drover.console.v1", "drover.console.v1", CONSOLE_V1},
        {"chat, binary", "binary", CONSOLE_RAW},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct response *res = fresh(VM_STATE_RUNNING);
        struct error err;

        fake_header("Sec-WebSocket-Protocol", rows[i].offered);
        CHECK_OK(open_console(res, true, &err));
        CHECK_STR(res->subprotocol, rows[i].chosen);
        CHECK_INT(fake.attach.protocol, rows[i].protocol);
    }
}

TEST(only_unknown_subprotocols_are_refused)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    fake_header("Sec-WebSocket-Protocol", "chat, soap");
    CHECK_INT(open_console(res, true, &err), -1);
    CHECK_INT(err.code, ERROR_SUBPROTOCOL_UNKNOWN);
}

TEST(who_may_only_view_cannot_type)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    fake.granted = ACCESS_CONSOLE_VIEW;
    CHECK_INT(open_console(res, true, &err), -1);
    CHECK_INT(err.code, ERROR_FORBIDDEN);
    fake_query("mode", "view");
    CHECK_OK(open_console(res, true, &err));
}

TEST(a_ticket_stands_for_a_credential)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    fake_query("ticket", "T");
    fake_query("mode", "view");
    CHECK_OK(open_console(res, false, &err));
    CHECK_STR(fake.redeemed.vm_id, fake.vm->id);
    CHECK_STR(fake.redeemed.stream, "console");
    CHECK(!fake.redeemed.control);
    CHECK_STR(fake.attached_viewer, "token:TicketsToken");
}

TEST(a_bad_ticket_tells_nothing_about_vms)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error wrong, unknown;

    fake_query("ticket", "T");
    fake.ticket_ok = false;
    CHECK_INT(open_console(res, false, &wrong), -1);
    vm_unref(TAKE_PTR(fake.vm));
    CHECK_INT(open_console(res, false, &unknown), -1);
    CHECK_INT(wrong.code, ERROR_TICKET_EXPIRED);
    CHECK_INT(unknown.code, ERROR_TICKET_EXPIRED);
}

TEST(a_ticket_is_not_spent_on_a_malformed_request)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    fake_query("ticket", "T");
    fake_query("mode", "own");
    CHECK_INT(open_console(res, false, &err), -1);
    CHECK_INT(err.code, ERROR_INVALID_ARGUMENT);
    CHECK_STR(fake.redeemed.vm_id, "");
}

TEST(without_anything_it_is_unauthenticated)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    CHECK_INT(open_console(res, false, &err), -1);
    CHECK_INT(err.code, ERROR_UNAUTHENTICATED);
}

static int open_channel(struct response *res, const char *name, struct error *err)
{
    struct request req = fake_request("GET", "/v1/vms/{vm}/channels/{channel}");

    fake_param(&req, "vm", "web");
    fake_param(&req, "channel", name);
    return handle_channel_open(&req, res, err);
}

TEST(channels_are_those_of_the_definition)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    CHECK_OK(open_channel(res, "org.example.0", &err));
    CHECK_INT(open_channel(res, "org.example.1", &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_NOT_FOUND);
    CHECK(strstr(err.detail, "org.example.1"));
}

static int open_port(struct response *res, handler_fn *handler, const char *port, struct error *err)
{
    struct request req = fake_request("GET", "/v1/vms/{vm}/…/{port}");

    fake_param(&req, "vm", "web");
    fake_param(&req, "port", port);
    return handler(&req, res, err);
}

TEST(a_vsock_port_is_opened_for_its_client_alone)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    CHECK_OK(open_port(res, handle_vsock_open, "4294967294", &err));
    CHECK_INT(res->status, 101);
    CHECK_STR(fake.pipe_stream, "vsock/4294967294");
    CHECK_INT(fake.pipe.mode, CONSOLE_CONTROL);
    CHECK_INT(fake.ensured, 0);
}

TEST(what_is_no_vsock_port)
{
    static const char *const bad[] = {"0", "00", "022", "-1", "+1", "1x", "", " 1", "4294967295",
                                      "4294967296", "99999999999999999999", "1/2"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct response *res = fresh(VM_STATE_RUNNING);
        struct error err;

        CHECK_INT(open_port(res, handle_vsock_open, bad[i], &err), -1);
        CHECK_INT(err.code, ERROR_INVALID_ARGUMENT);
        CHECK_STR(err.pointer, "port");
        CHECK_STR(fake.pipe_stream, "");
    }
}

TEST(streams_that_the_definition_does_not_have)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    CHECK_INT(open_port(res, handle_serial_open, "1", &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_NOT_FOUND);
    CHECK(*err.remedy);
    CHECK_INT(open_port(res, handle_display_open, "", &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_NOT_FOUND);
    fakes_reset();
    fake.vm = fake_vm("{\"name\": \"web\", \"vsock\": false, \"serial_ports\": 3}", VM_STATE_RUNNING);
    CHECK_INT(open_port(res, handle_vsock_open, "22", &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_NOT_FOUND);
    CHECK_OK(open_port(res, handle_serial_open, "2", &err));
    CHECK_INT(open_port(res, handle_serial_open, "3", &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_NOT_FOUND);
    CHECK_INT(open_port(res, handle_serial_open, "0", &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_NOT_FOUND);
}

TEST(kubernetes_channels_are_refused_by_their_name)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    fake_header("Sec-WebSocket-Protocol", "v5.channel.k8s.io, v4.channel.k8s.io");
    CHECK_INT(open_console(res, true, &err), -1);
    CHECK_INT(err.code, ERROR_SUBPROTOCOL_UNKNOWN);
    CHECK(strstr(err.detail, "Kubernetes"));
    CHECK(strstr(err.remedy, "binary"));
}

TEST(a_channel_name_too_long_for_a_ticket_is_only_not_good)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct request req = fake_request("GET", "/v1/vms/{vm}/channels/{channel}");
    struct error err;
    char name[256];

    memset(name, 'x', sizeof(name) - 1);
    name[255] = '\0';
    fake_param(&req, "vm", "web");
    fake_param(&req, "channel", name);
    fake_query("ticket", "T");
    req.has_principal = false;
    CHECK_INT(handle_channel_open(&req, res, &err), -1);
    CHECK_INT(err.code, ERROR_TICKET_EXPIRED);
}

/* ---- tickets ---- */

static int make_ticket(struct response *res, const char *text, struct error *err)
{
    struct request req = fake_request("POST", "/v1/tickets");
    auto_json json_t *body = json_loads(text, 0, NULL);

    req.json = body;
    return handle_ticket_create(&req, res, err);
}

TEST(a_ticket_names_an_address_of_the_host_that_was_asked)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    fake_header("Host", "kvm.example:8460");
    CHECK_OK(make_ticket(res, "{\"vm\":\"web\",\"stream\":\"console\"}", &err));
    CHECK_INT(res->status, 201);
    auto_json json_t *value = response_value(res);
    CHECK_STR(json_string_value(json_object_get(value, "url")),
              "ws://kvm.example:8460/v1/vms/7f1c0a52-94a5-4c0e-9f8f-0d3a2b1c4d5e/console"
              "?mode=control&ticket=SECRET");
    CHECK(fake.redeemed.control);
}

TEST(a_ticket_to_type_needs_the_right_to_type)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    fake.granted = ACCESS_CONSOLE_VIEW;
    CHECK_INT(make_ticket(res, "{\"vm\":\"web\",\"stream\":\"console\"}", &err), -1);
    CHECK_INT(err.code, ERROR_FORBIDDEN);
    CHECK_OK(make_ticket(res, "{\"vm\":\"web\",\"stream\":\"console\",\"mode\":\"view\"}", &err));
}

TEST(no_ticket_for_a_channel_that_does_not_exist)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    CHECK_INT(make_ticket(res, "{\"vm\":\"web\",\"stream\":\"channels/none\"}", &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_NOT_FOUND);
    CHECK_INT(make_ticket(res, "{\"vm\":\"web\",\"stream\":\"display\"}", &err), -1);
    CHECK_INT(err.code, ERROR_STREAM_NOT_FOUND);
}

TEST(nobody_can_only_watch_a_vsock_port)
{
    struct response *res = fresh(VM_STATE_RUNNING);
    struct error err;

    CHECK_OK(make_ticket(res, "{\"vm\":\"web\",\"stream\":\"vsock/22\"}", &err));
    CHECK_INT(make_ticket(res, "{\"vm\":\"web\",\"stream\":\"vsock/22\",\"mode\":\"view\"}", &err), -1);
    CHECK_INT(err.code, ERROR_VALIDATION_FAILED);
    CHECK_STR(err.pointer, "/mode");
}

/* ---- the log ---- */

static int read_log(struct response *res, struct error *err)
{
    struct request req = fake_request("GET", "/v1/vms/{vm}/console/log");

    fake_param(&req, "vm", "web");
    return handle_console_log(&req, res, err);
}

TEST(the_log_is_text_with_offsets)
{
    struct response *res = fresh(VM_STATE_STOPPED);
    struct error err;

    CHECK_OK(read_log(res, &err));
    CHECK_STR(res->body->data, "hi\n");
    CHECK_STR(response_header_value(res, "X-Drover-Offset"), "100");
    CHECK_STR(response_header_value(res, "X-Drover-Oldest"), "90");
    CHECK_STR(response_header_value(res, "X-Drover-Next"), "112");
    CHECK_STR(res->content_type, "text/plain; charset=utf-8");
}

TEST(the_log_is_raw_when_asked_for)
{
    struct response *res = fresh(VM_STATE_STOPPED);
    struct error err;

    fake_query("format", "raw");
    CHECK_OK(read_log(res, &err));
    CHECK_INT(res->body->len, 12);
    CHECK_STR(res->content_type, "application/octet-stream");
}

TEST(other_formats_are_refused)
{
    struct response *res = fresh(VM_STATE_STOPPED);
    struct error err;

    fake_query("format", "pdf");
    CHECK_INT(read_log(res, &err), -1);
    CHECK_STR(err.pointer, "format");
    fakes_reset();
}

TEST_MAIN();
