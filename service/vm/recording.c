/*
 * What is stored of recordings: rows, files, events; making room; and closing what a daemon that
 * was killed left open. A row goes before its file: a file without a row is removed at the next
 * start.
 */
#include "service/vm/recording.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/recording_internal.h"

#define SUFFIX ".cast"
#define BATCH  50
#define TAIL   (2 * CAST_LINE_MAX)

static const char *const state_names[] = {[RECORDING_RUNNING] = "recording",
                                          [RECORDING_FINISHED] = "finished",
                                          [RECORDING_FAILED] = "failed"};

const char *recording_state_name(enum recording_state state)
{
    return state_names[state];
}

char *recording_path(const struct recorder *r, const char *id)
{
    return xasprintf("%s/%s" SUFFIX, r->dir, id);
}

static void from_row(const struct recording_row *row, struct recording *ret)
{
    *ret = (struct recording){.seq = row->seq,
                              .started_at = row->started_at,
                              .finished_at = row->finished_at,
                              .duration_ms = row->duration_ms,
                              .size_bytes = row->size_bytes,
                              .rows = (unsigned)row->rows,
                              .cols = (unsigned)row->cols};
    str_copy_utf8(ret->id, sizeof(ret->id), row->id);
    str_copy_utf8(ret->project_id, sizeof(ret->project_id), row->project_id);
    str_copy_utf8(ret->vm_id, sizeof(ret->vm_id), row->vm_id);
    str_copy_utf8(ret->vm_name, sizeof(ret->vm_name), row->vm_name);
    str_copy_utf8(ret->stream, sizeof(ret->stream), row->stream);
    str_copy_utf8(ret->actor, sizeof(ret->actor), row->actor);
    str_copy_utf8(ret->state_reason, sizeof(ret->state_reason), row->state_reason);
    for (int i = RECORDING_RUNNING; i <= RECORDING_FAILED; i++) {
        if (str_eq(row->state, state_names[i]))
            ret->state = (enum recording_state)i;
    }
}

static struct recording_row to_row(const struct recording *rec)
{
    return (struct recording_row){.id = rec->id,
                                  .project_id = rec->project_id,
                                  .vm_id = rec->vm_id,
                                  .vm_name = rec->vm_name,
                                  .stream = rec->stream,
                                  .state = state_names[rec->state],
                                  .state_reason = rec->state_reason,
                                  .actor = rec->actor,
                                  .started_at = rec->started_at,
                                  .finished_at = rec->finished_at,
                                  .duration_ms = rec->duration_ms,
                                  .size_bytes = rec->size_bytes,
                                  .rows = rec->rows,
                                  .cols = rec->cols};
}

/* ---- writing rows ---- */

struct write {
    struct core *core;
    const struct actor *actor;
    const struct recording *rec;
};

static int append_event(struct db_tx *tx, const struct write *w, const char *type,
                        struct error *err)
{
    const struct recording *rec = w->rec;
    auto_json json_t *data =
        json_pack("{s:s, s:s, s:s, s:s}", "vm_id", rec->vm_id, "stream", rec->stream, "state",
                  state_names[rec->state], "reason", rec->state_reason);

    return event_append(w->core, tx, rec->project_id, w->actor, type, "recording", rec->id, rec->vm_name, data, err);
}

static int run_begin(struct db_tx *tx, void *arg, struct error *err)
{
    const struct write *w = arg;
    struct recording_row row = to_row(w->rec);

    return store_recording_insert(tx, &row, err) || append_event(tx, w, "recording.started", err)
               ? -1
               : 0;
}

int recording_store_begin(struct core *core, const struct actor *actor, const struct recording *rec,
                          struct error *err)
{
    struct write w = {core, actor, rec};

    return db_write(core->db, run_begin, NULL, &w, err);
}

static int run_end(struct db_tx *tx, void *arg, struct error *err)
{
    const struct write *w = arg;
    struct recording_row row = to_row(w->rec);

    return store_recording_finish(tx, &row, err) || append_event(tx, w, "recording.finished", err)
               ? -1
               : 0;
}

int recording_store_end(struct core *core, const struct recording *end, const char *actor_id,
                        struct error *err)
{
    struct actor actor = actor_system;
    struct write w = {core, &actor, end};

    actor.id = actor_id;
    return db_write(core->db, run_end, NULL, &w, err);
}

