/* Shared by spec*.c only. */
#ifndef DROVER_VM_SPEC_INTERNAL_H
#define DROVER_VM_SPEC_INTERNAL_H

#include "service/base/str.h"
#include "service/vm/spec.h"

int vm_spec_decode_user_data(const json_t *value, const char *pointer, void *out, struct error *err);
int vm_spec_decode_ssh_keys(const json_t *value, const char *pointer, void *out, struct error *err);
/* whole: as stored; else without the user data. */
void vm_spec_add_seed(struct strbuf *b, const struct vm_spec *spec, bool whole);
bool vm_spec_same_seed(const struct vm_spec *a, const struct vm_spec *b);

#endif
