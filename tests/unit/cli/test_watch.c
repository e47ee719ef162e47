/* Which events change what a command shows. */
#include "service/base/str.h"
#include "service/cli/watch.h"
#include "tests/support/test.h"

TEST(events_match_by_their_beginning_or_whole)
{
    CHECK(watch_matches("vm.", "vm.state") && watch_matches("image. vm.created", "vm.created"));
    CHECK(watch_matches("image. vm.created", "image.ready"));
    CHECK(!watch_matches("vm.", "lease.ended") && !watch_matches("image. vm.created", "vm.createdx"));
    CHECK(!watch_matches("image. vm.created", "vm.state") && !watch_matches("vm.", ""));
}

TEST(lists_can_be_watched_and_deeds_cannot)
{
    CHECK_STR(watch_events("vm list"), "vm.");
    CHECK(watch_events("op show") && watch_events("pool list"));
    CHECK(!watch_events("vm start") && !watch_events("vm") && !watch_events("apply"));
}

/* Every list but those that no event tells of. */
TEST(every_list_is_known_here)
{
    static const char *const silent = "audit catalogue context";
    bool all = true;

    for (size_t g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]; c->words; c++) {
            size_t first = strcspn(c->words, " ");
            auto_free char *noun = xstrndup(c->words, first);

            if (str_eq(c->words + first, " list") && !str_has_word(silent, noun) && !watch_events(c->words)) {
                printf("# %s\n", c->words);
                all = false;
            }
        }
    }
    CHECK(all);
}

TEST_MAIN();
