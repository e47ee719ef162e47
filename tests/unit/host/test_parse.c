/* The parsers of the kernel's text files. */
#include "service/host/host_parse.h"
#include "tests/support/test.h"

#define QEMU_STAT                                                                                  \
    " S 1 4242 4242 0 -1 138412416 1500 0 7 0 250 50 0 0 20 0 5 0 987654 1048576000 25000 "        \
    "18446744073709551615 1 1 0 0 0 0 268444224 4096 16963 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"

TEST(an_integer_is_the_whole_text)
{
    int64_t v = 7;

    CHECK(parse_integer("42\n", &v));
    CHECK_INT(v, 42);
    CHECK(parse_integer(" -8192\n", &v));
    CHECK_INT(v, -8192);
    CHECK(parse_integer("9223372036854775807", &v));
    CHECK_INT(v, INT64_MAX);
    v = 7;
    CHECK(!parse_integer("9223372036854775808", &v));
    CHECK(!parse_integer("", &v));
    CHECK(!parse_integer("\n", &v));
    CHECK(!parse_integer("-", &v));
    CHECK(!parse_integer("+1", &v));
    CHECK(!parse_integer("0x10", &v));
    CHECK(!parse_integer("12 34", &v));
    CHECK(!parse_integer("none", &v));
    CHECK_INT(v, 7);
}

TEST(a_line_is_found_by_its_whole_name)
{
    static const char text[] = "MemTotalish: 1 kB\nMemTotal:       16316412 kB\nbtime 17\nX:\n";
    int64_t v;

    CHECK(parse_line(text, "MemTotal", &v));
    CHECK_INT(v, 16316412);
    CHECK(parse_line(text, "btime", &v));
    CHECK_INT(v, 17);
    CHECK(!parse_line(text, "Mem", &v));
    CHECK(!parse_line(text, "X", &v));
    CHECK(!parse_line("", "X", &v));
    CHECK(!parse_line("X", "X", &v));
}

TEST(a_choice_is_the_bracketed_word)
{
    char word[16];

    CHECK(parse_choice("[none] scan-time\n", word, sizeof(word)));
    CHECK_STR(word, "none");
    CHECK(parse_choice("none [scan-time]\n", word, sizeof(word)));
    CHECK_STR(word, "scan-time");
    CHECK(!parse_choice("none\n", word, sizeof(word)));
    CHECK(!parse_choice("]none[", word, sizeof(word)));
    CHECK(!parse_choice("[]", word, sizeof(word)));
    CHECK(!parse_choice("[a-word-that-is-too-long]", word, sizeof(word)));
}

TEST(a_cpu_list_is_counted)
{
    CHECK_INT(parse_cpu_list("0\n"), 1);
    CHECK_INT(parse_cpu_list("0-1\n"), 2);
    CHECK_INT(parse_cpu_list("0-3,8,10-11\n"), 7);
    CHECK_INT(parse_cpu_list(""), 0);
    CHECK_INT(parse_cpu_list("3-1"), 0);
    CHECK_INT(parse_cpu_list("0-"), 0);
    CHECK_INT(parse_cpu_list("0,"), 0);
    CHECK_INT(parse_cpu_list("0-99999999999"), 0);
    CHECK_INT(parse_cpu_list("cpu0"), 0);
}

TEST(procstat_fields_land_where_proc_5_says)
{
    struct procstat st;

    CHECK(parse_procstat("4242 (qemu-system-x86)" QEMU_STAT, &st));
    CHECK_STR(st.comm, "qemu-system-x86");
    CHECK_INT(st.ppid, 1);
    CHECK_INT(st.flags, 138412416);
    CHECK_INT(st.minor_faults, 1500);
    CHECK_INT(st.major_faults, 7);
    CHECK_INT(st.user_ticks, 250);
    CHECK_INT(st.system_ticks, 50);
    CHECK_INT(st.start_ticks, 987654);
    CHECK_INT(st.virtual_bytes, 1048576000);
    CHECK_INT(st.resident_pages, 25000);
}

