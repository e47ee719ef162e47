/*
 * See quota.h. The limits of projects are with the projects (project.c), those of tokens with the
 * tokens (access_token.c). A check runs on the database's writer thread.
 */
#include "service/vm/quota_internal.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/vm/core_internal.h"
#include "service/vm/image_internal.h"
#include "service/vm/lease.h"
#include "service/vm/project.h"
#include "service/vm/quota_console.h"

struct quota_book {
    struct quota_consoles *consoles;
};

int quota_open(struct core *core, struct quota_book **ret, struct error *err)
{
    struct quota_book *book = xcalloc(1, sizeof(*book));

    (void)core;
    (void)err;
    book->consoles = quota_consoles_new();
    *ret = book; /* the caller closes it, also after a failure */
    return 0;
}

void quota_close(struct quota_book *book)
{
    if (!book)
        return;
    quota_consoles_free(book->consoles);
    free(book);
}

void quota_changed(struct core *core)
{
    lease_keeper_poke(core->leases);
}

/* ---- what a VM counts ---- */

void quota_measure(struct core *core, struct vm *vm)
{
    auto_image struct image *image = NULL;

    if (vm->root_disk_bytes || !*vm->image_id || !core->images)
        return;
    image = image_registry_stored(core->images, vm->image_id);
    if (!image || image->kind != IMAGE_DISK)
        return;
    vm->root_disk_bytes = vm->spec->root_disk_gib ? vm->spec->root_disk_gib * (1LL << 30)
                                                  : image->files[IMAGE_CONTENT].virtual_size_bytes;
}

static void add_vm(struct quota_use *use, const struct vm *vm)
{
    use->used[QUOTA_VMS]++;
    use->used[QUOTA_CPUS] += vm->spec->cpus;
    use->used[QUOTA_MEMORY_MIB] += vm->spec->memory_mib;
    use->used[QUOTA_DISK_BYTES] += vm_disk_bytes(vm);
}

static void add_difference(struct quota_use *use, const struct vm *next, const struct vm *was)
{
    struct quota_use before = {0};

    if (was)
        add_vm(&before, was);
    add_vm(use, next);
    for (int i = 0; i < QUOTA_COUNT; i++)
        use->used[i] -= before.used[i];
}

/* ---- the check ---- */

static int exceeded(const char *scope, const char *whose, int resource, int64_t limit, int64_t used,
                    int64_t requested, struct error *err)
{
    const char *name = quota_resource_name(resource);

    error_set(err, ERROR_QUOTA_EXCEEDED,
              "the quota of the %s %s allows %s=%lld: %lld in use and %lld more asked for", scope,
              whose, name, (long long)limit, (long long)used, (long long)requested);
    error_remedy(err, "%s, or have an administrator raise the quota with PATCH /v1/%ss/%s.",
                 requested > limit ? "Ask for less" : "Give something back and ask again", scope,
                 whose);
    err->quota = (struct error_quota){name, scope, limit, used, requested};
    return -1;
}

static int compare(const char *scope, const char *whose, const struct quota_limits *limits,
                   const struct quota_use *use, const struct quota_use *more, struct error *err)
{
    for (int i = 0; i < QUOTA_COUNT; i++) {
        if (more->used[i] > 0 && limits->max[i] != QUOTA_UNLIMITED &&
            use->used[i] + more->used[i] > limits->max[i])
            return exceeded(scope, whose, i, limits->max[i], use->used[i], more->used[i], err);
    }
    return 0;
}

static int sum_rows(struct db_tx *tx, const char *project_id, const char *token_id,
                    const struct quota_use *more, struct quota_use *ret, struct error *err)
{
    struct quota_vms vms = {0};
    int64_t leases = 0;

    if (more->used[QUOTA_LEASES] ? store_quota_leases(tx, project_id, token_id, &leases, err)
                                 : store_quota_vms(tx, project_id, token_id, &vms, err))
        return -1;
    *ret = (struct quota_use){{[QUOTA_VMS] = vms.count,
                               [QUOTA_CPUS] = vms.cpus,
                               [QUOTA_MEMORY_MIB] = vms.memory_mib,
                               [QUOTA_DISK_BYTES] = vms.disk_bytes,
                               [QUOTA_LEASES] = leases}};
    return 0;
}

