/*
 * The use cases of webhooks: making, changing, deleting, looking. Delivering is webhook_hub.c.
 */
#include "service/vm/webhook.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/net/fetch.h"
#include "service/vm/webhook_internal.h"

void webhook_free(struct webhook *w)
{
    if (!w)
        return;
    free(w->url);
    free(w->events);
    free(w->labels);
    if (w->secret)
        explicit_bzero(w->secret, strlen(w->secret));
    free(w->secret);
    free(w);
}

struct webhook *webhook_copy(const struct webhook *w)
{
    struct webhook *copy = xcalloc(1, sizeof(*copy));

    memcpy(copy, w, sizeof(*copy));
    copy->url = xstrdup(w->url);
    copy->events = xstrdup(w->events);
    copy->labels = xstrdup(w->labels);
    copy->secret = xstrdup(w->secret);
    return copy;
}

void webhook_to_row(const struct webhook *w, struct webhook_row *ret)
{
    *ret = (struct webhook_row){
        .seq = w->seq,
        .id = w->id,
        .project_id = w->project_id,
        .url = w->url,
        .events = w->events,
        .labels = w->labels,
        .secret = w->secret,
        .enabled = w->enabled,
        .disabled_reason = w->disabled_reason,
        .created_by = w->created_by,
        .created_at = w->created_at,
        .updated_at = w->updated_at,
        .last_seq = w->last_seq,
        .next_attempt_at = w->next_attempt_at,
        .failures = w->failures,
        .failing_since = w->failing_since,
        .last_status = w->last_status,
        .last_error = w->last_error,
        .last_attempt_at = w->last_attempt_at,
        .last_success_at = w->last_success_at,
    };
}

/* Lock held. */
static struct hook *find(struct webhook_hub *hub, const char *project_id, const char *id)
{
    for (struct hook *h = hub->hooks; h; h = h->next) {
        if (!h->deleted && str_eq(h->w->id, id) && str_eq(h->w->project_id, project_id))
            return h;
    }
    return NULL;
}

int webhook_find(struct core *core, const char *project_id, const char *id, struct webhook **ret,
                 struct error *err)
{
    struct webhook_hub *hub = core->webhooks;

    LOCK_SCOPE(&hub->lock);
    const struct hook *h = find(hub, project_id, id);

    if (!h)
        return error_set(err, ERROR_WEBHOOK_NOT_FOUND, "there is no webhook %s", id);
    *ret = webhook_copy(h->w);
    return 0;
}

void webhook_list(struct core *core, const char *project_id, struct webhook ***ret,
                  size_t *ret_count)
{
    struct webhook_hub *hub = core->webhooks;
    struct webhook **all = xcalloc(WEBHOOKS_MAX * 2, sizeof(*all));
    size_t count = 0;

    LOCK_SCOPE(&hub->lock);
    for (const struct hook *h = hub->hooks; h && count < WEBHOOKS_MAX; h = h->next) {
        if (!h->deleted && str_eq(h->w->project_id, project_id))
            all[count++] = webhook_copy(h->w);
    }
    *ret = all;
    *ret_count = count;
}

/* ---- what an owner says ---- */

static int check_url(struct core *core, const char *url, struct error *err)
{
    struct error why;

    if (fetch_check_url(url, &why))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/url", "%s", why.detail);
    if (core->settings->webhook_private || !post_host_is_private(url))
        return 0;
    error_set_at(err, ERROR_VALIDATION_FAILED, "/url", "is not at a public address");
    error_remedy(err, "Name a public server, or set webhook_private if you trust whoever may make "
                      "webhooks with everything this host can reach.");
    return -1;
}

static void replace(char **text, const char *by)
{
    if (!by)
        return;
    free(*text);
    *text = xstrdup(by);
}

static int apply(struct core *core, struct webhook *w, const struct webhook_request *r,
                 struct error *err)
{
    if (r->url && check_url(core, r->url, err))
        return -1;
    replace(&w->url, r->url);
    replace(&w->events, r->events);
    replace(&w->labels, r->labels);
    replace(&w->secret, r->secret);
    if (r->enabled >= 0)
        w->enabled = r->enabled;
    w->updated_at = clock_wall_ms();
    return 0;
}

/* ---- committing ---- */

enum write_kind { WRITE_INSERT, WRITE_UPDATE, WRITE_MOVE, WRITE_DELETE };

struct write {
    struct core *core;
    const struct actor *actor;
    enum write_kind kind;
    struct webhook *w; /* as it will be */
    const struct webhook_request *request;
};

