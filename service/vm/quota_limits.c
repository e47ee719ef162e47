/* See quota_limits.h. */
#include "service/vm/quota_limits.h"

#include <stdio.h>
#include <string.h>

#include "service/base/str.h"

static const char *const names[QUOTA_COUNT] = {
    [QUOTA_VMS] = "vms",
    [QUOTA_CPUS] = "cpus",
    [QUOTA_MEMORY_MIB] = "memory_mib",
    [QUOTA_DISK_BYTES] = "disk_bytes",
    [QUOTA_LEASES] = "leases",
    [QUOTA_CONSOLES] = "consoles",
};

const char *quota_resource_name(int resource)
{
    return names[resource];
}

static void parse_word(const char *word, size_t len, struct quota_limits *ret)
{
    for (int i = 0; i < QUOTA_COUNT; i++) {
        size_t n = strlen(names[i]);
        char number[24];
        uint64_t value;

        if (len <= n + 1 || len - n - 1 >= sizeof(number) || memcmp(word, names[i], n) != 0 ||
            word[n] != '=')
            continue;
        memcpy(number, word + n + 1, len - n - 1);
        number[len - n - 1] = '\0';
        if (str_to_u64(number, QUOTA_MAX, &value))
            ret->max[i] = (int64_t)value;
    }
}

struct quota_limits quota_limits_parse(const char *text)
{
    struct quota_limits limits;

    for (int i = 0; i < QUOTA_COUNT; i++)
        limits.max[i] = QUOTA_UNLIMITED;
    while (*text) {
        size_t len = strcspn(text, " ");

        parse_word(text, len, &limits);
        text += len + (text[len] == ' ');
    }
    return limits;
}

void quota_limits_text(const struct quota_limits *limits, char ret[QUOTA_TEXT_SIZE])
{
    size_t at = 0;

    ret[0] = '\0';
    for (int i = 0; i < QUOTA_COUNT; i++) {
        if (limits->max[i] != QUOTA_UNLIMITED)
            at += (size_t)snprintf(ret + at, QUOTA_TEXT_SIZE - at, "%s%s=%lld", at ? " " : "",
                                   names[i], (long long)limits->max[i]);
    }
}

bool quota_limits_any(const struct quota_limits *limits)
{
    for (int i = 0; i < QUOTA_COUNT; i++) {
        if (limits->max[i] != QUOTA_UNLIMITED)
            return true;
    }
    return false;
}

int quota_limits_beyond(const struct quota_limits *limits, const struct quota_limits *of)
{
    for (int i = 0; i < QUOTA_COUNT; i++) {
        if (of->max[i] != QUOTA_UNLIMITED &&
            (limits->max[i] == QUOTA_UNLIMITED || limits->max[i] > of->max[i]))
            return i;
    }
    return QUOTA_COUNT;
}
