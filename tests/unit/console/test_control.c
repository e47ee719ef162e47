/* Many viewers, one keyboard: who holds, who asks, who is told. */
#include <jansson.h>

#include "tests/unit/console/rig.h"

static struct rig rig;

/* What the audit log would have: "handed v2 granted" and so on, one a line. */
static char notices[4096];

static void take_notice(void *opaque, const struct console_notice *n)
{
    static const char *const what[] = {"attached", "detached", "handed"};
    size_t len = strlen(notices);

    snprintf(notices + len, sizeof(notices) - len, "%s %s v%llu %s\n", what[n->what], n->viewer,
             (unsigned long long)n->viewer_id, n->how ? n->how : "-");
}

static struct source *viewer(const char *who)
{
    return rig_attach_as(&rig, CONSOLE_CONTROL, CONSOLE_V1, who);
}

/* Reads frames until one of that type comes; the caller frees it. */
static json_t *next_of(struct source *s, const char *type)
{
    for (int i = 0; i < 20; i++) {
        json_t *frame = json_loads(rig_read_frame(s), 0, NULL);

        if (str_eq(json_string_value(json_object_get(frame, "type")), type))
            return frame;
        json_decref(frame);
    }
    CHECK(!"a frame of that type");
    return NULL;
}

static void check_holder(struct source *s, const char *holder, bool exclusive, size_t requests)
{
    json_t *frame = next_of(s, "control");
    const char *got = json_string_value(json_object_get(frame, "holder"));
    bool same = str_eq(got, holder);

    if (!same)
        printf("# held by %s, not %s\n", got ? got : "nobody", holder ? holder : "nobody");
    same &= json_is_true(json_object_get(frame, "exclusive")) == exclusive;
    same &= json_array_size(json_object_get(frame, "requests")) == requests;
    json_decref(frame);
    CHECK(same);
}

static void check_error(struct source *s, const char *code)
{
    json_t *frame = next_of(s, "error");

    CHECK_STR(json_string_value(json_object_get(frame, "code")), code);
    json_decref(frame);
}

/* Everything that is due, thrown away. */
static void drain(struct source *s)
{
    static char buf[1 << 16];
    enum source_kind kind;

    while (s->read(s, buf, sizeof(buf), &kind) > 0)
        ;
}

static void ask(struct source *s, const char *frame)
{
    CHECK_INT(rig_type(s, frame), strlen(frame));
}

static bool typed(struct source *s, const char *text)
{
    char buf[64];
    ssize_t n;

    CHECK_INT(s->write(s, SOURCE_BYTES, text, strlen(text)), strlen(text));
    n = recv(rig.guest, buf, sizeof(buf), MSG_DONTWAIT);
    return n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0;
}

#define REQUEST "{\"type\":\"request-control\"}"
#define TAKE    "{\"type\":\"take-control\"}"
#define RELEASE "{\"type\":\"release-control\"}"

TEST(the_first_to_come_holds_and_the_others_are_refused)
{
    struct source *a, *b;

    rig_open(&rig, 4096, 8);
    a = viewer("a");
    b = viewer("b");
    drain(a);
    drain(b);
    CHECK(typed(a, "ls"));
    CHECK(!typed(b, "rm"));
    check_error(b, "not-holder");
    CHECK(!typed(b, "rm")); /* each time it is told, as soon as it has read */
    check_error(b, "not-holder");
    rig_detach(a);
    rig_detach(b);
    rig_close(&rig);
}

TEST(asking_shows_to_everybody_and_only_the_holder_grants)
{
    struct source *a, *b, *c;

    *notices = '\0';
    rig.on_notice = take_notice;
    rig_open(&rig, 4096, 8);
    a = viewer("a");
    b = viewer("b");
    c = viewer("c");
    drain(a);
    drain(b);
    drain(c);
    ask(b, REQUEST);
    check_holder(a, "v1", false, 1);
    check_holder(b, "v1", false, 1);
    check_holder(c, "v1", false, 1);
    ask(c, "{\"type\":\"grant-control\",\"to\":\"v2\"}");
    check_error(c, "not-holder");
    ask(a, "{\"type\":\"grant-control\",\"to\":\"v77\"}");
    check_error(a, "no-such-viewer");
    ask(a, "{\"type\":\"grant-control\",\"to\":2}");
    check_error(a, "invalid-control");
    ask(a, "{\"type\":\"grant-control\",\"to\":\"v2\"}");
    check_holder(a, "v2", false, 0);
    check_holder(b, "v2", false, 0);
    CHECK(typed(b, "ls"));
    CHECK(!typed(a, "ls"));
    rig_detach(a);
    rig_detach(b);
    rig_detach(c);
    rig_close(&rig);
    CHECK_STR(notices, "attached a v1 -\nattached b v2 -\nattached c v3 -\nhanded b v2 granted\n"
                       "detached a v1 -\ndetached b v2 -\ndetached c v3 -\n");
    rig.on_notice = NULL;
}

TEST(taking_over_always_works_and_is_written_down)
{
    struct source *a, *b;

    *notices = '\0';
    rig.on_notice = take_notice;
    rig_open(&rig, 4096, 8);
    a = viewer("a");
    b = viewer("b");
    drain(a);
    ask(b, TAKE);
    check_holder(a, "v2", false, 0);
    CHECK(!typed(a, "x"));
    CHECK(typed(b, "y"));
    CHECK(strstr(notices, "handed b v2 taken\n"));
    rig_detach(a);
    rig_detach(b);
    rig_close(&rig);
    rig.on_notice = NULL;
}

