/*
 * Commands as rows: the words that name one, what it takes, what it does. Help, completion and the
 * man page are printed from the same rows that parse.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_COMMAND_H
#define DROVER_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/cli/client.h"
#include "service/cli/failure.h"

struct option_row {
    const char *name;     /* without "--"; NULL ends a list */
    char letter;          /* or 0 */
    const char *argument; /* its name in help; NULL: the option takes none */
    const char *help;
};

struct args;
struct cli;

struct command {
    const char *words;   /* "vm create"; NULL ends a list */
    const char *operands; /* "NAME", "[VM]", "IMAGE FILE" */
    int operands_min, operands_max;
    const char *summary;
    const struct option_row *options; /* its own, beside the global ones; or NULL */
    int (*run)(struct cli *cli, const struct args *args, struct failure *fail);
    const char *details; /* a paragraph for help and man page, or NULL */
    enum cli_exit failure_exit; /* what every failure ends with, so as not to look like a result; or 0 */
};

/* What the running command may use. */
struct cli {
    struct client *client; /* NULL for commands that need no server: see cli_connect */
    bool json; /* data instead of words: print with cli_print_*, which know the form of -o */
    const char *url, *socket, *token, *context, *project; /* as given on the command line, or NULL */
    bool token_in_sight; /* the token was an argument, and not in a file */
};

struct context_choice;

/* Which server it would be, and why; *ret is the caller's to release. */
int cli_choose(struct cli *cli, struct context_choice *ret, struct failure *fail);
/* Makes cli->client on first use. */
int cli_connect(struct cli *cli, struct failure *fail);

/* ---- the command line, parsed ---- */

#define ARGS_MAX 256

struct args {
    const struct command *command;
    char family[40]; /* when the words name no command, but begin some: "vm" */
    int count;
    const char *operand[ARGS_MAX];
    int given_count;
    struct {
        const struct option_row *row;
        const char *value; /* NULL for a flag */
    } given[ARGS_MAX];
};

/*
 * How many of the typed words name the command that is called `words`; 0: not this one. What ends a
 * thing (delete, revoke, release) goes by each of those words, and by rm and remove; create by add and
 * new, list by ls.
 */
int args_match(const char *words, int count, const char *const *typed);
/*
 * Parses argv[0..argc) against the tables: finds the command by its words, then options and
 * operands in any order; "--" ends options. *args borrows from argv.
 */
int args_parse(const struct command *const *groups, const struct option_row *globals, int argc,
               char **argv, struct args *ret, struct failure *fail);

bool args_flag(const struct args *args, const char *name);
/* The last value given, or fallback. */
const char *args_text(const struct args *args, const char *name, const char *fallback);
/* Every value given, one per call; *state starts at 0; NULL at the end. */
const char *args_next(const struct args *args, const char *name, int *state);
/* A whole number; fallback when it is not given. */
int args_number(const struct args *args, const char *name, int64_t min, int64_t max,
                int64_t fallback, int64_t *ret, struct failure *fail);

/* A time such as 90, 15m, 12h or 30d, in seconds and above 0; fallback when it is not given. */
int args_lifetime(const struct args *args, const char *name, json_int_t fallback, json_int_t *ret,
                  struct failure *fail);
/* The same from any text; false when it is no such time. */
bool args_time(const char *text, json_int_t *ret);

/* "vms=10" or "vms=none" into a quota; cmd_quota.c. */
int quota_add_limit(json_t *quota, const char *text, struct failure *fail);

/* ---- tables ---- */

extern const struct command agent_commands[], apply_commands[], ask_commands[], complete_commands[],
    context_commands[], export_commands[], history_commands[], vm_set_commands[];
extern const struct command vm_commands[], console_commands[], stream_commands[], host_commands[],
    host_guest_commands[],
    run_commands[], ci_commands[],
    event_commands[], audit_commands[], image_commands[], image_card_commands[],
    image_import_commands[], image_label_commands[],
    catalogue_commands[], exec_commands[], guest_commands[], lease_commands[], set_commands[],
    recording_commands[], ticket_commands[], token_commands[], project_commands[], quota_commands[],
    db_commands[], top_commands[], webhook_commands[], op_commands[], help_commands[];

/* All of the above, ended by NULL. */
extern const struct command *const command_groups[];
extern const struct option_row global_options[];

/* ---- what several commands do alike ---- */

/* What the server sent, in the form of -o: JSON stays byte for byte as it was sent. */
int cli_print_json(const struct answer *answer);
/*
 * Follows next_cursor until a list is whole; *ret is {"items": [...], "next_cursor": null} and the
 * caller's. path may have a query.
 */
int cli_get_all(struct cli *cli, const char *path, json_t **ret, struct failure *fail);
void cli_print_value(const json_t *value); /* the same, for a value that was put together here */
/*
 * Waits until the operation with this id is finished or timeout_s passed (CLI_TIMEOUT); a failed
 * one becomes *fail. *ret is its last state (caller owns) on success.
 */
int cli_wait_operation(struct cli *cli, const char *id, int64_t timeout_s, json_t **ret,
                       struct failure *fail);

/* The same without a limit, showing on a terminal how far it is. */
int cli_watch_operation(struct cli *cli, const char *id, json_t **ret, struct failure *fail);

#endif