TEST(a_comm_may_hold_blanks_and_parentheses)
{
    struct procstat st;

    CHECK(parse_procstat("4242 (a) R 1 (b (c))" QEMU_STAT, &st));
    CHECK_STR(st.comm, "a) R 1 (b (c)");
    CHECK_INT(st.start_ticks, 987654);
    CHECK(parse_procstat("4242 ()" QEMU_STAT, &st));
    CHECK_STR(st.comm, "");
}

TEST(a_procstat_that_is_cut_or_garbled_is_refused)
{
    static const char whole[] = "4242 (qemu)" QEMU_STAT;
    struct procstat st = {.ppid = 5};
    char cut[sizeof(whole)];

    for (size_t len = 0; len < 60; len++) {
        memcpy(cut, whole, len);
        cut[len] = '\0';
        CHECK(!parse_procstat(cut, &st));
    }
    CHECK(!parse_procstat("1 )(" QEMU_STAT, &st));
    CHECK(!parse_procstat("1 (x) S a b c d e f g h i j k l m n o p q r s t u\n", &st));
    CHECK_INT(st.ppid, 5);
}

TEST(ksm_stat_of_linux_6_18)
{
    struct host_process p = {0};

    parse_ksm_stat("ksm_rmap_items 5000\nksm_zero_pages 12\nksm_merging_pages 4000\n"
                   "ksm_process_profit 16064000\nksm_merge_any: no\nksm_mergeable: yes\n",
                   &p);
    CHECK(p.has_ksm && p.has_ksm_rmap_items && p.has_ksm_zero_pages);
    CHECK_INT(p.ksm_rmap_items, 5000);
    CHECK_INT(p.ksm_zero_pages, 12);
    CHECK_INT(p.ksm_merging_pages, 4000);
    CHECK_INT(p.ksm_profit_bytes, 16064000);
    CHECK(p.has_ksm_mergeable && p.ksm_mergeable);
}

TEST(ksm_stat_of_linux_6_1_and_6_4)
{
    struct host_process p = {0};

    parse_ksm_stat("ksm_rmap_items 76\n", &p);
    CHECK(p.has_ksm && p.has_ksm_rmap_items);
    CHECK(!p.has_ksm_merging_pages && !p.has_ksm_zero_pages && !p.has_ksm_profit);
    CHECK(!p.has_ksm_mergeable);
    p = (struct host_process){0};
    parse_ksm_stat("ksm_rmap_items 76\nzero_pages 3\nksm_merging_pages 0\n"
                   "ksm_process_profit -4864\n",
                   &p);
    CHECK_INT(p.ksm_zero_pages, 3);
    CHECK(p.has_ksm_merging_pages);
    CHECK_INT(p.ksm_merging_pages, 0); /* zero is a figure */
    CHECK_INT(p.ksm_profit_bytes, -4864);
}

TEST(ksm_stat_with_garbage_gives_what_is_readable)
{
    struct host_process p = {0};

    parse_ksm_stat("", &p);
    CHECK(!p.has_ksm);
    parse_ksm_stat("ksm_rmap_items many\nksm_merging_pages 99999999999999999999\n"
                   "ksm_zero_pages 4\nnew_line_of_the_future 9\nksm_mergeable: no\n",
                   &p);
    CHECK(!p.has_ksm_rmap_items && !p.has_ksm_merging_pages);
    CHECK(p.has_ksm_zero_pages && p.has_ksm);
    CHECK(p.has_ksm_mergeable && !p.ksm_mergeable);
}

TEST(a_flag_is_a_whole_word_of_the_flags_line)
{
    static const char text[] =
        "processor\t: 0\nflags\t\t: fpu vmx sse4_1 hypervisor\nbugs\t: svm\n";

    CHECK(parse_has_flag(text, "vmx"));
    CHECK(parse_has_flag(text, "hypervisor"));
    CHECK(parse_has_flag(text, "fpu"));
    CHECK(!parse_has_flag(text, "svm"));
    CHECK(!parse_has_flag(text, "sse4"));
    CHECK(!parse_has_flag("Features : fp asimd\n", "fp"));
}

TEST_MAIN();