static int append(struct db_tx *tx, const struct write *write, int64_t *ret_seq, struct error *err)
{
    static const char *const types[] = {"webhook.created", "webhook.changed", "webhook.redelivered",
                                        "webhook.deleted"};
    const struct webhook *w = write->w;
    /* Not the URL: whose secret it is, is not everybody's who may read events. */
    auto_json json_t *data = json_pack("{s:b}", "enabled", w->enabled);
    auto_free char *text = NULL;

    if (write->kind == WRITE_MOVE)
        json_object_set_new(data, "from_seq", json_integer(w->last_seq + 1));
    text = doc_text(data);
    return store_event_append(tx,
                              &(struct event_row){.at = clock_wall_ms(),
                                                  .project_id = w->project_id,
                                                  .host_id = HOST_LOCAL,
                                                  .type = types[write->kind],
                                                  .subject_kind = "webhook",
                                                  .subject_id = w->id,
                                                  .subject_name = "",
                                                  .actor = write->actor->id,
                                                  .request_id = write->actor->request_id,
                                                  .data = text},
                              ret_seq, err);
}

static int write_fn(struct db_tx *tx, void *arg, struct error *err)
{
    struct write *write = arg;
    struct webhook *w = write->w;
    struct webhook_row row;
    int64_t seq;

    if (append(tx, write, &seq, err))
        return -1;
    if (write->kind == WRITE_INSERT)
        w->last_seq = seq; /* what comes after its birth */
    webhook_to_row(w, &row);
    switch (write->kind) {
    case WRITE_INSERT:
        return store_webhook_insert(tx, &row, &w->seq, err);
    case WRITE_UPDATE:
        return store_webhook_update(tx, &row, err) || store_webhook_progress(tx, &row, err) ? -1 : 0;
    case WRITE_MOVE:
        return store_webhook_progress(tx, &row, err);
    case WRITE_DELETE:
        break;
    }
    return store_webhook_delete(tx, w->id, err);
}

/* Tried at once, whatever went wrong before. */
static void start_anew(struct webhook *w)
{
    w->failures = w->failing_since = w->next_attempt_at = 0;
}

/* Lock held. The hub's thread may have moved it since the copy was made: only what was said changes. */
static void take_over(struct hook *h, const struct write *write)
{
    const struct webhook_request *r = write->request;

    if (write->kind == WRITE_DELETE) {
        h->deleted = true;
        return;
    }
    if (write->kind == WRITE_MOVE) {
        h->w->last_seq = write->w->last_seq;
        h->epoch++;
    } else {
        replace(&h->w->url, r->url);
        replace(&h->w->events, r->events);
        replace(&h->w->labels, r->labels);
        replace(&h->w->secret, r->secret);
        h->w->enabled = write->w->enabled;
        h->w->updated_at = write->w->updated_at;
        memcpy(h->w->disabled_reason, write->w->disabled_reason, sizeof(h->w->disabled_reason));
        if (r->url || r->events)
            h->epoch++;
    }
    start_anew(h->w);
    h->next_ms = 0;
    h->give_up = false;
    h->dirty = true;
}

static void committed_fn(void *arg)
{
    struct write *write = arg;
    struct webhook_hub *hub = write->core->webhooks;

    {
        LOCK_SCOPE(&hub->lock);
        if (write->kind == WRITE_INSERT) {
            struct hook **at = &hub->hooks, *h = xcalloc(1, sizeof(*h));

            h->w = webhook_copy(write->w);
            while (*at) /* oldest first */
                at = &(*at)->next;
            *at = h;
            atomic_fetch_add(&hub->count, 1);
        } else {
            struct hook *h = find(hub, write->w->project_id, write->w->id);

            if (h)
                take_over(h, write);
        }
    }
    webhook_hub_poke(hub);
}

static int commit(struct write *write, struct error *err)
{
    return db_write(write->core->db, write_fn, committed_fn, write, err);
}

/* ---- the use cases ---- */

int webhook_create(struct core *core, const struct actor *actor, const struct webhook_request *r,
                   struct webhook **ret, struct error *err)
{
    auto_webhook struct webhook *w = xcalloc(1, sizeof(*w));
    struct write write = {.core = core, .actor = actor, .kind = WRITE_INSERT, .w = w, .request = r};
    char secret[WEBHOOK_SECRET_MAX];

