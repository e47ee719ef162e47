/* Tables and units for people. Does no arithmetic on figures beyond choosing a unit. */
#include "service/cli/print.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/cli/style.h"

struct table {
    size_t columns, cells, cap;
    char **titles;
    char **cell;
};

/*
 * Length of the UTF-8 sequence at p, or 0 when it is not one that may reach a terminal. Sets the
 * columns it takes.
 */
static size_t printable_at(const char *p, size_t *ret_columns)
{
    unsigned char c = (unsigned char)*p;
    size_t len = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    wchar_t wide = 0;
    mbstate_t state = {0};
    int width;

    *ret_columns = 1;
    if (c < 0x20 || c == 0x7f)
        return 0;
    if (c < 0x80)
        return 1;
    if (strnlen(p, len) < len || !str_is_utf8(p, len))
        return 0;
    if (c == 0xc2 && (unsigned char)p[1] < 0xa0) /* C1 controls: 0x9b is as good as ESC [ */
        return 0;
    if (mbrtowc(&wide, p, len, &state) == len) {
        width = wcwidth(wide);
        if (width < 0)
            return 0;
        *ret_columns = (size_t)width;
    }
    return len;
}

void print_safe(FILE *out, const char *text)
{
    while (*text) {
        size_t columns, len = printable_at(text, &columns);

        if (len)
            fwrite(text, 1, len, out);
        else
            fputc('?', out);
        text += len ? len : 1;
    }
}

size_t print_width(const char *text)
{
    size_t width = 0;

    while (*text) {
        size_t columns, len = printable_at(text, &columns);

        width += columns;
        text += len ? len : 1;
    }
    return width;
}

char *print_bytes(double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t u = 0;
    double shown = bytes < 0 ? -bytes : bytes;

    while (shown >= 1024 && u + 1 < sizeof(units) / sizeof(units[0])) {
        shown /= 1024;
        bytes /= 1024;
        u++;
    }
    return xasprintf(u == 0 || shown >= 100 ? "%.0f %s" : "%.1f %s", bytes, units[u]);
}

char *print_duration(double seconds)
{
    long long s = (long long)seconds;

    if (seconds < 1)
        return xasprintf("%.0fms", seconds * 1000);
    if (s < 60)
        return xasprintf("%llds", s);
    if (s < 3600)
        return xasprintf("%lldm %llds", s / 60, s % 60);
    if (s < 86400)
        return xasprintf("%lldh %lldm", s / 3600, s % 3600 / 60);
    return xasprintf("%lldd %lldh", s / 86400, s % 86400 / 3600);
}

char *print_age(const char *rfc3339)
{
    int64_t at, now = clock_wall_ms();

    if (!rfc3339 || !clock_parse(rfc3339, &at))
        return xstrdup("-");
    return print_duration(now > at ? (double)(now - at) / 1000 : 0);
}

struct table *table_new(const char *const *titles, size_t columns)
{
    struct table *t = xcalloc(1, sizeof(*t));

    t->columns = columns;
    t->titles = xcalloc(columns, sizeof(*t->titles));
    for (size_t i = 0; i < columns; i++)
        t->titles[i] = xstrdup(titles[i]);
    return t;
}

void table_cell_take(struct table *t, char *text)
{
    if (t->cells == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->cell = xrealloc_array(t->cell, t->cap, sizeof(*t->cell));
    }
    t->cell[t->cells++] = text;
}

void table_cell(struct table *t, const char *text)
{
    table_cell_take(t, xstrdup(text && *text ? text : "-"));
}

static void print_cell(FILE *out, const char *text, size_t width, bool right, bool last, enum style style)
{
    size_t own = print_width(text), pad = width > own ? width - own : 0;

    if (right)
        fprintf(out, "%*s", (int)pad, "");
    if (style != STYLE_PLAIN)
        style_begin(out, style);
    print_safe(out, text);
    if (style != STYLE_PLAIN)
        style_end(out);
    if (!last)
        fprintf(out, "%*s", (int)(right ? 2 : pad + 2), "");
}

/* A cell that tells a state: in a column of that name, or beside the name of that member. */
static bool is_state(const struct table *t, size_t i)
{
    size_t c = i % t->columns;

    return strcmp(t->titles[c], "STATE") == 0 || strcmp(t->titles[c], "RESULT") == 0 ||
           (c > 0 && strcmp(t->titles[c], "VALUE") == 0 && strcmp(t->cell[i - 1], "state") == 0);
}

void table_print(const struct table *t, FILE *out, const char *empty)
{
    auto_free size_t *width = xcalloc(t->columns, sizeof(*width));

    if (t->cells == 0 || t->columns == 0) {
        fprintf(stderr, "%s\n", empty);
        return;
    }
    for (size_t c = 0; c < t->columns; c++)
        width[c] = print_width(t->titles[c] + (*t->titles[c] == '>'));
    for (size_t i = 0; i < t->cells; i++) {
        size_t own = print_width(t->cell[i]);

        if (own > width[i % t->columns])
            width[i % t->columns] = own;
    }
    for (size_t c = 0; c < t->columns; c++) {
        bool right = *t->titles[c] == '>';

        print_cell(out, t->titles[c] + right, width[c], right, c + 1 == t->columns, STYLE_STRONG);
    }
    fputc('\n', out);
    for (size_t i = 0; i < t->cells; i++) {
        size_t c = i % t->columns;
        bool last = c + 1 == t->columns;

        print_cell(out, t->cell[i], width[c], *t->titles[c] == '>', last,
                   is_state(t, i) ? style_of_state(t->cell[i]) : STYLE_PLAIN);
        if (last)
            fputc('\n', out);
    }
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->cells; i++)
        free(t->cell[i]);
    for (size_t i = 0; i < t->columns; i++)
        free(t->titles[i]);
    free(t->cell);
    free(t->titles);
    free(t);
}
