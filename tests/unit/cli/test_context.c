/* Which server a command talks to, and that no token goes to another one. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/context.h"
#include "tests/support/test.h"

static char dir[] = "/tmp/drover-context-XXXXXX";

/* A home whose file of contexts is this text, with this mode. */
static void home(const char *text, mode_t mode)
{
    auto_free char *path = NULL;
    struct error err;

    if (strstr(dir, "XXXXXX"))
        CHECK(mkdtemp(dir));
    setenv("XDG_CONFIG_HOME", dir, 1);
    path = contexts_path();
    auto_free char *folder = xasprintf("%s/drover", dir);
    CHECK_INT(dir_ensure(folder, 0700, &err), 0);
    unlink(path);
    if (text) {
        CHECK_INT(file_write_atomic(path, text, strlen(text), mode, &err), 0);
        CHECK_INT(chmod(path, mode), 0);
    }
}

#define FILE_TEXT                                                                                  \
    "current: lab\n"                                                                               \
    "contexts:\n"                                                                                  \
    "  lab: {url: 'https://lab', token: of-lab}\n"                                                 \
    "  open: {url: 'http://open'}\n"                                                               \
    "  box: {socket: /run/box.sock}\n"

TEST(the_order_of_those_that_say_which_server)
{
    static const struct {
        struct context_given given;
        const char *server, *token, *by;
    } cases[] = {
        {{0}, "https://lab", "of-lab", "drover context use"},
        {{.env_token = "t"}, "https://lab", "of-lab", "drover context use"},
        {{.token = "t"}, "https://lab", "t", "drover context use"},
        {{.env_state_dir = "/d"}, "/d/drover.sock", NULL, "DROVER_STATE_DIR"},
        {{.env_state_dir = "/d", .env_context = "box"}, "/run/box.sock", NULL, "DROVER_CONTEXT"},
        {{.env_context = "open", .env_token = "t"}, "http://open", NULL, "DROVER_CONTEXT"},
        {{.env_context = "local", .env_token = "t"}, "/var/lib/drover/drover.sock", "t", "DROVER_CONTEXT"},
        {{.env_url = "http://u", .env_context = "box", .env_token = "t"}, "http://u", "t", "DROVER_URL"},
        {{.context = "open", .env_url = "http://u", .env_token = "t"}, "http://open", NULL, "--context"},
        {{.context = "lab", .token = "t"}, "https://lab", "t", "--context"},
        {{.url = "http://a", .env_url = "http://u", .env_context = "lab"}, "http://a", NULL, "--url"},
        {{.socket = "/s", .env_url = "http://u", .env_token = "t"}, "/s", "t", "--socket"},
    };

    home(FILE_TEXT, 0600);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        auto_context_choice struct context_choice c = {0};
        struct failure fail;

        CHECK_INT(context_choose(&cases[i].given, &c, &fail), 0);
        CHECK_STR(c.url ? c.url : c.socket, cases[i].server);
        CHECK(!c.url != !c.socket);
        CHECK_STR(c.token ? c.token : "none", cases[i].token ? cases[i].token : "none");
        CHECK_STR(c.by, cases[i].by);
    }
}

TEST(without_a_file_it_is_this_hosts_socket)
{
    auto_context_choice struct context_choice c = {0};
    const struct context_given given = {.env_token = "t"};
    struct failure fail;

    home(NULL, 0);
    CHECK_INT(context_choose(&given, &c, &fail), 0);
    CHECK_STR(c.socket, "/var/lib/drover/drover.sock");
    CHECK_STR(c.token, "t");
}

TEST(contradictions_and_unknown_names_are_usage_failures)
{
    static const struct {
        struct context_given given;
        const char *says;
    } cases[] = {
        {{.url = "http://a", .socket = "/s"}, "--url and --socket"},
        {{.url = "http://a", .context = "lab"}, "--context and --url"},
        {{.socket = "/s", .context = "lab"}, "--context and --socket"},
        {{.context = "nosuch"}, "'nosuch' (--context)"},
        {{.env_context = "nosuch"}, "'nosuch' (DROVER_CONTEXT)"},
    };

    home(FILE_TEXT, 0600);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct context_choice c;
        struct failure fail;

        CHECK_INT(context_choose(&cases[i].given, &c, &fail), -1);
        CHECK_INT(fail.exit, CLI_USAGE);
        CHECK(strstr(fail.detail, cases[i].says));
    }
}

TEST(a_file_that_others_can_read_or_that_is_broken_is_refused_but_not_needed_with_url)
{
    static const struct {
        const char *text;
        mode_t mode;
        const char *says;
    } cases[] = {
        {FILE_TEXT, 0644, "read by others"},
        {FILE_TEXT, 0640, "read by others"},
        {"contexts: [", 0600, "line 2"},
        {"contexts: []\n", 0600, "mapping"},
        {"contexts: {a: {}}\n", 0600, "either url or socket"},
        {"contexts: {a: {url: 'http://a', socket: /s}}\n", 0600, "either url or socket"},
        {"current: [1]\ncontexts: {}\n", 0600, "current"},
        {"current: gone\ncontexts: {}\n", 0600, "'gone'"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct context_given nothing = {0}, url = {.url = "http://a"};
        auto_context_choice struct context_choice c = {0};
        struct failure fail;

        home(cases[i].text, cases[i].mode);
        CHECK_INT(context_choose(&nothing, &c, &fail), -1);
        CHECK_INT(fail.exit, CLI_USAGE);
        CHECK(strstr(fail.detail, cases[i].says));
        CHECK_INT(context_choose(&url, &c, &fail), 0);
    }
}

TEST(what_is_saved_is_private_and_read_again)
{
    auto_value json_t *file = json_pack("{s:s, s:{s:{s:s, s:s}}}", "current", "a", "contexts", "a", "url",
                                        "http://a", "token", "yes"), *read = NULL;
    auto_free char *path = NULL;
    struct failure fail;
    struct stat st;

    home(NULL, 0);
    path = contexts_path();
    umask(0);
    CHECK_INT(contexts_save(file, &fail), 0);
    CHECK_INT(stat(path, &st), 0);
    CHECK_INT(st.st_mode & 0777, 0600);
    CHECK_INT(contexts_load(&read, &fail), 0);
    CHECK(json_equal(file, read));
    unlink(path);
    auto_free char *folder = xasprintf("%s/drover", dir);
    CHECK_INT(rmdir(folder), 0);
    CHECK_INT(rmdir(dir), 0);
}

TEST(names_of_contexts)
{
    static const char *const wrong[] = {"", "local", "-a", "a b", "a/b", "\xc3\xa4"};
    struct failure fail;

    CHECK_INT(context_check_name("lab-1.example_org", &fail), 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        CHECK_INT(context_check_name(wrong[i], &fail), -1);
}

TEST_MAIN();
