/*
 * Whose memory may be merged with whose. The kernel has one KSM for the whole host: it merges equal
 * pages of all processes that offer theirs. So projects that do not trust each other never offer
 * memory at the same time: the first that does keeps it, and VMs of the other start without.
 */
#include "service/vm/project_internal.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/vm/core_internal.h"

static bool is_on(const struct vm *vm)
{
    return vm->state == VM_STATE_STARTING || vm->state == VM_STATE_RUNNING ||
           vm->state == VM_STATE_PAUSED || vm->state == VM_STATE_STOPPING;
}

static bool names(const struct project *p, const char *id)
{
    for (size_t i = 0; i < p->trust.friend_count; i++) {
        if (str_eq(p->trust.friends[i], id))
            return true;
    }
    return false;
}

bool project_trusts(struct project_book *book, const char *a, const char *b)
{
    const struct project *pa = project_in_book(book, a), *pb = project_in_book(book, b);

    if (str_eq(a, b))
        return true;
    return pa && pb && names(pa, pb->id) && names(pb, pa->id);
}

/* A deleting VM's QEMU lives until it is destroyed, and a crashed one's may. */
static bool has_memory(const struct vm *vm)
{
    return is_on(vm) || vm->state == VM_STATE_DELETING;
}

/* Lock held. Forgets claims of VMs that are off again or whose row says it by now. */
static void prune(struct core *core, struct project_book *book)
{
    size_t kept = 0;

    for (size_t i = 0; i < book->claim_count; i++) {
        auto_vm struct vm *vm = registry_get(core->registry, book->claims[i].vm_id);

        if (vm && has_memory(vm) && vm->merges != VM_MERGES_YES)
            book->claims[kept++] = book->claims[i];
    }
    book->claim_count = kept;
}

static void claim(struct project_book *book, const struct vm *vm)
{
    struct merge_claim *c;

    if (book->claim_count == book->claim_cap) {
        book->claim_cap = book->claim_cap ? 2 * book->claim_cap : 16;
        book->claims = xrealloc_array(book->claims, book->claim_cap, sizeof(*book->claims));
    }
    c = &book->claims[book->claim_count++];
    memcpy(c->vm_id, vm->id, sizeof(c->vm_id));
    memcpy(c->project_id, vm->project_id, sizeof(c->project_id));
}

/* Lock held. Does somebody merge whom this project does not trust? */
static bool stranger_merges(struct core *core, struct project_book *book, const struct vm *vm)
{
    auto_free struct vm **vms = NULL;
    bool found = false;
    size_t count;

    for (size_t i = 0; i < book->claim_count && !found; i++)
        found = !str_eq(book->claims[i].vm_id, vm->id) &&
                !project_trusts(book, book->claims[i].project_id, vm->project_id);
    registry_all(core->registry, &vms, &count);
    for (size_t i = 0; i < count; i++) {
        found = found || (vms[i]->merges == VM_MERGES_YES && has_memory(vms[i]) &&
                          !str_eq(vms[i]->id, vm->id) &&
                          !project_trusts(book, vms[i]->project_id, vm->project_id));
        vm_unref(vms[i]);
    }
    return found;
}

/* Lock held. */
static bool take(struct core *core, struct project_book *book, const struct vm *vm)
{
    prune(core, book);
    if (stranger_merges(core, book, vm))
        return false;
    claim(book, vm);
    return true;
}

enum vm_merges project_may_merge(struct core *core, const struct vm *vm)
{
    struct project_book *book = core->projects;

    LOCK_SCOPE(&book->lock);
    const struct project *p = project_in_book(book, vm->project_id);

    if (!vm->spec->memory_merge || !p || !p->trust.memory_merge)
        return VM_MERGES_NO;
    return take(core, book, vm) ? VM_MERGES_YES : VM_MERGES_DISTRUST;
}

bool project_claim_merging(struct core *core, const struct vm *vm)
{
    LOCK_SCOPE(&core->projects->lock);
    return take(core, core->projects, vm);
}

bool project_distrust_merges(struct core *core, char ret_a[PROJECT_NAME_SIZE],
                             char ret_b[PROJECT_NAME_SIZE])
{
    struct project_book *book = core->projects;
    const struct project *merging[PROJECTS_MAX];
    auto_free struct vm **vms = NULL;
    size_t count, n = 0;

    prune(core, book);
    registry_all(core->registry, &vms, &count);
    for (size_t i = 0; i < book->count; i++) {
        const struct project *p = &book->projects[i];
        bool found = false;

        for (size_t k = 0; k < count && !found; k++)
            found = vms[k]->merges == VM_MERGES_YES && has_memory(vms[k]) &&
                    str_eq(vms[k]->project_id, p->id);
        for (size_t k = 0; k < book->claim_count && !found; k++)
            found = str_eq(book->claims[k].project_id, p->id);
        if (found)
            merging[n++] = p;
    }
    for (size_t i = 0; i < count; i++)
        vm_unref(vms[i]);
    for (size_t a = 0; a < n; a++) {
        for (size_t b = a + 1; b < n; b++) {
            if (project_trusts(book, merging[a]->id, merging[b]->id))
                continue;
            str_copy_utf8(ret_a, PROJECT_NAME_SIZE, merging[a]->name);
            str_copy_utf8(ret_b, PROJECT_NAME_SIZE, merging[b]->name);
            return true;
        }
    }
    return false;
}
