/* Searching what a guest prints for the stages of its boot. */
#include "service/vm/console_scan.h"

#include <stdbool.h>
#include <string.h>

#include "service/vm/vm.h"

/* A boot prints some hundred KiB; a guest that floods is not searched for ever. */
#define BOOT_BYTES  (4u << 20)
#define READY_BYTES (64u << 20)

/* Linux stamps its lines, also when it is told to be quiet it says who it is first. */
static const char *const kernel_texts[] = {"Linux version ", "[    0.", "Command line: ",
                                           "The FreeBSD Project", "NetBSD ", "OpenBSD "};
/* The kernel's last words, what init systems say first, and what asks for a name or a command. */
static const char *const userland_texts[] = {" as init process", "systemd[1]: ", "Welcome to ",
                                             "INIT: version",    "OpenRC ",      " login: ",
                                             ":~# "};

void console_scan_begin(struct console_scan *s, unsigned wanted, const char *ready)
{
    *s = (struct console_scan){.wanted = wanted};
    if (!ready)
        return;
    s->ready_len = strnlen(ready, sizeof(s->ready));
    memcpy(s->ready, ready, s->ready_len);
}

static bool any(const char *data, size_t len, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (memmem(data, len, texts[i], strlen(texts[i])))
            return true;
    }
    return false;
}

static unsigned look(const struct console_scan *s, const char *data, size_t len)
{
    unsigned found = 0;

    if (s->wanted & 1u << VM_MARK_KERNEL &&
        any(data, len, kernel_texts, sizeof(kernel_texts) / sizeof(*kernel_texts)))
        found |= 1u << VM_MARK_KERNEL;
    if (s->wanted & 1u << VM_MARK_USERLAND &&
        any(data, len, userland_texts, sizeof(userland_texts) / sizeof(*userland_texts)))
        found |= 1u << VM_MARK_USERLAND;
    if (s->wanted & 1u << VM_MARK_READY && s->ready_len &&
        memmem(data, len, s->ready, s->ready_len))
        found |= 1u << VM_MARK_READY;
    return found;
}

/* Keeps as much of the end as a text that is cut in two may need. */
static void keep_tail(struct console_scan *s, const char *data, size_t len)
{
    const size_t most = CONSOLE_SCAN_TEXT_MAX - 1;

    if (len >= most) {
        memcpy(s->tail, data + len - most, most);
        s->tail_len = most;
        return;
    }
    if (s->tail_len + len > most) {
        size_t drop = s->tail_len + len - most;

        memmove(s->tail, s->tail + drop, s->tail_len - drop);
        s->tail_len -= drop;
    }
    memcpy(s->tail + s->tail_len, data, len);
    s->tail_len += len;
}

unsigned console_scan_feed(struct console_scan *s, const char *data, size_t len)
{
    unsigned found = 0;

    if (!s->wanted || !len)
        return 0;
    if (s->wanted & 1u << VM_MARK_FIRST_OUTPUT)
        found |= 1u << VM_MARK_FIRST_OUTPUT;
    found |= look(s, data, len);
    if (s->tail_len) { /* what begins in the bytes before */
        size_t head = len < CONSOLE_SCAN_TEXT_MAX ? len : CONSOLE_SCAN_TEXT_MAX;
        char seam[sizeof(s->tail) + CONSOLE_SCAN_TEXT_MAX];

        memcpy(seam, s->tail, s->tail_len);
        memcpy(seam + s->tail_len, data, head);
        found |= look(s, seam, s->tail_len + head);
    }
    keep_tail(s, data, len);
    s->seen += len;
    s->wanted &= ~found;
    if (s->seen > BOOT_BYTES)
        s->wanted &= 1u << VM_MARK_READY;
    if (s->seen > READY_BYTES)
        s->wanted = 0;
    return found;
}
