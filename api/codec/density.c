/*
 * Density: what KSM saves, for whom, and how many more would fit. The sums are made here, because
 * they are of one snapshot and nobody else needs them.
 */
#include "api/codec/codec.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"

struct sum {
    size_t running, sampled, merging;
    uint64_t promised, resident, merged, saved;
    int64_t profit;
    bool has_profit;
    int64_t memory_mib; /* of the largest VM in it */
};

struct group {
    const char *key; /* image id or label value; "" for VMs without */
    struct sum sum;
};

static void put(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value))
        abort();
}

static void put_bytes(json_t *object, const char *name, uint64_t bytes, enum codec_ksm detail)
{
    put(object, name,
        json_integer((json_int_t)(detail == CODEC_KSM_EXACT ? bytes : ksm_coarse(bytes))));
}

static void add_vm(struct sum *sum, const struct vm *vm, const struct vm_sample *s,
                   uint64_t page_size)
{
    const struct host_process *p = &s->process;

    sum->running++;
    sum->promised += (uint64_t)vm->spec->memory_mib << 20;
    if (vm->spec->memory_mib > sum->memory_mib)
        sum->memory_mib = vm->spec->memory_mib;
    if (!s->has_process || !p->has_memory)
        return;
    sum->sampled++;
    sum->merging += s->ksm_cause == KSM_CAUSE_MERGING;
    sum->resident += p->resident_bytes;
    if (p->has_ksm_merging_pages && p->ksm_merging_pages > 0)
        sum->merged += (uint64_t)p->ksm_merging_pages * page_size;
    if (s->has_ksm_saved)
        sum->saved += s->ksm_saved_bytes;
    if (p->has_ksm_profit) {
        sum->has_profit = true;
        sum->profit += p->ksm_profit_bytes;
    }
}

static void put_sum(json_t *object, const struct sum *sum, enum codec_ksm detail)
{
    put(object, "running", json_integer((json_int_t)sum->running));
    put(object, "merging", json_integer((json_int_t)sum->merging));
    put(object, "promised_bytes", json_integer((json_int_t)sum->promised));
    put(object, "resident_bytes", json_integer((json_int_t)sum->resident));
    put_bytes(object, "merging_bytes", sum->merged, detail);
    put_bytes(object, "saved_bytes", sum->saved, detail);
    if (sum->has_profit && detail == CODEC_KSM_EXACT)
        put(object, "profit_bytes", json_integer(sum->profit));
}

/*
 * One more of them first takes its whole resident memory, and only after merging what nobody else
 * has: n of them fit when n of the latter and once the difference do.
 */
static json_t *fits(const struct sum *sum, const struct admission_sum *a)
{
    uint64_t full, own, room, n, by_promise;
    const char *limit = "memory";

    if (!sum->sampled || !a->total_bytes)
        return json_null();
    full = sum->resident / sum->sampled;
    own = full - (sum->saved / sum->sampled < full ? sum->saved / sum->sampled : full);
    if (own < 1 << 20)
        own = 1 << 20;
    room = a->available_bytes;
    room -= a->reserve_bytes + a->pending_bytes < room ? a->reserve_bytes + a->pending_bytes : room;
    n = room > full - own && full > own ? (room - (full - own)) / own : room / (full > own ? full : own);
    if (a->limit_bytes) {
        by_promise = a->limit_bytes > a->promised_bytes
                         ? (a->limit_bytes - a->promised_bytes) / ((uint64_t)sum->memory_mib << 20)
                         : 0;
        if (by_promise < n) {
            n = by_promise;
            limit = "overcommit";
        }
    }
    return json_pack("{s:I, s:s, s:I, s:I}", "count", (json_int_t)n, "limit", limit,
                     "resident_bytes_each", (json_int_t)full, "own_bytes_each", (json_int_t)own);
}

static struct group *group_of(struct group *groups, size_t *count, const char *key)
{
    for (size_t i = 0; i < *count; i++) {
        if (strcmp(groups[i].key, key) == 0)
            return &groups[i];
    }
    groups[*count] = (struct group){.key = key};
    return &groups[(*count)++];
}

static int by_saving(const void *a, const void *b)
{
    uint64_t x = ((const struct group *)a)->sum.saved, y = ((const struct group *)b)->sum.saved;

    return x < y ? 1 : x > y ? -1 : 0;
}

