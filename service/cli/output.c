/* The forms of -o. Knows the shape of lists, and which member of a thing other commands take. */
#include "service/cli/output.h"

#include <string.h>

#include "service/base/str.h"
#include "service/cli/print.h"
#include "service/cli/yamldoc.h"

static struct {
    enum output_form form;
    const char *words;
    unsigned documents;
    bool nameless, broken;
} output;

/*
 * Commands, by their words or the beginning of them, whose things are not called by their `name`. A
 * secret that is shown once is what its command prints in every form.
 */
static const struct {
    const char *words, *member;
} names[] = {
    {"token create", "token"},
    {"ticket create", "url"},
    {"share", "link"},
    {"login-link", "url"},
    {"token", "id"},
    {"ticket", "id"},
    {"recording", "id"},
    {"lease", "id"},
    {"webhook", "id"},
    {"vm programs", "id"},
    {"op", "id"},
    {"host check", "id"},
    {"events", "seq"},
    {"vm addresses", "address"},
};

static const char *const usual[] = {"name", "vm_name", "id", "vm_id"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

int output_choose(const char *text, enum output_form *ret, struct failure *fail)
{
    static const char *const forms[] = {"table", "json", "yaml", "name"};

    *ret = OUTPUT_TABLE;
    if (!text)
        return 0;
    for (size_t i = 0; i < COUNT(forms); i++) {
        if (str_eq(text, forms[i])) {
            *ret = (enum output_form)i;
            return 0;
        }
    }
    return failure_set(fail, CLI_USAGE, "--output must be table, json, yaml or name, not '%s'", text);
}

void output_start(enum output_form form, const char *words)
{
    output.form = form;
    output.words = words;
}

enum output_form output_form(void)
{
    return output.form;
}

static char *text_of(const json_t *value)
{
    if (json_is_integer(value))
        return xasprintf("%lld", (long long)json_integer_value(value));
    return xstrdup_null(json_string_value(value));
}

char *output_name_of(const char *words, const json_t *thing)
{
    for (size_t i = 0; i < COUNT(names); i++) {
        size_t len = strlen(names[i].words);

        if (str_starts(words, names[i].words) && (!words[len] || words[len] == ' '))
            return text_of(json_object_get(thing, names[i].member));
    }
    for (size_t i = 0; i < COUNT(usual); i++) {
        char *text = text_of(json_object_get(thing, usual[i]));

        if (text)
            return text;
    }
    return NULL;
}

static void print_name(const json_t *thing)
{
    auto_free char *name = output_name_of(output.words ? output.words : "", thing);

    if (!name) {
        output.nameless = true;
        return;
    }
    print_safe(stdout, name);
    putchar('\n');
    if (json_is_string(json_object_get(thing, "secret"))) {
        /* It will not be shown again: a form that has no room for it must not lose it. */
        fputs("Its secret, shown this once: ", stderr);
        print_safe(stderr, value_text(thing, "secret", ""));
        fputc('\n', stderr);
    }
}

static void print_names(const json_t *value)
{
    const json_t *items = json_is_array(value) ? value : json_object_get(value, "items");
    const json_t *thing;
    size_t i;

    if (!json_is_array(items)) {
        print_name(value);
        return;
    }
    json_array_foreach((json_t *)(uintptr_t)items, i, thing)
        print_name(thing);
}

void output_value(const json_t *value)
{
    if (output.form == OUTPUT_NAME) {
        print_names(value);
    } else if (output.form == OUTPUT_YAML) {
        output.broken |= !yamldoc_write(value, output.documents++ > 0, stdout);
    } else {
        json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
        putchar('\n');
    }
}

int output_end(struct failure *fail)
{
    if (output.broken || fflush(stdout) || ferror(stdout))
        return failure_set(fail, CLI_FAILED, "the output cannot be written");
    if (output.nameless) {
        failure_set(fail, CLI_USAGE, "what this command shows has no name");
        failure_remedy(fail, "-o json or -o yaml");
        return -1;
    }
    return 0;
}
