/*
 * The recorder: one thread that reads the consoles being recorded and writes their files. It looks
 * at a console when that has news, at most every TICK_MS, so that a guest which prints byte by byte
 * does not make a line of each byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/vm/recording_internal.h"

#define TICK_MS    10
#define RETRY_MS   5000
#define STOP_MS    10000 /* that a client waits for the end of its recording */
#define READ_MAX   16384
#define OUT_MAX    65536 /* lines that wait to be written, and one read more */
#define TURN_READS 64    /* of one console before the next one's turn */

/* ---- what is due ---- */

static void due_locked(struct tape *t)
{
    if (t->due)
        return;
    t->due = true;
    TAILQ_INSERT_TAIL(&t->recorder->due, t, due_link);
    pthread_cond_signal(&t->recorder->news);
}

static void on_news(void *opaque)
{
    struct tape *t = opaque;

    LOCK_SCOPE(&t->recorder->lock);
    due_locked(t);
}

static struct tape *find_locked(struct recorder *r, const char *id)
{
    struct tape *t;

    TAILQ_FOREACH(t, &r->tapes, link)
    {
        if (str_eq(t->info.id, id))
            return t;
    }
    return NULL;
}

bool recorder_look(struct recorder *r, const char *id, struct recording *ret)
{
    const struct tape *t;

    LOCK_SCOPE(&r->lock);
    t = find_locked(r, id);
    if (!t)
        return false;
    ret->size_bytes = t->info.size_bytes;
    ret->duration_ms = clock_wall_ms() - t->info.started_at;
    if (ret->duration_ms < 0)
        ret->duration_ms = 0;
    return true;
}

/* ---- writing ---- */

static int64_t at_us(const struct tape *t)
{
    return clock_monotonic_ns() / 1000 - t->started_us;
}

static void end(struct tape *t, enum recording_state state, const char *reason)
{
    if (t->ended)
        return;
    t->ended = true;
    LOCK_SCOPE(&t->recorder->lock);
    t->info.state = state;
    str_copy_utf8(t->info.state_reason, sizeof(t->info.state_reason), reason);
}

static void write_failed(struct tape *t, int number)
{
    char reason[128];

    snprintf(reason, sizeof(reason), "it cannot be written: %s", strerror(number));
    /* What is there of a line would make the file unreadable. */
    if (ftruncate(t->fd, t->info.size_bytes))
        log_warning("recording %s: its last line may be cut", t->info.id);
    end(t, RECORDING_FAILED, reason);
}

/* As many whole lines as fit below the bound; ends the tape with the first that does not. */
static size_t fitting(struct tape *t, int64_t bound)
{
    int64_t room = bound - t->info.size_bytes;
    const char *last;
    char reason[128];

    if (t->full)
        return 0;
    if ((int64_t)t->out.len <= room)
        return t->out.len;
    t->full = true;
    snprintf(reason, sizeof(reason), "it reached its bound of %lld bytes", (long long)bound);
    last = room > 0 ? memrchr(t->out.data, '\n', (size_t)room) : NULL;
    end(t, RECORDING_FINISHED, reason);
    return last ? (size_t)(last - t->out.data) + 1 : 0;
}

