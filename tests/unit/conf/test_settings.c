/* The settings table and its parser. */
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/conf/settings.h"
#include "tests/support/test.h"

static int load(struct settings *s, const char *text, struct error *err)
{
    char path[] = "/tmp/drover-test-settings-XXXXXX";
    int fd = mkstemp(path), rc;

    CHECK(fd >= 0);
    CHECK(fd_write_all(fd, text, strlen(text), err) == 0);
    close(fd);
    rc = settings_load(s, path, err);
    unlink(path);
    return rc;
}

TEST(defaults_satisfy_their_own_bounds_and_can_be_read_back)
{
    auto_settings struct settings *s = settings_new();

    for (const struct settings_row *r = settings_rows(); r->name; r++) {
        auto_free char *text = settings_text(s, r->name);

        CHECK_STR(text, r->default_text);
    }
}

TEST(a_file_changes_values_and_ignores_comments)
{
    auto_settings struct settings *s = settings_new();
    struct error err;

    CHECK_OK(load(s, "# hello\nlisten = 127.0.0.1:0\njson_depth = 8\ninsecure_listen = yes\n", &err));
    CHECK_STR(s->listen, "127.0.0.1:0");
    CHECK_INT(s->json_depth, 8);
    CHECK(s->insecure_listen);
}

TEST(errors_name_file_line_and_setting)
{
    auto_settings struct settings *s = settings_new();
    struct error err;

    CHECK_INT(load(s, "\n\nno_such = 1\n", &err), -1);
    CHECK_STR(err.pointer, "no_such");
    CHECK(strstr(err.cause, ":3"));
    CHECK_INT(load(s, "json_depth = 3\n", &err), -1);
    CHECK_STR(err.pointer, "json_depth");
    CHECK_INT(load(s, "json_depth = 99999999999999999999\n", &err), -1);
    CHECK_INT(load(s, "[section]\njson_depth = 8\n", &err), -1);
    CHECK_INT(load(s, "insecure_listen = maybe\n", &err), -1);
}

TEST(reload_takes_only_what_may_change)
{
    auto_settings struct settings *a = settings_new(), *b = settings_new();
    struct error err;

    CHECK_OK(settings_set(b, "json_depth", "9", &err));
    CHECK_OK(settings_set(b, "listen", "127.0.0.1:1", &err));
    settings_reload(a, b);
    CHECK_INT(a->json_depth, 9);
    CHECK_STR(a->listen, "127.0.0.1:8460");
}

TEST_MAIN();
