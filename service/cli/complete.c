/* An unfinished command line against the tables. Prints nothing, asks nobody. */
#include "service/cli/complete.h"

#include <string.h>

#include "service/base/str.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- values ---- */

/* Names of operands and of options' values; `within` is the first word of the command, if it matters. */
static const struct {
    const char *within, *name;
    struct complete_source source;
} things[] = {
    {NULL, "VM", {"/v1/vms?limit=1000", "name", "state"}},
    {NULL, "IMAGE", {"/v1/images?limit=1000", "name", "kind"}},
    {NULL, "POOL", {"/v1/pools?limit=1000", "name", "depth"}},
    {NULL, "LEASE", {"/v1/leases?limit=1000", "id", "vm.name"}},
    {NULL, "ENTRY", {"/v1/catalogue?limit=1000", "name", "title"}},
    {NULL, "LABEL", {"/v1/image-labels?limit=1000", "name", "image_name"}},
    {NULL, "SET", {"/v1/sets?limit=1000", "name", "state"}},
    {"webhook", "ID", {"/v1/webhooks?limit=1000", "id", "url"}},
    {"op", "ID", {"/v1/operations?limit=100", "id", "kind"}},
    {"token", "ID", {"/v1/tokens?limit=1000", "id", "name"}},
    {NULL, "PROJECT", {"/v1/projects", "name", "id"}},
    {"quota", "ID", {"/v1/tokens?limit=1000", "id", "name"}},
    {"ticket", "ID", {"/v1/tickets?limit=1000", "id", "vm.name"}},
    {"recording", "ID", {"/v1/recordings?limit=1000", "id", "vm_name"}},
    {"catalogue", "NAME", {"/v1/catalogue-sources?limit=1000", "name", "url"}},
    {"cp", "FROM", {"/v1/vms?limit=1000", "name", "state"}},
    {"cp", "TO", {"/v1/vms?limit=1000", "name", "state"}},
};

/* Options whose values are known words; command NULL: of every command. */
static const struct {
    const char *command, *option, *words;
} fixed[] = {
    {NULL, "output", "table json yaml name"},
    {"vm list", "state", "stopped starting running paused stopping saved crashed failed deleting"},
    {"op list", "state", "pending running succeeded failed cancelled"},
    {"vm create", "wait", "running console ready ip agent"},
    {"vm wait", "for", "running console ready ip agent"},
    {"lease create", "wait", "claimed running console"},
    {"lease create", "on-expiry", "delete stop pause"},
    {"pool put", "depth", "booted snapshot cold"},
    {"pool create", "depth", "booted snapshot cold"},
    {"pool put", "ready-when", "running console"},
    {"pool create", "ready-when", "running console"},
    {NULL, "acceleration", "auto kvm emulated"},
    {NULL, "firmware", "bios uefi"},
    {NULL, "network", "user none bridge= network="},
    {NULL, "machine", "q35 pc"},
    {NULL, "role", "admin operator viewer"},
    {"image create", "kind", "disk kernel iso"},
    {"image import", "kind", "disk iso"},
    {"catalogue create", "kind", "drover virt-builder"},
    {NULL, "format", "qcow2 raw"},
    {"image import", "from", "qcow2 raw vmdk vdi vhdx"},
    {"image import", "compression", "xz"},
    {"image upload", "part", "content kernel initrd"},
};

static const char *const files[] = {"FILE", "DIR", "PATH"};

/* Whether the first word of `words` is this. */
static bool begins_with_word(const char *words, const char *word)
{
    size_t len = strlen(word);

    return words && strncmp(words, word, len) == 0 && (words[len] == ' ' || !words[len]);
}

static enum complete_kind one_value(const char *command, const char *name, struct complete_source *ret)
{
    for (size_t i = 0; i < COUNT(files); i++) {
        if (str_eq(name, files[i]))
            return COMPLETE_FILES;
    }
    for (size_t i = 0; i < COUNT(things); i++) {
        if (str_eq(name, things[i].name) && (!things[i].within || begins_with_word(command, things[i].within))) {
            *ret = things[i].source;
            return COMPLETE_THINGS;
        }
    }
    return COMPLETE_NOTHING;
}

