/*
 * The filter. Only versions, security types and messages it knows the length of pass; anything else
 * ends it, because the next byte could then be the middle of a key press.
 */
#include "service/vm/console_rfb.h"

#include <string.h>

#define BODY_MAX (UINT64_C(64) << 20) /* of one message: a clipboard */

enum {
    SET_PIXEL_FORMAT = 0,
    SET_ENCODINGS = 2,
    UPDATE_REQUEST = 3,
    KEY_EVENT = 4,
    POINTER_EVENT = 5,
    CUT_TEXT = 6,
    CONTINUOUS_UPDATES = 150,
    FENCE = 248,
    XVP = 250,
    SET_DESKTOP_SIZE = 251,
    QEMU = 255,
};

static uint32_t u16(const unsigned char *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t u32(const unsigned char *p)
{
    return u16(p) << 16 | u16(p + 2);
}

/* The extended clipboard sends its length negated. */
static uint64_t cut_text_len(const unsigned char *head)
{
    uint32_t n = u32(head + 4);

    return n & 0x80000000u ? -n : n;
}

/*
 * How long the fixed part of a message is, given its first head_len (> 0) bytes; 0: unknown message.
 * It may grow once more is known.
 */
static size_t fixed_len(const unsigned char *head, size_t head_len)
{
    switch (head[0]) {
    case SET_PIXEL_FORMAT:
        return 20;
    case SET_ENCODINGS:
    case XVP:
        return 4;
    case UPDATE_REQUEST:
    case CONTINUOUS_UPDATES:
        return 10;
    case KEY_EVENT:
    case CUT_TEXT:
    case SET_DESKTOP_SIZE:
        return 8;
    case POINTER_EVENT:
        return 6;
    case FENCE:
        return 9;
    case QEMU:
        if (head_len < 4)
            return 4;
        if (head[1] == 0) /* a key */
            return 12;
        /* Sound: on, off, or its format. */
        return head[1] == 1 ? (u16(head + 2) == 2 ? 10 : 4) : 0;
    default:
        return 0;
    }
}

static uint64_t body_len(const unsigned char *head)
{
    switch (head[0]) {
    case SET_ENCODINGS:
        return UINT64_C(4) * u16(head + 2);
    case CUT_TEXT:
        return cut_text_len(head);
    case FENCE:
        return head[8];
    case SET_DESKTOP_SIZE:
        return UINT64_C(16) * head[6];
    default:
        return 0;
    }
}

static bool passes(unsigned char type)
{
    return type == SET_PIXEL_FORMAT || type == SET_ENCODINGS || type == UPDATE_REQUEST ||
           type == CONTINUOUS_UPDATES || type == FENCE;
}

/* How many bytes the head of this stage has; 0: it cannot be. */
static size_t head_wanted(const struct rfb_filter *f)
{
    if (f->stage == RFB_VERSION)
        return 12;
    if (f->stage == RFB_MESSAGE)
        return f->head_len ? fixed_len(f->head, f->head_len) : 1;
    return 1;
}

/* The head is whole. False: not ours to judge. */
static bool head_done(struct rfb_filter *f)
{
    switch (f->stage) {
    case RFB_VERSION:
        if (memcmp(f->head, "RFB 003.", 8) != 0 || f->head[11] != '\n')
            return false;
        f->passes = true;
        /* Up to 3.6 the server alone chooses how to authenticate; ours asks for nothing. */
        f->stage = memcmp(f->head + 8, "007", 3) == 0 || memcmp(f->head + 8, "008", 3) == 0
                       ? RFB_SECURITY
                       : RFB_INIT;
        return true;
    case RFB_SECURITY:
        f->stage = RFB_INIT;
        return f->head[0] == 1; /* none; with any other, what follows could not be read */
    case RFB_INIT:
        f->head[0] = 1; /* shared */
        f->stage = RFB_MESSAGE;
        return true;
    case RFB_MESSAGE:
        f->passes = passes(f->head[0]);
        f->body = body_len(f->head);
        if (f->body)
            f->stage = RFB_BODY;
        return f->body <= BODY_MAX;
    default:
        return false;
    }
}

static size_t take_body(struct rfb_filter *f, const unsigned char *data, size_t len,
                        unsigned char *out, size_t *used)
{
    size_t n = f->body < len ? (size_t)f->body : len;

    if (f->passes) {
        memcpy(out + *used, data, n);
        *used += n;
    }
    f->body -= n;
    if (!f->body)
        f->stage = RFB_MESSAGE;
    return n;
}

bool rfb_filter(struct rfb_filter *f, const void *data, size_t len, unsigned char *out,
                size_t *ret_len)
{
    const unsigned char *in = data;
    size_t used = 0;

    for (size_t at = 0; at < len;) {
        size_t wanted;

        if (f->stage == RFB_BODY) {
            at += take_body(f, in + at, len - at, out, &used);
            continue;
        }
        if (f->stage == RFB_BROKEN)
            return false;
        f->head[f->head_len++] = in[at++];
        wanted = head_wanted(f);
        if (wanted && f->head_len < wanted)
            continue;
        if (!wanted || !head_done(f)) {
            f->stage = RFB_BROKEN;
            return false;
        }
        if (f->passes) {
            memcpy(out + used, f->head, f->head_len);
            used += f->head_len;
        }
        f->head_len = 0;
    }
    *ret_len = used;
    return true;
}
