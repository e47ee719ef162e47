/* Host and Origin rules. */
#include "api/http_policy.h"
#include "tests/support/test.h"

static struct error err;

static struct http_policy *policy(const char *public_url, const char *origins, const char *hosts)
{
    auto_settings struct settings *s = settings_new();
    struct http_policy *p = NULL;

    if (settings_set(s, "public_url", public_url, &err) < 0 ||
        settings_set(s, "allowed_origins", origins, &err) < 0 ||
        settings_set(s, "allowed_hosts", hosts, &err) < 0 || http_policy_new(s, &p, &err) < 0)
        return NULL;
    return p;
}

#define EACH(list, text) for (const char *const *text = list; *text; text++)

TEST(addresses_and_configured_names_are_hosts)
{
    struct http_policy *p = policy("https://drover.example/ui", "", "vm.lan other.lan:8460");
    const char *const good[] = {"127.0.0.1",   "127.0.0.1:8460", "10.1.2.3:80",
                                "[::1]:8460",  "[fe80::1]",      "localhost",
                                "LOCALHOST:1", "drover.example", "drover.example:443",
                                "vm.lan:99",   "other.lan:8460", "Drover.Example",
                                NULL};
    const char *const bad[] = {"evil.example",
                               "127.0.0.1.evil.example",
                               "localhost.evil.example",
                               "drover.example.x",
                               "xdrover.example",
                               "other.lan",
                               "other.lan:1",
                               "127.1",
                               "0x7f000001",
                               "2130706433",
                               "[::1].evil",
                               NULL};

    CHECK(p);
    EACH(good, h)
    {
        if (!http_policy_host(p, *h))
            printf("# %s\n", *h);
        CHECK(http_policy_host(p, *h));
    }
    EACH(bad, h)
    {
        if (http_policy_host(p, *h))
            printf("# %s\n", *h);
        CHECK(!http_policy_host(p, *h));
    }
    http_policy_free(p);
}

TEST(origins_are_exact)
{
    struct http_policy *p =
        policy("https://drover.example:8443", "https://a.example http://b.example:81/", "");
    const char *const good[] = {"https://drover.example:8443", "https://a.example",
                                "http://b.example:81", NULL};
    const char *const bad[] = {"null",
                               "HTTPS://a.example",
                               "",
                               "https://drover.example",
                               "https://drover.example:443",
                               "http://drover.example:8443", /* public_url is https */
                               "https://drover.example:84433",
                               "https://a.example.evil",
                               "https://evila.example",
                               "https://a.example:443",
                               "http://a.example",
                               "https://a.example/",
                               "https://a.example, https://evil",
                               "https://user@a.example",
                               "ftp://a.example",
                               "//a.example",
                               "a.example",
                               "https://a.example ",
                               "https://b.example:81",
                               NULL};

    CHECK(p);
    EACH(good, o)
    CHECK(http_policy_origin(p, *o, "drover.example:8443", false));
    EACH(bad, o)
    {
        if (http_policy_origin(p, *o, "drover.example:8443", false))
            printf("# %s\n", *o);
        CHECK(!http_policy_origin(p, *o, "drover.example:8443", false));
    }
    http_policy_free(p);
}

TEST(the_page_we_served_is_ours)
{
    struct http_policy *p = policy("", "", "");

    CHECK(http_policy_origin(p, "http://127.0.0.1:8460", "127.0.0.1:8460", false));
    CHECK(http_policy_origin(p, "http://[::1]:8460", "[::1]:8460", false));
    CHECK(!http_policy_origin(p, "http://127.0.0.1:8461", "127.0.0.1:8460", false));
    CHECK(!http_policy_origin(p, "https://127.0.0.1:8460", "127.0.0.1:8460", false));
    CHECK(!http_policy_origin(p, "http://127.0.0.1", "127.0.0.1:8460", false));
    CHECK(!http_policy_origin(p, "http://localhost:8460", "127.0.0.1:8460", false));
    CHECK(http_policy_origin(p, "https://127.0.0.1:8460", "127.0.0.1:8460", true));
    CHECK(!http_policy_origin(p, "http://127.0.0.1:8460", "127.0.0.1:8460", true));
    http_policy_free(p);
}

TEST(a_cookie_needs_the_page_named)
{
    struct http_policy *p = policy("", "", "");
    const char *host = "127.0.0.1:8460";
    const char *ours = "http://127.0.0.1:8460";

    CHECK_INT(http_policy_cookie(p, ours, NULL, host, false, false), POLICY_OK);
    CHECK_INT(http_policy_cookie(p, ours, "same-origin", host, true, false), POLICY_OK);
    CHECK_INT(http_policy_cookie(p, NULL, "same-origin", host, false, false), POLICY_OK);
    CHECK_INT(http_policy_cookie(p, NULL, "same-origin", host, true, false), POLICY_ORIGIN_REFUSED);
    CHECK_INT(http_policy_cookie(p, NULL, "same-site", host, false, false), POLICY_CSRF_REFUSED);
    CHECK_INT(http_policy_cookie(p, NULL, "cross-site", host, false, false), POLICY_CSRF_REFUSED);
    CHECK_INT(http_policy_cookie(p, NULL, "none", host, false, false), POLICY_CSRF_REFUSED);
    CHECK_INT(http_policy_cookie(p, NULL, NULL, host, false, false), POLICY_CSRF_REFUSED);
    CHECK_INT(http_policy_cookie(p, NULL, NULL, host, true, false), POLICY_ORIGIN_REFUSED);
    CHECK_INT(http_policy_cookie(p, "null", "same-origin", host, false, false), POLICY_ORIGIN_REFUSED);
    CHECK_INT(http_policy_cookie(p, "https://evil.example", "same-origin", host, false, false),
              POLICY_ORIGIN_REFUSED);
    http_policy_free(p);
}

TEST(bad_settings_are_named)
{
    CHECK(!policy("drover.example", "", ""));
    CHECK_INT(err.code, ERROR_CONFIG);
    CHECK_STR(err.pointer, "public_url");
    CHECK(!policy("", "https://a.example/path", ""));
    CHECK_STR(err.pointer, "allowed_origins");
    CHECK(!policy("", "", "https://a.example"));
    CHECK_STR(err.pointer, "allowed_hosts");
}

TEST_MAIN();
