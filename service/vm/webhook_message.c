/*
 * What a webhook sends next: the first event after its position that matches, or a note that events
 * have left the log before it was their turn; and how it is signed and posted.
 */
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/event_internal.h"
#include "service/vm/webhook_internal.h"

#define CONNECT_TIMEOUT_MS 5000

void webhook_message_done(struct webhook_message *m)
{
    blob_unref(m->body);
    m->body = NULL;
    m->busy = false;
}

void webhook_forget_page(struct hook *hook)
{
    for (size_t i = hook->page_next; i < hook->page_count; i++)
        event_unref(hook->page[i]);
    free(hook->page);
    hook->page = NULL;
    hook->page_count = hook->page_next = 0;
}

/* ---- messages of our own, in the shape of an event ---- */

static struct blob *own_body(const struct webhook *w, const char *type, int64_t seq, json_t *data)
{
    char at[CLOCK_TEXT_SIZE];
    auto_json json_t *object =
        json_pack("{s:I, s:s, s:s, s:{s:s, s:s, s:s}, s:s, s:s, s:o}", "seq", (json_int_t)seq, "at",
                  clock_format(clock_wall_ms(), at), "type", type, "subject", "kind", "webhook", "id",
                  w->id, "name", "", "actor", "system", "request_id", "", "data", data);
    auto_free char *text = doc_text(object);

    return blob_new_text(text);
}

/* Names of messages are the same in every attempt, and differ between installations. */
static void name_message(struct webhook_hub *hub, struct webhook_message *m, const char *kind,
                         const char *what)
{
    snprintf(m->id, sizeof(m->id), "%s_%.8s_%s", kind, hub->core->install_id, what);
}

void webhook_make_ping(struct webhook_hub *hub, struct webhook_message *m, const struct webhook *w)
{
    char random[SECRET_RANDOM_TEXT];

    secret_random_text(random);
    random[16] = '\0';
    name_message(hub, m, "ping", random);
    str_copy_utf8(m->type, sizeof(m->type), "webhook.ping");
    m->seq = w->last_seq;
    m->body = own_body(w, m->type, m->seq, json_object());
}

static void make_gap(struct webhook_hub *hub, struct webhook_message *m, const struct webhook *w,
                     int64_t from, int64_t to)
{
    char what[48];

    snprintf(what, sizeof(what), "%lld_%lld", (long long)from, (long long)to);
    name_message(hub, m, "gap", what);
    str_copy_utf8(m->type, sizeof(m->type), "webhook.gap");
    m->seq = to;
    m->body = own_body(w, m->type, to,
                       json_pack("{s:I, s:I}", "from_seq", (json_int_t)from, "to_seq", (json_int_t)to));
}

static void make_event(struct webhook_hub *hub, struct webhook_message *m, const struct event *e)
{
    char what[24];

    snprintf(what, sizeof(what), "%lld", (long long)e->seq);
    name_message(hub, m, "evt", what);
    str_copy_utf8(m->type, sizeof(m->type), e->type);
    m->seq = e->seq;
    m->body = blob_ref(e->json);
}

/* ---- the next one ---- */

struct reading {
    struct event **list;
    size_t count;
};

static int take_row(void *arg, const struct event_row *row)
{
    struct reading *r = arg;

    r->list[r->count++] = event_from_row(row);
    return 0;
}

/*
 * A page after `from`. *ret_gap_to: up to where events have left the log unseen, 0: none. Memory has
 * no gaps; of the database the page is read first, so that what is removed meanwhile is no gap.
 */
static int read_page(struct webhook_hub *hub, struct hook *hook, const struct webhook *w, int64_t from,
                     int64_t *ret_gap_to, struct error *err)
{
    struct core *core = hub->core;
    struct reading r = {.list = xcalloc(WEBHOOK_PAGE, sizeof(struct event *))};
    int64_t first = 0, last = event_last_seq(core);

    *ret_gap_to = 0;
    hook->page = r.list;
    hook->page_next = 0;
    if (event_log_take(core->events, w->project_id, from, WEBHOOK_PAGE, r.list, &r.count)) {
        hook->page_count = r.count;
        return 0;
    }
    if (store_event_list(core->db, w->project_id, from, WEBHOOK_PAGE, take_row, &r, err) ||
        store_event_first(core->db, &first, err)) {
        hook->page_count = r.count;
        webhook_forget_page(hook);
        return -1;
    }
    hook->page_count = r.count;
    if (!first)
        first = last + 1; /* none is left at all */
    if (r.count && r.list[0]->seq < first)
        first = r.list[0]->seq;
    if (first > from + 1)
        *ret_gap_to = first - 1;
    return 0;
}

int webhook_next(struct webhook_hub *hub, struct hook *hook, const struct webhook *w,
                 int64_t *ret_position, struct error *err)
{
    struct webhook_message *m = &hook->message;
    int64_t newest = event_last_seq(hub->core), gap_to = 0;

    *ret_position = w->last_seq;
    if (hook->page_next == hook->page_count) {
        webhook_forget_page(hook);
        if (w->last_seq >= newest)
            return 0;
        if (read_page(hub, hook, w, w->last_seq, &gap_to, err))
            return -1;
        if (gap_to) {
            make_gap(hub, m, w, w->last_seq + 1, gap_to);
            webhook_forget_page(hook);
            return 1;
        }
        /* Other projects' events are nothing to come back for. */
        if (!hook->page_count)
            *ret_position = newest;
    }
    while (hook->page_next < hook->page_count) {
        struct event *e = hook->page[hook->page_next++];
        bool wanted = webhook_matches(w->events, e->type);

        if (wanted)
            make_event(hub, m, e);
        else
            *ret_position = e->seq;
        event_unref(e);
        if (wanted)
            return 1;
    }
    return 0;
}

/* ---- on its way ---- */

int webhook_send(struct webhook_hub *hub, struct webhook_message *m, const struct webhook *w,
                 struct error *err)
{
    const struct settings *s = hub->core->settings;
    int64_t now_s = clock_wall_ms() / 1000;
    char signature[WEBHOOK_SIGNATURE_SIZE], id[96], timestamp[64], signed_by[96];
    const char *const headers[] = {"Content-Type: application/json", id, timestamp, signed_by, NULL};

    webhook_sign(w->secret, m->id, now_s, m->body->data, m->body->len, signature);
    snprintf(id, sizeof(id), "webhook-id: %s", m->id);
    snprintf(timestamp, sizeof(timestamp), "webhook-timestamp: %lld", (long long)now_s);
    snprintf(signed_by, sizeof(signed_by), "webhook-signature: %s", signature);
    return poster_begin(hub->poster,
                        &(struct post_request){.url = w->url,
                                               .body = m->body->data,
                                               .len = m->body->len,
                                               .headers = headers,
                                               .allow_private = s->webhook_private,
                                               .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                               .timeout_ms = s->webhook_timeout_seconds * 1000},
                        m, err);
}
