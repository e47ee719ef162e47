/*
 * The tracker: one thread that brings libvirt's truth into ours. Events only say where to look;
 * the state is always asked for, so a lost or late event cannot leave a wrong one.
 */
#include <string.h>

#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/core_internal.h"
#include "service/vm/lease.h"
#include "service/vm/set.h"
#include "service/vm/track_internal.h"

#define RETRY_MS       1000 /* while the disk does not take what was seen, or libvirt does not say it */
#define LOOK_FIRST_MS  250
#define LOOK_MAX_MS    8000
#define LOOK_SILENT_MS 500  /* libvirt does not say how a VM is */
#define LOOK_WARN      6    /* tries, some eight seconds */

enum note_kind { NOTE_EVENT, NOTE_LINK, NOTE_STREAM_ENDED, NOTE_MARK, NOTE_AUDIT, NOTE_STOP };

struct note {
    struct note *next;
    enum note_kind kind;
    struct virt_event event;
    enum virt_link link;
    char reason[200], vm_id[UUID_TEXT];
    enum vm_mark mark;
    int64_t at;
};

/* A VM that is said to be on, but whose streams cannot be opened: it is ending, or nobody will tell. */
struct look {
    struct look *next;
    char vm_id[UUID_TEXT];
    int64_t due; /* monotonic ms */
    unsigned tries;
    bool again;
};

struct tracker {
    struct core *core;
    pthread_mutex_t lock; /* leaf */
    struct look *looks;
    pthread_cond_t news;
    struct note *head, **tail;
    _Atomic bool reconciled;
    _Atomic bool after_boot; /* the host was booted since it was last compared with libvirt */
    bool missed; /* something was seen that could not be stored; tracker thread only */
    bool engine_tried, engine_started; /* tried: some of its threads may be there */
    pthread_t thread;
    bool running;
};

static void post(struct tracker *t, struct note *note)
{
    LOCK_SCOPE(&t->lock);
    *t->tail = note;
    t->tail = &note->next;
    pthread_cond_signal(&t->news);
}

void tracker_on_event(void *opaque, const struct virt_event *event)
{
    struct note *n = xcalloc(1, sizeof(*n));

    n->kind = NOTE_EVENT;
    n->event = *event;
    post(opaque, n);
}

void tracker_on_link(void *opaque, enum virt_link link, const char *reason)
{
    struct note *n = xcalloc(1, sizeof(*n));

    n->kind = NOTE_LINK;
    n->link = link;
    str_copy_utf8(n->reason, sizeof(n->reason), reason ? reason : "");
    post(opaque, n);
}

void tracker_on_stream_ended(void *opaque, const char *vm_id, const char *stream)
{
    struct note *n = xcalloc(1, sizeof(*n));

    n->kind = NOTE_STREAM_ENDED;
    str_copy_utf8(n->vm_id, sizeof(n->vm_id), vm_id);
    str_copy_utf8(n->reason, sizeof(n->reason), stream);
    post(opaque, n);
}

void tracker_on_mark(void *opaque, const char *vm_id, enum vm_mark mark, int64_t at)
{
    struct note *n = xcalloc(1, sizeof(*n));

    n->kind = NOTE_MARK;
    str_copy_utf8(n->vm_id, sizeof(n->vm_id), vm_id);
    n->mark = mark;
    n->at = at;
    post(opaque, n);
}

void tracker_on_console_notice(void *opaque, const struct console_notice *notice)
{
    struct core *core = opaque;
    struct note *n;

    if (!notices_add(core->notices, notice))
        return;
    n = xcalloc(1, sizeof(*n));
    n->kind = NOTE_AUDIT;
    post(core->tracker, n);
}

void tracker_look_again(struct tracker *t, const char *vm_id)
{
    struct look *l;

    LOCK_SCOPE(&t->lock);
    for (l = t->looks; l && strcmp(l->vm_id, vm_id) != 0; l = l->next)
        ;
    if (!l) {
        l = xcalloc(1, sizeof(*l));
        str_copy_utf8(l->vm_id, sizeof(l->vm_id), vm_id);
        l->due = clock_monotonic_ms() + LOOK_FIRST_MS;
        l->next = t->looks;
        t->looks = l;
        pthread_cond_signal(&t->news);
    }
    l->again = true;
}

