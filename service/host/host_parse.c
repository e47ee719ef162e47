/* See host_parse.h. Deliberately opens no file. */
#include "service/host/host_parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* A decimal integer that ends at white space or the end; moves *p behind it. */
static bool take_signed(const char **p, int64_t *ret)
{
    const char *start = *p + (**p == '-');
    char *end;
    long long value;

    if (!isdigit((unsigned char)*start))
        return false;
    errno = 0;
    value = strtoll(*p, &end, 10);
    if (errno || (*end && !isspace((unsigned char)*end)))
        return false;
    *ret = value;
    *p = end;
    return true;
}

bool parse_integer(const char *text, int64_t *ret)
{
    int64_t value;

    while (isspace((unsigned char)*text))
        text++;
    if (!take_signed(&text, &value))
        return false;
    while (isspace((unsigned char)*text))
        text++;
    if (*text)
        return false;
    *ret = value;
    return true;
}

/* What follows "NAME", an optional colon and blanks, on a line of its own. */
static const char *find_line(const char *text, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
        const char *q = p + len;

        if (strncmp(p, name, len) != 0 || (*q != ':' && !is_blank(*q)))
            continue;
        /* cpuinfo pads the name with tabs before the colon */
        while (is_blank(*q))
            q++;
        if (*q == ':')
            q++;
        while (is_blank(*q))
            q++;
        return q;
    }
    return NULL;
}

bool parse_line(const char *text, const char *name, int64_t *ret)
{
    const char *p = find_line(text, name);

    return p && take_signed(&p, ret);
}

bool parse_word(const char *text, const char *name, char *ret, size_t size)
{
    const char *p = find_line(text, name);
    size_t len = p ? strcspn(p, " \t\n") : 0;

    if (!len || len >= size)
        return false;
    memcpy(ret, p, len);
    ret[len] = '\0';
    return true;
}

bool parse_choice(const char *text, char *ret, size_t size)
{
    const char *open = strchr(text, '[');
    const char *close = open ? strchr(open, ']') : NULL;
    size_t len = close ? (size_t)(close - open - 1) : 0;

    if (!len || len >= size)
        return false;
    memcpy(ret, open + 1, len);
    ret[len] = '\0';
    return true;
}

unsigned parse_cpu_list(const char *text)
{
    unsigned long count = 0;

    for (;;) {
        unsigned long first, last;
        char *end;

        if (!isdigit((unsigned char)*text))
            return 0;
        first = last = strtoul(text, &end, 10);
        if (*end == '-') {
            if (!isdigit((unsigned char)end[1]))
                return 0;
            last = strtoul(end + 1, &end, 10);
        }
        if (last < first || last > 1u << 20 || count > 1u << 20)
            return 0;
        count += last - first + 1;
        if (*end != ',')
            return *end && !isspace((unsigned char)*end) ? 0 : (unsigned)count;
        text = end + 1;
    }
}

bool parse_procstat(const char *text, struct procstat *ret)
{
    /*
     * "PID (COMM) S PPID ...": the process chooses COMM, blanks and parentheses included, so it
     * ends at the last one.
     */
    const char *open = strchr(text, '('), *close = strrchr(text, ')');
    struct procstat st = {0};
    int64_t field[25] = {0};
    size_t len;

    if (!open || !close || close < open || close[1] != ' ' || !close[2] || close[3] != ' ')
        return false;
    len = (size_t)(close - open - 1);
    if (len >= sizeof(st.comm))
        len = sizeof(st.comm) - 1;
    memcpy(st.comm, open + 1, len);
    text = close + 4; /* field 4, as proc(5) counts */
    for (int i = 4; i <= 24; i++) {
        while (*text == ' ')
            text++;
        if (!take_signed(&text, &field[i]))
            return false;
    }
    st.ppid = field[4];
    st.flags = (uint64_t)field[9];
    st.minor_faults = (uint64_t)field[10];
    st.major_faults = (uint64_t)field[12];
    st.user_ticks = (uint64_t)field[14];
    st.system_ticks = (uint64_t)field[15];
    st.start_ticks = (uint64_t)field[22];
    st.virtual_bytes = (uint64_t)field[23];
    st.resident_pages = field[24];
    *ret = st;
    return true;
}

static bool is_yes(const char *text, const char *name, bool *ret)
{
    char word[8];

    if (!parse_word(text, name, word, sizeof(word)))
        return false;
    *ret |= strcmp(word, "yes") == 0;
    return true;
}

void parse_ksm_stat(const char *text, struct host_process *ret)
{
    bool mergeable = false, any;

    ret->has_ksm_rmap_items = parse_line(text, "ksm_rmap_items", &ret->ksm_rmap_items);
    ret->has_ksm_merging_pages = parse_line(text, "ksm_merging_pages", &ret->ksm_merging_pages);
    /* 6.6 to 6.9 spell it without the prefix in some builds */
    ret->has_ksm_zero_pages = parse_line(text, "ksm_zero_pages", &ret->ksm_zero_pages) ||
                              parse_line(text, "zero_pages", &ret->ksm_zero_pages);
    ret->has_ksm_profit = parse_line(text, "ksm_process_profit", &ret->ksm_profit_bytes);
    /* The whole process (prctl) or some of its memory (madvise, what QEMU does). */
    any = is_yes(text, "ksm_merge_any", &mergeable);
    ret->has_ksm_mergeable = is_yes(text, "ksm_mergeable", &mergeable) || any;
    ret->ksm_mergeable = mergeable;
    ret->has_ksm = ret->has_ksm_rmap_items || ret->has_ksm_merging_pages ||
                   ret->has_ksm_zero_pages || ret->has_ksm_profit || ret->has_ksm_mergeable;
}

bool parse_has_flag(const char *cpuinfo, const char *flag)
{
    const char *p = find_line(cpuinfo, "flags");
    size_t len = strlen(flag);

    while (p && *p && *p != '\n') {
        size_t word = strcspn(p, " \n");

        if (word == len && memcmp(p, flag, len) == 0)
            return true;
        p += word;
        p += *p == ' ';
    }
    return false;
}
