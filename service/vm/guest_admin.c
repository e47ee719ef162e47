/*
 * What an agent does to its guest as a whole: power, freezing, clock, passwords, keys.
 */
#include "service/vm/guest_internal.h"

#include <poll.h>
#include <string.h>
#include <time.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"

#define POWER_STRANGER_MS 500 /* for an agent that never answered so far */
#define POWER_KNOWN_MS    2000
#define THAW_TRIES        20
#define CLOCK_WAIT_MS     60000

/* ---- power ---- */

int guest_shutdown(struct core *core, const char *vm_id, bool reboot, struct error *err)
{
    auto_guest_link struct guest_link *link = NULL;
    int64_t wait_ms;

    if (guest_link_get(core, vm_id, &link, NULL, err))
        return -1;
    {
        LOCK_SCOPE(&link->lock);
        wait_ms = link->contact_at ? POWER_KNOWN_MS : POWER_STRANGER_MS;
    }
    if (guest_reach(link, clock_monotonic_ms() + wait_ms, err))
        return -1;
    return guest_tell(link, "guest-shutdown",
                      json_pack("{s:s}", "mode", reboot ? "reboot" : "powerdown"), err);
}

/* ---- freezing ---- */

/* The promise to thaw, where a daemon that comes back after a crash finds it. */
static char *mark_path(struct core *core, const char *vm_id)
{
    auto_free char *dir = vm_dir(core, vm_id);

    return xasprintf("%s/frozen", dir);
}

static int mark(struct core *core, const char *vm_id, struct error *err)
{
    auto_free char *path = mark_path(core, vm_id);

    return file_write_atomic(path, "", 0, 0600, err);
}