bool tracker_is_reconciled(struct tracker *t)
{
    return atomic_load(&t->reconciled);
}

bool tracker_is_after_boot(struct tracker *t)
{
    return atomic_load(&t->after_boot);
}

/* The VM shows an old state until the disk takes the new one: everything is compared again then. */
static void note_miss(struct core *core)
{
    struct error ignored;

    if (db_is_writable(core->db, &ignored))
        return;
    core->tracker->missed = true;
    atomic_store(&core->tracker->reconciled, false);
}

/* false: libvirt did not say. Whatever made us ask is not told again, so it is asked again. */
static bool sync_logged(struct core *core, const char *vm_id, bool first)
{
    struct error err;

    if (track_sync_soon(core, vm_id, &err) == 0)
        return true;
    note_miss(core);
    if (err.code == ERROR_VM_NOT_FOUND)
        return true;
    /* Late is no failure: QEMU may be about to start. Who stays silent is told of by look(). */
    if (first && err.code != ERROR_HYPERVISOR_UNAVAILABLE && err.code != ERROR_UNAVAILABLE)
        log_failure(LOG_LEVEL_WARNING, &err, "cannot read the state of VM %s", vm_id);
    tracker_look_again(core->tracker, vm_id);
    return false;
}

static void handle_event(struct core *core, const struct virt_event *event)
{
    auto_vm struct vm *vm = registry_get(core->registry, event->uuid);

    CRASH_POINT(EVENT_HEARD);
    if (!vm)
        return;
    if (event->guest_rebooted) {
        guest_rebooted(core, vm->id);
        vm_boot_again(core, vm);
        return;
    }
    (void)sync_logged(core, event->uuid, true);
}

static int by_uuid(const void *a, const void *b)
{
    return strcmp(((const struct virt_info *)a)->uuid, ((const struct virt_info *)b)->uuid);
}

/*
 * A VM that is off in both worlds stays off, whoever owns the domain of its uuid. Most are, and not
 * asking is the difference between one call and thousands when the daemon starts.
 */
static bool wants_owner(void *opaque, const struct virt_info *info)
{
    struct core *core = opaque;
    auto_vm struct vm *vm = registry_get(core->registry, info->uuid);

    return !vm || vm->state != VM_STATE_STOPPED || vm->running_generation ||
           info->state != VIRT_STATE_SHUTOFF;
}

/*
 * List, diff, converge: what happened while nobody told us. The first time no operation has begun, and what clients
 * change of a VM meanwhile is not how it runs: the answer is news of it all the same. Whoever waits for the comparison
 * relies on that, and nobody is left out of it. Later an operation may have overtaken the answer: it is asked again.
 */
static int reconcile(struct core *core, bool first, struct error *err)
{
    auto_free struct virt_info *list = NULL;
    auto_free struct vm **vms = NULL;
    size_t count = 0, vm_n = 0;

    registry_all(core->registry, &vms, &vm_n);
    if (virt_list(core->virt, wants_owner, core, &list, &count, err)) {
        for (size_t i = 0; i < vm_n; i++)
            vm_unref(vms[i]);
        return -1;
    }
    CRASH_POINT(RECOVERY_LISTED);
    for (size_t i = 0; i < vm_n; i++) {
        struct virt_info key;
        struct track_sync s = {.reason = "", .seen = first ? NULL : vms[i]};
        const struct virt_info *found;
        struct error ignored;

        str_copy_utf8(key.uuid, sizeof(key.uuid), vms[i]->id);
        found = count ? bsearch(&key, list, count, sizeof(*list), by_uuid) : NULL;
        if (found && (found->ours || !found->owner_read)) {
            s.info = *found;
        } else {
            s.gone = true;
            str_copy_utf8(s.info.reason, sizeof(s.info.reason), "libvirt does not know it any more");
        }
        /* A VM that may have been deleted in between is no failure. */
        if (track_apply(core, vms[i]->id, &s, &ignored) && ignored.code != ERROR_VM_NOT_FOUND) {
            log_failure(LOG_LEVEL_WARNING, &ignored, "cannot store the state of VM %s", vms[i]->id);
            note_miss(core);
        } else if (s.stale) {
            (void)sync_logged(core, vms[i]->id, true);
        }
        CRASH_POINT(RECOVERY_APPLIED);
        vm_unref(vms[i]);
    }
    for (size_t i = 0; i < count; i++) {
        auto_vm struct vm *vm = list[i].ours ? registry_get(core->registry, list[i].uuid) : NULL;

        if (list[i].ours && !vm)
            log_warning("domain %s (%s) carries this installation's mark but is not in the database; "
                        "it is left alone", list[i].name, list[i].uuid);
    }
    return 0;
}

