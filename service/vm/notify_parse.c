/* Reading what a guest says about its boot. */
#include "service/vm/notify_parse.h"

#include <string.h>

#include "service/base/str.h"

static bool is(const char *line, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(line, text, len) == 0;
}

static const char *value_of(const char *line, size_t len, const char *name, size_t *ret_len)
{
    size_t n = strlen(name);

    if (len < n || memcmp(line, name, n) != 0)
        return NULL;
    *ret_len = len - n;
    return line + n;
}

/* A terminal will show it some day. */
static void set_status(struct notify_message *m, const char *value, size_t len)
{
    char text[NOTIFY_MESSAGE_MAX + 1];

    if (!str_is_utf8(value, len))
        return;
    for (size_t i = 0; i < len; i++)
        text[i] = (unsigned char)value[i] < 0x20 || value[i] == 0x7f ? ' ' : value[i];
    text[len] = '\0';
    str_copy_utf8(m->status, sizeof(m->status), text);
    m->has_status = true;
}

bool notify_parse(const char *data, size_t len, struct notify_message *ret)
{
    bool any = false;

    *ret = (struct notify_message){0};
    if (len > NOTIFY_MESSAGE_MAX || memchr(data, '\0', len))
        return false;
    while (len) {
        const char *end = memchr(data, '\n', len), *value;
        size_t line = end ? (size_t)(end - data) : len, n;

        any |= memchr(data, '=', line) != NULL;
        if (is(data, line, "READY=1"))
            ret->ready = true;
        else if ((value = value_of(data, line, "X_SYSTEMD_UNIT_ACTIVE=", &n)) && n)
            ret->unit = true;
        else if ((value = value_of(data, line, "STATUS=", &n)))
            set_status(ret, value, n);
        data += line + (end != NULL);
        len -= line + (end != NULL);
    }
    return any;
}
