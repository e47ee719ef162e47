/* A line of a guest agent, under bounds. */
#include "service/vm/guest_line.h"

#include <stdlib.h>

#include "service/base/str.h"

#define FIRST_CAP  4096
#define KEPT_CAP   (256 * 1024) /* what an idle agent may cost */
#define FRAME_MARK ((char)0xff)

void guest_line_reset(struct guest_line *l)
{
    if (l->cap > KEPT_CAP) {
        guest_line_done(l);
        return;
    }
    *l = (struct guest_line){.data = l->data, .cap = l->cap};
}

void guest_line_done(struct guest_line *l)
{
    free(l->data);
    *l = (struct guest_line){0};
}

static bool keep(struct guest_line *l, char c)
{
    if (l->len == l->cap) {
        if (l->cap == GUEST_LINE_MAX)
            return false;
        l->cap = l->cap ? l->cap * 2 : FIRST_CAP;
        l->data = xrealloc_array(l->data, l->cap, 1);
    }
    l->data[l->len++] = c;
    return true;
}

/* True: the byte belongs to the line's kept part. */
static bool is_kept(struct guest_line *l, char c)
{
    if (!l->in_string) {
        l->in_string = c == '"';
        l->string_len = 0;
        return true;
    }
    if (l->escaped) {
        l->escaped = false;
    } else if (c == '"') {
        l->in_string = false;
        return true;
    } else {
        l->escaped = c == '\\';
    }
    if (l->string_len == GUEST_STRING_MAX) {
        l->cut = true;
        return false;
    }
    l->string_len++;
    return true;
}

enum guest_line_state guest_line_feed(struct guest_line *l, const char *data, size_t len,
                                      size_t *ret_used)
{
    for (size_t i = 0; i < len; i++) {
        char c = data[i];

        *ret_used = i + 1;
        if (c == FRAME_MARK) {
            guest_line_reset(l);
            continue;
        }
        if (c == '\n')
            return GUEST_LINE_DONE;
        if (++l->sent > GUEST_SENT_MAX || (is_kept(l, c) && !keep(l, c)))
            return GUEST_LINE_TOO_LONG;
    }
    *ret_used = len;
    return GUEST_LINE_MORE;
}
