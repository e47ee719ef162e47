/*
 * `__complete`, which the shells' completion scripts call, and `completion`, which prints them. A
 * server that does not answer soon is as good as none: who pressed Tab waits.
 */
#include <stdio.h>
#include <string.h>

#include "service/base/str.h"
#include "service/cli/complete.h"
#include "service/cli/context.h"
#include "service/cli/manifest.h"
#include "service/cli/print.h"
#include "service/cli/secret_file.h"

#define DEADLINE_S 1

/* ---- candidates ---- */

static void offer(const struct complete_line *l, const char *text, const char *tail, const char *note)
{
    const char *typed = l->prefix + l->prefix_skip;

    if (!str_starts(text, typed) && !(*tail && str_starts(typed, text) && str_starts(tail, typed + strlen(text))))
        return;
    printf("%.*s%s%s", l->prefix_skip, l->prefix, text, tail);
    if (note && *note) {
        putchar('\t');
        print_safe(stdout, note);
    }
    putchar('\n');
}

static void offer_words(const struct complete_line *l, const char *words)
{
    while (*words) {
        size_t len = strcspn(words, " |");
        auto_free char *word = xstrndup(words, len);

        offer(l, word, "", NULL);
        words += len + (words[len] != '\0');
    }
}

/* Names of a server's things: what it says within the deadline, else nothing. */
static void offer_things(struct cli *cli, const struct complete_line *l,
                         const struct complete_source *source, const char *tail)
{
    struct client_request r = {.path = source->collection, .timeout_s = DEADLINE_S};
    auto_answer struct answer a = {0};
    struct failure ignored;
    const json_t *thing;
    size_t i;

    if (cli_connect(cli, &ignored) || client_do(cli->client, &r, &a, &ignored))
        return;
    json_array_foreach(json_object_get(a.value, "items"), i, thing) {
        const char *name = value_text(thing, source->member, "");

        if (complete_is_harmless(name))
            offer(l, name, tail, source->note ? value_text(thing, source->note, NULL) : NULL);
    }
}

static void offer_contexts(const struct complete_line *l)
{
    auto_value json_t *file = NULL;
    struct failure ignored;
    const char *name;
    json_t *one;

    offer(l, CONTEXT_LOCAL, "", "this host's socket");
    if (contexts_load(&file, &ignored))
        return;
    json_object_foreach(json_object_get(file, "contexts"), name, one) {
        if (complete_is_harmless(name))
            offer(l, name, "", value_text(one, "url", value_text(one, "socket", NULL)));
    }
}

static void offer_value(struct cli *cli, const struct complete_line *l, const char *option, const char *name)
{
    const char *command = l->command ? l->command->words : "", *words = NULL;
    struct complete_source source = {0};
    bool is_copy = str_eq(command, "cp");
    enum complete_kind kind;

    if (str_eq(option, "context") ||
        (!option && str_starts(command, "context ") && !str_eq(command, "context create"))) {
        offer_contexts(l);
        return;
    }
    if (str_eq(name, "KIND") && str_eq(command, "export")) {
        for (const struct kind *k = kinds; k->name; k++)
            offer(l, k->name, "", NULL);
        return;
    }
    if (str_eq(name, "NAME") && str_eq(command, "export") && l->plain_count > 1) {
        const struct kind *k = kind_find(l->plain[1]);

        if (k) {
            source = (struct complete_source){k->path, "name", NULL};
            offer_things(cli, l, &source, "");
        }
        return;
    }
    kind = complete_value(command, option, name, &words, &source);
    if (kind == COMPLETE_WORDS)
        offer_words(l, words);
    if (kind == COMPLETE_THINGS)
        offer_things(cli, l, &source, is_copy ? ":" : "");
    if (is_copy && l->prefix[strcspn(l->prefix, ":/")] == ':')
        return; /* a path in a guest */
    if (kind == COMPLETE_FILES || is_copy || strstr(name, "|FILE"))
        puts(":files");
}

/* The name of the operand at this place: "[VM]" is VM, and the last one with "..." goes on. */
static char *operand_name(const char *operands, int at)
{
    auto_free char *all = xstrdup(operands);
    char *name = NULL, *last = NULL;

    for (char *save = NULL, *p = strtok_r(all, " []", &save); p; p = strtok_r(NULL, " []", &save)) {
        char *dots = strstr(p, "...");

        if (str_eq(p, "--"))
            continue;
        if (dots) {
            *dots = '\0';
            last = p;
        }
        if (at-- == 0)
            name = p;
    }
    return xstrdup_null(name ? name : last);
}

static void offer_options(const struct complete_line *l, const struct option_row *rows)
{
    for (; rows && rows->name; rows++) {
        auto_free char *text = xasprintf("--%s", rows->name);

        offer(l, text, rows->argument ? "=" : "", rows->help);
    }
}

/* The words that could follow on the way to a command; "vm" leads to many and is offered once. */
static void offer_command_words(const struct complete_line *l)
{
    auto_strbuf struct strbuf seen = {0};

    strbuf_adds(&seen, " ");
    for (size_t g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]; c->words; c++) {
            const char *p = c->words;
            int n = 0;

            if (str_starts(p, "__"))
                continue;
            for (; n < l->plain_count && *p; n++) {
                size_t len = strcspn(p, " ");

                if (strlen(l->plain[n]) != len || strncmp(p, l->plain[n], len) != 0)
                    break;
                p += len + (p[len] == ' ');
            }
            if (n == l->plain_count && *p) {
                size_t len = strcspn(p, " ");
                auto_free char *word = xstrndup(p, len), *mark = xasprintf(" %s ", word);

                if (strstr(seen.data, mark))
                    continue;
                strbuf_adds(&seen, mark + 1);
                offer(l, word, "", p[len] ? NULL : c->summary);
            }
        }
    }
}

