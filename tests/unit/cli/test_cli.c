/* The command line: parsing, definitions, tables, streams. No server. */
#include <locale.h>

#include "service/base/str.h"
#include "service/cli/cmd_vm.h"
#include "service/cli/command.h"
#include "service/cli/match.h"
#include "service/cli/print.h"
#include "service/cli/sse.h"
#include "service/cli/value.h"
#include "tests/support/test.h"

#define WORDS_MAX 32

/* Splits a line at spaces and parses it as the command line after "drover". */
static int parse(const char *line, struct args *ret, struct failure *fail)
{
    static char *argv[WORDS_MAX], *copy; /* args borrow from it until the next call */
    int argc = 0;

    free(copy);
    copy = xasprintf("drover %s", line);
    for (char *save = NULL, *word = strtok_r(copy, " ", &save); word && argc < WORDS_MAX - 1;
         word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    argv[argc] = NULL;
    return args_parse(command_groups, global_options, argc, argv, ret, fail);
}

TEST(a_command_is_found_by_its_words_with_options_on_either_side)
{
    struct args args;
    struct failure fail;

    CHECK_INT(parse("--json vm start --timeout 5 web-1 --no-wait", &args, &fail), 0);
    CHECK_STR(args.command->words, "vm start");
    CHECK_INT(args.count, 1);
    CHECK_STR(args.operand[0], "web-1");
    CHECK(args_flag(&args, "json") && args_flag(&args, "no-wait"));
    CHECK_STR(args_text(&args, "timeout", NULL), "5");
}

TEST(an_operand_may_look_like_a_command_or_an_option)
{
    struct args args;
    struct failure fail;

    CHECK_INT(parse("vm show list", &args, &fail), 0);
    CHECK_STR(args.command->words, "vm show");
    CHECK_INT(parse("vm show -- --json", &args, &fail), 0);
    CHECK_STR(args.operand[0], "--json");
    CHECK(!args_flag(&args, "json"));
}

TEST(a_wrong_command_line_is_a_usage_failure_that_names_the_word)
{
    static const struct {
        const char *line, *says;
    } wrong[] = {
        {"", "no command given"},       {"vn list", "vn"},       {"vm", "another word"},
        {"vm lst", "vm lst"},           {"vm start", "takes VM"}, {"vm start a b", "takes VM"},
        {"vm list --bogus", "--bogus"}, {"vm list -q", "-q"},    {"vm create x --cpus", "needs a value"},
        {"--bogus vm list", "--bogus"}, {"vm --bogus", "--bogus"}, {"version x", "takes no operand"},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct args args;
        struct failure fail;

        CHECK_INT(parse(wrong[i].line, &args, &fail), -1);
        CHECK_INT(fail.exit, CLI_USAGE);
        if (!strstr(fail.detail, wrong[i].says)) {
            printf("# '%s': %s\n", wrong[i].line, fail.detail);
            CHECK(!"the message names what is wrong");
        }
        CHECK(str_starts(fail.remedy, "drover help"));
    }
}

TEST(what_was_probably_meant_is_said)
{
    static const struct {
        const char *line, *meant; /* NULL: nothing comes near */
    } wrong[] = {
        {"vmm list", "vm list"},     {"vm lst", "vm list"},         {"pol shwo x", "pool show"},
        {"list vms", "vm list"},     {"list pools", "pool list"},   {"start x", "vm start"},
        {"rm x", "vm delete"},       {"ci gitlab prep", "ci gitlab prepare"}, {"cataloge", "catalogue"},
        {"ksm tnue auto", "ksm tune"}, {"vm create x --memroy 4", "--memory"}, {"vm list --watsh", "--watch"},
        {"version x", NULL},         {"xyzzy", NULL},               {"vm xyzzy", NULL},
        {"vm list --xyzzy", NULL},   {"v", NULL},                   {"__complet", NULL},
        {"vm start-all-of-the-machines-that-there-are", NULL},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        auto_free char *says = wrong[i].meant ? xasprintf("did you mean %s%s%s?", *wrong[i].meant == '-' ? "" : "'",
                                                          wrong[i].meant, *wrong[i].meant == '-' ? "" : "'")
                                              : xstrdup("did you mean");
        struct args args;
        struct failure fail;

        CHECK_INT(parse(wrong[i].line, &args, &fail), -1);
        if (!strstr(fail.detail, says) != !wrong[i].meant) {
            printf("# '%s': %s\n", wrong[i].line, fail.detail);
            CHECK(!"it says what was meant, if anything");
        }
    }
}

TEST(every_command_takes_help_and_refuses_an_unknown_option)
{
    for (size_t g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]; c->words; c++) {
            auto_free char *wrong = xasprintf("%s --nosuch", c->words), *help = xasprintf("%s --help", c->words);
            auto_free char *remedy = xasprintf("drover help %s", c->words);
            struct args args;
            struct failure fail;

            CHECK_INT(parse(wrong, &args, &fail), -1);
            CHECK_STR(fail.remedy, remedy);
            CHECK_INT(parse(help, &args, &fail), 0);
            CHECK(args_flag(&args, "help"));
        }
    }
}

