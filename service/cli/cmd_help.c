/* `help` and `version`: what can be said without a server. */
#include "service/cli/help.h"

#include <string.h>

#include "service/base/str.h"
#include "service/cli/manifest.h"
#include "service/cli/value.h"
#include "service/cli/words.h"

static const struct {
    enum cli_exit exit;
    const char *meaning;
} exits[] = {
    {CLI_OK, "done"},
    {CLI_FAILED, "the server tried and failed, or refused what was sent; of diff: something differs"},
    {CLI_USAGE, "the command line, or a file it names, is wrong"},
    {CLI_CONNECT, "no server answered"},
    {CLI_NOT_FOUND, "there is no such object"},
    {CLI_CONFLICT, "the object's state, version or name forbids it"},
    {CLI_AUTH, "not signed in, or not allowed"},
    {CLI_TIMEOUT, "it did not happen in the time allowed"},
    {CLI_RUN, "`drover run` itself failed, not the command it ran"},
};

static const struct {
    const char *name, *meaning;
} variables[] = {
    {"DROVER_URL", "the server's address; without it a context or the Unix socket is used"},
    {"DROVER_TOKEN", "an API token (drover token create); not sent to a context's server"},
    {"DROVER_CONTEXT", "the context to use (drover context list)"},
    {"DROVER_STATE_DIR", "where drover.sock is looked for; /var/lib/drover by default"},
    {"DROVER_CACERT", "a file (PEM) with the authority of an https server's certificate; else the system's"},
    {"DROVER_CERT", "a file (PEM) with a certificate to show an https server, made out to a token's id"},
    {"DROVER_KEY", "a file (PEM) with its key"},
    {"XDG_CONFIG_HOME", "where drover/contexts is kept; ~/.config by default"},
    {"NO_COLOR", "if set, no colours; there are none either where the output is no terminal"},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* For programs only. */
static bool is_hidden(const struct command *c)
{
    return str_starts(c->words, "__");
}

static void print_options(const struct option_row *o, FILE *out)
{
    for (; o && o->name; o++) {
        auto_free char *name = xasprintf("--%s%s%s", o->name, o->argument ? " " : "",
                                         o->argument ? o->argument : "");
        char letter[5] = "    ";

        if (o->letter)
            snprintf(letter, sizeof(letter), "-%c, ", o->letter);
        fprintf(out, "  %s%-24s %s\n", letter, name, o->help);
    }
}

void help_overview(FILE *out)
{
    fputs("drover - virtual machines on this host or another\n\nUsage: drover [OPTION...] COMMAND\n",
          out);
    for (size_t g = 0; command_groups[g]; g++) {
        fputc('\n', out);
        for (const struct command *c = command_groups[g]; c->words; c++) {
            if (is_hidden(c))
                continue;
            auto_free char *line = xasprintf("%s%s%s", c->words, *c->operands ? " " : "",
                                             c->operands);

            fprintf(out, "  %-30s %s\n", line, c->summary);
        }
    }
    fputs("\nOptions of every command\n", out);
    print_options(global_options, out);
    fputs("\nEnvironment\n", out);
    for (size_t i = 0; i < COUNT(variables); i++)
        fprintf(out, "  %-28s %s\n", variables[i].name, variables[i].meaning);
    fputs("\nExit status\n", out);
    for (size_t i = 0; i < COUNT(exits); i++)
        fprintf(out, "  %-28d %s\n", (int)exits[i].exit, exits[i].meaning);
    fputs("\n`drover help COMMAND` says more about one.\n", out);
}

void help_version(FILE *out)
{
    fprintf(out, "drover %s\n", DROVER_VERSION);
}

static bool print_family(const char *family, const char *heading, FILE *out)
{
    bool found = false;

    for (size_t g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]; c->words; c++) {
            if (!words_in_family(c, family))
                continue;
            auto_free char *line = xasprintf("%s%s%s", c->words, *c->operands ? " " : "", c->operands);

            if (!found)
                fputs(heading, out);
            found = true;
            fprintf(out, "  %-30s %s\n", line, c->summary);
        }
    }
    return found;
}

