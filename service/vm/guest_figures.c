/*
 * Figures that only the guest knows: how full its file systems are, how busy it is. Asked of agents
 * that answer, seldom, and believed as far as a guest is: bounded, cleaned, with a time of its own.
 */
#include "service/vm/guest_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"

#define REACH_MS 300 /* an agent that is there answers a sync in a few */
#define ASK_MS   3000
#define LOAD_MAX 128

/* "0.52 0.58 0.59 1/123 4567": the first three, or false. */
bool guest_load_parse(const char *text, double ret[3])
{
    for (int i = 0; i < 3; i++) {
        char *end;

        if (*text < '0' || *text > '9')
            return false;
        ret[i] = strtod(text, &end);
        if (end == text || *end != ' ' || !isfinite(ret[i]) || ret[i] > 1e6)
            return false;
        text = end + 1;
    }
    return true;
}

/* No command of QEMU 7.2's agent tells the load; the file does, where files may be read. */
static bool read_load(struct guest_link *link, int64_t deadline, double ret[3])
{
    auto_guest_answer struct guest_answer opened = {0}, read = {0};
    auto_free char *data = NULL;
    struct error ignored;
    int64_t handle;
    size_t len;
    bool good;

    if (guest_call(link, "guest-file-open", json_pack("{s:s, s:s}", "path", "/proc/loadavg", "mode", "r"),
                   deadline, &opened, &ignored) ||
        !json_is_integer(opened.value))
        return false;
    handle = json_integer_value(opened.value);
    good = guest_call(link, "guest-file-read",
                      json_pack("{s:I, s:i}", "handle", (json_int_t)handle, "count", LOAD_MAX),
                      deadline, &read, &ignored) == 0 &&
           guest_reply_bytes(json_object_get(read.value, "buf-b64"), LOAD_MAX, &data, &len,
                             &ignored) == 0 &&
           data && len && memchr(data, '\n', len);
    if (good)
        *(char *)memchr(data, '\n', len) = '\0';
    good = good && guest_load_parse(data, ret);
    (void)guest_call(link, "guest-file-close", json_pack("{s:I}", "handle", (json_int_t)handle),
                     deadline, NULL, &ignored);
    return good;
}

int guest_figures_read(struct core *core, const char *vm_id, struct guest_figures **ret,
                       struct error *err)
{
    auto_guest_link struct guest_link *link = NULL;
    auto_guest_answer struct guest_answer answer = {0};
    auto_free struct guest_info *info = NULL;
    struct guest_figures *f;
    struct error ignored;
    int64_t deadline;

    if (guest_link_get(core, vm_id, &link, NULL, err) ||
        guest_reach(link, clock_monotonic_ms() + REACH_MS, err))
        return -1;
    deadline = clock_monotonic_ms() + ASK_MS;
    info = xcalloc(1, sizeof(*info));
    if (guest_call(link, "guest-get-fsinfo", NULL, deadline, &answer, &ignored) == 0)
        guest_reply_filesystems(answer.value, info);
    f = xcalloc(1, sizeof(*f) + info->filesystem_count * sizeof(f->filesystems[0]));
    atomic_init(&f->refs, 1);
    f->has_filesystems = info->has_filesystems;
    f->filesystem_count = info->filesystem_count;
    memcpy(f->filesystems, info->filesystems, info->filesystem_count * sizeof(f->filesystems[0]));
    f->has_load = read_load(link, deadline, f->load);
    if (!f->has_load && !f->has_filesystems) {
        guest_figures_unref(f);
        return error_set(err, ERROR_AGENT_FAILED, "the guest agent told nothing");
    }
    f->sampled_at = clock_wall_ms();
    *ret = f;
    return 0;
}

struct guest_figures *guest_figures_ref(struct guest_figures *f)
{
    if (f)
        atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void guest_figures_unref(struct guest_figures *f)
{
    if (f && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
        free(f);
}
