/* See helper_request.h. Text from another process: everything that is not expected is refused. */
#include "service/host/helper_request.h"

#include <string.h>

#include "service/base/str.h"

static const char *const knobs[] = {"run",
                                    "pages_to_scan",
                                    "sleep_millisecs",
                                    "use_zero_pages",
                                    "smart_scan",
                                    "advisor_max_cpu",
                                    "advisor_min_pages_to_scan",
                                    "advisor_target_scan_time"};

static bool value_fits(const char *knob, const char *value)
{
    uint64_t number;

    if (str_eq(knob, "advisor_mode"))
        return str_eq(value, "none") || str_eq(value, "scan-time");
    for (size_t i = 0; i < sizeof(knobs) / sizeof(*knobs); i++) {
        if (str_eq(knob, knobs[i]))
            return str_to_u64(value, i == 0 ? 2 : 1000000000, &number);
    }
    return false;
}

bool helper_request_parse(const char *text, size_t len, struct helper_request *ret)
{
    char copy[96], *value;
    uint64_t pid;

    *ret = (struct helper_request){0};
    if (len == 0 || len >= sizeof(copy) || memchr(text, '\0', len))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (str_starts(copy, "stat ")) {
        if (!str_to_u64(copy + 5, INT32_MAX, &pid) || pid < 2)
            return false;
        ret->pid = (int64_t)pid;
        return true;
    }
    if (!str_starts(copy, "set ") || !(value = strchr(copy + 4, ' ')))
        return false;
    *value++ = '\0';
    if (!value_fits(copy + 4, value) || strlen(value) >= sizeof(ret->value))
        return false;
    ret->sets = true;
    memcpy(ret->knob, copy + 4, strlen(copy + 4) + 1);
    memcpy(ret->value, value, strlen(value) + 1);
    return true;
}

bool helper_is_qemu(const char *cmdline, size_t len)
{
    const char *end = memchr(cmdline, '\0', len), *name = cmdline;

    if (!end)
        return false;
    for (const char *p = cmdline; p < end; p++) {
        if (*p == '/')
            name = p + 1;
    }
    return str_starts(name, "qemu-system-") || str_eq(name, "kvm");
}
