/* Words of commands, and typing errors in them. */
#include "service/cli/words.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"

#define WORD_MAX  24 /* longer ones are no typing errors of ours */
#define DEPTH_MAX 3  /* words of a command */

/* Each row: words that do the same, whatever a kind's command calls it. People type what they are used to. */
static const char *const alike[][5] = {
    {"delete", "rm", "remove", "revoke", "release"},
    {"create", "add", "new"},
    {"list", "ls"},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool is_word(const char *text, const char *word, size_t len)
{
    return text && strlen(text) == len && strncmp(text, word, len) == 0;
}

/* Whether the word that was typed stands for this one of the table. */
static bool stands_for(const char *typed, const char *word, size_t len)
{
    for (size_t row = 0; row < COUNT(alike); row++) {
        bool has_typed = false, has_word = false;

        for (size_t i = 0; i < COUNT(alike[row]); i++) {
            has_typed = has_typed || (alike[row][i] && str_eq(alike[row][i], typed));
            has_word = has_word || is_word(alike[row][i], word, len);
        }
        if (has_typed && has_word)
            return true;
    }
    return false;
}

int args_match(const char *words, int count, const char *const *typed)
{
    int n = 0;

    while (*words) {
        size_t len = strcspn(words, " ");

        if (n == count)
            return 0;
        if (!is_word(typed[n], words, len) && (n == 0 || !stands_for(typed[n], words, len)))
            return 0;
        n++;
        words += len + (words[len] == ' ');
    }
    return n;
}

const struct command *words_find(const struct command *const *groups, int count, const char *const *typed,
                                 int *ret_words)
{
    const struct command *best = NULL;

    *ret_words = 0;
    for (; *groups; groups++) {
        for (const struct command *c = *groups; c->words; c++) {
            int n = args_match(c->words, count, typed);

            if (n > *ret_words) {
                best = c;
                *ret_words = n;
            }
        }
    }
    return best;
}

bool words_in_family(const struct command *command, const char *family)
{
    return !str_starts(command->words, "__") && str_starts(command->words, family) &&
           command->words[strlen(family)] == ' ';
}

/* The first words of `typed`, joined; the caller frees them. */
static char *join(int count, const char *const *typed)
{
    auto_strbuf struct strbuf b = {0};

    for (int i = 0; i < count; i++)
        strbuf_addf(&b, "%s%s", i ? " " : "", typed[i]);
    return strbuf_take(&b);
}

int words_of_family(const struct command *const *all, int count, const char *const *typed)
{
    for (int n = count < DEPTH_MAX ? count : DEPTH_MAX; n > 0; n--) {
        auto_free char *family = join(n, typed);

        for (const struct command *const *groups = all; *groups; groups++) {
            for (const struct command *c = *groups; c->words; c++) {
                if (words_in_family(c, family))
                    return n;
            }
        }
    }
    return 0;
}

/* ---- what was meant ---- */

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Levenshtein's, and two neighbours changed about count as one. */
static int distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int d[WORD_MAX + 1][WORD_MAX + 1];

    for (size_t i = 0; i <= a_len; i++)
        d[i][0] = (int)i;
    for (size_t j = 0; j <= b_len; j++)
        d[0][j] = (int)j;
    for (size_t i = 1; i <= a_len; i++) {
        for (size_t j = 1; j <= b_len; j++) {
            d[i][j] = least(least(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[a_len][b_len];
}

bool words_near(const char *typed, const char *word, int *ret_distance)
{
    size_t a = strlen(typed), b = strlen(word);

    if (a < 2 || a > WORD_MAX || b > WORD_MAX)
        return false;
    *ret_distance = a >= 3 && str_starts(word, typed) ? 1 : distance(typed, a, word, b);
    return *ret_distance <= (a < 5 ? 1 : 2);
}

/* The word after `family` ("" or "vm") that comes nearest to this one; the caller frees it. */
static char *nearest(const struct command *const *groups, const char *family, const char *typed)
{
    char *best = NULL;
    int least_so_far = WORD_MAX;

    for (; *groups; groups++) {
        for (const struct command *c = *groups; c->words; c++) {
            const char *rest = c->words + (*family ? strlen(family) + 1 : 0);
            auto_free char *word = NULL;
            int d;

            if (*family ? !words_in_family(c, family) : str_starts(c->words, "__"))
                continue;
            word = xstrndup(rest, strcspn(rest, " "));
            if (words_near(typed, word, &d) && d < least_so_far) {
                least_so_far = d;
                free(best);
                best = TAKE_PTR(word);
            }
        }
    }
    return best;
}

/* "list vms", "start": the command it is, if the first word is moved, or `vm` goes before. */
static const struct command *turned_about(const struct command *const *groups, int count, const char *const *typed)
{
    auto_free char *singular = count > 1 ? xstrdup(typed[1]) : NULL;
    const char *swapped[] = {singular, typed[0]}, *of_vm[] = {"vm", typed[0]};
    const struct command *found = NULL;
    size_t len = singular ? strlen(singular) : 0;
    int n;

    if (count > 1) {
        found = words_find(groups, 2, swapped, &n);
        if (!found && len > 1 && singular[len - 1] == 's') {
            singular[len - 1] = '\0';
            found = words_find(groups, 2, swapped, &n);
        }
        found = found && n == 2 ? found : NULL;
    }
    return found ? found : words_find(groups, 2, of_vm, &n);
}

char *words_meant(const struct command *const *groups, int count, const char *const *typed)
{
    int known = words_of_family(groups, count, typed), n;
    auto_free char *family = join(known, typed), *word = NULL, *both = NULL;
    const char *better[DEPTH_MAX] = {0};
    const struct command *c;

    if (known == count || known >= DEPTH_MAX)
        return NULL;
    c = known ? NULL : turned_about(groups, count, typed);
    if (c)
        return xstrdup(c->words);
    word = nearest(groups, family, typed[known]);
    if (!word)
        return NULL;
    for (int i = 0; i < known; i++)
        better[i] = typed[i];
    better[known] = word;
    /* The next word may be right, or wrong as well. */
    if (known + 1 < count && known + 1 < DEPTH_MAX) {
        better[known + 1] = typed[known + 1];
        c = words_find(groups, known + 2, better, &n);
        if (c && n == known + 2)
            return xstrdup(c->words);
        free(both);
        both = join(known + 1, better);
        {
            auto_free char *next = nearest(groups, both, typed[known + 1]);

            if (next)
                return xasprintf("%s %s", both, next);
        }
    }
    return join(known + 1, better);
}