/* Compares, and lets begin what waited for it. What libvirt refused, or broke under, is tried again. */
static void compare(struct tracker *t)
{
    struct core *core = t->core;
    struct error err;

    t->missed = false;
    if (!t->engine_started)
        atomic_store(&t->after_boot, vm_host_was_booted(core));
    if (reconcile(core, !t->engine_tried, &err)) {
        log_failure(LOG_LEVEL_WARNING, &err, "cannot compare with libvirt");
        t->missed = true; /* a line that broke alone, or one refusal: the link need not go down for it */
        return;
    }
    if (!t->engine_started) {
        t->engine_tried = true;
        if (op_engine_start(core->ops, &err)) {
            log_failure(err.code == ERROR_UNAVAILABLE ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, &err,
                        "cannot start operations");
            t->missed = true; /* threads that are refused now may be had in a second */
            return;
        }
        t->engine_started = true;
        vm_autostart_after_boot(core);
    }
    CRASH_POINT(RECOVERY_READY);
    if (!t->missed)
        atomic_store(&t->after_boot, false);
    atomic_store(&t->reconciled, !t->missed);
    op_engine_poke(core->ops);
    /* They make nothing until now, and would look again only after a second. */
    lease_keeper_poke(core->leases);
    set_keeper_poke(core->sets);
}