void help_family(const char *family, FILE *out)
{
    auto_free char *heading = xasprintf("Usage: drover %s COMMAND [OPTION...]\n\n", family);

    if (!*family)
        help_overview(out);
    else if (print_family(family, heading, out))
        fprintf(out, "\n`drover help %s COMMAND` says more about one.\n", family);
}

void help_command(const struct command *c, FILE *out)
{
    fprintf(out, "Usage: drover %s [OPTION...]%s%s\n\n%c%s.\n", c->words, *c->operands ? " " : "",
            c->operands, c->summary[0] >= 'a' && c->summary[0] <= 'z' ? c->summary[0] - 32
                                                                      : c->summary[0],
            c->summary + 1);
    if (c->details)
        fprintf(out, "\n%s\n", c->details);
    if (c->options && c->options->name) {
        fputs("\nOptions\n", out);
        print_options(c->options, out);
    }
    fputs("\nOptions of every command\n", out);
    print_options(global_options, out);
    print_family(c->words, "\nBeside it\n", out);
}

static json_t *options_value(const struct option_row *o)
{
    json_t *list = json_array();

    for (; o && o->name; o++) {
        char letter[2] = {o->letter, '\0'};

        json_array_append_new(list, json_pack("{s:s, s:s*, s:s*, s:s}", "name", o->name, "letter",
                                              o->letter ? letter : NULL, "argument", o->argument,
                                              "help", o->help));
    }
    return list;
}

/* Everything the tables hold, for the man page generator. */
static void dump(void)
{
    auto_value json_t *root = json_pack("{s:s, s:o, s:[], s:[], s:[], s:o}", "version", DROVER_VERSION,
                                        "options", options_value(global_options), "commands",
                                        "environment", "exit_status", "definitions", kinds_value());

    for (size_t g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]; c->words; c++) {
            if (is_hidden(c))
                continue;
            json_array_append_new(json_object_get(root, "commands"),
                                  json_pack("{s:s, s:s, s:s, s:s*, s:o}", "words", c->words,
                                            "operands", c->operands, "summary", c->summary,
                                            "details", c->details, "options",
                                            options_value(c->options)));
        }
    }
    for (size_t i = 0; i < COUNT(variables); i++)
        json_array_append_new(json_object_get(root, "environment"),
                              json_pack("{s:s, s:s}", "name", variables[i].name, "meaning",
                                        variables[i].meaning));
    for (size_t i = 0; i < COUNT(exits); i++)
        json_array_append_new(json_object_get(root, "exit_status"),
                              json_pack("{s:i, s:s}", "code", (int)exits[i].exit, "meaning",
                                        exits[i].meaning));
    cli_print_value(root);
}

static int run_help(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *meant = NULL, *words = NULL;
    auto_strbuf struct strbuf b = {0};

    if (cli->json)
        return dump(), 0;
    if (args->count == 0)
        return help_overview(stdout), 0;
    for (int i = 0; i < args->count; i++)
        strbuf_addf(&b, "%s%s", i ? " " : "", args->operand[i]);
    words = strbuf_take(&b);
    for (size_t g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]; c->words; c++) {
            if (args_match(c->words, args->count, args->operand) == args->count)
                return help_command(c, stdout), 0;
        }
    }
    if (words_of_family(command_groups, args->count, args->operand) == args->count)
        return help_family(words, stdout), 0;
    meant = words_meant(command_groups, args->count, args->operand);
    failure_set(fail, CLI_USAGE, "there is no command '%s'%s%s%s", words, meant ? "; did you mean '" : "",
                meant ? meant : "", meant ? "'?" : "");
    failure_remedy(fail, "drover help%s%s", meant ? " " : "", meant ? meant : "");
    return -1;
}

static int run_version(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_answer struct answer a = {0};

    if (!args_flag(args, "server"))
        return help_version(stdout), 0;
    if (cli_connect(cli, fail) || client_get(cli->client, "/v1", &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    value_print_rows(a.value);
    return 0;
}

static const struct option_row version_options[] = {
    {"server", 0, NULL, "show the server's version, too"}, {0}};

const struct command help_commands[] = {
    {"help", "[COMMAND]", 0, 3, "show all commands, or one in detail", NULL, run_help,
     "With --json the whole table of commands is printed for programs."},
    {"version", "", 0, 0, "show the version", version_options, run_version, NULL},
    {0}};
