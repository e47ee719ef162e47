/*
 * Definitions as files: what a kind's definition consists of, what of it differs from what a server
 * has, and what to send. Pure; talks to nobody.
 *
 * A definition is {"kind": …, "name": …, "spec": {…}}. A member that the spec does not name is left
 * as it is; one that it names becomes as it says, lists and labels as a whole. In a list of objects,
 * members that the server fills in (a MAC) and the file does not name are left as they are, too.
 */
#ifndef DROVER_CLI_MANIFEST_H
#define DROVER_CLI_MANIFEST_H

#include <stdbool.h>

#include "service/cli/failure.h"
#include "service/cli/value.h"

enum {
    SPEC_SPARSE = 1, /* left out of an export when it is empty: that is the default */
    SPEC_ONCE = 2,   /* said when the thing is made; means nothing afterwards */
    SPEC_SECRET = 4, /* not in the thing itself, but at its own address below it: <path>/user-data */
    SPEC_IMAGE = 8,  /* names an image; another name, an id or a label may mean the same */
    SPEC_FIXED = 16, /* cannot be changed while the thing is there; kind.remedy says what can be done */
    SPEC_LATER = 32, /* not taken when it is made, or names others that are made meanwhile: a change afterwards */
};

struct spec_member {
    const char *name; /* of the spec; "vm.user_data" is inside the member "vm"; NULL ends a list */
    unsigned flags;
    const char *from; /* where the server's object has it, if elsewhere */
};

struct kind {
    const char *name;    /* NULL ends the table */
    const char *path;    /* of the collection */
    const char *schema;  /* in openapi.yaml, of what is sent; for the contract test */
    const char *changes; /* the same of what only a change takes; NULL: none */
    bool put;            /* PUT to its name makes it and changes it as a whole; else POST and PATCH */
    bool has_etag;       /* changes are made under If-Match */
    bool by_label;       /* the server gives it no name: its label `name` is the definition's */
    bool waits;          /* making one takes a while: its operation is waited for */
    const char *remedy;  /* when a fixed member differs */
    const char *list;    /* query of the list that is exported without names: only what people made */
    const struct spec_member *members; /* in the order of an export */
};

extern const struct kind kinds[];
const struct kind *kind_find(const char *name); /* singular or plural; NULL when there is none */

struct definition {
    const struct kind *kind;
    const char *name;   /* borrowed from spec's document */
    const json_t *spec; /* borrowed */
};

/* One document as read from a file; borrows from it. where: for failures. */
int definition_read(const json_t *document, const char *where, struct definition *ret,
                    struct failure *fail);

/* Sorted by what needs what: the order of kinds[], and of the files among themselves. */
void definitions_sort(struct definition *all, size_t count);

/*
 * The spec of an object as the server shows it, in the table's order; members that are null are left
 * out. secret: the hidden member's text, or NULL. The caller owns it.
 */
json_t *definition_spec(const struct kind *kind, const json_t *object, const char *secret);
/* The same without what is empty anyway, for a file. */
json_t *definition_sparse(const struct kind *kind, const json_t *spec);

/* Of `have` (a spec), what `want` speaks of: equal to wanted() when there is nothing to do. */
json_t *definition_seen(const struct kind *kind, const json_t *have, const json_t *want);
/* `want` in the table's order, without what is said only once. */
json_t *definition_wanted(const struct kind *kind, const json_t *want);

/* The first fixed member in which they differ; NULL when there is none. */
const char *definition_fixed(const struct kind *kind, const json_t *have, const json_t *want);
/* `want` in halves: what is sent when it is made, and what only a change takes. */
json_t *definition_part(const struct kind *kind, const json_t *want, bool later);

/* A merge patch of the server's object that makes `have` what `want` says. */
json_t *definition_patch(const struct kind *kind, const json_t *have, const json_t *want);
/* The whole spec, `want` laid over `have`, for PUT. */
json_t *definition_whole(const struct kind *kind, const json_t *have, const json_t *want);

/* The table for programs: name, schema, members. */
json_t *kinds_value(void);

#endif
