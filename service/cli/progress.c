/* A bar, a speed and a guess at the end. */
#include "service/cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/cli/print.h"
#include "service/cli/terminal.h"

#define EVERY_MS  100
#define SPEED_MS  1000 /* before that a speed means little */
#define BAR_MIN   8
#define BAR_MAX   40

static void add_bar(struct strbuf *b, double part, unsigned width)
{
    unsigned full = (unsigned)(part * width);

    strbuf_adds(b, "  [");
    for (unsigned i = 0; i < width; i++)
        strbuf_addc(b, i < full ? '=' : i == full ? '>' : ' ');
    strbuf_addc(b, ']');
}

char *progress_line(const char *label, double done, double total, double bytes_per_second, unsigned columns)
{
    auto_strbuf struct strbuf head = {0}, tail = {0};
    auto_free char *bytes = print_bytes(done), *speed = print_bytes(bytes_per_second);
    double part = total > 0 ? done / total : 0;
    size_t room;

    part = part > 1 ? 1 : part;
    strbuf_adds(&head, label);
    if (total > 0)
        strbuf_addf(&tail, "  %3d %%", (int)(part * 100));
    strbuf_addf(&tail, "  %s", bytes);
    if (bytes_per_second > 0)
        strbuf_addf(&tail, "  %s/s", speed);
    if (bytes_per_second > 0 && total > done) {
        auto_free char *left = print_duration((total - done) / bytes_per_second);

        strbuf_addf(&tail, "  %s left", left);
    }
    room = columns > head.len + tail.len + 5 ? columns - head.len - tail.len - 5 : 0;
    if (total > 0 && room >= BAR_MIN)
        add_bar(&head, part, room < BAR_MAX ? (unsigned)room : BAR_MAX);
    strbuf_add(&head, tail.data, tail.len);
    if (columns > 1 && head.len > columns - 1) {
        head.len = columns - 1;
        head.data[head.len] = '\0';
    }
    return strbuf_take(&head);
}

void progress_show(struct progress *p, const char *label, double done, double total)
{
    unsigned columns = terminal_columns(STDERR_FILENO);
    int64_t now = clock_monotonic_ms();
    auto_free char *line = NULL;
    double seconds;

    if (!columns)
        return;
    if (!p->began_at_ms || (label && !str_eq(label, p->label))) {
        p->began_at_ms = now;
        p->began_with = done;
        p->label = label ? label : p->label;
    } else if (now - p->shown_at_ms < EVERY_MS && (done < total || p->last == done)) {
        return;
    }
    p->last = done;
    p->shown_at_ms = now;
    p->shown = true;
    seconds = (double)(now - p->began_at_ms) / 1000;
    line = progress_line(p->label ? p->label : "", done, total,
                         now - p->began_at_ms >= SPEED_MS ? (done - p->began_with) / seconds : 0, columns);
    fputc('\r', stderr);
    print_safe(stderr, line);
    fputs("\033[K", stderr);
}

void progress_upload(void *opaque, int64_t sent, int64_t size)
{
    progress_show(opaque, NULL, (double)sent, size > 0 ? (double)size : 0);
}

void progress_end(struct progress *p)
{
    if (p->shown)
        fputc('\n', stderr);
    *p = (struct progress){0};
}
