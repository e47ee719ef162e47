/*
 * The thread that posts: looks at every hook, sends what is due, notes what came of it. A hook has
 * one message under way, which keeps its order; all hooks are under way at the same time. How far each
 * is is stored for all together a moment later: a crash repeats a delivery, and loses none.
 */
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/webhook_internal.h"

#define LOOK_MS        1000 /* without being poked */
#define FLUSH_MS       100  /* what was delivered is stored after this at the latest */
#define LAZY_MS        5000 /* what was passed over, after this */
#define GIVE_UP_TRIES  3    /* at least: a clock that jumps disables nothing */
#define STATUS_GONE    410
#define RETRY_MS       1000 /* when the disk refuses */

/* ---- what came of an attempt ---- */

/* Lock held. */
static void keep(struct hook *h, const struct webhook_delivery *d)
{
    if (!h->unstored)
        h->unstored = xcalloc(WEBHOOK_UNSTORED, sizeof(*h->unstored));
    if (h->unstored_count == WEBHOOK_UNSTORED)
        memmove(h->unstored, h->unstored + 1, --h->unstored_count * sizeof(*h->unstored));
    h->unstored[h->unstored_count++] = *d;
    h->dirty = true;
}

static int64_t pause_ms(const struct settings *s, int64_t failures, int64_t retry_after_s)
{
    int64_t wait = s->webhook_retry_seconds * 1000, max = s->webhook_retry_max_seconds * 1000;
    uint16_t random;

    for (int64_t i = 1; i < failures && wait < max; i++)
        wait *= 2;
    /* A quarter more or less, so that those who failed together do not come back together. */
    secret_random(&random, sizeof(random));
    wait = wait * 3 / 4 + wait / 2 * random / UINT16_MAX;
    if (retry_after_s > max / 1000)
        return max;
    if (wait < retry_after_s * 1000)
        wait = retry_after_s * 1000;
    return wait < max ? wait : max;
}

static void describe(const struct post_result *r, struct webhook_delivery *d)
{
    d->status = r->status;
    d->took_ms = r->took_ms;
    if (!r->status)
        str_copy_utf8(d->error, sizeof(d->error), r->err.detail);
    else if (r->status >= 300 && r->status < 400)
        snprintf(d->error, sizeof(d->error),
                 "the receiver answers with status %d; redirects are not followed", r->status);
    else if (!webhook_status_ok(r->status))
        snprintf(d->error, sizeof(d->error), "the receiver answers with status %d", r->status);
}

/* Lock held. */
static void note_success(struct webhook_hub *hub, struct hook *h, const struct webhook_message *m,
                         int64_t now)
{
    struct webhook *w = h->w;

    w->last_seq = m->seq;
    w->last_success_at = now;
    w->last_error[0] = '\0';
    w->failures = w->failing_since = w->next_attempt_at = 0;
    h->next_ms = 0;
    hub->counts.delivered++;
    hub->counts.gaps += str_eq(m->type, "webhook.gap");
}

/* Lock held. */
static void note_failure(struct webhook_hub *hub, struct hook *h, const struct webhook_delivery *d,
                         int64_t retry_after_s, int64_t now)
{
    const struct settings *s = hub->core->settings;
    struct webhook *w = h->w;
    int64_t wait;

    hub->counts.failed++;
    w->failures++;
    if (!w->failing_since)
        w->failing_since = now;
    wait = pause_ms(s, w->failures, retry_after_s);
    h->next_ms = clock_monotonic_ms() + wait;
    w->next_attempt_at = now + wait;
    memcpy(w->last_error, d->error, sizeof(w->last_error));
    if (d->status == STATUS_GONE)
        str_copy_utf8(w->disabled_reason, sizeof(w->disabled_reason),
                      "the receiver says that it is gone (410)");
    else if (w->failures >= GIVE_UP_TRIES && now - w->failing_since > s->webhook_give_up_seconds * 1000)
        snprintf(w->disabled_reason, sizeof(w->disabled_reason),
                 "%lld deliveries failed in a row; the last: %.150s", (long long)w->failures, d->error);
    else
        return;
    w->enabled = false;
    w->next_attempt_at = 0;
    h->give_up = true;
}

