/* What quotas and webhooks are written as: limits, patterns, secrets, signatures. */
#include <string.h>

#include "service/base/str.h"
#include "service/vm/quota_limits.h"
#include "service/vm/webhook_form.h"
#include "tests/support/test.h"

TEST(limits_survive_being_written)
{
    static const char *const texts[] = {"", "vms=10", "vms=0 cpus=4503599627370496 consoles=3",
                                        "vms=1 cpus=2 memory_mib=3 disk_bytes=4 leases=5 consoles=6"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct quota_limits limits = quota_limits_parse(texts[i]);
        char text[QUOTA_TEXT_SIZE];

        quota_limits_text(&limits, text);
        CHECK_STR(text, texts[i]);
        CHECK_INT(quota_limits_any(&limits), *texts[i] != 0);
    }
}

TEST(what_is_not_understood_limits_nothing)
{
    static const char *const texts[] = {"vms", "vms=", "vms=-1", "vms=x", "vm=1", "vms=1x", "=1", "  ",
                                        "vms=99999999999999999999999999"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct quota_limits limits = quota_limits_parse(texts[i]);

        CHECK(!quota_limits_any(&limits));
    }
}

TEST(nobody_gives_more_than_he_has)
{
    struct quota_limits own = quota_limits_parse("vms=3"), same = quota_limits_parse("vms=3 cpus=1");
    struct quota_limits more = quota_limits_parse("vms=4"), none = quota_limits_parse("");

    CHECK_INT(quota_limits_beyond(&same, &own), QUOTA_COUNT);
    CHECK_INT(quota_limits_beyond(&more, &own), QUOTA_VMS);
    CHECK_INT(quota_limits_beyond(&none, &own), QUOTA_VMS);
    CHECK_INT(quota_limits_beyond(&none, &none), QUOTA_COUNT);
}

TEST(patterns_are_types_prefixes_or_all)
{
    static const char *const good[] = {"*", "vm.*", "vm.state", "a.b.*", "ksm.tuner", "daemon.started"};
    static const char *const bad[] = {"", ".", "vm.", ".vm", "*.vm", "vm.*.x", "vm*", "VM.*", "vm..x", "vm .x",
                                      "**", "vm.**"};

    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        CHECK(webhook_pattern_ok(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        CHECK(!webhook_pattern_ok(bad[i]));
}

TEST(patterns_match_what_they_say)
{
    CHECK(webhook_matches("*", "vm.state"));
    CHECK(webhook_matches("vm.*", "vm.state"));
    CHECK(webhook_matches("lease.ended vm.state", "vm.state"));
    CHECK(!webhook_matches("vm.*", "vm"));
    CHECK(!webhook_matches("vm.*", "vm."));
    CHECK(!webhook_matches("vm.*", "vmx.state"));
    CHECK(!webhook_matches("vm.stat", "vm.state"));
    CHECK(!webhook_matches("vm.state", "vm.stat"));
    CHECK(!webhook_matches("lease.* image.ready", "vm.state"));
}

/* The example of https://www.standardwebhooks.com's own libraries. */
TEST(signatures_are_what_others_compute)
{
    static const char body[] = "{\"test\": 2432232314}";
    char signature[WEBHOOK_SIGNATURE_SIZE];

    secret_init();
    webhook_sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
                 body, strlen(body), signature);
    CHECK_STR(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

TEST(secrets_have_enough_in_them)
{
    char drawn[WEBHOOK_SECRET_MAX], again[WEBHOOK_SECRET_MAX];

    secret_init();
    webhook_secret_new(drawn);
    webhook_secret_new(again);
    CHECK(webhook_secret_ok(drawn) && webhook_secret_ok(again) && strcmp(drawn, again) != 0);
    CHECK(!webhook_secret_ok(drawn + strlen(WEBHOOK_SECRET_PREFIX)));
    CHECK(!webhook_secret_ok("whsec_"));
    CHECK(!webhook_secret_ok("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="));
    CHECK(!webhook_secret_ok("whsec_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"));
}

TEST_MAIN();
