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

static bool takes(struct settings *s, const char *name, long long value)
{
    auto_free char *text = xasprintf("%lld", value);
    struct error err;

    return settings_set(s, name, text, &err) == 0;
}

TEST(every_number_has_limits_that_hold)
{
    auto_settings struct settings *s = settings_new();
    static const char *const nonsense[] = {"", "-", "x", "1x", "0x10", "1e3", "9223372036854775808",
                                           "18446744073709551616", "-9223372036854775809"};
    struct error err;

    for (const struct settings_row *r = settings_rows(); r->name; r++) {
        if (r->kind != SETTINGS_INT)
            continue;
        CHECK(takes(s, r->name, r->min) && takes(s, r->name, r->max));
        CHECK(!takes(s, r->name, r->min - 1) && !takes(s, r->name, r->max + 1));
        CHECK(!takes(s, r->name, 2 * r->max) || 2 * r->max <= r->max);
        CHECK(!takes(s, r->name, INT64_MAX) && !takes(s, r->name, INT64_MIN));
        for (size_t i = 0; i < sizeof(nonsense) / sizeof(*nonsense); i++)
            CHECK(settings_set(s, r->name, nonsense[i], &err) == -1);
        CHECK_STR(err.pointer, r->name);
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