static struct webhook_delivery delivery_of(const struct webhook_message *m, int64_t attempt)
{
    struct webhook_delivery d = {.at = clock_wall_ms(), .seq = m->seq, .attempt = attempt};

    memcpy(d.message_id, m->id, sizeof(d.message_id));
    memcpy(d.type, m->type, sizeof(d.type));
    return d;
}

static void ping_ended(struct webhook_hub *hub, struct webhook_message *m,
                       const struct post_result *result)
{
    struct webhook_delivery d = delivery_of(m, 1);
    struct webhook_ping *ping = TAKE_PTR(m->ping);

    describe(result, &d);
    webhook_message_done(m);
    {
        LOCK_SCOPE(&hub->lock);
        m->hook->pinging = false;
        hub->counts.pings++;
        keep(m->hook, &d);
    }
    webhook_ping_end(ping, &d);
}

static void on_done(void *context, void *opaque, const struct post_result *result)
{
    struct webhook_hub *hub = context;
    struct webhook_message *m = opaque;
    struct hook *h = m->hook;
    struct webhook_delivery d;
    int64_t now = clock_wall_ms();
    bool over;

    if (m->ping) {
        ping_ended(hub, m, result);
        return;
    }
    m->busy = false;
    {
        LOCK_SCOPE(&hub->lock);
        over = m->epoch != h->epoch || h->deleted || webhook_status_ok(result->status);
        if (m->epoch == h->epoch) {
            d = delivery_of(m, h->w->failures + 1);
            describe(result, &d);
            keep(h, &d);
            h->w->last_attempt_at = now;
            h->w->last_status = result->status;
            if (webhook_status_ok(result->status))
                note_success(hub, h, m, now);
            else
                note_failure(hub, h, &d, result->retry_after_s, now);
        }
    }
    if (over)
        webhook_message_done(m);
}

/* ---- one look at one hook ---- */

static void send(struct webhook_hub *hub, struct webhook_message *m, const struct webhook *w)
{
    struct post_result failed = {0};

    m->busy = true;
    if (webhook_send(hub, m, w, &failed.err))
        on_done(hub, m, &failed);
}

static void drop(struct webhook_hub *hub, struct webhook_message *m)
{
    if (m->busy)
        poster_cancel(hub->poster, m);
    if (m->ping)
        webhook_ping_end(TAKE_PTR(m->ping), NULL);
    webhook_message_done(m);
}

static void hook_free(struct webhook_hub *hub, struct hook *h)
{
    drop(hub, &h->message);
    drop(hub, &h->ping_message);
    if (h->ping)
        webhook_ping_end(h->ping, NULL);
    webhook_forget_page(h);
    webhook_free(h->w);
    free(h->unstored);
    free(h);
}

static void send_ping(struct webhook_hub *hub, struct hook *h, const struct webhook *w,
                      struct webhook_ping *ping)
{
    struct webhook_message *m = &h->ping_message;

    m->hook = h;
    m->ping = ping;
    webhook_make_ping(hub, m, w);
    send(hub, m, w);
}

static void move_on(struct webhook_hub *hub, struct hook *h, int64_t position, unsigned epoch)
{
    LOCK_SCOPE(&hub->lock);
    if (h->epoch == epoch && position > h->w->last_seq)
        h->w->last_seq = position; /* stored with whatever is next: it costs nothing to look again */
}

