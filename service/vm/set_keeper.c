/*
 * The sets' keeper: one thread that ends sets whose time is up and works off their operations. It
 * asks memory what is true and repeats itself: whatever was interrupted is done at the next look.
 */
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/host_stop_internal.h"
#include "service/vm/set_internal.h"

#define LOOK_MS  1000 /* without being poked */
#define PAUSE_MS 20   /* between two looks: a hundred VMs that start are a thousand pokes */

static void rebase(struct set_keeper *k, struct set *set)
{
    int64_t left = set->expires_at - clock_wall_ms();

    /* The boot clock began anew; what is left is told by the wall clock. */
    memcpy(set->boot_id, k->boot_id, sizeof(set->boot_id));
    set->expires_boot_ms = set->expires_at ? clock_boottime_ms() + (left < 0 ? 0 : left) : 0;
}

static int load_set(void *arg, const struct set_row *row)
{
    struct set_keeper *k = arg;
    struct error err;
    auto_set struct set *set = set_from_row(row, &err);

    if (!set) {
        log_failure(LOG_LEVEL_ERROR, &err, "set %s cannot be loaded", row->name);
        return 0;
    }
    if (!str_eq(set->boot_id, k->boot_id))
        rebase(k, set);
    set_book_put(k, set);
    return 0;
}

int set_keeper_open(struct core *core, struct set_keeper **ret, struct error *err)
{
    struct set_keeper *k = xcalloc(1, sizeof(*k));

    k->core = core;
    mutex_init(&k->lock);
    cond_init(&k->wake);
    for (size_t i = 0; i < SET_LOCKS; i++)
        mutex_init(&k->set_locks[i]);
    k->salt = xstrdup(core->install_id);
    *ret = k; /* the caller frees it, also after a failure */
    if (host_boot_id(core->host, k->boot_id, err))
        return -1;
    return store_set_each(core->db, load_set, k, err);
}

/* ---- sets whose time is up ---- */

static void end(struct core *core, const struct set *set)
{
    const struct actor actor = {actor_system.id, set->project_id, ""};
    const struct set_ask ask = {
        .verb = set->spec->on_expiry == SET_EXPIRY_STOP ? SET_VERB_STOP : SET_VERB_DELETE,
        .start = -1};
    auto_op struct op *op = NULL;
    struct error err;
    bool replayed;

    log_at(LOG_LEVEL_INFO, "the time of set %s is up", set->name);
    if (set_act(core, &actor, set->id, &ask, NULL, &op, &replayed, &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot end set %s", set->name);
}

static void look_expiry(struct core *core)
{
    int64_t now = clock_boottime_ms();
    struct set **all;
    size_t count;

    set_book_all(core->sets, &all, &count);
    for (size_t i = 0; i < count; i++) {
        if (all[i]->expires_at && !all[i]->deleting && now >= all[i]->expires_boot_ms)
            end(core, all[i]);
        set_unref(all[i]);
    }
    free(all);
}

/* ---- the thread ---- */

static void *keeper_thread(void *arg)
{
    struct set_keeper *k = arg;
    int64_t looked = 0;

    for (;;) {
        struct error ignored;

        {
            LOCK_SCOPE(&k->lock);
            int64_t until = clock_monotonic_ms() + LOOK_MS;

            while (!k->stopping && !k->poked && clock_monotonic_ms() < until)
                cond_wait_until(&k->wake, &k->lock, until);
            while (!k->stopping && clock_monotonic_ms() < looked + PAUSE_MS)
                cond_wait_until(&k->wake, &k->lock, looked + PAUSE_MS);
            if (k->stopping)
                return NULL;
            k->poked = false;
        }
        looked = clock_monotonic_ms();
        if (!db_is_writable(k->core->db, &ignored))
            continue;
        look_expiry(k->core);
        /*
         * After a boot of the host, or an outage of libvirt, what is stored as running may be off; and whoever is to
         * start again would be taken for started, since starts are let in by a unit that does not wait for libvirt.
         */
        if (tracker_is_reconciled(k->core->tracker)) {
            host_stop_work(k->core);
            vm_autostart_work(k->core);
            sets_work(k->core);
        }
    }
}

int set_keeper_start(struct set_keeper *k, struct error *err)
{
    if (thread_start(&k->thread, "sets", keeper_thread, k, err))
        return -1;
    k->started = true;
    return 0;
}

void set_keeper_poke(struct set_keeper *k)
{
    if (!k)
        return;
    LOCK_SCOPE(&k->lock);
    k->poked = true;
    pthread_cond_signal(&k->wake);
}

void set_keeper_stop(struct set_keeper *k)
{
    if (!k || !k->started)
        return;
    {
        LOCK_SCOPE(&k->lock);
        k->stopping = true;
        pthread_cond_signal(&k->wake);
    }
    pthread_join(k->thread, NULL);
    k->started = false;
}

void set_keeper_free(struct set_keeper *k)
{
    struct set_note *note, *next;

    if (!k)
        return;
    set_book_clear(k);
    note = k->notes;
    HASH_CLEAR(hh, k->notes);
    for (; note; note = next) {
        next = note->hh.next;
        free(note);
    }
    for (size_t i = 0; i < SET_LOCKS; i++)
        pthread_mutex_destroy(&k->set_locks[i]);
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    free(k->salt);
    free(k);
}
