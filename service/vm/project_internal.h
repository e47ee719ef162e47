/*
 * What project.c offers to those who start VMs and to what opens the core.
 */
#ifndef DROVER_VM_PROJECT_INTERNAL_H
#define DROVER_VM_PROJECT_INTERNAL_H

#include <pthread.h>

#include "service/vm/project.h"
#include "service/vm/vm.h"

struct merge_claim {
    char vm_id[UUID_TEXT], project_id[UUID_TEXT];
};

struct project_book {
    pthread_mutex_t change; /* held by who changes or deletes one, across its commit */
    pthread_mutex_t lock;   /* may take the registry's; else a leaf */
    struct project projects[PROJECTS_MAX];
    size_t count;
    /* VMs that were told yes and whose row does not say so yet. */
    struct merge_claim *claims;
    size_t claim_count, claim_cap;
};

int project_open(struct core *core, struct project_book **ret, struct error *err);
void project_close(struct project_book *book); /* NULL is fine */

/* Lock held. */
struct project *project_in_book(struct project_book *book, const char *ref);

/* ---- project_merge.c ---- */

/*
 * May a VM that is about to start offer its memory? It may when its definition and its project want
 * it and no VM that is on and merges belongs to a project of which one does not trust the other. Who
 * was told yes counts from now on, so that of two that start at once only one is. Any thread.
 */
enum vm_merges project_may_merge(struct core *core, const struct vm *vm);
/* The same for one whose saved memory is offered already: false when strangers merge. */
bool project_claim_merging(struct core *core, const struct vm *vm);
/* Trust each other's VMs: one project, or two that both merge and name each other. Lock held. */
bool project_trusts(struct project_book *book, const char *a, const char *b);
/*
 * Lock held. Two VMs that are on merge although their projects do not trust each other: fills the
 * names of both projects.
 */
bool project_distrust_merges(struct core *core, char ret_a[PROJECT_NAME_SIZE],
                             char ret_b[PROJECT_NAME_SIZE]);

#endif