    LOCK_SCOPE(&core->webhooks->change);
    if (atomic_load(&core->webhooks->count) >= WEBHOOKS_MAX) {
        error_set(err, ERROR_FORBIDDEN, "there are already %d webhooks", WEBHOOKS_MAX);
        error_remedy(err, "Delete one that nobody needs.");
        return -1;
    }
    uuid_new(w->id);
    str_copy_utf8(w->project_id, sizeof(w->project_id), actor->project_id);
    str_copy_utf8(w->created_by, sizeof(w->created_by), actor->id);
    webhook_secret_new(secret);
    w->events = xstrdup("*");
    w->labels = xstrdup("{}");
    w->secret = xstrdup(secret);
    explicit_bzero(secret, sizeof(secret));
    w->enabled = true;
    w->created_at = clock_wall_ms();
    if (apply(core, w, r, err) || commit(&write, err))
        return -1;
    *ret = TAKE_PTR(w);
    return 0;
}

/* Nobody can look whether a secret is the one that is there: who sends it again has not changed anything. */
static bool is_same_secret(const struct webhook *w, const struct webhook_request *r)
{
    uint8_t sent[SECRET_SHA256_SIZE], own[SECRET_SHA256_SIZE];

    if (!r->secret || r->url || r->events || r->labels || r->enabled >= 0)
        return false;
    secret_sha256(r->secret, strlen(r->secret), sent);
    secret_sha256(w->secret, strlen(w->secret), own);
    return memcmp(sent, own, sizeof(own)) == 0;
}

int webhook_change(struct core *core, const struct actor *actor, const char *id,
                   const struct webhook_request *r, struct webhook **ret, struct error *err)
{
    auto_webhook struct webhook *w = NULL;
    struct write write = {.core = core, .actor = actor, .kind = WRITE_UPDATE, .request = r};

    LOCK_SCOPE(&core->webhooks->change);
    if (webhook_find(core, actor->project_id, id, &w, err))
        return -1;
    if (is_same_secret(w, r)) {
        *ret = TAKE_PTR(w);
        return 0;
    }
    if (apply(core, w, r, err))
        return -1;
    if (w->enabled)
        w->disabled_reason[0] = '\0';
    start_anew(w);
    write.w = w;
    if (commit(&write, err))
        return -1;
    *ret = TAKE_PTR(w);
    return 0;
}

int webhook_delete(struct core *core, const struct actor *actor, const char *id, struct error *err)
{
    auto_webhook struct webhook *w = NULL;
    struct write write = {.core = core, .actor = actor, .kind = WRITE_DELETE};

    LOCK_SCOPE(&core->webhooks->change);
    if (webhook_find(core, actor->project_id, id, &w, err))
        return -1;
    write.w = w;
    return commit(&write, err);
}

int webhook_redeliver(struct core *core, const struct actor *actor, const char *id, int64_t from_seq,
                      struct webhook **ret, struct error *err)
{
    auto_webhook struct webhook *w = NULL;
    struct write write = {.core = core, .actor = actor, .kind = WRITE_MOVE};
    int64_t last = event_last_seq(core);

    LOCK_SCOPE(&core->webhooks->change);
    if (webhook_find(core, actor->project_id, id, &w, err))
        return -1;
    if (from_seq > last)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/from_seq",
                            "is yet to come: the newest event is %lld", (long long)last);
    w->last_seq = from_seq - 1;
    start_anew(w);
    write.w = w;
    if (commit(&write, err))
        return -1;
    *ret = TAKE_PTR(w);
    return 0;
}

/* ---- deliveries ---- */

bool webhook_status_ok(int status)
{
    return status >= 200 && status < 300;
}

struct page {
    struct webhook_delivery *items;
    size_t count;
};

static int take_delivery(void *arg, const struct webhook_delivery_row *row)
{
    struct page *page = arg;
    struct webhook_delivery *d = &page->items[page->count++];

    d->id = row->id;
    d->at = row->at;
    d->seq = row->seq;
    d->attempt = row->attempt;
    d->took_ms = row->took_ms;
    d->status = (int)row->status;
    str_copy_utf8(d->message_id, sizeof(d->message_id), row->message_id);
    str_copy_utf8(d->type, sizeof(d->type), row->type);
    str_copy_utf8(d->error, sizeof(d->error), row->error);
    return 0;
}

int webhook_deliveries(struct core *core, const char *id, int64_t before_id, size_t limit,
                       struct webhook_delivery **ret, size_t *ret_count, struct error *err)
{
    struct page page = {.items = xcalloc(limit, sizeof(*page.items))};

    if (store_webhook_delivery_list(core->db, id, before_id, (int)limit, take_delivery, &page, err)) {
        free(page.items);
        return -1;
    }
    *ret = page.items;
    *ret_count = page.count;
    return 0;
}
