/* Searching a stream. */
#include "service/cli/match.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"

void match_init(struct match *m, const char *text)
{
    *m = (struct match){.text = text, .len = text ? strlen(text) : 0};
    if (!text || !m->len)
        return;
    m->fallback = xcalloc(m->len, sizeof(*m->fallback));
    for (size_t i = 1, k = 0; i < m->len; i++) {
        while (k && text[i] != text[k])
            k = m->fallback[k - 1];
        k += text[i] == text[k];
        m->fallback[i] = k;
    }
}

void match_done(struct match *m)
{
    free(m->fallback);
    *m = (struct match){0};
}

bool match_feed(struct match *m, const char *data, size_t len)
{
    if (!m->len)
        return false;
    for (size_t i = 0; i < len && m->have < m->len; i++) {
        while (m->have && data[i] != m->text[m->have])
            m->have = m->fallback[m->have - 1];
        m->have += data[i] == m->text[m->have];
    }
    return m->have == m->len;
}