TEST(a_family_is_known_when_no_wrong_word_follows)
{
    struct args args;
    struct failure fail;

    CHECK_INT(parse("vm --help", &args, &fail), -1);
    CHECK(args_flag(&args, "help"));
    CHECK_STR(args.family, "vm");
    CHECK_INT(parse("--help ci gitlab", &args, &fail), -1);
    CHECK_STR(args.family, "ci gitlab");
    CHECK_INT(parse("vm nosuch --help", &args, &fail), -1);
    CHECK_STR(args.family, "");
    CHECK_INT(parse("vm --version", &args, &fail), -1);
    CHECK(args_flag(&args, "version"));
}

TEST(words_for_the_same_are_understood_everywhere_but_at_the_front)
{
    static const struct {
        const char *line, *words;
    } same[] = {
        {"vm rm x", "vm delete"},       {"project rm x", "project delete"},   {"token delete x", "token revoke"},
        {"webhook add u", "webhook create"}, {"context new x", "context create"}, {"catalogue add n u", "catalogue create"},
        {"vm ls", "vm list"},           {"recording ls", "recording list"},
    };

    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        struct args args;
        struct failure fail;

        CHECK_INT(parse(same[i].line, &args, &fail), 0);
        CHECK_STR(args.command->words, same[i].words);
    }
}

TEST(the_last_value_of_an_option_counts_and_repeated_ones_are_all_seen)
{
    struct args args;
    struct failure fail;
    int state = 0;

    CHECK_INT(parse("vm create x -l a=1 --cpus 2 --label b=2 --cpus 4", &args, &fail), 0);
    CHECK_STR(args_text(&args, "cpus", NULL), "4");
    CHECK_STR(args_next(&args, "label", &state), "a=1");
    CHECK_STR(args_next(&args, "label", &state), "b=2");
    CHECK(!args_next(&args, "label", &state));
}

TEST(numbers_are_bounded)
{
    struct args args;
    struct failure fail;
    int64_t v;

    CHECK_INT(parse("vm create x --cpus 8", &args, &fail), 0);
    CHECK_INT(args_number(&args, "cpus", 1, 8, 0, &v, &fail), 0);
    CHECK_INT(v, 8);
    CHECK_INT(args_number(&args, "cpus", 1, 7, 0, &v, &fail), -1);
    CHECK_INT(fail.exit, CLI_USAGE);
    CHECK_INT(args_number(&args, "memory", 1, 7, 3, &v, &fail), 0);
    CHECK_INT(v, 3);
}

/* The definition a command line makes, as sorted compact JSON; "" when it is refused. */
static char *body(const char *line)
{
    struct args args;
    struct failure fail;
    auto_value json_t *value = NULL;
    auto_free char *text = NULL;

    if (parse(line, &args, &fail) || vm_create_body(&args, &value, &fail))
        return xstrdup("");
    text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
    return TAKE_PTR(text);
}

TEST(vm_create_sends_only_what_was_given)
{
    auto_free char *least = body("vm create x");
    auto_free char *most = body("vm create x -i demo -c 2 -m 2G -d 10 -n user -n bridge=br0,mac=02:00:00:00:00:01 "
                                "-l k=v=w --channel a.b --add-disk 1T --no-vsock --autostart "
                                "--on-host-shutdown save --host-shutdown-seconds 30 "
                                "--start");

    CHECK_STR(least, "{\"name\":\"x\"}");
    CHECK_STR(most, "{\"autostart\":true,\"channels\":[\"a.b\"],\"cpus\":2,\"disks\":[{\"size_gib\":1024}],"
                    "\"host_shutdown_seconds\":30,\"image\":\"demo\",\"labels\":{\"k\":\"v=w\"},\"memory_mib\":2048,\"name\":\"x\","
                    "\"networks\":[{\"mode\":\"user\"},{\"mac\":\"02:00:00:00:00:01\",\"mode\":\"bridge\","
                    "\"source\":\"br0\"}],\"on_host_shutdown\":\"save\",\"root_disk_gib\":10,\"start\":true,\"vsock\":false}");
}

