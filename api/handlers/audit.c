/*
 * The audit log, newest first. Whoever administers the host sees every project's; everybody else, and
 * whoever asks for one project, that project's.
 */
#include "api/codec/codec.h"
#include "api/handlers/handlers.h"
#include "service/vm/access.h"
#include "service/vm/audit_log.h"

struct listing {
    json_t *items;
    int64_t limit, last_seq;
    bool more;
};

static void add_entry(void *arg, const struct audit_entry *e)
{
    struct listing *l = arg;

    if ((int64_t)json_array_size(l->items) == l->limit) {
        l->more = true;
        return;
    }
    json_array_append_new(l->items, codec_audit_entry(e));
    l->last_seq = e->seq;
}

static bool sees_every_project(const struct request *req)
{
    return access_is_of_host(&req->principal) && req->principal.scopes & ACCESS_PROJECT_WRITE &&
           !request_query(req, "project");
}

int handle_audit_list(struct request *req, struct response *res, struct error *err)
{
    struct audit_log_filter filter = {
        .project_id = sees_every_project(req) ? NULL : req->principal.project_id,
        .principal = request_query(req, "principal"),
        .operation = request_query(req, "operation"),
    };
    struct listing l = {0};
    char cursor[PAGE_CURSOR_SIZE];
    struct page page;

    if (page_read(req, &page, err) || time_argument(req, "since", &filter.since, err) ||
        time_argument(req, "until", &filter.until, err) ||
        request_query_bool(req, "failed", &filter.failed, err))
        return -1;
    filter.before_seq = page.after;
    filter.limit = (int)page.limit + 1; /* one more tells whether there is a next page */
    l.limit = page.limit;
    l.items = json_array();
    if (audit_log_read(req->core, &filter, add_entry, &l, err)) {
        json_decref(l.items);
        return -1;
    }
    response_json(res, 200, codec_list(l.items, l.more ? page_next(req, res, l.last_seq, cursor) : NULL));
    return 0;
}
