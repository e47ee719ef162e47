/*
 * Looks for what tells how far a boot came in a guest's output, across the borders of reads. Pure.
 * What a guest prints proves nothing, so it is only shown, never acted upon.
 */
#ifndef DROVER_VM_CONSOLE_SCAN_H
#define DROVER_VM_CONSOLE_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define CONSOLE_SCAN_TEXT_MAX 128

struct console_scan {
    unsigned wanted; /* 1 << enum vm_mark; 0: nothing is looked for any more */
    uint64_t seen;   /* bytes of this boot */
    char ready[CONSOLE_SCAN_TEXT_MAX];
    size_t ready_len;
    char tail[CONSOLE_SCAN_TEXT_MAX]; /* the last bytes of what came before */
    size_t tail_len;
};

/* ready: what tells of VM_MARK_READY, at most CONSOLE_SCAN_TEXT_MAX bytes of it; NULL: nothing. */
void console_scan_begin(struct console_scan *s, unsigned wanted, const char *ready);
/* The marks that these bytes show, each at most once. */
unsigned console_scan_feed(struct console_scan *s, const char *data, size_t len);

#endif
