/*
 * Quotas: what a project and a token may use at the same time. What is used is what the rows say,
 * summed up in the transaction that adds another one, so that no race and no crash leaves a count
 * behind; only open consoles, which end with the daemon, are counted in memory.
 */
#ifndef DROVER_VM_QUOTA_H
#define DROVER_VM_QUOTA_H

#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/base/source.h"
#include "service/vm/quota_limits.h"

struct core;
struct principal;

/* A token may use more now: what was held up is tried again. Any thread, never blocks. */
void quota_changed(struct core *core);
/* What is used now, as clients were told; token_id NULL: by the whole project. Never blocks. */
void quota_use_read(struct core *core, const char *project_id, const char *token_id,
                    struct quota_use *ret);

/*
 * Counts a console of the principal and returns a source that passes everything on to `inner` and
 * gives the place back when it is closed. QUOTA_EXCEEDED: inner is untouched.
 */
int quota_console_open(struct core *core, const struct principal *by, struct source **inner,
                       struct error *err);

#endif