static int run_complete(struct cli *cli, const struct args *args, struct failure *fail)
{
    struct complete_line l;
    auto_free char *name = NULL, *token = NULL;

    complete_parse(args->operand, args->count, &l);
    cli->url = l.url;
    cli->socket = l.socket;
    cli->context = l.context;
    if (l.token_file && !str_eq(l.token_file, "-") && secret_file_read(l.token_file, &token, fail) == 0)
        cli->token = token;
    if (l.pending) {
        offer_value(cli, &l, l.pending->name, l.pending->argument);
    } else if (l.wants_option) {
        offer_options(&l, l.command ? l.command->options : NULL);
        offer_options(&l, global_options);
    } else {
        int at = l.plain_count - l.command_words;
        bool is_help = l.command && str_eq(l.command->words, "help");

        if (is_help) { /* its operands are the words of another command */
            memmove(l.plain, l.plain + 1, sizeof(l.plain) - sizeof(l.plain[0]));
            l.plain_count--;
        }
        if (!l.options_ended && (!l.command || at == 0 || is_help))
            offer_command_words(&l);
        name = l.command && !is_help ? operand_name(l.command->operands, at) : NULL;
        if (name)
            offer_value(cli, &l, NULL, name);
    }
    cli->token = NULL;
    return 0;
}

/* ---- the shells' scripts ---- */

/* Bash takes words apart at = and :, and replaces only what comes after the last one. */
static const char bash_script[] =
    "# bash completion for drover: put it where bash-completion looks (drover completion bash >\n"
    "# ~/.local/share/bash-completion/completions/drover), or source it.\n"
    "_drover()\n"
    "{\n"
    "    local -a words=()\n"
    "    local i cut line candidate\n"
    "    for ((i = 1; i <= COMP_CWORD; i++)); do\n"
    "        if ((${#words[@]})) && [[ ${COMP_WORDS[i]} =~ ^[=:]+$ || ${COMP_WORDS[i-1]} =~ ^[=:]+$ ]]; then\n"
    "            words[-1]+=${COMP_WORDS[i]}\n"
    "        else\n"
    "            words+=(\"${COMP_WORDS[i]}\")\n"
    "        fi\n"
    "    done\n"
    "    cut=${words[-1]%\"${words[-1]##*[=:]}\"}\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r line; do\n"
    "        candidate=${line%%$'\\t'*}\n"
    "        if [[ $candidate == :files ]]; then\n"
    "            ((${#COMPREPLY[@]})) || compopt -o filenames 2>/dev/null\n"
    "            while IFS= read -r line; do\n"
    "                COMPREPLY+=(\"$line\")\n"
    "            done < <(compgen -f -- \"${words[-1]#\"$cut\"}\")\n"
    "            continue\n"
    "        fi\n"
    "        [[ $candidate != *[=:] ]] || compopt -o nospace 2>/dev/null\n"
    "        COMPREPLY+=(\"${candidate#\"$cut\"}\")\n"
    "    done < <(\"$1\" __complete -- \"${words[@]}\" 2>/dev/null)\n"
    "}\n"
    "complete -F _drover drover\n";

static const char zsh_script[] =
    "#compdef drover\n"
    "# zsh completion for drover: put it into a directory of $fpath as _drover.\n"
    "_drover()\n"
    "{\n"
    "    local line candidate\n"
    "    local -a plain open\n"
    "    while IFS= read -r line; do\n"
    "        candidate=${line%%$'\\t'*}\n"
    "        if [[ $candidate == :files ]]; then\n"
    "            _files\n"
    "            continue\n"
    "        fi\n"
    "        line=${candidate//:/\\\\:}${${line#$candidate}/$'\\t'/:}\n"
    "        if [[ $candidate == *[=:] ]]; then open+=(\"$line\"); else plain+=(\"$line\"); fi\n"
    "    done < <(\"${words[1]}\" __complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)\n"
    "    (( ! $#plain )) || _describe -V drover plain\n"
    "    (( ! $#open )) || _describe -V drover open -S ''\n"
    "}\n"
    "if [[ $funcstack[1] == _drover ]]; then _drover \"$@\"; else compdef _drover drover; fi\n";

static const char fish_script[] =
    "# fish completion for drover: put it into ~/.config/fish/completions as drover.fish.\n"
    "function __drover_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -l program $words[1]\n"
    "    set -e words[1]\n"
    "    set -l typed (commandline -ct)\n"
    "    for line in (command $program __complete -- $words \"$typed\" 2>/dev/null)\n"
    "        if test \"$line\" = :files\n"
    "            __fish_complete_path \"$typed\"\n"
    "        else\n"
    "            printf '%s\\n' $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c drover -f -a '(__drover_complete)'\n";

static const struct {
    const char *shell, *script;
} scripts[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};

static int run_completion(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *shell = args->count ? args->operand[0] : "bash";

    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        if (str_eq(shell, scripts[i].shell)) {
            fputs(scripts[i].script, stdout);
            return 0;
        }
    }
    return failure_set(fail, CLI_USAGE, "there is completion for bash, zsh and fish, not for '%s'", shell);
}

const struct command complete_commands[] = {
    {"completion", "[bash|zsh|fish]", 0, 1, "print a completion script for a shell", NULL, run_completion,
     "bash: source <(drover completion bash). zsh: drover completion zsh > ~/.zfunc/_drover. fish: drover "
     "completion fish > ~/.config/fish/completions/drover.fish. Names of VMs, images, pools and more are "
     "asked of the server, for a second at most."},
    {"__complete", "[WORD...]", 0, ARGS_MAX, "candidates for the last word, for completion scripts", NULL,
     run_complete, NULL},
    {0}};