TEST(vm_create_waiting_means_starting_and_no_network_is_an_empty_list)
{
    auto_free char *wait = body("vm create x --wait console");
    auto_free char *none = body("vm create x --network none");

    CHECK_STR(wait, "{\"name\":\"x\",\"start\":true}");
    CHECK_STR(none, "{\"name\":\"x\",\"networks\":[]}");
}

TEST(vm_create_refuses_what_it_cannot_read)
{
    static const char *const wrong[] = {
        "vm create x --memory 2X",       "vm create x --memory M",      "vm create x --memory 0",
        "vm create x --memory 99999999999999999999", "vm create x --disk 512M", "vm create x --label k",
        "vm create x --network bridge=", "vm create x --network user,ip=1", "vm create x --wait boot",
        "vm create x --cpus 0",          "vm create x --memory 2GB",
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        auto_free char *got = body(wrong[i]);

        if (*got)
            printf("# %s gave %s\n", wrong[i], got);
        CHECK_STR(got, "");
    }
}

static char *printed(void (*print)(FILE *out, const void *what), const void *what)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    print(out, what);
    fclose(out);
    return text;
}

static void print_text(FILE *out, const void *what)
{
    print_safe(out, what);
}

TEST(text_from_a_server_cannot_drive_the_terminal)
{
    auto_free char *escape = printed(print_text, "a\033[2Jb\nc\x7f\tz");
    auto_free char *c1 = printed(print_text, "x\xc2\x9b" "31my");
    auto_free char *broken = printed(print_text, "\xff\xc3");
    auto_free char *fine = printed(print_text, "Kühe \xf0\x9f\x90\x84");

    CHECK_STR(escape, "a?[2Jb?c??z");
    CHECK(!strchr(c1, '\xc2') && strstr(c1, "31my"));
    CHECK_STR(broken, "??");
    CHECK_STR(fine, "Kühe \xf0\x9f\x90\x84");
}

static void print_table(FILE *out, const void *what)
{
    table_print(what, out, "none");
}

TEST(columns_align_by_what_a_terminal_shows)
{
    static const char *const titles[] = {"NAME", ">SIZE", "END"};
    auto_table struct table *t = table_new(titles, 3);
    auto_free char *text = NULL;

    setlocale(LC_CTYPE, "C.UTF-8");
    table_cell(t, "h\xc3\xbchner");
    table_cell(t, "1");
    table_cell(t, "");
    table_cell(t, "x");
    table_cell_take(t, xstrdup("12345"));
    table_cell(t, "z");
    text = printed(print_table, t);
    CHECK_STR(text, "NAME     SIZE  END\n"
                    "h\xc3\xbchner      1  -\n"
                    "x       12345  z\n");
}

TEST(units_are_chosen_for_people)
{
    auto_free char *b = print_bytes(512), *k = print_bytes(1536), *g = print_bytes(200.0 * 1073741824);
    auto_free char *s = print_duration(0.25), *d = print_duration(90061), *none = print_age("yesterday");

    CHECK_STR(b, "512 B");
    CHECK_STR(k, "1.5 KiB");
    CHECK_STR(g, "200 GiB");
    CHECK_STR(s, "250ms");
    CHECK_STR(d, "1d 1h");
    CHECK_STR(none, "-");
}

TEST(members_are_found_by_path_and_absent_is_not_zero)
{
    static const char text[] = "{\"a\":{\"b_bytes\":2048,\"n\":null,\"f\":false},\"l\":[1,2]}";
    auto_value json_t *v = value_parse(text, sizeof(text) - 1);
    auto_free char *bytes = value_show("b_bytes", value_at(v, "a.b_bytes"));
    auto_free char *absent = value_show("c_bytes", value_at(v, "a.c_bytes"));
    auto_free char *list = value_show("l", value_at(v, "l"));
    double n = 7;

    CHECK_STR(bytes, "2.0 KiB");
    CHECK_STR(absent, "-");
    CHECK_STR(list, "1, 2");
    CHECK(!value_number(v, "a.n", &n) && !value_number(v, "a.b_bytes.c", &n) && n == 7);
    CHECK(!value_true(v, "a.f"));
    CHECK_STR(value_text(v, "a.x", "none"), "none");
}

struct collected {
    int count, stop_after;
    char last[64];
};

static bool collect(void *opaque, const char *data, size_t len)
{
    struct collected *c = opaque;

    snprintf(c->last, sizeof(c->last), "%.*s", (int)len, data);
    return ++c->count != c->stop_after;
}