enum complete_kind complete_value(const char *command, const char *option, const char *name,
                                  const char **ret_words, struct complete_source *ret_source)
{
    size_t first = strcspn(name, "|");
    auto_free char *head = xstrndup(name, first);

    for (size_t i = 0; option && i < COUNT(fixed); i++) {
        if (str_eq(fixed[i].option, option) && (!fixed[i].command || str_eq(fixed[i].command, command))) {
            *ret_words = fixed[i].words;
            return COMPLETE_WORDS;
        }
    }
    if (name[first] && *name >= 'a' && *name <= 'z') { /* "on|off": the words themselves */
        *ret_words = name;
        return COMPLETE_WORDS;
    }
    return one_value(command, head, ret_source);
}

/* ---- the line ---- */

static const struct option_row *find_option(const struct option_row *rows, const char *name, size_t len,
                                            char letter)
{
    for (; rows && rows->name; rows++) {
        if (letter ? rows->letter == letter : strlen(rows->name) == len && strncmp(rows->name, name, len) == 0)
            return rows;
    }
    return NULL;
}

/* The command's own options hide global ones of the same name. */
static const struct option_row *option_row(const struct complete_line *l, const char *name, size_t len,
                                           char letter)
{
    const struct option_row *own =
        l->command ? find_option(l->command->options, name, len, letter) : NULL;

    return own ? own : find_option(global_options, name, len, letter);
}

static void find_command(struct complete_line *l)
{
    for (size_t g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]; c->words; c++) {
            int n = args_match(c->words, l->plain_count, l->plain);

            if (n > l->command_words) {
                l->command = c;
                l->command_words = n;
            }
        }
    }
}

static void note_value(struct complete_line *l, const struct option_row *row, const char *value)
{
    if (str_eq(row->name, "url"))
        l->url = value;
    else if (str_eq(row->name, "socket"))
        l->socket = value;
    else if (str_eq(row->name, "context"))
        l->context = value;
    else if (str_eq(row->name, "token-file"))
        l->token_file = value;
}

/* A finished word; sets pending when the next one is its value. */
static void take_word(struct complete_line *l, const char *word)
{
    const struct option_row *row = NULL;

    if (l->pending) {
        note_value(l, l->pending, word);
        l->pending = NULL;
    } else if (l->options_ended || *word != '-' || !word[1]) {
        if (l->plain_count < ARGS_MAX)
            l->plain[l->plain_count++] = word;
        find_command(l);
    } else if (str_eq(word, "--")) {
        l->options_ended = true;
    } else if (word[1] == '-') {
        size_t len = strcspn(word + 2, "=");

        row = option_row(l, word + 2, len, 0);
        if (row && row->argument && word[2 + len])
            note_value(l, row, word + 2 + len + 1);
        else if (row && row->argument)
            l->pending = row;
    } else {
        for (const char *p = word + 1; *p; p++) {
            row = option_row(l, NULL, 0, *p);
            if (row && row->argument) {
                if (p[1])
                    note_value(l, row, p + 1);
                else
                    l->pending = row;
                break;
            }
        }
    }
}

void complete_parse(const char *const *words, int count, struct complete_line *ret)
{
    struct complete_line *l = ret;
    const char *last = count ? words[count - 1] : "";
    size_t len;

    *l = (struct complete_line){.prefix = last};
    for (int i = 0; i + 1 < count; i++)
        take_word(l, words[i]);
    if (l->pending || l->options_ended || *last != '-')
        return;
    len = str_starts(last, "--") ? strcspn(last + 2, "=") : 0;
    if (len && last[2 + len] == '=') {
        l->pending = option_row(l, last + 2, len, 0);
        l->prefix_skip = (int)len + 3;
    }
    l->wants_option = !l->pending;
}

bool complete_is_harmless(const char *name)
{
    return *name && *name != '-' &&
           !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:@/+-")];
}