static void send_next(struct webhook_hub *hub, struct hook *h, const struct webhook *w, unsigned epoch)
{
    struct webhook_message *m = &h->message;
    struct error err;
    int64_t position;
    int rc = 1;

    if (m->epoch != epoch || h->page_epoch != epoch) {
        webhook_message_done(m);
        webhook_forget_page(h);
        m->epoch = h->page_epoch = epoch;
    }
    m->hook = h;
    if (!m->body) {
        rc = webhook_next(hub, h, w, &position, &err);
        if (rc >= 0)
            move_on(hub, h, position, epoch);
    }
    if (rc > 0) {
        send(hub, m, w);
    } else if (rc < 0) {
        log_failure(LOG_LEVEL_WARNING, &err, "cannot read events for webhook %s", w->id);
        LOCK_SCOPE(&hub->lock);
        h->next_ms = clock_monotonic_ms() + RETRY_MS;
    }
}

/* False: it is gone. */
static bool look(struct webhook_hub *hub, struct hook *h)
{
    auto_webhook struct webhook *w = NULL;
    struct webhook_ping *ping = NULL;
    unsigned epoch;
    bool stale, due;

    {
        LOCK_SCOPE(&hub->lock);
        if (h->deleted)
            return false;
        epoch = h->epoch;
        stale = h->message.busy && (h->message.epoch != epoch || !h->w->enabled);
        due = h->w->enabled && clock_monotonic_ms() >= h->next_ms && (stale || !h->message.busy);
        ping = TAKE_PTR(h->ping);
        h->pinging |= ping != NULL;
        if (ping || due)
            w = webhook_copy(h->w);
    }
    if (stale)
        drop(hub, &h->message);
    if (ping)
        send_ping(hub, h, w, ping);
    if (due)
        send_next(hub, h, w, epoch);
    return true;
}

static void look_all(struct webhook_hub *hub)
{
    struct hook **at = &hub->hooks, *h;

    /* Others only add at the end. */
    for (;;) {
        struct hook *gone;

        {
            LOCK_SCOPE(&hub->lock);
            h = *at;
        }
        if (!h)
            return;
        if (look(hub, h)) {
            at = &h->next;
            continue;
        }
        {
            LOCK_SCOPE(&hub->lock);
            gone = h;
            *at = h->next;
        }
        atomic_fetch_sub(&hub->count, 1);
        hook_free(hub, gone);
    }
}

/* ---- storing how far each is ---- */

struct progress {
    struct hook *hook;
    struct webhook *w;
    struct webhook_delivery *deliveries;
    size_t count;
    bool give_up;
};
struct flush {
    struct webhook_hub *hub;
    struct progress all[WEBHOOKS_MAX];
    size_t count;
};

static int tell_given_up(struct webhook_hub *hub, struct db_tx *tx, const struct webhook *w,
                         struct error *err)
{
    const struct actor actor = {"system", w->project_id, "", NULL};
    auto_json json_t *data = json_pack("{s:s, s:I}", "reason", w->disabled_reason,
                                       "last_seq", (json_int_t)w->last_seq);

    return event_append(hub->core, tx, NULL, &actor, "webhook.disabled", "webhook", w->id, "", data, err);
}

static int flush_fn(struct db_tx *tx, void *arg, struct error *err)
{
    struct flush *f = arg;

    for (size_t i = 0; i < f->count; i++) {
        const struct progress *p = &f->all[i];
        struct webhook_row row;

        webhook_to_row(p->w, &row);
        if (store_webhook_progress(tx, &row, err) ||
            (p->give_up && tell_given_up(f->hub, tx, p->w, err)))
            return -1;
        for (size_t n = 0; n < p->count; n++) {
            const struct webhook_delivery *d = &p->deliveries[n];

            if (store_webhook_delivery_add(tx,
                                           &(struct webhook_delivery_row){.webhook_id = p->w->id,
                                                                          .at = d->at,
                                                                          .message_id = d->message_id,
                                                                          .type = d->type,
                                                                          .seq = d->seq,
                                                                          .attempt = d->attempt,
                                                                          .status = d->status,
                                                                          .error = d->error,
                                                                          .took_ms = d->took_ms},
                                           WEBHOOK_DELIVERIES, err))
                return -1;
        }
    }
    return 0;
}

