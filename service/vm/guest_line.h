/*
 * One line of what a guest agent says, gathered under bounds: the agent is the guest, and the guest
 * may send anything for ever. What a string holds beyond its bound is dropped as it arrives, so a
 * program's long output is cut and not refused; everything else that is too long is an error.
 *
 * One thread at a time. No errors but the states.
 */
#ifndef DROVER_VM_GUEST_LINE_H
#define DROVER_VM_GUEST_LINE_H

#include <stdbool.h>
#include <stddef.h>

/* Of one JSON string, and a multiple of 4: base64 that is cut here still decodes. 1 MiB of bytes. */
#define GUEST_STRING_MAX 1398104
#define GUEST_LINE_MAX   (4 * 1024 * 1024)   /* kept of a line */
#define GUEST_SENT_MAX   (128 * 1024 * 1024) /* of a line, kept or not */

enum guest_line_state { GUEST_LINE_MORE, GUEST_LINE_DONE, GUEST_LINE_TOO_LONG };

struct guest_line {
    char *data; /* len bytes, not terminated */
    size_t len, cap, sent, string_len;
    bool in_string, escaped;
    bool cut; /* a string lost its end */
};

/*
 * Takes bytes up to the end of a line (which is not kept); *ret_used of them are taken in any case.
 * A byte 0xff, the agent's own mark of a beginning, drops what came before it. After DONE or TOO_LONG
 * call guest_line_reset().
 */
enum guest_line_state guest_line_feed(struct guest_line *l, const char *data, size_t len,
                                      size_t *ret_used);
void guest_line_reset(struct guest_line *l); /* keeps the memory */
void guest_line_done(struct guest_line *l);  /* frees it */

#endif
