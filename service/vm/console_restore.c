/*
 * What a new stream remembers: its ring, as far as the file of an earlier daemon has it, with the
 * offsets nobody has bytes for as holes.
 */
#include "service/base/cleanup.h"
#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/vm/console_internal.h"

struct restore {
    struct stream *s;
    struct console_state state;
};

static void restore_state(void *opaque, const struct console_state *state)
{
    ((struct restore *)opaque)->state = *state;
}

static void restore_data(void *opaque, uint64_t offset, const char *data, size_t len)
{
    struct ring *ring = &((struct restore *)opaque)->s->ring;

    if (offset > ring->next)
        ring_skip(ring, offset);
    if (offset + len <= ring->next)
        return;
    data += ring->next - offset;
    len -= (size_t)(ring->next - offset);
    ring_append(ring, data, len);
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

bool log_restore(struct stream *s)
{
    const struct console_options *options = &s->hub->options;
    struct restore r = {.s = s};
    const struct console_visitor visitor = {restore_state, restore_data, &r};
    auto_free char *dir = NULL;
    struct error err;
    char path[4096];
    int rc;

    if (!s->hub->log_dir || !uuid_is_valid(s->vm_id))
        return false;
    dir = xasprintf("%s/%s", s->hub->log_dir, s->vm_id);
    if (!console_file_path(dir, s->name, path, sizeof(path)))
        return false;
    console_file_open(&s->file, path, options->log_bytes);
    s->reserve_step = CONSOLE_RESERVE;
    rc = console_file_scan(&s->file, &visitor, &err);
    if (rc < 0)
        count(&s->hub->log_errors, 1);
    if (rc <= 0)
        return false;
    if (r.state.next <= INT64_MAX && r.state.reserved <= INT64_MAX)
        ring_skip(&s->ring, max_of(s->ring.next, max_of(r.state.next, r.state.reserved)));
    s->boot_offset = r.state.boot < s->ring.next ? r.state.boot : s->ring.next;
    s->has_output = r.state.has_output;
    s->rows = r.state.rows <= CONSOLE_V1_SIZE_MAX ? r.state.rows : 0;
    s->cols = r.state.cols <= CONSOLE_V1_SIZE_MAX ? r.state.cols : 0;
    s->ended = true; /* until it is fed */
    s->restored = !r.state.ended;
    s->logged = s->reserved = s->ring.next;
    return true;
}
