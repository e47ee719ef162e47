/* See admission.h. */
#include "service/vm/admission.h"

#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/core_internal.h"
#include "service/vm/host_stop.h"

#define SETTLED_MS   120000 /* after that, what a VM occupies is what it needs */
#define RESERVED_MS  5000
#define RESERVED_MAX 256
#define LINE_LENGTH     256
#define OVERHEAD     (32ULL << 20) /* QEMU's own */

struct reserved {
    char vm_id[UUID_TEXT];
    uint64_t bytes;
    int64_t until_ms; /* monotonic */
};

struct admission {
    pthread_mutex_t lock; /* reservations and the decision on them; may take the registry's */
    struct reserved reserved[RESERVED_MAX];
    size_t count;
    uint64_t line[LINE_LENGTH]; /* tickets, oldest first */
    size_t waiting;
    uint64_t last_ticket;
};

struct admission *admission_new(void)
{
    struct admission *a = xcalloc(1, sizeof(*a));

    mutex_init(&a->lock);
    return a;
}

void admission_free(struct admission *a)
{
    if (!a)
        return;
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static bool is_on(const struct vm *vm)
{
    return vm->state == VM_STATE_STARTING || vm->state == VM_STATE_RUNNING ||
           vm->state == VM_STATE_PAUSED || vm->state == VM_STATE_STOPPING;
}

/* Another host's VMs do not take this one's memory, and the test driver's take none. */
static bool runs_here(struct core *core)
{
    const char *uri = core->settings->libvirt_uri;

    return !*uri || (str_starts(uri, "qemu:///") && !strstr(uri, "socket="));
}

static bool same_kind(const struct vm *a, const struct vm *b)
{
    return str_eq(a->image_id, b->image_id) && a->spec->memory_mib == b->spec->memory_mib &&
           str_eq(a->acceleration, b->acceleration);
}

static bool resident(const struct snapshot *snapshot, const struct vm *vm, uint64_t *ret)
{
    const struct vm_sample *s = snapshot_find(snapshot, vm->id);

    if (!s || !s->has_process || !s->process.has_memory)
        return false;
    *ret = s->process.resident_bytes;
    return true;
}

static bool is_settled(const struct vm *vm, int64_t now)
{
    return vm->state == VM_STATE_RUNNING && vm->started_at && now - vm->started_at > SETTLED_MS;
}

/* What a VM of this kind takes: measured on those that have settled, else all it was given. */
static uint64_t expected(struct vm *const *vms, size_t count, const struct snapshot *snapshot,
                         const struct vm *vm, bool *ret_measured)
{
    uint64_t sum = 0, bytes, n = 0, full = ((uint64_t)vm->spec->memory_mib << 20) + OVERHEAD;
    int64_t now = clock_wall_ms();

    for (size_t i = 0; i < count; i++) {
        if (!same_kind(vms[i], vm) || str_eq(vms[i]->id, vm->id) || !is_settled(vms[i], now) ||
            !resident(snapshot, vms[i], &bytes))
            continue;
        sum += bytes;
        n++;
    }
    *ret_measured = n > 0;
    bytes = n ? sum / n + sum / n / 10 : full;
    return bytes < full ? bytes : full;
}

static void add_vm(struct vm *const *vms, size_t count, const struct snapshot *snapshot,
                   const struct vm *other, struct admission_sum *sum)
{
    uint64_t will, now = 0;
    bool measured;

    sum->promised_bytes += (uint64_t)other->spec->memory_mib << 20;
    if (is_settled(other, clock_wall_ms()))
        return;
    will = expected(vms, count, snapshot, other, &measured);
    (void)resident(snapshot, other, &now);
    sum->pending_bytes += will > now ? will - now : 0;
}

static bool is_listed(struct vm *const *vms, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(vms[i]->id, id) && is_on(vms[i]))
            return true;
    }
    return false;
}

/* Forgets reservations that are over or have become VMs; counts the others. */
static void add_reserved(struct admission *a, struct vm *const *vms, size_t count,
                         const struct vm *vm, struct admission_sum *sum)
{
    int64_t now = clock_monotonic_ms();
    size_t kept = 0;

    for (size_t i = 0; i < a->count; i++) {
        const struct reserved *r = &a->reserved[i];

        if (r->until_ms <= now || (vm && str_eq(r->vm_id, vm->id)) || is_listed(vms, count, r->vm_id))
            continue;
        sum->pending_bytes += r->bytes;
        sum->promised_bytes += r->bytes;
        a->reserved[kept++] = *r;
    }
    a->count = kept;
}

