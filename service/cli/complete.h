/*
 * What could come next on an unfinished command line: found in the command tables, and for names of
 * things by asking the server. The shells' scripts know nothing but how to call this.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_COMPLETE_H
#define DROVER_CLI_COMPLETE_H

#include <stdbool.h>

#include "service/cli/command.h"

/* What a place on the command line wants. */
enum complete_kind {
    COMPLETE_NOTHING,
    COMPLETE_WORDS,  /* one of `words` */
    COMPLETE_FILES,
    COMPLETE_THINGS, /* names of what `collection` lists */
};

struct complete_source {
    const char *collection; /* "/v1/vms?limit=1000" */
    const char *member;     /* that is offered: "name", "id" */
    const char *note;       /* member that describes it, or NULL */
};

/* An unfinished command line, understood as far as it goes. Borrows from words. */
struct complete_line {
    const struct command *command;    /* the longest that the words name, or NULL */
    const char *plain[ARGS_MAX];      /* words that are neither options nor their values */
    int plain_count, command_words;
    const struct option_row *pending; /* the option whose value is being typed, or NULL */
    const char *prefix;               /* what was typed of the word */
    int prefix_skip;                  /* of it, "--name=": belongs to the word, not to the value */
    bool options_ended, wants_option;
    const char *url, *socket, *context, *token_file; /* global options on the line */
};

/* words[count - 1] is being typed. Pure. */
void complete_parse(const char *const *words, int count, struct complete_line *ret);

/* What a value called so ("VM", "FILE", "on|off") is, on a line with this command. Pure. */
enum complete_kind complete_value(const char *command, const char *option, const char *name,
                                  const char **ret_words, struct complete_source *ret_source);

/* Whether a name may be put onto somebody's command line unquoted. Pure. */
bool complete_is_harmless(const char *name);

#endif