static json_t *group_json(const struct codec_density *d, const struct group *g)
{
    json_t *object = json_pack("{s:o}", "key", codec_text(g->key));

    /* By image and set the key is an id; people know names. */
    for (size_t i = 0; !d->label && i < d->count; i++) {
        const struct vm *vm = d->vms[i];

        if (*g->key && str_eq(d->by_set ? vm->place.set_id : vm->image_id, g->key)) {
            put(object, "name", codec_text(d->by_set ? vm->place.set_name : vm->spec->image));
            break;
        }
    }
    put_sum(object, &g->sum, d->detail);
    put(object, "fits_more", fits(&g->sum, d->admission));
    return object;
}

static json_t *vm_json(const struct codec_density *d, const struct vm *vm, const struct vm_sample *s)
{
    json_t *object = json_pack("{s:s, s:s, s:o, s:I}", "vm_id", vm->id, "name", vm->spec->name,
                               "image", codec_text(vm->spec->image), "promised_bytes",
                               (json_int_t)vm->spec->memory_mib << 20);

    if (s->has_process && s->process.has_memory)
        put(object, "resident_bytes", json_integer((json_int_t)s->process.resident_bytes));
    if (s->dear->memory.has_rollup)
        put(object, "proportional_bytes", json_integer((json_int_t)s->dear->memory.pss_bytes));
    put(object, "ksm", codec_vm_ksm(s, &d->snapshot->ksm, d->detail));
    return object;
}

static json_t *host_json(const struct codec_density *d, const struct sum *all)
{
    const struct host_ksm *ksm = &d->snapshot->ksm;
    const struct admission_sum *a = d->admission;
    uint64_t saved = ksm->has_saved ? ksm->saved_bytes : 0;
    /* Pages that several share are in the resident memory of each; the zero page is in nobody's. */
    uint64_t shared = ksm->has_saved ? saved - ksm->zero_bytes : 0;
    json_t *object = json_object();

    if (shared >= all->resident)
        shared = 0;
    put_sum(object, all, d->detail);
    if (d->snapshot->memory.ok) {
        put(object, "total_bytes", json_integer((json_int_t)a->total_bytes));
        put(object, "available_bytes", json_integer((json_int_t)a->available_bytes));
    }
    put(object, "overcommit_limit_bytes",
        a->limit_bytes ? json_integer((json_int_t)a->limit_bytes) : json_null());
    put(object, "reserve_bytes", json_integer((json_int_t)a->reserve_bytes));
    put(object, "pending_bytes", json_integer((json_int_t)a->pending_bytes));
    put_bytes(object, "used_bytes", all->resident - shared, d->detail);
    put_bytes(object, "needed_without_ksm_bytes", all->resident - shared + saved, d->detail);
    if (ksm->has_ksmd_cpu)
        put(object, "ksmd_cpu_seconds", json_real(ksm->ksmd_cpu_seconds));
    if (d->snapshot->has_ksmd_percent)
        put(object, "ksmd_cpu_percent", json_real(d->snapshot->ksmd_percent));
    return object;
}

json_t *codec_density(const struct codec_density *d)
{
    auto_free struct group *groups = xcalloc(d->count + 1, sizeof(*groups));
    json_t *list = json_array(), *vms = json_array();
    struct sum all = {0};
    size_t count = 0;

    for (size_t i = 0; i < d->count; i++) {
        const struct vm_sample *s = snapshot_find(d->snapshot, d->vms[i]->id);
        const char *key = d->label    ? vm_spec_label(d->vms[i]->spec, d->label)
                          : d->by_set ? d->vms[i]->place.set_id
                                      : d->vms[i]->image_id;

        if (!s)
            continue;
        add_vm(&all, d->vms[i], s, d->snapshot->ksm.page_size_bytes);
        add_vm(&group_of(groups, &count, key ? key : "")->sum, d->vms[i], s,
               d->snapshot->ksm.page_size_bytes);
        json_array_append_new(vms, vm_json(d, d->vms[i], s));
    }
    if (count)
        qsort(groups, count, sizeof(*groups), by_saving);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, group_json(d, &groups[i]));
    return json_pack("{s:o, s:b, s:o, s:s, s:o*, s:o, s:o}", "sampled_at",
                     codec_time(d->snapshot->sampled_at), "coarse", d->detail == CODEC_KSM_COARSE,
                     "host", host_json(d, &all), "by",
                     d->label    ? "label"
                     : d->by_set ? "set"
                                 : "image",
                     "label",
                     d->label ? json_string(d->label) : NULL, "groups", list, "vms", vms);
}
