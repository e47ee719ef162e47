/*
 * Longest common subsequence of lines, after the common beginning and end are set aside. Texts too
 * long for the table are shown as replaced: right, if not short.
 */
#include "service/cli/unified.h"

#include <stdint.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/print.h"
#include "service/cli/style.h"

#define CONTEXT   3
#define TABLE_MAX (4u << 20) /* cells of two bytes */

struct lines {
    char *text;
    char **line;
    size_t count;
};

/* What a line of the output is: ' ', '-' or '+'. */
struct step {
    char mark;
    const char *line;
};

struct script {
    struct step *step;
    size_t count;
};

static void lines_done(struct lines *l)
{
    free(l->text);
    free(l->line);
}
#define auto_lines auto_scope(lines_done)

static void script_done(struct script *s)
{
    free(s->step);
}
#define auto_script auto_scope(script_done)

static void lines_split(struct lines *l, const char *text)
{
    size_t cap = 16;
    char *p;

    l->text = xstrdup(text);
    l->line = xcalloc(cap, sizeof(*l->line));
    for (p = l->text; *p;) {
        char *end = strchr(p, '\n');

        if (l->count == cap) {
            cap *= 2;
            l->line = xrealloc_array(l->line, cap, sizeof(*l->line));
        }
        l->line[l->count++] = p;
        if (!end)
            break;
        *end = '\0';
        p = end + 1;
    }
}

static void add(struct script *s, char mark, const char *line)
{
    s->step[s->count++] = (struct step){mark, line};
}

/* Lines [0, n) of a and [0, m) of b, which differ at both ends, by the table of common lengths. */
static void middle(struct script *s, char **a, size_t n, char **b, size_t m)
{
    auto_free uint16_t *common = NULL;
    size_t width = m + 1, i = 0, j = 0;

    if (n && m && n < UINT16_MAX && (n + 1) <= TABLE_MAX / width) {
        common = xcalloc((n + 1) * width, sizeof(*common));
        for (i = n; i-- > 0;) {
            for (j = m; j-- > 0;) {
                uint16_t down = common[(i + 1) * width + j], right = common[i * width + j + 1];

                common[i * width + j] = strcmp(a[i], b[j]) == 0
                                            ? (uint16_t)(common[(i + 1) * width + j + 1] + 1)
                                            : down >= right ? down : right;
            }
        }
        i = j = 0;
    }
    while (common && i < n && j < m) {
        if (strcmp(a[i], b[j]) == 0) {
            add(s, ' ', a[i]);
            i++;
            j++;
        } else if (common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            add(s, '-', a[i++]);
        } else {
            add(s, '+', b[j++]);
        }
    }
    while (i < n)
        add(s, '-', a[i++]);
    while (j < m)
        add(s, '+', b[j++]);
}

static void compare(struct script *s, const struct lines *a, const struct lines *b)
{
    size_t head = 0, tail = 0;

    s->step = xcalloc(a->count + b->count + 1, sizeof(*s->step));
    while (head < a->count && head < b->count && strcmp(a->line[head], b->line[head]) == 0)
        head++;
    while (tail < a->count - head && tail < b->count - head &&
           strcmp(a->line[a->count - 1 - tail], b->line[b->count - 1 - tail]) == 0)
        tail++;
    for (size_t i = 0; i < head; i++)
        add(s, ' ', a->line[i]);
    middle(s, a->line + head, a->count - head - tail, b->line + head, b->count - head - tail);
    for (size_t i = a->count - tail; i < a->count; i++)
        add(s, ' ', a->line[i]);
}

static size_t next_change(const struct script *s, size_t from)
{
    while (from < s->count && s->step[from].mark == ' ')
        from++;
    return from;
}

static void print_hunk(FILE *out, const struct script *s, size_t from, size_t to, size_t old_line,
                       size_t new_line)
{
    size_t removed = 0, added = 0;

    for (size_t i = from; i < to; i++) {
        removed += s->step[i].mark != '+';
        added += s->step[i].mark != '-';
    }
    style_begin(out, STYLE_FAINT);
    fprintf(out, "@@ -%zu,%zu +%zu,%zu @@", removed ? old_line : old_line - 1, removed,
            added ? new_line : new_line - 1, added);
    style_end(out);
    fputc('\n', out);
    for (size_t i = from; i < to; i++) {
        char mark = s->step[i].mark;

        style_begin(out, mark == '-' ? STYLE_BAD : mark == '+' ? STYLE_GOOD : STYLE_PLAIN);
        fputc(mark, out);
        print_safe(out, s->step[i].line);
        style_end(out);
        fputc('\n', out);
    }
}

bool unified_print(FILE *out, const char *old_label, const char *old_text, const char *new_label,
                   const char *new_text)
{
    auto_lines struct lines a = {0}, b = {0};
    auto_script struct script s = {0};
    size_t at = 0, old_line = 1, new_line = 1, change;

    lines_split(&a, old_text);
    lines_split(&b, new_text);
    compare(&s, &a, &b);
    change = next_change(&s, 0);
    if (change == s.count)
        return false;
    fputs("--- ", out);
    print_safe(out, old_label);
    fputs("\n+++ ", out);
    print_safe(out, new_label);
    fputc('\n', out);
    while (change < s.count) {
        size_t from = change > at + CONTEXT ? change - CONTEXT : at, end = change, to;

        /* Changes whose contexts touch are one hunk. */
        for (;;) {
            while (end < s.count && s.step[end].mark != ' ')
                end++;
            change = next_change(&s, end);
            if (change == s.count || change - end > 2 * CONTEXT)
                break;
            end = change;
        }
        to = end + CONTEXT < s.count ? end + CONTEXT : s.count;
        for (; at < from; at++) {
            old_line++;
            new_line++;
        }
        print_hunk(out, &s, from, to, old_line, new_line);
        for (; at < to; at++) {
            old_line += s.step[at].mark != '+';
            new_line += s.step[at].mark != '-';
        }
    }
    return true;
}
