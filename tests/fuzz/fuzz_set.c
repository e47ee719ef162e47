/*
 * Bytes as a set: what is accepted must survive being stored and read again, and stands for VMs that
 * differ in name, card and address.
 */
#include <stdint.h>
#include <stdlib.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/set.h"

#define VMS_MAX 64 /* more of the same finds nothing more */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_plan(const struct set_spec *spec, const char *name)
{
    auto_set_plan struct set_plan plan = {0};
    struct error err;

    if (spec->count * (int64_t)spec->machine_count > VMS_MAX ||
        set_plan_make(spec, name, "salt", &plan, &err))
        return;
    if (plan.count != (size_t)spec->count * spec->machine_count)
        __builtin_trap();
    for (size_t i = 1; i < plan.count; i++) {
        if (!vm_spec_name_ok(plan.slots[i].spec->name) ||
            str_eq(plan.slots[i].spec->name, plan.slots[i - 1].spec->name))
            __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct doc_limits limits = {.bytes = 65536, .depth = 16, .tokens = 4096};
    auto_json json_t *value = NULL, *stored = NULL, *again_stored = NULL;
    auto_set_spec struct set_spec *spec = NULL, *again = NULL;
    auto_free char *name = NULL;
    struct error err;

    if (doc_parse((const char *)data, size, &limits, &value, &err) ||
        set_spec_decode(value, &spec, &name, &err))
        return 0;
    stored = set_spec_encode(spec, true);
    if (set_spec_decode(stored, &again, NULL, &err))
        __builtin_trap();
    again_stored = set_spec_encode(again, true);
    if (!json_equal(stored, again_stored))
        __builtin_trap();
    check_plan(spec, name);
    return 0;
}
