/*
 * The command line against the tables, with getopt_long. Finds the command first (global options
 * may precede its words), then parses what follows with the command's own options.
 */
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/words.h"

#define ROWS_MAX 64

/* The two lists of options of a parse, as getopt_long wants them. */
struct spec {
    const struct option_row *row[ROWS_MAX];
    struct option longs[ROWS_MAX + 1];
    char shorts[2 * ROWS_MAX + 3];
    int count;
};

static void spec_add(struct spec *s, const struct option_row *rows)
{
    for (; rows && rows->name; rows++) {
        size_t len = strlen(s->shorts);

        if (s->count == ROWS_MAX)
            abort();
        s->row[s->count] = rows;
        s->longs[s->count] = (struct option){.name = rows->name,
                                             .has_arg = rows->argument ? required_argument
                                                                       : no_argument,
                                             .val = 256 + s->count};
        s->count++;
        if (rows->letter) {
            s->shorts[len++] = rows->letter;
            if (rows->argument)
                s->shorts[len++] = ':';
            s->shorts[len] = '\0';
        }
    }
}

static const struct option_row *spec_row(const struct spec *s, int val)
{
    if (val >= 256 && val < 256 + s->count)
        return s->row[val - 256];
    for (int i = 0; i < s->count; i++) {
        if (s->row[i]->letter == val)
            return s->row[i];
    }
    return NULL;
}

/* The long option that was probably meant; NULL: none. */
static const char *meant_option(const struct spec *s, const char *word)
{
    auto_free char *name = str_starts(word, "--") ? xstrndup(word + 2, strcspn(word + 2, "=")) : NULL;
    const char *best = NULL;
    int least = INT_MAX, d;

    for (int i = 0; name && i < s->count; i++) {
        if (words_near(name, s->row[i]->name, &d) && d < least) {
            least = d;
            best = s->row[i]->name;
        }
    }
    return best;
}

static int bad_option(const struct spec *s, const char *command, int c, const char *word, struct failure *fail)
{
    const char *meant = meant_option(s, word);

    if (c == ':')
        failure_set(fail, CLI_USAGE, "the option %s needs a value", word);
    else
        failure_set(fail, CLI_USAGE, "there is no option %s here%s%s%s", word, meant ? "; did you mean --" : "",
                    meant ? meant : "", meant ? "?" : "");
    if (command)
        failure_remedy(fail, "drover help %s", command);
    else
        failure_remedy(fail, "drover help");
    return -1;
}

/* Options of argv[0..argc) into args; what is no option is moved behind them: *ret_first. */
static int parse_options(const struct spec *s, const char *command, int argc, char **argv,
                         struct args *args, int *ret_first, struct failure *fail)
{
    int c;

    optind = 0; /* glibc: start anew */
    opterr = 0;
    while ((c = getopt_long(argc, argv, s->shorts, s->longs, NULL)) != -1) {
        const struct option_row *row = spec_row(s, c);
        auto_free char *letter = NULL;

        if (!row) {
            bool is_letter = optopt > 0 && optopt < 256;

            letter = xasprintf("-%c", is_letter ? optopt : '?');
            return bad_option(s, command, c, is_letter ? letter : argv[optind - 1], fail);
        }
        if (args->given_count == ARGS_MAX)
            return failure_set(fail, CLI_USAGE, "too many options");
        args->given[args->given_count].row = row;
        args->given[args->given_count++].value = row->argument ? optarg : NULL;
    }
    *ret_first = optind;
    return 0;
}

/*
 * Words that name no command: args->family if they are a family's and no other follows, else what may have
 * been meant.
 */
static int no_command(const struct command *const *groups, int argc, const char *const *typed, struct args *args,
                      struct failure *fail)
{
    int known = words_of_family(groups, argc, typed);
    auto_free char *meant = NULL, *words = NULL;

    for (int i = 0; i < known; i++) {
        size_t len = strlen(args->family);

        snprintf(args->family + len, sizeof(args->family) - len, "%s%s", i ? " " : "", typed[i]);
    }
    if (argc == 0 || known == argc) {
        failure_set(fail, CLI_USAGE, *args->family ? "'%s' needs another word" : "no command given", args->family);
    } else {
        words = xasprintf("%s%s%s", args->family, known ? " " : "", typed[known]);
        meant = words_meant(groups, argc, typed);
        failure_set(fail, CLI_USAGE, "there is no command '%s'%s%s%s", words, meant ? "; did you mean '" : "",
                    meant ? meant : "", meant ? "'?" : "");
    }
    failure_remedy(fail, "drover help%s%s", meant || *args->family ? " " : "", meant ? meant : args->family);
    if (known < argc)
        *args->family = '\0';
    return -1;
}

