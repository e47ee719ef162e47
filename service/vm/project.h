/*
 * Projects: who owns things, what each may use, and with whose memory its VMs' may be merged. Read
 * from memory; making, changing and deleting one commits first.
 */
#ifndef DROVER_VM_PROJECT_H
#define DROVER_VM_PROJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/vm/quota_limits.h"

struct actor;
struct core;
struct idem;
struct principal;

#define PROJECTS_MAX        256
#define PROJECT_FRIENDS_MAX 16
#define PROJECT_NAME_SIZE   64

/* With whose pages those of its VMs may be merged. Merging is a side channel: see SECURITY.md. */
struct project_trust {
    bool memory_merge;    /* false: its VMs offer no memory at all */
    size_t friend_count;  /* other projects; they count when they name this one, too */
    char friends[PROJECT_FRIENDS_MAX][UUID_TEXT]; /* ids */
};

struct project {
    char id[UUID_TEXT], name[PROJECT_NAME_SIZE];
    int64_t created_at;
    struct quota_limits limits;
    struct project_trust trust;
};

/* By id or name; PROJECT_NOT_FOUND. From memory, never blocks. */
int project_find(struct core *core, const char *ref, struct project *ret, struct error *err);
/* Do its VMs offer their memory, when they are told to? */
bool project_merges(struct core *core, const char *id);
/* In order of creation; the caller frees. */
void project_list(struct core *core, struct project **ret, size_t *ret_count);
/* "" for one that is gone. */
void project_name(struct core *core, const char *id, char ret[PROJECT_NAME_SIZE]);

struct project_request {
    const char *name;
    const struct quota_limits *limits; /* NULL: none */
    int memory_merge;                  /* -1: not said; new ones do not merge */
    const char *const *merge_with;     /* names or ids; NULL: not said */
    size_t merge_with_count;
};
/* NAME_IN_USE, VALIDATION_FAILED, FORBIDDEN when there are PROJECTS_MAX. Blocks on the disk. */
int project_create(struct core *core, const struct actor *actor, const struct project_request *r,
                   const struct idem *idem, struct project *ret, bool *ret_replayed,
                   struct error *err);
/*
 * PROJECT_IN_USE when VMs of two projects that would trust each other no more merge right now: only
 * stopping them parts their pages. Blocks on the disk.
 */
int project_change(struct core *core, const struct actor *actor, const char *id,
                   const struct project_request *r, struct project *ret, struct error *err);
/* An empty one; PROJECT_NOT_EMPTY. Its tokens are to be revoked first. Blocks on the disk. */
int project_delete(struct core *core, const struct actor *actor, const char *id, struct error *err);

#endif
