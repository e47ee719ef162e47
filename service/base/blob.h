/*
 * Immutable, reference-counted bytes: what several threads read at once (a rendered answer, a
 * frame for many viewers). Any thread.
 */
#ifndef DROVER_BASE_BLOB_H
#define DROVER_BASE_BLOB_H

#include <stdatomic.h>
#include <stddef.h>

#include "service/base/cleanup.h"

struct blob {
    _Atomic unsigned refs;
    size_t len;
    char data[]; /* len bytes and a NUL that does not count */
};

struct blob *blob_new(const void *data, size_t len); /* one reference */
struct blob *blob_new_text(const char *text);
struct blob *blob_ref(struct blob *b); /* returns b */
void blob_unref(struct blob *b);       /* NULL is fine */

DEFINE_CLEANUP(blob, struct blob *, blob_unref);
#define auto_blob auto_scope(cleanup_blob)

#endif