static int run_delete(struct db_tx *tx, void *arg, struct error *err)
{
    const struct write *w = arg;

    return store_recording_delete(tx, w->rec->id, err) ||
                   append_event(tx, w, "recording.deleted", err)
               ? -1
               : 0;
}

static int delete_one(struct recorder *r, const struct actor *actor, const struct recording *rec,
                      struct error *err)
{
    struct write w = {r->core, actor, rec};
    auto_free char *path = recording_path(r, rec->id);

    if (db_write(r->core->db, run_delete, NULL, &w, err))
        return -1;
    atomic_fetch_sub(&r->bytes, rec->size_bytes);
    if (unlink(path) && errno != ENOENT)
        log_warning("%s cannot be removed: %s", path, strerror(errno));
    return 0;
}

/* ---- reading rows ---- */

static int copy_row(void *arg, const struct recording_row *row)
{
    from_row(row, arg);
    return 1;
}

int recording_get(struct core *core, const char *project_id, const char *id, struct recording *ret,
                  struct error *err)
{
    int rc = store_recording_get(core->db, id, copy_row, ret, err);

    if (rc < 0)
        return -1;
    if (!rc || !str_eq(ret->project_id, project_id))
        return error_set(err, ERROR_RECORDING_NOT_FOUND, "there is no recording %.60s", id);
    if (ret->state == RECORDING_RUNNING)
        (void)recorder_look(core->recorder, id, ret);
    return 0;
}

int recording_delete(struct core *core, const struct actor *actor, const char *id,
                     struct error *err)
{
    struct recording rec;

    if (recording_get(core, actor->project_id, id, &rec, err))
        return -1;
    if (rec.state == RECORDING_RUNNING) {
        error_set(err, ERROR_RECORDING_STATE_CONFLICT, "the recording is being made");
        error_remedy(err, "Stop it first.");
        return -1;
    }
    return delete_one(core->recorder, actor, &rec, err);
}

struct rows {
    struct recording *rows;
    size_t count, max;
};

static int collect(void *arg, const struct recording_row *row)
{
    struct rows *list = arg;

    from_row(row, &list->rows[list->count++]);
    return list->count == list->max;
}

int recording_list(struct core *core, const char *project_id, const char *vm_id, int64_t before_seq,
                   size_t limit, struct recording **ret, size_t *ret_count, struct error *err)
{
    auto_free struct recording *rows = xcalloc(limit, sizeof(*rows));
    struct rows list = {rows, 0, limit};

    if (store_recording_list(core->db, project_id, vm_id, before_seq, (int)limit, collect, &list,
                             err))
        return -1;
    for (size_t i = 0; i < list.count; i++) {
        if (rows[i].state == RECORDING_RUNNING)
            (void)recorder_look(core->recorder, rows[i].id, &rows[i]);
    }
    *ret = TAKE_PTR(rows);
    *ret_count = list.count;
    return 0;
}

/* ---- room ---- */

/* Deletes one at least and at most BATCH; 0: there is none. */
static int delete_oldest(struct recorder *r, int64_t finished_before, int limit, struct error *err)
{
    auto_free struct recording *rows = xcalloc(BATCH, sizeof(*rows));
    struct rows list = {rows, 0, BATCH};

    if (store_recording_oldest(r->core->db, finished_before, limit, collect, &list, err))
        return -1;
    for (size_t i = 0; i < list.count; i++) {
        /* Somebody else may have deleted it this moment. */
        if (delete_one(r, &actor_system, &rows[i], err) && err->code != ERROR_RECORDING_NOT_FOUND)
            return -1;
    }
    return (int)list.count;
}

bool recording_make_room(struct recorder *r, int64_t more)
{
    int64_t bound = r->core->settings->recordings_bytes;
    struct error err;

    while (atomic_load(&r->bytes) + more > bound) {
        int n = delete_oldest(r, INT64_MAX, 1, &err);

        if (n < 0)
            log_failure(LOG_LEVEL_WARNING, &err, "cannot make room for recordings");
        if (n <= 0)
            return false;
    }
    return true;
}

int recordings_prune(struct core *core, int64_t finished_before, struct error *err)
{
    int n;

    while ((n = delete_oldest(core->recorder, finished_before, BATCH, err)) > 0)
        ;
    return n;
}

