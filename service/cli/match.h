/* Finds a text in a stream that arrives in pieces (Knuth-Morris-Pratt). Pure. */
#ifndef DROVER_CLI_MATCH_H
#define DROVER_CLI_MATCH_H

#include <stdbool.h>
#include <stddef.h>

struct match {
    const char *text; /* borrowed; NULL: never matches */
    size_t len, have; /* length of text, and how much of it the stream ends with */
    size_t *fallback;
};

void match_init(struct match *m, const char *text);
void match_done(struct match *m);
/* True once the text has been seen, in this piece or across pieces. */
bool match_feed(struct match *m, const char *data, size_t len);

#endif
