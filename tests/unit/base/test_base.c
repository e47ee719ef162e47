/* The base folder: strings, errors, time, mailboxes, tokens. */
#include "service/base/blob.h"
#include "service/base/clock.h"
#include "service/base/error.h"
#include "service/base/hash.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "tests/support/test.h"

TEST(copy_cuts_on_a_utf8_boundary_and_marks_it)
{
    char buf[8];

    str_copy_utf8(buf, sizeof(buf), "abc\xc3\xa4\xc3\xa4\xc3\xa4");
    CHECK_STR(buf, "abc\xe2\x80\xa6");
    str_copy_utf8(buf, sizeof(buf), "1234567");
    CHECK_STR(buf, "1234567");
    str_copy_utf8(buf, 2, "abc");
    CHECK_STR(buf, "");
}

TEST(utf8_check_refuses_overlong_surrogate_and_cut_sequences)
{
    CHECK(str_is_utf8("\xf0\x9f\x90\x84", 4));
    CHECK(!str_is_utf8("\xc0\x80", 2));
    CHECK(!str_is_utf8("\xed\xa0\x80", 3));
    CHECK(!str_is_utf8("\xf5\x80\x80\x80", 4));
    CHECK(!str_is_utf8("\xe2\x82", 2));
}

TEST(numbers_are_whole_unsigned_and_bounded)
{
    uint64_t v = 7;

    CHECK(str_to_u64("18446744073709551615", UINT64_MAX, &v));
    CHECK(!str_to_u64("18446744073709551616", UINT64_MAX, &v));
    CHECK(!str_to_u64("", 9, &v) && !str_to_u64("-1", 9, &v) && !str_to_u64(" 1", 9, &v));
    CHECK(!str_to_u64("10", 9, &v));
}

TEST(an_error_keeps_its_code_and_prefixes_its_cause)
{
    struct error err;

    CHECK_INT(error_set_at(&err, ERROR_VALIDATION_FAILED, "/name", "bad %s", "name"), -1);
    error_cause(&err, "inner");
    error_prefix(&err, "outer %d", 1);
    CHECK_STR(err.cause, "outer 1: inner");
    CHECK_STR(err.pointer, "/name");
    CHECK_INT(error_status(err.code), 422);
    CHECK_INT(error_from_slug("vm-not-found"), ERROR_VM_NOT_FOUND);
    CHECK_INT(error_from_slug("no such"), ERROR_COUNT);
}

TEST(a_full_disk_is_told_apart_from_other_system_errors)
{
    struct error err;

    error_errno(&err, 28 /* ENOSPC */, "cannot write");
    CHECK_INT(err.code, ERROR_INSUFFICIENT_STORAGE);
    error_errno(&err, 5 /* EIO */, "cannot write");
    CHECK_INT(err.code, ERROR_SYSTEM);
}

TEST(time_round_trips_through_text)
{
    char buf[CLOCK_TEXT_SIZE];
    int64_t at;

    CHECK_STR(clock_format(1767225600123, buf), "2026-01-01T00:00:00.123Z");
    CHECK(clock_parse(buf, &at));
    CHECK_INT(at, 1767225600123);
    CHECK(clock_parse("2038-01-19T03:14:08Z", &at));
    CHECK_INT(at, 2147483648000);
    CHECK(!clock_parse("2026-01-01 00:00:00Z", &at) && !clock_parse("2026-01-01T00:00:00", &at));
}

TEST(a_mailbox_refuses_when_full_and_keeps_order)
{
    struct mailbox *m = mailbox_new(2, NULL, NULL);
    int a, b, c;

    CHECK(mailbox_post(m, &a) && mailbox_post(m, &b) && !mailbox_post(m, &c));
    CHECK(mailbox_take(m) == &a && mailbox_take(m) == &b && mailbox_take(m) == NULL);
    mailbox_free(m, NULL);
}

TEST(a_token_is_recognised_and_a_damaged_one_is_not)
{
    char token[SECRET_TOKEN_TEXT], id[SECRET_TOKEN_ID], parsed[SECRET_TOKEN_ID];

    secret_token_new(token, id);
    CHECK(secret_token_parse(token, parsed));
    CHECK_STR(parsed, id);
    parsed[0] = '\0';
    CHECK(secret_token_id(token, parsed));
    CHECK_STR(parsed, id);
    token[30] = token[30] == 'a' ? 'b' : 'a';
    CHECK(!secret_token_parse(token, parsed));
    CHECK(!secret_token_parse("", parsed) && !secret_token_parse("drover_x", parsed));
}

TEST(a_token_made_by_the_first_version_is_still_one)
{
    char id[SECRET_TOKEN_ID];
    char token[] = "drover_0123456789AB_0123456789ABCDEFGHIJKLMNOPQRSTUV3By1ak";

    CHECK(secret_token_parse(token, id));
    CHECK_STR(id, "0123456789AB");
    /* Every byte outside the alphabet is refused, wherever the CRC would not be asked. */
    for (int c = 1; c < 256; c++) {
        bool good = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');

        token[40] = (char)c;
        CHECK(secret_token_id(token, id) == good);
        CHECK(c == 'K' || !secret_token_parse(token, id));
    }
}

TEST(streamed_and_whole_hashes_agree)
{
    char a[SECRET_SHA256_TEXT], b[SECRET_SHA256_TEXT];
    struct hash *h = hash_new(HASH_SHA256);

    hash_add(h, "ab", 2);
    hash_add(h, "c", 1);
    hash_finish(h, a);
    hash_free(h);
    secret_sha256_text("abc", 3, b);
    CHECK_STR(a, b);
    CHECK_STR(a, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(a_hash_with_a_thread_agrees_with_one_without)
{
    static char data[3][70000];
    char with[SECRET_SHA512_TEXT], without[SECRET_SHA512_TEXT];
    uint8_t bytes[HASH_SIZE_MAX];
    struct hash *a = hash_new(HASH_SHA512), *b = hash_new(HASH_SHA512);

    for (int i = 0; i < 3; i++)
        secret_random(data[i], sizeof(data[i]));
    hash_wait(a); /* nothing was begun */
    for (int i = 0; i < 30; i++) {
        hash_begin(a, data[i % 3], sizeof(data[0]) - (size_t)i);
        hash_add(b, data[i % 3], sizeof(data[0]) - (size_t)i);
        if (i % 3)
            hash_wait(a);
    }
    hash_begin(a, data[0], 0);
    hash_finish(a, with); /* waits */
    hash_finish(b, without);
    hash_free(a);
    hash_free(b);
    CHECK_STR(with, without);

    a = hash_new(HASH_SHA512);
    hash_begin(a, "abc", 3);
    CHECK(hash_finish_bytes(a, bytes) == 64 && bytes[0] == 0xdd && bytes[63] == 0x9f);
    hash_free(a);
    a = hash_new(HASH_SHA256);
    hash_begin(a, data, sizeof(data)); /* given up in the middle */
    hash_free(a);
    hash_free(NULL);
}

TEST_MAIN();
