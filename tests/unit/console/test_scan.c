/* What tells how far a boot came, wherever a read ends. */
#include <string.h>

#include "service/vm/console_scan.h"
#include "service/vm/vm.h"
#include "tests/support/test.h"

#define OUTPUT   (1u << VM_MARK_FIRST_OUTPUT)
#define KERNEL   (1u << VM_MARK_KERNEL)
#define USERLAND (1u << VM_MARK_USERLAND)
#define READY    (1u << VM_MARK_READY)
#define ALL      (OUTPUT | KERNEL | USERLAND | READY)

static const char boot[] = "SeaBIOS (version 1.16)\r\n[    0.000000] Linux version 6.1.0\r\n"
                           "[    1.0] Run /sbin/init as init process\r\nDebian 12 host ttyS0\r\n"
                           "host login: ";

static unsigned in_pieces(const char *text, size_t piece, const char *ready)
{
    struct console_scan s;
    unsigned found = 0;

    console_scan_begin(&s, ALL, ready);
    for (size_t at = 0, len = strlen(text); at < len; at += piece) {
        unsigned now = console_scan_feed(&s, text + at, len - at < piece ? len - at : piece);

        CHECK(!(found & now)); /* each once */
        found |= now;
    }
    return found;
}

TEST(a_boot_is_followed_wherever_reads_end)
{
    for (size_t piece = 1; piece < sizeof(boot); piece++) {
        CHECK_INT(in_pieces(boot, piece, "host login: "), ALL);
        CHECK_INT(in_pieces(boot, piece, NULL), ALL & ~READY);
        CHECK_INT(in_pieces(boot, piece, "host login: !"), ALL & ~READY);
    }
}

TEST(in_its_order)
{
    struct console_scan s;

    console_scan_begin(&s, ALL, "ready>");
    CHECK_INT(console_scan_feed(&s, "SeaBIOS", 7), OUTPUT);
    CHECK_INT(console_scan_feed(&s, "\n", 1), 0);
    CHECK_INT(console_scan_feed(&s, "Linux version 6", 15), KERNEL);
    CHECK_INT(console_scan_feed(&s, "systemd[1]: ", 12), USERLAND);
    CHECK_INT(console_scan_feed(&s, "read", 4), 0);
    CHECK_INT(console_scan_feed(&s, "y>", 2), READY);
    CHECK_INT(s.wanted, 0);
    CHECK_INT(console_scan_feed(&s, boot, strlen(boot)), 0);
}

TEST(only_what_is_wanted)
{
    struct console_scan s;

    console_scan_begin(&s, USERLAND, NULL);
    CHECK_INT(console_scan_feed(&s, boot, strlen(boot)), USERLAND);
    console_scan_begin(&s, 0, "SeaBIOS");
    CHECK_INT(console_scan_feed(&s, boot, strlen(boot)), 0);
}

TEST(the_longest_pattern_in_two_parts)
{
    char pattern[CONSOLE_SCAN_TEXT_MAX + 1] = {0}, text[400] = {0};

    memset(pattern, 'p', CONSOLE_SCAN_TEXT_MAX);
    memset(text, '.', 100);
    memcpy(text + 100, pattern, CONSOLE_SCAN_TEXT_MAX);
    for (size_t piece = 1; piece < strlen(text); piece++)
        CHECK_INT(in_pieces(text, piece, pattern), OUTPUT | READY);
}

TEST(a_guest_that_only_floods_is_not_searched_for_ever)
{
    static char chunk[1 << 20];
    struct console_scan s;

    memset(chunk, 'x', sizeof(chunk));
    console_scan_begin(&s, ALL, "never");
    CHECK_INT(console_scan_feed(&s, chunk, sizeof(chunk)), OUTPUT);
    for (int i = 0; i < 64; i++)
        CHECK_INT(console_scan_feed(&s, chunk, sizeof(chunk)), 0);
    CHECK_INT(s.wanted, 0);
}

TEST_MAIN();