static void unmark(struct core *core, const char *vm_id)
{
    auto_free char *path = mark_path(core, vm_id);
    struct error err;

    if (file_remove(path, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot forget that VM %s was frozen", vm_id);
}

static int thaw(struct guest_link *link, int64_t *ret_count, struct error *err)
{
    struct core *core = link->hub->core;
    auto_guest_answer struct guest_answer answer = {0};
    auto_vm struct vm *vm = registry_get(core->registry, link->vm_id);
    auto_json json_t *data = NULL;
    struct error ignored;

    if (guest_call(link, "guest-fsfreeze-thaw", NULL, guest_deadline(core), &answer, err))
        return -1;
    *ret_count = json_is_integer(answer.value) ? json_integer_value(answer.value) : 0;
    unmark(core, link->vm_id);
    data = json_pack("{s:I}", "filesystems", (json_int_t)*ret_count);
    if (vm)
        (void)event_write(core, vm->project_id, "vm.thawed", "vm", link->vm_id, data, &ignored);
    return 0;
}

struct thaw_later {
    struct guest_link *link;
    uint64_t freeze;
    int64_t at; /* monotonic */
};

static void thaw_later_free(void *arg)
{
    struct thaw_later *t = arg;

    {
        LOCK_SCOPE(&t->link->hub->lock);
        t->link->hub->thaws--;
    }
    guest_link_unref(t->link);
    free(t);
}

static bool is_due(struct thaw_later *t)
{
    LOCK_SCOPE(&t->link->lock);
    return t->link->freeze == t->freeze && !t->link->ended;
}

/* Also at the daemon's end: nothing else would thaw the guest. */
static int run_thaw_later(struct core *core, void *arg, struct error *err)
{
    struct thaw_later *t = arg;
    int64_t left = t->at - clock_monotonic_ms(), count;
    struct pollfd p = {.fd = t->link->hub->thaw_fd, .events = POLLIN};

    (void)poll(&p, 1, left > 0 ? (int)left : 0);
    for (int i = 0; i < THAW_TRIES && is_due(t); i++) {
        if (thaw(t->link, &count, err) == 0) {
            log_info("the file systems of VM %s were thawed when their time was up", t->link->vm_id);
            return 0;
        }
        if (guest_pause(t->link->hub, 500, err))
            return -1;
    }
    if (is_due(t))
        log_failure(LOG_LEVEL_ERROR, err, "VM %s cannot be thawed", t->link->vm_id);
    (void)core;
    return 0;
}

static int promise_thaw(struct guest_link *link, int64_t seconds, struct error *err)
{
    struct thaw_later *t = xcalloc(1, sizeof(*t));

    atomic_fetch_add(&link->refs, 1);
    t->link = link;
    t->at = clock_monotonic_ms() + seconds * 1000;
    {
        LOCK_SCOPE(&link->lock);
        t->freeze = ++link->freeze;
    }
    {
        LOCK_SCOPE(&link->hub->lock);
        link->hub->thaws++;
    }
    return guest_task_start(link->hub->core, link->vm_id, run_thaw_later, t, thaw_later_free, NULL,
                            err);
}

/* After a crash: whoever was frozen then is thawed now. */
void guest_thaw_left(struct core *core, const char *vm_id)
{
    auto_free char *path = mark_path(core, vm_id);
    auto_guest_link struct guest_link *link = NULL;
    struct error err;

    if (!file_exists(path))
        return;
    if (guest_link_get(core, vm_id, &link, NULL, &err) || promise_thaw(link, 0, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "VM %s was left frozen and cannot be thawed now", vm_id);
}

int guest_freeze(struct core *core, const char *vm_id, int64_t seconds, int64_t *ret_count,
                 struct error *err)
{
    auto_guest_link struct guest_link *link = NULL;
    auto_guest_answer struct guest_answer answer = {0};
    auto_vm struct vm *vm = registry_get(core->registry, vm_id);
    auto_json json_t *data = NULL;
    struct error ignored;

    if (guest_link_get(core, vm_id, &link, NULL, err) ||
        guest_reach(link, guest_deadline(core), err) || mark(core, vm_id, err))
        return -1;
    /* The promise comes first: whatever becomes of the answer, the guest is thawed. */
    if (promise_thaw(link, seconds, err))
        return -1;
    if (guest_call(link, "guest-fsfreeze-freeze", NULL, guest_deadline(core), &answer, err))
        return -1;
    *ret_count = json_is_integer(answer.value) ? json_integer_value(answer.value) : 0;
    data = json_pack("{s:I, s:I}", "filesystems", (json_int_t)*ret_count, "seconds",
                     (json_int_t)seconds);
    if (vm)
        (void)event_write(core, vm->project_id, "vm.frozen", "vm", vm_id, data, &ignored);
    return 0;
}

bool guest_was_heard(struct core *core, const char *vm_id)
{
    auto_guest_link struct guest_link *link = NULL;
    struct error ignored;

    if (guest_link_get(core, vm_id, &link, NULL, &ignored))
        return false;
    LOCK_SCOPE(&link->lock);
    return link->contact_at != 0;
}

int guest_thaw(struct core *core, const char *vm_id, int64_t *ret_count, struct error *err)
{
    auto_guest_link struct guest_link *link = NULL;

    if (guest_link_get(core, vm_id, &link, NULL, err) || thaw(link, ret_count, err))
        return -1;
    LOCK_SCOPE(&link->lock);
    link->freeze++; /* the promise is kept */
    return 0;
}

/* ---- clock ---- */

int guest_set_time(struct core *core, const char *vm_id, struct error *err)
{
    auto_guest_link struct guest_link *link = NULL;
    struct timespec now;

    if (guest_link_get(core, vm_id, &link, NULL, err) ||
        guest_reach(link, guest_deadline(core), err))
        return -1;
    clock_gettime(CLOCK_REALTIME, &now);
    return guest_call(link, "guest-set-time",
                      json_pack("{s:I}", "time",
                                (json_int_t)now.tv_sec * 1000000000 + (json_int_t)now.tv_nsec),
                      guest_deadline(core), NULL, err);
}

static int run_clock(struct core *core, void *arg, struct error *err)
{
    const char *vm_id = arg;

    if (guest_wait_contact(core, vm_id, clock_monotonic_ms() + CLOCK_WAIT_MS, err) ||
        guest_set_time(core, vm_id, err))
        log_failure(LOG_LEVEL_DEBUG, err, "the clock of VM %s was not set", vm_id);
    return 0;
}

void guest_clock_after_pause(struct core *core, const char *vm_id)
{
    struct error ignored;

    (void)guest_task_start(core, vm_id, run_clock, xstrdup(vm_id), free, NULL, &ignored);
}

/* ---- who may come in ---- */

int guest_set_password(struct core *core, const char *vm_id, const char *user, const char *password,
                       bool crypted, struct error *err)
{
    auto_guest_link struct guest_link *link = NULL;

    if (guest_link_get(core, vm_id, &link, NULL, err))
        return -1;
    return guest_call(link, "guest-set-user-password",
                      json_pack("{s:s, s:o, s:b}", "username", user, "password",
                                guest_base64(password, strlen(password)), "crypted", crypted),
                      guest_deadline(core), NULL, err);
}

int guest_set_ssh_keys(struct core *core, const char *vm_id, const char *user,
                       const char *const *keys, size_t count, bool replace, struct error *err)
{
    auto_guest_link struct guest_link *link = NULL;
    auto_json json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(keys[i]));
    if (guest_link_get(core, vm_id, &link, NULL, err))
        return -1;
    return guest_call(link, "guest-ssh-add-authorized-keys",
                      json_pack("{s:s, s:O, s:b}", "username", user, "keys", list, "reset",
                                replace),
                      guest_deadline(core), NULL, err);
}