static void handle_link(struct tracker *t, const struct note *n)
{
    struct core *core = t->core;
    auto_json json_t *data = json_pack("{s:b, s:s}", "up", n->link == VIRT_LINK_UP, "reason", n->reason);
    struct error err;

    if (event_write(core, PROJECT_DEFAULT, "host.libvirt", "host", HOST_LOCAL, data, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store the state of libvirt");
    if (n->link == VIRT_LINK_DOWN) {
        CRASH_POINT(LINK_LOST);
        log_warning("libvirt is not connected: %s", n->reason);
        atomic_store(&t->reconciled, false);
        return;
    }
    CRASH_POINT(LINK_BACK);
    log_info("libvirt is connected");
    compare(t);
}

static void retry(struct tracker *t)
{
    struct error err;

    if (!db_is_writable(t->core->db, &err) || !virt_is_up(t->core->virt, NULL, 0))
        return;
    compare(t);
}

static void handle(struct tracker *t, const struct note *n)
{
    switch (n->kind) {
    case NOTE_EVENT:
        handle_event(t->core, &n->event);
        break;
    case NOTE_LINK:
        handle_link(t, n);
        break;
    case NOTE_STREAM_ENDED:
        /* Off, or taken by somebody else, or libvirt restarted: look, and reopen if it runs. */
        (void)sync_logged(t->core, n->vm_id, true);
        break;
    case NOTE_MARK:
        vm_boot_shown(t->core, n->vm_id, n->mark, n->at);
        break;
    case NOTE_AUDIT:
        notices_write(t->core->notices, t->core);
        break;
    case NOTE_STOP:
        break;
    }
}

/* The next VM to look at again; entries stay until a look finds nothing to wait for. */
static bool due_look(struct tracker *t, char ret_vm_id[UUID_TEXT], unsigned *ret_tries)
{
    int64_t now = clock_monotonic_ms();

    LOCK_SCOPE(&t->lock);
    for (struct look *l = t->looks; l; l = l->next) {
        if (l->due > now)
            continue;
        *ret_tries = ++l->tries;
        l->due = now + (l->tries < LOOK_WARN ? LOOK_FIRST_MS << l->tries : LOOK_MAX_MS);
        l->again = false;
        memcpy(ret_vm_id, l->vm_id, UUID_TEXT);
        return true;
    }
    return false;
}

/* True when the look did not ask for another one. */
static bool look_is_over(struct tracker *t, const char *vm_id)
{
    LOCK_SCOPE(&t->lock);
    for (struct look **at = &t->looks; *at; at = &(*at)->next) {
        struct look *l = *at;

        if (strcmp(l->vm_id, vm_id) != 0)
            continue;
        if (l->again)
            return false;
        *at = l->next;
        free(l);
        return true;
    }
    return true;
}

/* Libvirt did not say, which is no console's doing: without the growing pauses. */
static void look_soon(struct tracker *t, const char *vm_id)
{
    LOCK_SCOPE(&t->lock);
    for (struct look *l = t->looks; l; l = l->next) {
        if (strcmp(l->vm_id, vm_id) != 0)
            continue;
        l->tries = 0;
        l->due = clock_monotonic_ms() + LOOK_SILENT_MS;
    }
}

static void look(struct tracker *t)
{
    char vm_id[UUID_TEXT];
    unsigned tries;

    while (due_look(t, vm_id, &tries)) {
        bool told = sync_logged(t->core, vm_id, false);

        if (!told) {
            look_soon(t, vm_id);
            if (tries == LOOK_WARN)
                log_warning("libvirt does not say how VM %s is", vm_id);
        } else if (!look_is_over(t, vm_id) && tries == LOOK_WARN) {
            log_warning("VM %s is said to be on, but a console or channel of it cannot be opened", vm_id);
        }
    }
}

/* When to wake up without news; caller holds the lock. */
static int64_t next_turn_locked(const struct tracker *t)
{
    int64_t next = t->missed ? clock_monotonic_ms() + RETRY_MS : INT64_MAX;

    for (const struct look *l = t->looks; l; l = l->next) {
        if (l->due < next)
            next = l->due;
    }
    return next;
}

/* The next note, or NULL when it is time for something else. */
static struct note *next_note(struct tracker *t)
{
    struct note *n;

    LOCK_SCOPE(&t->lock);
    while (!t->head) {
        int64_t until = next_turn_locked(t);

        if (until == INT64_MAX)
            pthread_cond_wait(&t->news, &t->lock);
        else if (!cond_wait_until(&t->news, &t->lock, until))
            return NULL;
    }
    n = t->head;
    t->head = n->next;
    if (!t->head)
        t->tail = &t->head;
    return n;
}

static void *tracker_thread(void *arg)
{
    struct tracker *t = arg;
    bool stop = false;

    while (!stop) {
        struct note *n = next_note(t);
        if (n) {
            handle(t, n);
            stop = n->kind == NOTE_STOP;
            free(n);
        } else if (t->missed) {
            retry(t);
        }
        if (!stop)
            look(t);
    }
    return NULL;
}

struct tracker *tracker_new(struct core *core)
{
    struct tracker *t = xcalloc(1, sizeof(*t));

    t->core = core;
    t->tail = &t->head;
    mutex_init(&t->lock);
    cond_init(&t->news);
    return t;
}

int tracker_start(struct tracker *t, struct error *err)
{
    if (thread_start(&t->thread, "tracker", tracker_thread, t, err))
        return -1;
    t->running = true;
    return 0;
}

void tracker_stop(struct tracker *t)
{
    struct note *n;

    if (!t->running)
        return;
    n = xcalloc(1, sizeof(*n));
    n->kind = NOTE_STOP;
    post(t, n);
    pthread_join(t->thread, NULL);
    t->running = false;
}

void tracker_free(struct tracker *t)
{
    struct note *n;
    struct look *l;

    if (!t)
        return;
    while ((n = t->head)) {
        t->head = n->next;
        free(n);
    }
    while ((l = t->looks)) {
        t->looks = l->next;
        free(l);
    }
    pthread_cond_destroy(&t->news);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