TEST(what_is_released_or_left_goes_to_who_asked_longest_or_who_types_next)
{
    struct source *a, *b, *c;

    rig_open(&rig, 4096, 8);
    a = viewer("a");
    b = viewer("b");
    c = viewer("c");
    ask(c, REQUEST);
    ask(b, REQUEST);
    drain(b);
    ask(a, RELEASE);
    check_holder(b, "v3", false, 1);
    rig_detach(c);
    check_holder(b, "v2", false, 0);
    ask(b, RELEASE);
    check_holder(b, NULL, false, 0);
    drain(a);
    CHECK(typed(a, "mine"));
    check_holder(a, "v1", false, 0);
    check_holder(b, "v1", false, 0);
    ask(b, REQUEST);
    check_holder(a, "v1", false, 1);
    ask(b, RELEASE); /* asks no more */
    check_holder(a, "v1", false, 0);
    rig_detach(a);
    rig_detach(b);
    rig_close(&rig);
}

TEST(a_raw_client_types_unless_the_holder_wants_to_be_alone)
{
    struct source *raw, *a;

    rig_open(&rig, 4096, 8);
    raw = rig_attach(&rig);
    a = viewer("a");
    CHECK(typed(raw, "one"));
    CHECK(typed(a, "two"));
    CHECK(typed(raw, "three"));
    drain(a);
    ask(a, "{\"type\":\"take-control\",\"exclusive\":true}");
    check_holder(a, "v2", true, 0);
    CHECK(!typed(raw, "four"));
    CHECK(typed(a, "five"));
    ask(a, "{\"type\":\"take-control\",\"exclusive\":1}");
    check_error(a, "invalid-control");
    rig_detach(a);
    CHECK(typed(raw, "six")); /* and four never comes */
    rig_detach(raw);
    rig_close(&rig);
}

TEST(a_watcher_never_holds)
{
    struct source *w, *a;

    rig_open(&rig, 4096, 8);
    w = rig_attach_as(&rig, CONSOLE_VIEW, CONSOLE_V1, "w");
    a = viewer("a");
    drain(w);
    drain(a);
    ask(a, "{\"type\":\"grant-control\",\"to\":\"v1\"}");
    check_error(a, "no-such-viewer");
    ask(a, RELEASE);
    check_holder(w, NULL, false, 0);
    rig_detach(a);
    rig_detach(w);
    rig_close(&rig);
}

TEST(the_size_is_the_holders_and_everybody_is_told)
{
    struct source *a, *b, *c;
    json_t *frame;

    rig_open(&rig, 4096, 8);
    a = viewer("a");
    b = viewer("b");
    drain(a);
    drain(b);
    ask(b, "{\"type\":\"size\",\"rows\":24,\"cols\":80}");
    check_error(b, "not-holder");
    for (size_t i = 0; i < 4; i++) {
        static const char *const wrong[] = {"{\"type\":\"size\",\"rows\":0,\"cols\":80}",
                                            "{\"type\":\"size\",\"rows\":24}",
                                            "{\"type\":\"size\",\"rows\":24,\"cols\":10000}",
                                            "{\"type\":\"size\",\"rows\":\"24\",\"cols\":80}"};

        ask(a, wrong[i]);
        check_error(a, "invalid-control");
    }
    ask(a, "{\"type\":\"size\",\"rows\":50,\"cols\":132}");
    frame = next_of(b, "size");
    CHECK_INT(json_integer_value(json_object_get(frame, "rows")), 50);
    json_decref(frame);
    c = viewer("c");
    frame = next_of(c, "hello");
    CHECK_INT(json_integer_value(json_object_get(frame, "cols")), 132);
    CHECK_STR(json_string_value(json_object_get(frame, "holder")), "v1");
    json_decref(frame);
    rig_detach(a);
    rig_detach(b);
    rig_detach(c);
    rig_close(&rig);
}

TEST(handing_control_around_in_a_loop_is_stopped)
{
    struct source *a, *b;
    int handed = 0, lines = 0;

    *notices = '\0';
    rig.on_notice = take_notice;
    rig_open(&rig, 4096, 8);
    a = viewer("a");
    b = viewer("b");
    for (int i = 0; i < 200; i++) {
        ask(i % 2 ? a : b, TAKE);
        drain(a);
        drain(b);
    }
    for (const char *p = notices; (p = strstr(p, "handed")); p++)
        handed++;
    CHECK(handed >= 10 && handed <= 60);
    for (const char *p = notices; (p = strchr(p, '\n')); p++)
        lines++;
    CHECK(lines <= 62);
    rig_detach(a);
    rig_detach(b);
    rig_close(&rig);
    rig.on_notice = NULL;
}

TEST(the_list_of_viewers_fits_whatever_they_are_called)
{
    static struct source *s[300];
    char name[200];
    json_t *frame;
    size_t listed;

    rig_open(&rig, 4096, 400);
    memset(name, '\x01', sizeof(name) - 1); /* six characters each in JSON */
    name[sizeof(name) - 1] = '\0';
    for (size_t i = 0; i < 300; i++) {
        struct error err = ERROR_INIT;
        const struct console_attach attach = {.vm_id = VM,
                                              .stream = "console",
                                              .mode = CONSOLE_VIEW,
                                              .protocol = CONSOLE_V1,
                                              .viewer = "token:X",
                                              .name = i % 2 ? name : "\xff\xfe not UTF-8"};

        CHECK_OK(console_attach(rig.hub, &attach, &s[i], &err));
    }
    frame = next_of(s[0], "viewers");
    CHECK_INT(json_integer_value(json_object_get(frame, "count")), 300);
    listed = json_array_size(json_object_get(frame, "viewers"));
    CHECK(listed >= 20 && listed <= 100);
    json_decref(frame);
    for (size_t i = 0; i < 300; i++)
        rig_detach(s[i]);
    rig_close(&rig);
}

TEST_MAIN();