static void write_out(struct tape *t)
{
    struct recorder *r = t->recorder;
    const struct settings *s = r->core->settings;
    size_t len = fitting(t, s->recording_bytes), done = 0;

    if (len && !recording_make_room(r, (int64_t)len)) {
        end(t, RECORDING_FINISHED, "there is no room for more recordings");
        t->full = true;
        len = 0;
    }
    while (done < len) {
        ssize_t n = pwrite(t->fd, t->out.data + done, len - done,
                           (off_t)(t->info.size_bytes + (int64_t)done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            write_failed(t, n ? errno : ENOSPC);
            len = 0;
            break;
        }
        done += (size_t)n;
    }
    t->out.len = 0;
    atomic_fetch_add(&r->bytes, (int64_t)len);
    LOCK_SCOPE(&r->lock);
    t->info.size_bytes += (int64_t)len;
}

/* ---- reading ---- */

static const char *why_ended(int code)
{
    return code == 1001 ? REASON_DAEMON_STOPPED : REASON_VM_STOPPED;
}

/* False: there is nothing more now. */
static bool take(struct tape *t, char *buf)
{
    struct console_tapped got;
    char mark[80];

    console_tap_read(t->source, buf, READ_MAX, &got);
    switch (got.what) {
    case TAP_BYTES:
        cast_output(&t->text, &t->out, at_us(t), buf, got.len);
        return true;
    case TAP_GAP:
        cast_break(&t->text, &t->out, at_us(t));
        snprintf(mark, sizeof(mark), "%llu bytes are missing here", (unsigned long long)got.lost);
        cast_marker(&t->out, at_us(t), mark);
        return true;
    case TAP_SIZE:
        cast_resize(&t->out, at_us(t), got.rows, got.cols);
        return true;
    case TAP_ENDED:
        end(t, RECORDING_FINISHED, why_ended(got.code));
        return false;
    case TAP_NOTHING:
        break;
    }
    return false;
}

/* True: there may be more at once. */
static bool read_tape(struct tape *t, char *buf)
{
    bool more = true;

    for (int i = 0; i < TURN_READS && more && !t->ended; i++) {
        more = take(t, buf);
        if (t->out.len >= OUT_MAX)
            write_out(t);
    }
    return more && !t->ended;
}

static void close_source(struct tape *t)
{
    struct source *source = TAKE_PTR(t->source);

    if (source)
        source->close(source);
    LOCK_SCOPE(&t->recorder->lock); /* no news any more; and what there was is of no interest */
    if (t->due) {
        TAILQ_REMOVE(&t->recorder->due, t, due_link);
        t->due = false;
    }
}

static void tape_free(struct tape *t)
{
    if (t->source)
        t->source->close(t->source);
    if (t->fd >= 0)
        close(t->fd);
    strbuf_done(&t->out);
    free(t);
}

/* Closes the file and stores how it ended; when the database refuses, again later. */
static void finish(struct tape *t, bool last_chance)
{
    struct recorder *r = t->recorder;
    struct error err;

    if (t->source) {
        cast_break(&t->text, &t->out, at_us(t));
        t->info.duration_ms = at_us(t) / 1000;
        t->info.finished_at = clock_wall_ms();
        close_source(t);
        if (t->out.len && t->info.state != RECORDING_FAILED)
            write_out(t);
        if (fdatasync(t->fd))
            write_failed(t, errno);
    }
    if (recording_store_end(r->core, &t->info, t->stopped_by, &err)) {
        if (!last_chance) {
            if (!t->retry_ms)
                log_failure(LOG_LEVEL_WARNING, &err, "cannot store the end of recording %s",
                            t->info.id);
            t->retry_ms = clock_monotonic_ms() + RETRY_MS;
            return;
        }
        log_failure(LOG_LEVEL_WARNING, &err, "recording %s is closed at the next start",
                    t->info.id);
    }
    {
        LOCK_SCOPE(&r->lock);
        TAILQ_REMOVE(&r->tapes, t, link);
        if (t->due)
            TAILQ_REMOVE(&r->due, t, due_link);
        pthread_cond_broadcast(&r->gone);
    }
    tape_free(t);
}

static void serve(struct tape *t, char *buf, bool stopping)
{
    bool more = t->source && read_tape(t, buf), asked;

    if (t->source && t->out.len)
        write_out(t);
    {
        LOCK_SCOPE(&t->recorder->lock);
        asked = t->stop;
        if (more && !t->ended && !asked)
            due_locked(t);
    }
    if (stopping)
        end(t, RECORDING_FINISHED, REASON_DAEMON_STOPPED);
    else if (asked)
        end(t, RECORDING_FINISHED, "it was stopped");
    if (t->ended)
        finish(t, stopping);
}

/* ---- the thread ---- */

/* With the lock held: when the database is to be asked again, 0 for never. */
static int64_t next_retry_locked(const struct recorder *r)
{
    const struct tape *t;
    int64_t next = 0;

    TAILQ_FOREACH(t, &r->tapes, link)
    {
        if (t->retry_ms && (!next || t->retry_ms < next))
            next = t->retry_ms;
    }
    return next;
}

static struct tape *next_due(struct recorder *r)
{
    int64_t now = clock_monotonic_ms();
    struct tape *t;

    LOCK_SCOPE(&r->lock);
    t = TAILQ_FIRST(&r->due);
    if (t) {
        TAILQ_REMOVE(&r->due, t, due_link);
        t->due = false;
        return t;
    }
    TAILQ_FOREACH(t, &r->tapes, link)
    {
        if (t->retry_ms && t->retry_ms <= now)
            return t;
    }
    return NULL;
}

/* False: the daemon stops. */
static bool wait_for_news(struct recorder *r)
{
    int64_t until = clock_monotonic_ms() + TICK_MS;

    LOCK_SCOPE(&r->lock);
    while (!r->stopping && TAILQ_EMPTY(&r->due)) {
        int64_t retry = next_retry_locked(r);

        if (!retry)
            pthread_cond_wait(&r->news, &r->lock);
        else if (!cond_wait_until(&r->news, &r->lock, retry))
            break;
        until = clock_monotonic_ms() + TICK_MS;
    }
    /* A moment for what belongs together, unless somebody waits for the end. */
    while (!r->stopping && clock_monotonic_ms() < until)
        cond_wait_until(&r->news, &r->lock, until);
    return !r->stopping;
}

static void *record_loop(void *arg)
{
    struct recorder *r = arg;
    auto_free char *buf = xcalloc(1, READ_MAX);
    struct tape *t;

    while (wait_for_news(r)) {
        while ((t = next_due(r)))
            serve(t, buf, false);
    }
    for (;;) {
        {
            LOCK_SCOPE(&r->lock);
            t = TAILQ_FIRST(&r->tapes);
        }
        if (!t)
            return NULL;
        serve(t, buf, true);
    }
}

/* ---- beginning and ending ---- */

static int check_room(struct core *core, struct error *err)
{
    uint64_t floor = (uint64_t)core->settings->free_space_floor_mib << 20, free_bytes, total;

    if (host_disk_space(core->state_dir, &free_bytes, &total, err))
        return -1;
    if (free_bytes < floor) {
        error_set(err, ERROR_INSUFFICIENT_STORAGE,
                  "only %llu MiB are free below the state directory",
                  (unsigned long long)(free_bytes >> 20));
        error_remedy(err, "Make room, or lower the setting free_space_floor_mib.");
        return -1;
    }
    if (!recording_make_room(core->recorder, CAST_LINE_MAX)) {
        error_set(err, ERROR_INSUFFICIENT_STORAGE,
                  "recordings that are being made take all the room");
        error_remedy(err, "Stop one of them, or raise the setting recordings_bytes.");
        return -1;
    }
    return 0;
}

static int open_file(struct tape *t, struct error *err)
{
    auto_free char *path = recording_path(t->recorder, t->info.id);
    auto_free char *title = xasprintf("%s %s", t->info.vm_name, t->info.stream);
    const struct cast_header header = {.rows = t->info.rows,
                                       .cols = t->info.cols,
                                       .started_at = t->info.started_at,
                                       .title = title};

    t->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (t->fd < 0)
        return error_errno(err, errno, "cannot make %s", path);
    cast_header(&t->out, &header);
    write_out(t);
    return t->ended ? error_set(err, ERROR_INSUFFICIENT_STORAGE, "%s", t->info.state_reason) : 0;
}

static struct tape *tape_new(struct core *core, const struct actor *actor, const struct vm *vm,
                             const char *stream)
{
    struct tape *t = xcalloc(1, sizeof(*t));
    struct recording *rec = &t->info;

    t->recorder = core->recorder;
    t->fd = -1;
    uuid_new(rec->id);
    str_copy_utf8(rec->project_id, sizeof(rec->project_id), vm->project_id);
    str_copy_utf8(rec->vm_id, sizeof(rec->vm_id), vm->id);
    str_copy_utf8(rec->vm_name, sizeof(rec->vm_name), vm->spec->name);
    str_copy_utf8(rec->stream, sizeof(rec->stream), stream);
    str_copy_utf8(rec->actor, sizeof(rec->actor), actor->id);
    str_copy_utf8(t->stopped_by, sizeof(t->stopped_by), actor_system.id);
    console_size(core->consoles, vm->id, stream, &rec->rows, &rec->cols);
    rec->rows = rec->rows ? rec->rows : CAST_ROWS;
    rec->cols = rec->cols ? rec->cols : CAST_COLS;
    rec->started_at = clock_wall_ms();
    t->started_us = clock_monotonic_ns() / 1000;
    return t;
}

static int begin(struct tape *t, struct core *core, const struct actor *actor, bool live,
                 struct error *err)
{
    const struct console_attach attach = {.vm_id = t->info.vm_id,
                                          .stream = t->info.stream,
                                          .mode = CONSOLE_VIEW,
                                          .protocol = CONSOLE_V1,
                                          .recorder = true,
                                          .live = live};

    if (open_file(t, err) || console_attach(core->consoles, &attach, &t->source, err))
        return -1;
    return recording_store_begin(core, actor, &t->info, err);
}

static int start(struct core *core, const struct actor *actor, const struct vm *vm,
                 const char *stream, bool live, struct recording *ret, struct error *err)
{
    struct recorder *r = core->recorder;
    struct tape *t;

    if (!console_is_fed(core->consoles, vm->id, stream)) {
        error_set(err, ERROR_STREAM_UNAVAILABLE, "the %s of VM %s is not open", stream,
                  vm->spec->name);
        error_remedy(err, "Start the VM, or set its record_console and each boot is recorded.");
        return -1;
    }
    if (check_room(core, err))
        return -1;
    t = tape_new(core, actor, vm, stream);
    if (begin(t, core, actor, live, err)) {
        auto_free char *path = recording_path(r, t->info.id);

        atomic_fetch_sub(&r->bytes, t->info.size_bytes);
        (void)unlink(path);
        tape_free(t);
        return -1;
    }
    *ret = t->info;
    t->source->set_notify(t->source, on_news, t);
    LOCK_SCOPE(&r->lock);
    TAILQ_INSERT_TAIL(&r->tapes, t, link);
    due_locked(t);
    return 0;
}

int recording_start(struct core *core, const struct actor *actor, const struct vm *vm,
                    const char *stream, struct recording *ret, struct error *err)
{
    return start(core, actor, vm, stream, true, ret, err);
}

/* Was the newest recording of this VM cut off by something else than its own end? */
static bool goes_on(struct core *core, const struct vm *vm)
{
    auto_free struct recording *last = NULL;
    struct error err;
    size_t n;

    if (recording_list(core, vm->project_id, vm->id, 0, 1, &last, &n, &err))
        return false;
    return n == 0 || last->finished_at < vm->started_at ||
           str_eq(last->state_reason, REASON_VM_STOPPED) ||
           str_eq(last->state_reason, REASON_DAEMON_STOPPED) ||
           str_eq(last->state_reason, REASON_DAEMON_KILLED);
}

void recording_of_boot(struct core *core, const struct vm *vm, bool fresh)
{
    struct recording rec;
    struct error err;

    if (!vm->spec->record_console || !console_is_fed(core->consoles, vm->id, "console") ||
        (!fresh && !goes_on(core, vm)))
        return;
    if (start(core, &actor_system, vm, "console", !fresh, &rec, &err) &&
        err.code != ERROR_RECORDING_STATE_CONFLICT)
        log_failure(LOG_LEVEL_WARNING, &err, "cannot record the console of VM %s", vm->spec->name);
}

int recording_stop(struct core *core, const struct actor *actor, const char *id,
                   struct recording *ret, struct error *err)
{
    struct recorder *r = core->recorder;
    int64_t until = clock_monotonic_ms() + STOP_MS;
    struct tape *t;

    if (recording_get(core, actor->project_id, id, ret, err))
        return -1;
    {
        LOCK_SCOPE(&r->lock);
        t = find_locked(r, id);
        if (!t)
            return error_set(err, ERROR_RECORDING_STATE_CONFLICT, "the recording is %s already",
                             recording_state_name(RECORDING_FINISHED));
        t->stop = true;
        str_copy_utf8(t->stopped_by, sizeof(t->stopped_by), actor->id);
        due_locked(t);
        while (find_locked(r, id)) {
            if (!cond_wait_until(&r->gone, &r->lock, until))
                return error_set(err, ERROR_UNAVAILABLE, "the recording could not be closed yet");
        }
    }
    return recording_get(core, actor->project_id, id, ret, err);
}

/* ---- the recorder itself ---- */

int recorder_start(struct core *core, struct recorder **ret, struct error *err)
{
    struct recorder *r = xcalloc(1, sizeof(*r));

    *ret = r; /* half-built, too, recorder_stop takes it down */
    r->core = core;
    r->dir = xasprintf("%s/recordings", core->state_dir);
    mutex_init(&r->lock);
    mutex_init(&r->read_lock);
    cond_init(&r->news);
    cond_init(&r->gone);
    cond_init(&r->read_news);
    TAILQ_INIT(&r->tapes);
    TAILQ_INIT(&r->due);
    STAILQ_INIT(&r->reads);
    if (dir_ensure(r->dir, 0700, err) || recording_recover(r, err) ||
        recording_read_start(r, err) || thread_start(&r->thread, "recorder", record_loop, r, err))
        return -1;
    r->has_thread = true;
    return 0;
}

void recorder_stop(struct recorder *r)
{
    if (!r)
        return;
    {
        LOCK_SCOPE(&r->lock);
        r->stopping = true;
        pthread_cond_signal(&r->news);
    }
    if (r->has_thread)
        pthread_join(r->thread, NULL);
    recording_read_stop(r);
    pthread_cond_destroy(&r->news);
    pthread_cond_destroy(&r->gone);
    pthread_cond_destroy(&r->read_news);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->read_lock);
    free(r->dir);
    free(r);
}
