/* The line that shows how far something is. */
#include <string.h>

#include "service/base/str.h"
#include "service/cli/progress.h"
#include "tests/support/test.h"

TEST(a_bar_has_the_room_that_is_left_of_the_line)
{
    auto_free char *wide = progress_line("content", 512 << 20, 1 << 30, 64 << 20, 200);
    auto_free char *usual = progress_line("content", 512 << 20, 1 << 30, 64 << 20, 60);
    auto_free char *narrow = progress_line("content", 512 << 20, 1 << 30, 64 << 20, 40);

    CHECK_STR(wide, "content  [====================>                   ]   50 %  512 MiB  64.0 MiB/s  8s left");
    CHECK_STR(usual, "content  [=====>     ]   50 %  512 MiB  64.0 MiB/s  8s left");
    CHECK_STR(narrow, "content   50 %  512 MiB  64.0 MiB/s  8s");
}

TEST(what_is_not_known_is_not_shown)
{
    auto_free char *size = progress_line("a", 1 << 20, 0, 1 << 20, 80), *speed = progress_line("a", 0, 100, 0, 80);
    auto_free char *over = progress_line("a", 200, 100, 0, 80);

    CHECK_STR(size, "a  1.0 MiB  1.0 MiB/s");
    CHECK(strstr(speed, "]    0 %  0 B") && !strstr(speed, "/s") && !strstr(speed, "left"));
    CHECK(strstr(over, "100 %"));
}

TEST(it_never_fills_the_line)
{
    for (unsigned columns = 0; columns < 120; columns++) {
        auto_free char *line = progress_line("a rather long name of a file.qcow2", 1e12, 3e12, 1e6, columns);

        CHECK(columns < 2 || strlen(line) < columns);
    }
}

TEST_MAIN();
