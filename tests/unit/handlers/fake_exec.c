/* No programs: what asks for one is told so. */
#include "service/vm/exec.h"

void exec_unref(struct exec *e)
{
    (void)e;
}

int exec_find(struct core *core, const char *vm_id, const char *id, struct exec **ret,
              struct error *err)
{
    (void)core;
    (void)vm_id;
    (void)ret;
    return error_set(err, ERROR_EXEC_NOT_FOUND, "there is no program %s", id);
}

int exec_attach(struct exec *e, const char *rights, const uint64_t from[EXEC_OUTPUTS],
                struct source **ret, struct error *err)
{
    (void)e;
    (void)rights;
    (void)from;
    (void)ret;
    return error_set(err, ERROR_STREAM_NOT_FOUND, "there is no program");
}