/* Only this thread calls it, so that no hook goes while it works. */
static void collect(struct webhook_hub *hub, struct flush *f)
{
    LOCK_SCOPE(&hub->lock);
    for (struct hook *h = hub->hooks; h && f->count < WEBHOOKS_MAX; h = h->next) {
        if (h->deleted || (!h->dirty && h->w->last_seq == h->stored_seq))
            continue;
        h->stored_seq = h->w->last_seq;
        f->all[f->count++] = (struct progress){
            h, webhook_copy(h->w), TAKE_PTR(h->unstored), h->unstored_count, h->give_up};
        h->unstored_count = 0;
        h->dirty = h->give_up = false;
    }
}

static void put_back(struct webhook_hub *hub, struct progress *p)
{
    LOCK_SCOPE(&hub->lock);
    p->hook->dirty = true;
    p->hook->give_up |= p->give_up && !p->hook->w->enabled;
    if (!p->hook->unstored) {
        p->hook->unstored = TAKE_PTR(p->deliveries);
        p->hook->unstored_count = p->count;
    }
}

static void flush(struct webhook_hub *hub)
{
    struct flush f = {.hub = hub};
    struct error err;
    int rc;

    hub->flushed_ms = clock_monotonic_ms();
    LOCK_SCOPE(&hub->change); /* what an owner says at the same moment is not written over */
    collect(hub, &f);
    if (!f.count)
        return;
    rc = db_write(hub->core->db, flush_fn, NULL, &f, &err);
    if (rc && db_is_writable(hub->core->db, &(struct error){0}))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store the progress of webhooks");
    for (size_t i = 0; i < f.count; i++) {
        if (rc)
            put_back(hub, &f.all[i]);
        webhook_free(f.all[i].w);
        free(f.all[i].deliveries);
    }
}

/* ---- the thread ---- */

/* How long nothing is due; *ret_dirty: there is something to be stored. */
static int64_t time_left(struct webhook_hub *hub, bool *ret_dirty)
{
    int64_t now = clock_monotonic_ms(), wait = LOOK_MS;

    *ret_dirty = false;
    LOCK_SCOPE(&hub->lock);
    for (const struct hook *h = hub->hooks; h; h = h->next) {
        /* What it had to look at and not to deliver costs nothing but a look after a crash. */
        *ret_dirty |= h->dirty || (h->w->last_seq != h->stored_seq && now - hub->flushed_ms > LAZY_MS);
        if (h->w->enabled && h->next_ms > now && h->next_ms - now < wait)
            wait = h->next_ms - now;
    }
    return wait;
}

static bool is_stopping(struct webhook_hub *hub)
{
    LOCK_SCOPE(&hub->lock);
    return hub->stopping;
}

static void *hub_thread(void *arg)
{
    struct webhook_hub *hub = arg;

    while (!is_stopping(hub)) {
        int64_t wait, since;
        bool dirty;

        atomic_store(&hub->poked, false);
        look_all(hub);
        wait = time_left(hub, &dirty);
        since = clock_monotonic_ms() - hub->flushed_ms;
        if (dirty && since >= FLUSH_MS)
            flush(hub);
        else if (dirty && FLUSH_MS - since < wait)
            wait = FLUSH_MS - since;
        poster_run(hub->poster, wait, on_done, hub);
    }
    flush(hub);
    return NULL;
}

void webhook_hub_poke(struct webhook_hub *hub)
{
    if (hub && atomic_load(&hub->count) && !atomic_exchange(&hub->poked, true))
        poster_wake(hub->poster);
}

/* ---- its life ---- */

