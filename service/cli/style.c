/* Which colours there are, and for what. */
#include "service/cli/style.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/base/str.h"

/* The sixteen colours that a terminal's theme defines, so that they can be read on any of them. */
static const char *const codes[] = {
    [STYLE_GOOD] = "32", [STYLE_BAD] = "31", [STYLE_BUSY] = "33", [STYLE_FAINT] = "2", [STYLE_STRONG] = "1",
};

static const struct {
    enum style style;
    const char *states;
} states[] = {
    {STYLE_GOOD, "running ready succeeded active ok healthy"},
    {STYLE_BAD, "failed crashed error"},
    {STYLE_BUSY, "starting stopping deleting importing pending queued warming paused recording warning"},
    {STYLE_FAINT, "stopped saved cancelled ended empty finished"},
};

bool style_wanted(FILE *out)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return !(no && *no) && !(term && strcmp(term, "dumb") == 0) && isatty(fileno(out));
}

void style_begin(FILE *out, enum style style)
{
    if (style != STYLE_PLAIN && style_wanted(out))
        fprintf(out, "\033[%sm", codes[style]);
}

void style_end(FILE *out)
{
    if (style_wanted(out))
        fputs("\033[0m", out);
}

enum style style_of_state(const char *text)
{
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (*text && !strchr(text, ' ') && str_has_word(states[i].states, text))
            return states[i].style;
    }
    return STYLE_PLAIN;
}
