/*
 * JSON documents from clients: bounded parsing, strict table-driven decoding with JSON pointers,
 * merge-patch. Wraps jansson; the names avoid its json_ prefix.
 *
 * Any thread; no state. Errors: MALFORMED_BODY (not JSON), VALIDATION_FAILED (JSON, but not what
 * was asked for; pointer names the member).
 */
#ifndef DROVER_JSON_DOC_H
#define DROVER_JSON_DOC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"
#include "service/base/str.h"

DEFINE_CLEANUP(json, json_t *, json_decref);
#define auto_json auto_scope(cleanup_json)

struct doc_limits {
    size_t bytes, depth, tokens;
};

/*
 * Once, before the first document: jansson without memory calls what a client sent malformed; it ends the process
 * instead, as all else does.
 */
void doc_init(void);

/* Refuses duplicates, NUL, bad UTF-8, trailing bytes and whatever exceeds the limits, before it allocates. */
int doc_parse(const char *text, size_t len, const struct doc_limits *limits, json_t **ret,
              struct error *err);

enum doc_kind {
    DOC_STRING,  /* char *, strdup'ed; min/max: length in bytes */
    DOC_INT,     /* int64_t; min/max: value */
    DOC_BOOL,    /* bool */
    DOC_ENUM,    /* int: index into choices */
    DOC_CUSTOM,  /* decode() */
};

/* One member of an object. A member that is absent leaves its place untouched. */
struct doc_field {
    const char *name;
    enum doc_kind kind;
    bool required;
    bool nullable; /* null means absent */
    size_t offset; /* into the struct being filled */
    int64_t min, max;
    const char *const *choices; /* DOC_ENUM; ends with NULL */
    bool (*valid)(const char *text); /* DOC_STRING; may be NULL */
    const char *form; /* what valid() wants, in words */
    /* DOC_CUSTOM: value at pointer into the struct at out. */
    int (*decode)(const json_t *value, const char *pointer, void *out, struct error *err);
};

/* Unknown members are errors. base is the pointer of the object itself ("" for the root). */
int doc_decode(const json_t *object, const char *base, const struct doc_field *fields, size_t count,
               void *out, struct error *err);
#define DOC_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* RFC 7396, on a copy of target; the caller owns the result. */
json_t *doc_merge_patch(const json_t *target, const json_t *patch);

/* Compact text; the caller frees. */
char *doc_text(const json_t *value);

/*
 * Writing without a tree, for what is written often. doc_add_string adds a JSON string, quotes
 * included; in text that is not UTF-8 all but ASCII becomes U+FFFD. The others add a comma, the
 * member's name (plain text of ours) and its value; text may be NULL for null.
 */
void doc_add_string(struct strbuf *b, const char *text);
void doc_add_text(struct strbuf *b, const char *name, const char *value);
void doc_add_int(struct strbuf *b, const char *name, int64_t value);
void doc_add_bool(struct strbuf *b, const char *name, bool value);

/* base + "/" + member, with RFC 6901 escapes, cut to size. */
void doc_pointer(char *ret, size_t size, const char *base, const char *member);

#endif
