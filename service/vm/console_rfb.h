/*
 * The client's half of an RFB connection (RFC 6143), read so that somebody who may only watch a
 * display really only watches: keys, pointer, clipboard, power and size are taken out, and the
 * display is asked for shared, so that nobody else is thrown out. Pure; no I/O.
 */
#ifndef DROVER_VM_CONSOLE_RFB_H
#define DROVER_VM_CONSOLE_RFB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rfb_filter {
    enum { RFB_VERSION, RFB_SECURITY, RFB_INIT, RFB_MESSAGE, RFB_BODY, RFB_BROKEN } stage;
    unsigned char head[20]; /* of the message that is being read */
    size_t head_len;
    uint64_t body; /* bytes of it that are still to come */
    bool passes;   /* and what becomes of them */
};

#define RFB_FILTER_EXTRA 20 /* what was held back may come out on top */

/*
 * Takes all len bytes, writes what passes to out (at most len + RFB_FILTER_EXTRA bytes) and says how
 * many. false: this is no RFB it can read; out is not valid then, and nothing may pass any more.
 */
bool rfb_filter(struct rfb_filter *f, const void *data, size_t len, unsigned char *out,
                size_t *ret_len);

#endif
