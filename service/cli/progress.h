/*
 * How far something long is: a bar on a terminal's standard error, nothing elsewhere.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_PROGRESS_H
#define DROVER_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *label;
    int64_t shown_at_ms, began_at_ms;
    double began_with, last;
    bool shown;
};

/* total 0: not known. label NULL: what it was. Draws at most ten times a second. */
void progress_show(struct progress *p, const char *label, double done, double total);
/* The same as a client_request's progress; opaque is a struct progress with a label. */
void progress_upload(void *opaque, int64_t sent, int64_t size);
/* Ends the line, if one was drawn. */
void progress_end(struct progress *p);

/*
 * The line: "label  [====>    ]  45 %  1.2 GiB  80.0 MiB/s  12s left", as much of it as has room.
 * The caller frees it. Pure.
 */
char *progress_line(const char *label, double done, double total, double bytes_per_second, unsigned columns);

#endif
