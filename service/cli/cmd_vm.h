/* `vm create`, which has options enough for a file of its own. */
#ifndef DROVER_CLI_CMD_VM_H
#define DROVER_CLI_CMD_VM_H

#include "service/cli/command.h"

extern const struct option_row vm_create_options[];
int vm_create_run(struct cli *cli, const struct args *args, struct failure *fail);
/* The definition these arguments describe; the caller owns it. Pure. */
int vm_create_body(const struct args *args, json_t **ret, struct failure *fail);

/* The merge patch that the operands after the first describe; the caller owns it. Pure but for @FILE. */
int vm_set_body(const struct args *args, json_t **ret, struct failure *fail);

/* One value: text as it is ("@FILE": a file's), or else read as YAML; empty is null. */
int vm_set_value(const char *name, const char *text, bool is_text, json_t **ret, struct failure *fail);

#endif