/* What follows the words of a family: its options say whether help is asked for; else a wrong word. */
static int parse_family(const struct command *const *groups, const struct option_row *globals, int argc, char **argv,
                        struct args *ret, struct failure *fail)
{
    const char *const *typed = (const char *const *)argv;
    struct spec after = {.shorts = "+:"};
    int known = words_of_family(groups, argc, typed), first = 0;

    if (known && known < argc && argv[known][0] == '-') {
        spec_add(&after, globals);
        no_command(groups, known, typed, ret, fail);
        if (parse_options(&after, ret->family, argc - known + 1, argv + known - 1, ret, &first, fail)) {
            *ret->family = '\0';
            return -1;
        }
        if (args_flag(ret, "help") || args_flag(ret, "version"))
            return -1;
        argc = known;
    }
    *ret->family = '\0';
    return no_command(groups, argc, typed, ret, fail);
}

/* Too few or too many; the first may be a word of a longer command, such as `ksm tune`, mistyped. */
static int bad_operands(const struct command *const *groups, const struct command *command, int count,
                        const char *const *operands, struct failure *fail)
{
    const char *typed[] = {command->words, count ? operands[0] : NULL};
    auto_free char *meant = count && words_of_family(groups, 1, typed) ? words_meant(groups, 2, typed) : NULL;

    failure_set(fail, CLI_USAGE, "'%s' takes %s%s%s%s", command->words,
                *command->operands ? command->operands : "no operand", meant ? "; did you mean '" : "",
                meant ? meant : "", meant ? "'?" : "");
    failure_remedy(fail, "drover help %s", meant ? meant : command->words);
    return -1;
}

int args_parse(const struct command *const *groups, const struct option_row *globals, int argc,
               char **argv, struct args *ret, struct failure *fail)
{
    struct spec before = {.shorts = "+:"}, after = {.shorts = ":"};
    int first = 0, words;

    *ret = (struct args){0};
    spec_add(&before, globals);
    if (parse_options(&before, NULL, argc, argv, ret, &first, fail))
        return -1;
    ret->command = words_find(groups, argc - first, (const char *const *)argv + first, &words);
    if (!ret->command)
        return parse_family(groups, globals, argc - first, argv + first, ret, fail);

    /* getopt skips argv[0]: let that be the command's last word. */
    argc -= first + words - 1;
    argv += first + words - 1;
    spec_add(&after, ret->command->options);
    spec_add(&after, globals);
    if (parse_options(&after, ret->command->words, argc, argv, ret, &first, fail))
        return -1;
    if (args_flag(ret, "help") || args_flag(ret, "version"))
        return 0;
    if (argc - first < ret->command->operands_min || argc - first > ret->command->operands_max) {
        return bad_operands(groups, ret->command, argc - first, (const char *const *)argv + first, fail);
    }
    for (int i = first; i < argc; i++)
        ret->operand[ret->count++] = argv[i];
    return 0;
}

bool args_flag(const struct args *args, const char *name)
{
    int state = 0;

    for (; state < args->given_count; state++) {
        if (strcmp(args->given[state].row->name, name) == 0)
            return true;
    }
    return false;
}

const char *args_next(const struct args *args, const char *name, int *state)
{
    while (*state < args->given_count) {
        int i = (*state)++;

        if (strcmp(args->given[i].row->name, name) == 0)
            return args->given[i].value;
    }
    return NULL;
}

const char *args_text(const struct args *args, const char *name, const char *fallback)
{
    const char *value;
    int state = 0;

    while ((value = args_next(args, name, &state)))
        fallback = value;
    return fallback;
}

int args_number(const struct args *args, const char *name, int64_t min, int64_t max,
                int64_t fallback, int64_t *ret, struct failure *fail)
{
    const char *text = args_text(args, name, NULL);
    uint64_t v;

    if (!text) {
        *ret = fallback;
        return 0;
    }
    if (!str_to_u64(text, (uint64_t)max, &v) || (int64_t)v < min)
        return failure_set(fail, CLI_USAGE, "--%s must be a whole number from %lld to %lld", name,
                           (long long)min, (long long)max);
    *ret = (int64_t)v;
    return 0;
}

bool args_time(const char *text, json_int_t *ret)
{
    static const struct {
        const char *suffix;
        json_int_t seconds;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    size_t digits = strspn(text, "0123456789");
    auto_free char *number = xstrndup(text, digits);
    uint64_t v;

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (str_eq(text + digits, units[i].suffix) && str_to_u64(number, 1u << 30, &v) && v > 0) {
            *ret = (json_int_t)v * units[i].seconds;
            return true;
        }
    }
    return false;
}

int args_lifetime(const struct args *args, const char *name, json_int_t fallback, json_int_t *ret,
                  struct failure *fail)
{
    const char *text = args_text(args, name, NULL);

    *ret = fallback;
    if (!text || args_time(text, ret))
        return 0;
    return failure_set(fail, CLI_USAGE, "--%s must be a time such as 15m, 12h or 30d, not '%s'", name,
                       text);
}
