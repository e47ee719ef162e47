/*
 * asciicast v2 (https://docs.asciinema.org/manual/asciicast/v2/): a header line, then lines
 * [seconds, code, text]. A guest prints bytes; the format wants text: UTF-8 that is cut between two
 * reads is put together again, and what is no UTF-8 becomes U+FFFD.
 *
 * Pure; any thread.
 */
#ifndef DROVER_VM_CAST_H
#define DROVER_VM_CAST_H

#include <stddef.h>
#include <stdint.h>

#include "service/base/str.h"

#define CAST_ROWS 24 /* of a console whose size nobody has said */
#define CAST_COLS 80
/* No line is longer: CAST_PIECE bytes, each written as \u00XX, and what is around them. */
#define CAST_PIECE    8192
#define CAST_LINE_MAX (6 * CAST_PIECE + 256)

struct cast_header {
    unsigned rows, cols;
    int64_t started_at; /* wall clock, ms */
    const char *title;
};
void cast_header(struct strbuf *b, const struct cast_header *header);

/* What is left of a character whose end has not come yet. Zero-initialised. */
struct cast_text {
    unsigned char pending[4];
    size_t len;
};
/* Appends "o" lines of at most CAST_PIECE bytes each; none when there is no whole character yet. */
void cast_output(struct cast_text *t, struct strbuf *b, int64_t at_us, const void *data,
                 size_t len);
/* The rest of the character will not come: bytes were lost, or this is the end. */
void cast_break(struct cast_text *t, struct strbuf *b, int64_t at_us);
void cast_resize(struct strbuf *b, int64_t at_us, unsigned rows, unsigned cols);
/* An "m" line, which players show as a mark. text is ours. */
void cast_marker(struct strbuf *b, int64_t at_us, const char *text);

/*
 * The end of a file that may have been cut while it was written: how much of it is whole lines, and
 * the time in the last of them (-1: none of them has one). A tail of 2 * CAST_LINE_MAX is enough.
 */
size_t cast_whole(const char *tail, size_t len, int64_t *ret_last_us);

#endif
