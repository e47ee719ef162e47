/* A ping: asked for by a request, sent by the hub's thread, waited for while the request is parked. */
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/vm/webhook_internal.h"

struct webhook_ping {
    _Atomic unsigned refs;
    pthread_mutex_t lock;
    /* lock: */
    bool ended;
    struct webhook_delivery result;
    wait_fn *done;
    void *opaque;
};

struct webhook_ping *webhook_ping_new(void)
{
    struct webhook_ping *p = xcalloc(1, sizeof(*p));

    atomic_init(&p->refs, 2);
    mutex_init(&p->lock);
    return p;
}

void webhook_ping_unref(struct webhook_ping *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void webhook_ping_drop(void *ping)
{
    webhook_ping_unref(ping);
}

int webhook_ping_start(struct core *core, const char *project_id, const char *id,
                       struct webhook_ping **ret, struct error *err)
{
    struct webhook_hub *hub = core->webhooks;
    struct hook *h;

    {
        LOCK_SCOPE(&hub->lock);
        h = hub->hooks;
        while (h && (h->deleted || !str_eq(h->w->id, id) || !str_eq(h->w->project_id, project_id)))
            h = h->next;
        if (!h)
            return error_set(err, ERROR_WEBHOOK_NOT_FOUND, "there is no webhook %s", id);
        if (hub->stopping)
            return error_set(err, ERROR_SHUTTING_DOWN, "the daemon is stopping");
        if (h->ping || h->pinging) {
            error_set(err, ERROR_TOO_MANY_REQUESTS, "a ping is under way");
            error_remedy(err, "Try again when it has been answered.");
            return -1;
        }
        h->ping = *ret = webhook_ping_new();
    }
    webhook_hub_poke(hub);
    return 0;
}

void webhook_ping_park(void *ping, wait_fn *done, void *opaque)
{
    struct webhook_ping *p = ping;

    {
        LOCK_SCOPE(&p->lock);
        if (!p->ended) {
            p->done = done;
            p->opaque = opaque;
            return;
        }
    }
    done(opaque, WAIT_DONE);
}

void webhook_ping_end(struct webhook_ping *p, const struct webhook_delivery *result)
{
    wait_fn *done;

    {
        LOCK_SCOPE(&p->lock);
        p->ended = true;
        if (result)
            p->result = *result;
        else
            str_copy_utf8(p->result.error, sizeof(p->result.error), "it was not sent");
        done = TAKE_PTR(p->done);
    }
    if (done)
        done(p->opaque, WAIT_DONE);
    webhook_ping_unref(p);
}

const struct webhook_delivery *webhook_ping_result(const struct webhook_ping *p)
{
    return &p->result; /* once it has ended nobody writes it any more */
}
