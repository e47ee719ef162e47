/* The typed functions, subject by subject: what goes in comes out, and what is refused. */
#include "tests/unit/db/store_rig.h"

/* ---- VMs ---- */

static struct vm_row seen_vms[16];
static int seen;

static int see_vm(void *arg, const struct vm_row *row)
{
    struct vm_row *v = &seen_vms[seen++];

    *v = *row;
    v->id = xstrdup(row->id);
    v->project_id = xstrdup(row->project_id);
    v->host_id = xstrdup(row->host_id);
    v->name = xstrdup(row->name);
    v->spec = xstrdup(row->spec);
    v->state = xstrdup(row->state);
    v->state_reason = xstrdup(row->state_reason);
    v->acceleration = xstrdup(row->acceleration);
    v->acceleration_reason = xstrdup(row->acceleration_reason);
    v->image_id = xstrdup(row->image_id);
    return arg && seen == *(int *)arg;
}

static void see_vms(int *stop_after)
{
    for (; seen > 0; seen--) {
        struct vm_row *v = &seen_vms[seen - 1];

        free((char *)(uintptr_t)v->id);
        free((char *)(uintptr_t)v->project_id);
        free((char *)(uintptr_t)v->host_id);
        free((char *)(uintptr_t)v->name);
        free((char *)(uintptr_t)v->spec);
        free((char *)(uintptr_t)v->state);
        free((char *)(uintptr_t)v->state_reason);
        free((char *)(uintptr_t)v->acceleration);
        free((char *)(uintptr_t)v->acceleration_reason);
        free((char *)(uintptr_t)v->image_id);
    }
    if (db)
        CHECK_OK(store_vm_each(db, see_vm, stop_after, &err));
}

static void stop_vms(void)
{
    stop();
    see_vms(NULL);
}

TEST(a_vm_comes_back_as_it_went_in)
{
    struct vm_row vm;
    int64_t seq;

    start();
    vm = fixture_vm("id-1", "web-1");
    vm.spec = "{\"description\":\"caf\xc3\xa9 'quoted' \\\"twice\\\"\"}";
    vm.state_reason = "new; DROP TABLE vms";
    CHECK_OK(vm_insert(&vm, &seq));
    CHECK_INT(seq, 1);
    vm.state = "running";
    vm.acceleration = "emulated";
    vm.acceleration_reason = "no /dev/kvm";
    vm.generation = 3;
    vm.defined_generation = 2;
    vm.running_generation = 1;
    vm.vsock_cid = 4294967294U;
    vm.updated_at = 2000;
    vm.started_at = 1900;
    CHECK_OK(vm_update(&vm, NULL));
    see_vms(NULL);
    CHECK_INT(seen, 1);
    CHECK_INT(seen_vms[0].seq, 1);
    CHECK_STR(seen_vms[0].id, "id-1");
    CHECK_STR(seen_vms[0].project_id, PROJECT_DEFAULT);
    CHECK_STR(seen_vms[0].host_id, HOST_LOCAL);
    CHECK_STR(seen_vms[0].name, "web-1");
    CHECK_STR(seen_vms[0].spec, vm.spec);
    CHECK_STR(seen_vms[0].state, "running");
    CHECK_STR(seen_vms[0].state_reason, vm.state_reason);
    CHECK_STR(seen_vms[0].acceleration, "emulated");
    CHECK_STR(seen_vms[0].acceleration_reason, "no /dev/kvm");
    CHECK_STR(seen_vms[0].image_id, "");
    CHECK_INT(seen_vms[0].generation, 3);
    CHECK_INT(seen_vms[0].defined_generation, 2);
    CHECK_INT(seen_vms[0].running_generation, 1);
    CHECK_INT(seen_vms[0].vsock_cid, 4294967294U);
    CHECK_INT(seen_vms[0].created_at, 1000);
    CHECK_INT(seen_vms[0].updated_at, 2000);
    CHECK_INT(seen_vms[0].started_at, 1900);
    CHECK_INT(seen_vms[0].deleted_at, 0);
    stop_vms();
}

TEST(a_name_is_free_as_soon_as_its_vm_is_being_deleted)
{
    struct vm_row first, second;
    int64_t seq;

    start();
    first = fixture_vm("id-1", "web");
    second = fixture_vm("id-2", "web");
    CHECK_OK(vm_insert(&first, &seq));
    first.state = "deleting";
    CHECK_OK(vm_update(&first, NULL));
    CHECK_OK(vm_insert(&second, &seq));
    /* It cannot have it back, and neither can a third. */
    first.state = "failed";
    CHECK_INT(vm_update(&first, NULL), -1);
    CHECK_INT(err.code, ERROR_NAME_IN_USE);
    first.name = "web-id-1";
    CHECK_OK(vm_update(&first, NULL));
    stop_vms();
}