TEST(events_are_found_however_the_bytes_are_cut)
{
    static const char stream[] = ": keep-alive\n\nid: 1\ndata: {\"a\":1}\n\r\n\ndata:x\ndata: y\r\n\r\nid: 9\n\n";
    const size_t len = sizeof(stream) - 1;

    for (size_t cut = 0; cut <= len; cut++) {
        struct collected c = {0};
        struct sse s;

        sse_init(&s, collect, &c);
        CHECK(sse_feed(&s, stream, cut) && sse_feed(&s, stream + cut, len - cut));
        sse_done(&s);
        CHECK_INT(c.count, 2);
        CHECK_STR(c.last, "x\ny");
    }
}

TEST(an_event_without_end_is_dropped_and_the_next_one_is_seen)
{
    struct collected c = {.stop_after = 1};
    auto_free char *much = xcalloc(1, SSE_EVENT_MAX);
    struct sse s;
    bool go_on;

    memset(much, 'a', SSE_EVENT_MAX);
    sse_init(&s, collect, &c);
    sse_feed(&s, "data: ", 6);
    sse_feed(&s, much, SSE_EVENT_MAX);
    sse_feed(&s, much, SSE_EVENT_MAX);
    CHECK(s.line.len <= SSE_EVENT_MAX);
    go_on = sse_feed(&s, "\n\ndata: b\n\ndata: c\n\n", 20);
    sse_done(&s);
    CHECK(!go_on);
    CHECK_STR(c.last, "b");
}

TEST(a_text_is_found_across_pieces_with_overlap)
{
    struct match m;

    match_init(&m, "aabaaa");
    CHECK(!match_feed(&m, "aaab", 4));
    CHECK(!match_feed(&m, "aabaa", 5));
    CHECK(match_feed(&m, "ax", 2));
    match_done(&m);
    match_init(&m, NULL);
    CHECK(!match_feed(&m, "abc", 3));
    match_done(&m);
}

TEST(statuses_become_exit_codes)
{
    CHECK_INT(failure_exit_for_status(404), CLI_NOT_FOUND);
    CHECK_INT(failure_exit_for_status(409), CLI_CONFLICT);
    CHECK_INT(failure_exit_for_status(412), CLI_CONFLICT);
    CHECK_INT(failure_exit_for_status(401), CLI_AUTH);
    CHECK_INT(failure_exit_for_status(504), CLI_TIMEOUT);
    CHECK_INT(failure_exit_for_status(422), CLI_FAILED);
    CHECK_INT(failure_exit_for_status(500), CLI_FAILED);
}

TEST(path_components_are_escaped)
{
    auto_free char *escaped = url_escape("a/b?c=d&e \xc3\xa4~");

    CHECK_STR(escaped, "a%2Fb%3Fc%3Dd%26e%20%C3%A4~");
}

static char *set_body(const char *line)
{
    struct args args;
    struct failure fail;
    auto_value json_t *value = NULL;

    if (parse(line, &args, &fail) || vm_set_body(&args, &value, &fail))
        return xstrdup("");
    return json_dumps(value, JSON_COMPACT);
}

TEST(vm_set_reads_members_as_the_api_has_them)
{
    auto_free char *most = set_body("vm set x cpus=4 display=true image=12 labels.ci.job=7 labels.old= cmdline= "
                                    "disks=[{\"size_gib\":1}] description=a=b");
    auto_free char *file = set_body("vm set x user_data=@/dev/null");

    CHECK_STR(most, "{\"cpus\":4,\"display\":true,\"image\":\"12\",\"labels\":{\"ci.job\":\"7\",\"old\":null},"
                    "\"cmdline\":null,\"disks\":[{\"size_gib\":1}],\"description\":\"a=b\"}");
    CHECK_STR(file, "{\"user_data\":\"\"}");
}

TEST(vm_set_refuses_what_it_cannot_read)
{
    static const char *const wrong[] = {"vm set x", "vm set x cpus", "vm set x =4", "vm set x disks=[",
                                        "vm set x user_data=@/nonexistent", "vm set x labels=7 labels.a=b",
                                        "vm set x cpus=&a"};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        auto_free char *value = set_body(wrong[i]);

        if (*value) {
            printf("# %s: %s\n", wrong[i], value);
            CHECK(!"it is refused");
        }
    }
}

TEST(no_command_hides_an_option_that_every_command_has)
{
    for (size_t g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]; c->words; c++) {
            for (const struct option_row *own = c->options; own && own->name; own++) {
                for (const struct option_row *all = global_options; all->name; all++) {
                    if (str_eq(own->name, all->name) || (own->letter && own->letter == all->letter)) {
                        printf("# drover %s: --%s, -%c\n", c->words, own->name, own->letter);
                        CHECK(!"it has a name and a letter of its own");
                    }
                }
            }
        }
    }
}

TEST_MAIN();
