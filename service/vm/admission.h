/*
 * Does one more VM fit? Arithmetic on what is promised, what is resident, what is merged (merged
 * memory is available again, so it counts by itself) and what VMs that are starting will still take.
 */
#ifndef DROVER_VM_ADMISSION_H
#define DROVER_VM_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "service/base/error.h"

struct admission;
struct core;
struct vm;

struct admission *admission_new(void);
void admission_free(struct admission *a);

struct admission_sum {
    bool applies;            /* the VMs run on this host and it says how much memory it has */
    uint64_t total_bytes, available_bytes, reserve_bytes;
    uint64_t promised_bytes; /* to VMs that are on */
    uint64_t limit_bytes;    /* of what may be promised; 0: none */
    uint64_t pending_bytes;  /* what VMs that are starting will still take */
    uint64_t need_bytes;     /* of the VM in question */
    bool measured;           /* need_bytes is what others of its kind take, not what it was given */
};
/* As it is now, for one more like vm (NULL: for none). Any thread, memory only. */
void admission_look(struct core *core, const struct vm *vm, struct admission_sum *ret);

/*
 * INSUFFICIENT_MEMORY with the arithmetic. Otherwise the memory is reserved until the VM is seen
 * starting, a few seconds at most, so that two requests at once do not both get the last of it.
 */
int admission_admit(struct core *core, const struct vm *vm, struct error *err);

/*
 * A line for requests that would rather wait than be refused: oldest first. A ticket says who may try
 * now; it reserves nothing. 0: the line is full. Any thread.
 */
uint64_t admission_line_enter(struct core *core);
bool admission_line_first(struct core *core, uint64_t ticket);
void admission_line_leave(struct core *core, uint64_t ticket); /* 0 is fine */

#endif
