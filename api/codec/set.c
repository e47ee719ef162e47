/*
 * Sets as JSON, and the small bodies about them. A set's own body is decoded where its definition
 * lives (service/vm/set_spec.c).
 */
#include <stdlib.h>
#include <string.h>

#include "api/codec/codec.h"
#include "service/base/str.h"
#include "service/json/doc.h"

static json_t *counts_of(const struct set_status *s)
{
    json_t *counts = json_pack("{s:I, s:I}", "total", (json_int_t)s->total, "missing",
                               (json_int_t)s->missing);

    for (int state = 0; state < VM_STATE_COUNT; state++)
        json_object_set_new(counts, vm_state_name((enum vm_state)state),
                            json_integer(s->counts[state]));
    return counts;
}

static json_t *progress_of(const struct set_status *s)
{
    if (!*s->operation_id)
        return json_null();
    return json_pack("{s:s, s:I, s:I, s:I, s:o}", "operation_id", s->operation_id, "done_vms",
                     (json_int_t)s->done, "failed_vms", (json_int_t)s->failed, "total_vms",
                     (json_int_t)s->of, "waits_for", codec_text(s->waits_for));
}

json_t *codec_set(const struct set *set, const struct set_status *status)
{
    json_t *object = set_spec_encode(set->spec, false);

    json_object_update_new(
        object, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
                          set->id, "name", set->name, "project_id", set->project_id, "host_id",
                          set->host_id, "actor", set->actor, "state", set_state_name(status->state),
                          "state_reason", codec_text(status->reason), "vms", counts_of(status),
                          "progress", progress_of(status), "expires_at", codec_time(set->expires_at),
                          "created_at", codec_time(set->created_at), "updated_at",
                          codec_time(set->updated_at)));
    return object;
}

static json_t *cards_of(const struct vm_spec *spec)
{
    json_t *cards = json_array();

    for (size_t i = 0; i < spec->network_count; i++)
        json_array_append_new(cards, json_pack("{s:s, s:o}", "mac", spec->networks[i].mac, "address",
                                               codec_text(spec->networks[i].address)));
    return cards;
}

static json_t *member_vm(const struct set *set, size_t machine, const struct vm *vm)
{
    const char *name = set_machine_name(set->spec, machine);

    if (!vm)
        return json_pack("{s:s, s:n, s:n, s:s, s:n, s:n, s:[]}", "machine", name, "id", "name",
                         "state", "missing", "state_reason", "ready_at", "networks");
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "machine", name, "id", vm->id, "name",
                     vm->spec->name, "state", vm_state_name(vm->state), "state_reason",
                     codec_text(vm->state_reason), "ready_at", codec_time(vm->marks[VM_MARK_READY]),
                     "networks", cards_of(vm->spec));
}

json_t *codec_set_whole(const struct set *set, const struct set_status *status,
                        struct vm *const *vms)
{
    json_t *object = codec_set(set, status), *members = json_array();
    size_t machines = set->spec->machine_count;

    for (int64_t n = 1; n <= set->spec->count; n++) {
        json_t *list = json_array();

        for (size_t m = 0; m < machines; m++)
            json_array_append_new(list, member_vm(set, m, vms[(size_t)(n - 1) * machines + m]));
        json_array_append_new(members,
                              json_pack("{s:I, s:o}", "member", (json_int_t)n, "vms", list));
    }
    json_object_set_new(object, "members", members);
    return object;
}

json_t *codec_set_plan(const char *name, const struct set_spec *spec, const struct set_plan *plan)
{
    json_t *vms = json_array();

    for (size_t i = 0; i < plan->count; i++) {
        const struct set_slot *slot = &plan->slots[i];

        json_array_append_new(vms, json_pack("{s:I, s:s, s:s, s:o}", "member",
                                             (json_int_t)slot->member, "machine",
                                             set_machine_name(spec, slot->machine), "name",
                                             slot->spec->name, "networks", cards_of(slot->spec)));
    }
    return json_pack("{s:s, s:s, s:o}", "name", name, "name_pattern", spec->name_pattern, "vms", vms);
}

/* ---- bodies ---- */

static int decode_images(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct codec_set_act *act = out;

    if (!json_is_object(value) || json_object_size(value) > SET_MACHINES_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be an object of at most %d machines and their images",
                            SET_MACHINES_MAX);
    act->images = value;
    return 0;
}

int codec_decode_set_act(const json_t *body, bool images, struct codec_set_act *ret,
                         struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "start", .kind = DOC_BOOL, .offset = offsetof(struct codec_set_act, start)},
        {.name = "images", .kind = DOC_CUSTOM, .decode = decode_images},
    };

    *ret = (struct codec_set_act){0};
    if (!body)
        return 0;
    ret->has_start = json_object_get(body, "start") != NULL;
    return doc_decode(body, "", fields, images ? 2 : 1, ret, err);
}

static int decode_ttl(const json_t *value, const char *pointer, void *out, struct error *err)
{
    int64_t *ttl = out;

    if (json_is_null(value)) {
        *ttl = 0;
        return 0;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 1 ||
        json_integer_value(value) > SET_SECONDS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be a whole number from 1 to %d, or null for no end",
                            SET_SECONDS_MAX);
    *ttl = json_integer_value(value);
    return 0;
}

int codec_decode_set_patch(const json_t *body, int64_t *ret_ttl_seconds, struct error *err)
{
    static const struct doc_field field = {
        .name = "ttl_seconds", .kind = DOC_CUSTOM, .decode = decode_ttl};

    *ret_ttl_seconds = -1;
    if (doc_decode(body, "", &field, 1, ret_ttl_seconds, err))
        return -1;
    if (*ret_ttl_seconds < 0)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/ttl_seconds", "is required");
    return 0;
}
