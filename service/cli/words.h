/*
 * The words of commands: which command was named, which family of commands, and what was probably
 * meant when it was none. Pure.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_WORDS_H
#define DROVER_CLI_WORDS_H

#include "service/cli/command.h"

/* The command that most of the typed words name, and how many do; NULL: none. */
const struct command *words_find(const struct command *const *groups, int count, const char *const *typed,
                                 int *ret_words);

/* How many of the typed words, from the first, begin a command that has more words: `vm`, `ci gitlab`. */
int words_of_family(const struct command *const *groups, int count, const char *const *typed);

/* Whether this command goes on where `family` ends; hidden ones belong to none. */
bool words_in_family(const struct command *command, const char *family);

/*
 * What probably was to be typed instead, from the first word on: a command's words, or a family's.
 * The caller frees it; NULL: nothing comes near.
 */
char *words_meant(const struct command *const *groups, int count, const char *const *typed);

/* Whether one was probably typed for the other: a letter or two more, fewer, other, or changed about. */
bool words_near(const char *typed, const char *word, int *ret_distance);

#endif
