/*
 * Colours: only on a terminal, and not where NO_COLOR or TERM=dumb says that none are wanted
 * (https://no-color.org). The meaning never lies in the colour alone.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_STYLE_H
#define DROVER_CLI_STYLE_H

#include <stdbool.h>
#include <stdio.h>

enum style { STYLE_PLAIN, STYLE_GOOD, STYLE_BAD, STYLE_BUSY, STYLE_FAINT, STYLE_STRONG };

/* Whether what is written to out may be coloured. */
bool style_wanted(FILE *out);
/* Both write nothing where no colour is wanted. */
void style_begin(FILE *out, enum style style);
void style_end(FILE *out);

/* How a state of a VM, an image, an operation, a check… is shown; STYLE_PLAIN if it is none. Pure. */
enum style style_of_state(const char *text);

#endif