/* token_id NULL: the project's own. Rows are summed up only where a limit could be reached. */
static int check(struct core *core, struct db_tx *tx, const char *project_id, const char *token_id,
                 const struct quota_use *more, struct error *err)
{
    struct quota_limits limits;
    struct quota_use use;
    struct project project;
    struct error gone;
    bool due = false;

    if (token_id) {
        if (!access_token_limits(core->access, token_id, &limits))
            return 0;
    } else {
        if (project_find(core, project_id, &project, &gone))
            return 0;
        limits = project.limits;
    }
    for (int i = 0; i < QUOTA_COUNT; i++)
        due |= more->used[i] > 0 && limits.max[i] != QUOTA_UNLIMITED;
    if (!due)
        return 0;
    if (sum_rows(tx, project_id, token_id, more, &use, err))
        return -1;
    return compare(token_id ? "token" : "project", token_id ? token_id : project_id, &limits, &use,
                   more, err);
}

/* The token's first: its holder can do something about it. */
static int check_both(struct core *core, struct db_tx *tx, const struct vm *vm,
                      const struct quota_use *project, const struct quota_use *token,
                      struct error *err)
{
    if (*vm->owner_token && check(core, tx, vm->project_id, vm->owner_token, token, err))
        return -1;
    return check(core, tx, vm->project_id, NULL, project, err);
}

int quota_check_new(struct core *core, struct db_tx *tx, struct vm *const *vms, size_t count,
                    struct error *err)
{
    struct quota_use more = {0};

    for (size_t i = 0; i < count; i++)
        add_vm(&more, vms[i]);
    return count ? check_both(core, tx, vms[0], &more, &more, err) : 0;
}

int quota_check_vm(struct core *core, struct db_tx *tx, const struct vm *next, const struct vm *was,
                   struct error *err)
{
    struct quota_use project = {0}, token = {0};

    if (was && next->generation == was->generation && str_eq(next->owner_token, was->owner_token))
        return 0;
    add_difference(&project, next, was);
    add_difference(&token, next, was && str_eq(was->owner_token, next->owner_token) ? was : NULL);
    return check_both(core, tx, next, &project, &token, err);
}

int quota_check_lease(struct core *core, struct db_tx *tx, const char *project_id,
                      const char *token_id, struct error *err)
{
    const struct quota_use more = {{[QUOTA_LEASES] = 1}};

    if (*token_id && check(core, tx, project_id, token_id, &more, err))
        return -1;
    return check(core, tx, project_id, NULL, &more, err);
}

/* ---- consoles ---- */

int quota_console_open(struct core *core, const struct principal *by, struct source **inner,
                       struct error *err)
{
    const struct quota_use more = {{[QUOTA_CONSOLES] = 1}};
    struct quota_consoles *consoles = core->quotas->consoles;
    struct quota_limits limits;
    struct quota_use use;
    struct project project;

    if (project_find(core, by->project_id, &project, err))
        return -1;
    LOCK_SCOPE(quota_consoles_lock(consoles));
    if (*by->token_id && access_token_limits(core->access, by->token_id, &limits)) {
        use = (struct quota_use){
            {[QUOTA_CONSOLES] = quota_consoles_count(consoles, by->project_id, by->token_id)}};
        if (compare("token", by->token_id, &limits, &use, &more, err))
            return -1;
    }
    use = (struct quota_use){
        {[QUOTA_CONSOLES] = quota_consoles_count(consoles, by->project_id, NULL)}};
    if (compare("project", project.id, &project.limits, &use, &more, err))
        return -1;
    *inner = quota_consoles_add(consoles, by->project_id, by->token_id, *inner);
    return 0;
}

/* ---- reading ---- */

void quota_use_read(struct core *core, const char *project_id, const char *token_id,
                    struct quota_use *ret)
{
    struct quota_consoles *consoles = core->quotas->consoles;
    auto_free struct vm **vms = NULL;
    size_t count;

    *ret = (struct quota_use){0};
    registry_all(core->registry, &vms, &count);
    for (size_t i = 0; i < count; i++) {
        if (str_eq(vms[i]->project_id, project_id) &&
            (!token_id || str_eq(vms[i]->owner_token, token_id)))
            add_vm(ret, vms[i]);
        vm_unref(vms[i]);
    }
    ret->used[QUOTA_LEASES] = lease_count(core, project_id, token_id);
    LOCK_SCOPE(quota_consoles_lock(consoles));
    ret->used[QUOTA_CONSOLES] = quota_consoles_count(consoles, project_id, token_id);
}