/* ---- after a daemon that was killed ---- */

/* Cuts what is torn off the file, and says in it that something is missing. */
static int close_file(const char *path, struct recording *rec, struct error *err)
{
    auto_close int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    auto_free char *tail = xcalloc(1, TAIL);
    auto_strbuf struct strbuf out = {0};
    struct stat st;
    off_t from;
    ssize_t len;
    size_t whole;
    int64_t last_us;

    if (fd < 0 || fstat(fd, &st))
        return error_errno(err, errno, "cannot open %s", path);
    from = st.st_size > TAIL ? st.st_size - TAIL : 0;
    len = pread(fd, tail, TAIL, from);
    if (len < 0)
        return error_errno(err, errno, "cannot read %s", path);
    whole = cast_whole(tail, (size_t)len, &last_us);
    if (!whole && !from) {
        const struct cast_header header = {rec->rows, rec->cols, rec->started_at, rec->vm_name};

        cast_header(&out, &header);
    }
    rec->duration_ms = last_us > 0 ? last_us / 1000 : 0;
    cast_marker(&out, last_us > 0 ? last_us : 0, REASON_DAEMON_KILLED);
    rec->size_bytes = from + (int64_t)whole;
    if (ftruncate(fd, rec->size_bytes) ||
        pwrite(fd, out.data, out.len, rec->size_bytes) != (ssize_t)out.len || fdatasync(fd))
        return error_errno(err, errno, "cannot write %s", path);
    rec->size_bytes += (int64_t)out.len;
    return 0;
}

struct left {
    struct recording *rows;
    size_t count;
};

static int collect_left(void *arg, const struct recording_row *row)
{
    struct left *left = arg;

    left->rows = xrealloc_array(left->rows, left->count + 1, sizeof(*left->rows));
    from_row(row, &left->rows[left->count++]);
    return 0;
}

static int close_left(struct recorder *r, struct recording *rec, struct error *err)
{
    auto_free char *path = recording_path(r, rec->id);
    struct error why;

    rec->state = RECORDING_FINISHED;
    str_copy_utf8(rec->state_reason, sizeof(rec->state_reason), REASON_DAEMON_KILLED);
    rec->finished_at = clock_wall_ms();
    if (close_file(path, rec, &why)) {
        log_failure(LOG_LEVEL_WARNING, &why, "recording %s cannot be closed", rec->id);
        rec->state = RECORDING_FAILED;
        str_copy_utf8(rec->state_reason, sizeof(rec->state_reason), "its file cannot be read");
        rec->size_bytes = 0;
    } else if (rec->started_at + rec->duration_ms < rec->finished_at) {
        rec->finished_at = rec->started_at + rec->duration_ms; /* as far as anybody knows */
    }
    return recording_store_end(r->core, rec, actor_system.id, err);
}

static int ignore_row(void *arg, const struct recording_row *row)
{
    (void)arg;
    (void)row;
    return 1;
}

static void remove_unknown(struct recorder *r)
{
    auto_closedir DIR *dir = opendir(r->dir);
    const struct dirent *entry;
    struct error ignored;

    while (dir && (entry = readdir(dir))) {
        size_t len = strlen(entry->d_name);
        auto_free char *id = xstrndup(entry->d_name, UUID_TEXT - 1);

        if (len != UUID_TEXT - 1 + strlen(SUFFIX) || !uuid_is_valid(id) ||
            store_recording_get(r->core->db, id, ignore_row, NULL, &ignored) != 0)
            continue;
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
}

int recording_recover(struct recorder *r, struct error *err)
{
    auto_free struct recording *rows = NULL;
    struct left left = {0};
    struct error why;
    int64_t bytes = 0;
    int rc = store_recording_open(r->core->db, collect_left, &left, err);

    rows = left.rows;
    if (rc)
        return -1;
    for (size_t i = 0; i < left.count; i++) {
        /* A full disk must not keep the daemon from starting; it is closed another time. */
        if (close_left(r, &rows[i], &why))
            log_failure(LOG_LEVEL_WARNING, &why, "recording %s stays open", rows[i].id);
    }
    remove_unknown(r);
    if (store_recording_bytes(r->core->db, &bytes, err))
        return -1;
    atomic_store(&r->bytes, bytes);
    return 0;
}