static void add_up(struct core *core, const struct vm *vm, bool here, struct admission_sum *ret)
{
    const struct settings *s = core->settings;
    auto_snapshot struct snapshot *snapshot = sampler_latest(core->sampler);
    auto_free struct vm **vms = NULL;
    size_t count;

    *ret = (struct admission_sum){.total_bytes = snapshot->memory.total_bytes,
                                  .available_bytes = snapshot->memory.available_bytes,
                                  .reserve_bytes = (uint64_t)s->memory_reserve_mib << 20};
    ret->applies = snapshot->memory.ok && here;
    ret->limit_bytes = ret->total_bytes / 100 * (uint64_t)s->memory_overcommit_percent;
    registry_all(core->registry, &vms, &count);
    for (size_t i = 0; i < count; i++) {
        if (is_on(vms[i]) && (!vm || !str_eq(vms[i]->id, vm->id)))
            add_vm(vms, count, snapshot, vms[i], ret);
    }
    if (vm)
        ret->need_bytes = expected(vms, count, snapshot, vm, &ret->measured);
    add_reserved(core->admission, vms, count, vm, ret);
    for (size_t i = 0; i < count; i++)
        vm_unref(vms[i]);
}

void admission_look(struct core *core, const struct vm *vm, struct admission_sum *ret)
{
    bool here = runs_here(core);

    LOCK_SCOPE(&core->admission->lock);
    add_up(core, vm, here, ret);
}

static unsigned long long mib(uint64_t bytes)
{
    return bytes >> 20;
}

static int refuse_promise(const struct vm *vm, const struct admission_sum *sum, struct error *err)
{
    error_set(err, ERROR_INSUFFICIENT_MEMORY,
              "%s is to have %lld MiB; %llu MiB are promised already, and %llu MiB may be "
              "(memory_overcommit_percent of %llu MiB)",
              vm->spec->name, (long long)vm->spec->memory_mib, mib(sum->promised_bytes),
              mib(sum->limit_bytes), mib(sum->total_bytes));
    error_remedy(err, "Stop another VM, give this one less memory_mib, or raise "
                      "memory_overcommit_percent.");
    return -1;
}

static int refuse_need(const struct vm *vm, const struct admission_sum *sum, struct error *err)
{
    error_set(err, ERROR_INSUFFICIENT_MEMORY,
              "%s needs %llu MiB%s; %llu MiB are available, of which %llu MiB are kept free and "
              "%llu MiB will go to VMs that are starting",
              vm->spec->name, mib(sum->need_bytes), sum->measured ? " (as others like it)" : "",
              mib(sum->available_bytes), mib(sum->reserve_bytes), mib(sum->pending_bytes));
    error_remedy(err, "Stop another VM or wait until those that are starting have merged; "
                      "GET /v1/ksm/density shows who has what.");
    return -1;
}

int admission_admit(struct core *core, const struct vm *vm, struct error *err)
{
    struct admission *a = core->admission;
    uint64_t promise = (uint64_t)vm->spec->memory_mib << 20;
    struct admission_sum sum;

    if (host_stop_refuses(core, err))
        return -1;
    if (!core->settings->memory_overcommit_percent || !runs_here(core))
        return 0;
    LOCK_SCOPE(&a->lock);
    add_up(core, vm, true, &sum);
    if (!sum.applies)
        return 0;
    if (sum.promised_bytes + promise > sum.limit_bytes)
        return refuse_promise(vm, &sum, err);
    if (sum.need_bytes + sum.pending_bytes + sum.reserve_bytes > sum.available_bytes)
        return refuse_need(vm, &sum, err);
    if (a->count < RESERVED_MAX) {
        struct reserved *r = &a->reserved[a->count++];

        memcpy(r->vm_id, vm->id, sizeof(r->vm_id));
        r->bytes = sum.need_bytes;
        r->until_ms = clock_monotonic_ms() + RESERVED_MS;
    }
    return 0;
}

uint64_t admission_line_enter(struct core *core)
{
    struct admission *a = core->admission;

    LOCK_SCOPE(&a->lock);
    if (a->waiting == LINE_LENGTH)
        return 0;
    a->line[a->waiting++] = ++a->last_ticket;
    return a->last_ticket;
}

bool admission_line_first(struct core *core, uint64_t ticket)
{
    LOCK_SCOPE(&core->admission->lock);
    return core->admission->waiting && core->admission->line[0] == ticket;
}

void admission_line_leave(struct core *core, uint64_t ticket)
{
    struct admission *a = core->admission;
    size_t kept = 0;

    LOCK_SCOPE(&a->lock);
    for (size_t i = 0; i < a->waiting; i++) {
        if (a->line[i] != ticket)
            a->line[kept++] = a->line[i];
    }
    a->waiting = kept;
}