TEST(a_name_is_unique_among_the_living_and_free_after_the_tombstone)
{
    struct vm_row first, second, third;
    int64_t seq;

    start();
    first = fixture_vm("id-1", "web");
    second = fixture_vm("id-2", "web");
    third = fixture_vm("id-3", "db");
    CHECK_OK(vm_insert(&first, &seq));
    CHECK_INT(vm_insert(&second, NULL), -1);
    CHECK_INT(err.code, ERROR_NAME_IN_USE);
    CHECK_OK(vm_insert(&third, &seq));
    third.name = "web";
    CHECK_INT(vm_update(&third, NULL), -1);
    CHECK_INT(err.code, ERROR_NAME_IN_USE);
    first.deleted_at = 5000;
    first.state = "deleting";
    CHECK_OK(vm_update(&first, NULL));
    CHECK_OK(vm_insert(&second, &seq));
    see_vms(NULL);
    CHECK_INT(seen, 2);
    CHECK_STR(seen_vms[0].id, "id-3");
    CHECK_STR(seen_vms[1].id, "id-2");
    CHECK(seen_vms[1].seq > seen_vms[0].seq);
    /* A tombstone stays as it is. */
    first.deleted_at = 0;
    CHECK_INT(vm_update(&first, NULL), -1);
    CHECK_INT(err.code, ERROR_VM_NOT_FOUND);
    stop_vms();
}

TEST(an_id_drawn_twice_is_not_mistaken_for_a_name)
{
    struct vm_row vm;

    start();
    vm = fixture_vm("id-1", "web");
    CHECK_OK(vm_insert(&vm, NULL));
    vm.name = "other";
    CHECK_INT(vm_insert(&vm, NULL), -1);
    CHECK_INT(err.code, ERROR_INTERNAL);
    stop();
}

TEST(updating_a_vm_that_is_gone_says_so)
{
    struct vm_row vm;

    start();
    vm = fixture_vm("id-1", "web");
    CHECK_INT(vm_update(&vm, NULL), -1);
    CHECK_INT(err.code, ERROR_VM_NOT_FOUND);
    stop();
}

TEST(every_state_a_vm_can_have_is_accepted_and_no_other)
{
    static const char *const states[] = {
#define V(sym, name) name,
#include "service/vm/vm_states.def"
#undef V
    };
    struct vm_row vm;

    start();
    vm = fixture_vm("id-1", "web");
    CHECK_OK(vm_insert(&vm, NULL));
    for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++) {
        vm.state = states[i];
        CHECK_OK(vm_update(&vm, NULL));
    }
    vm.state = "levitating";
    CHECK_INT(vm_update(&vm, NULL), -1);
    CHECK_INT(err.code, ERROR_INTERNAL);
    vm.state = "stopped";
    vm.spec = "{not json";
    CHECK_INT(vm_update(&vm, NULL), -1);
    stop();
}

TEST(purging_forgets_old_tombstones_only)
{
    struct vm_row old, young, alive;
    int64_t before = 3000;

    start();
    old = fixture_vm("id-1", "a");
    young = fixture_vm("id-2", "b");
    alive = fixture_vm("id-3", "c");
    CHECK_OK(vm_insert(&old, NULL));
    CHECK_OK(vm_insert(&young, NULL));
    CHECK_OK(vm_insert(&alive, NULL));
    CHECK_INT(cid_allocate("id-1"), 1000);
    CHECK_INT(cid_allocate("id-3"), 1001);
    old.deleted_at = 2000;
    young.deleted_at = 4000;
    CHECK_OK(vm_update(&old, NULL));
    CHECK_OK(vm_update(&young, NULL));
    CHECK_OK(vm_purge(&before, NULL));
    see_vms(NULL);
    CHECK_INT(seen, 1);
    /* Only the purged one's id is free. */
    old.deleted_at = 0;
    CHECK_OK(vm_insert(&old, NULL));
    young.deleted_at = 0;
    CHECK_INT(vm_insert(&young, NULL), -1);
    stop_vms();
}

TEST(a_callback_can_stop_the_walk)
{
    struct vm_row vm;
    int two = 2;

    start();
    for (int i = 0; i < 5; i++) {
        char id[16], name[16];

        snprintf(id, sizeof(id), "id-%d", i);
        snprintf(name, sizeof(name), "vm-%d", i);
        vm = fixture_vm(id, name);
        CHECK_OK(vm_insert(&vm, NULL));
    }
    see_vms(&two);
    CHECK_INT(seen, 2);
    see_vms(NULL);
    CHECK_INT(seen, 5);
    stop_vms();
}

TEST(a_cid_is_never_handed_out_twice)
{
    struct vm_row vm;
    int64_t before = 9000;

    start();
    CHECK_INT(cid_allocate("id-1"), 1000);
    CHECK_INT(cid_allocate("id-2"), 1001);
    CHECK_OK(cid_release("id-2", NULL));
    CHECK_INT(cid_allocate("id-3"), 1002);
    vm = fixture_vm("id-3", "c");
    CHECK_OK(vm_insert(&vm, NULL));
    vm.deleted_at = 2000;
    CHECK_OK(vm_update(&vm, NULL));
    CHECK_OK(vm_purge(&before, NULL));
    db_close(db);
    db = fixture_open();
    CHECK_INT(cid_allocate("id-4"), 1003);
    stop();
}

TEST(an_unknown_project_host_or_image_is_refused)
{
    struct vm_row vm;

    start();
    vm = fixture_vm("id-1", "web");
    vm.project_id = "nobody";
    CHECK_INT(vm_insert(&vm, NULL), -1);
    CHECK_INT(err.code, ERROR_INTERNAL);
    vm = fixture_vm("id-1", "web");
    vm.host_id = "nowhere";
    CHECK_INT(vm_insert(&vm, NULL), -1);
    vm = fixture_vm("id-1", "web");
    vm.image_id = "nothing";
    CHECK_INT(vm_insert(&vm, NULL), -1);
    CHECK_INT(err.code, ERROR_UNKNOWN_IMAGE);
    stop();
}

TEST_MAIN();