static int load(void *arg, const struct webhook_row *row)
{
    struct webhook_hub *hub = arg;
    struct hook **at = &hub->hooks, *h = xcalloc(1, sizeof(*h));
    struct webhook w = {.seq = row->seq,
                        .enabled = row->enabled,
                        .created_at = row->created_at,
                        .updated_at = row->updated_at,
                        .last_seq = row->last_seq,
                        .next_attempt_at = row->next_attempt_at,
                        .failures = row->failures,
                        .failing_since = row->failing_since,
                        .last_status = (int)row->last_status,
                        .last_attempt_at = row->last_attempt_at,
                        .last_success_at = row->last_success_at};
    int64_t left = row->next_attempt_at - clock_wall_ms();
    int64_t max = hub->core->settings->webhook_retry_max_seconds * 1000;

    str_copy_utf8(w.id, sizeof(w.id), row->id);
    str_copy_utf8(w.project_id, sizeof(w.project_id), row->project_id);
    str_copy_utf8(w.disabled_reason, sizeof(w.disabled_reason), row->disabled_reason);
    str_copy_utf8(w.created_by, sizeof(w.created_by), row->created_by);
    str_copy_utf8(w.last_error, sizeof(w.last_error), row->last_error);
    w.url = (char *)(uintptr_t)row->url;
    w.events = (char *)(uintptr_t)row->events;
    w.labels = (char *)(uintptr_t)row->labels;
    w.secret = (char *)(uintptr_t)row->secret;
    h->w = webhook_copy(&w);
    if (left > 0)
        h->next_ms = clock_monotonic_ms() + (left < max ? left : max);
    while (*at)
        at = &(*at)->next;
    *at = h;
    atomic_fetch_add(&hub->count, 1);
    return 0;
}

int webhook_hub_open(struct core *core, struct webhook_hub **ret, struct error *err)
{
    struct webhook_hub *hub = xcalloc(1, sizeof(*hub));

    hub->core = core;
    mutex_init(&hub->lock);
    mutex_init(&hub->change);
    *ret = hub; /* the caller frees it, also after a failure */
    return poster_new(&hub->poster, err) || store_webhook_each(core->db, load, hub, err) ? -1 : 0;
}

int webhook_hub_start(struct webhook_hub *hub, struct error *err)
{
    if (thread_start(&hub->thread, "webhooks", hub_thread, hub, err))
        return -1;
    hub->started = true;
    return 0;
}

void webhook_hub_stop(struct webhook_hub *hub)
{
    if (!hub || !hub->started)
        return;
    {
        LOCK_SCOPE(&hub->lock);
        hub->stopping = true;
    }
    poster_wake(hub->poster);
    pthread_join(hub->thread, NULL);
    hub->started = false;
    for (struct hook *h = hub->hooks; h; h = h->next) { /* who waits for a ping waits no more */
        drop(hub, &h->ping_message);
        if (h->ping)
            webhook_ping_end(TAKE_PTR(h->ping), NULL);
    }
}

void webhook_hub_free(struct webhook_hub *hub)
{
    if (!hub)
        return;
    for (struct hook *h = hub->hooks, *next; h; h = next) {
        next = h->next;
        hook_free(hub, h);
    }
    poster_free(hub->poster);
    pthread_mutex_destroy(&hub->change);
    pthread_mutex_destroy(&hub->lock);
    free(hub);
}

void webhook_counts_read(struct core *core, struct webhook_counts *ret)
{
    struct webhook_hub *hub = core->webhooks;
    int64_t newest = event_last_seq(core);

    LOCK_SCOPE(&hub->lock);
    *ret = hub->counts;
    for (const struct hook *h = hub->hooks; h; h = h->next) {
        int64_t lag = newest - h->w->last_seq;

        if (h->deleted)
            continue;
        ret->disabled += !h->w->enabled;
        ret->failing += h->w->enabled && h->w->failures;
        ret->enabled += h->w->enabled && !h->w->failures;
        if (h->w->enabled && lag > ret->lag)
            ret->lag = lag;
    }
}
