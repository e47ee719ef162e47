/*
 * One thread that copies the database when the newest copy is old enough. What fails is told once,
 * and tried again soon; the copies that are there stay.
 */
#include "service/vm/backups.h"

#include "service/base/clock.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "db/backup.h"
#include "service/vm/core_internal.h"

#define MINUTE_MS 60000
#define LOOK_MS   30000          /* the setting may change, the wall clock be set */
#define FIRST_MS  MINUTE_MS      /* a new installation has nothing yet that is worth a copy */
#define AGAIN_MS  (5 * MINUTE_MS) /* after a failure */

struct backups {
    struct core *core;
    char *path, *dir;
    pthread_mutex_t lock; /* leaf */
    pthread_cond_t wake;
    bool stopping, started;
    bool failing; /* the thread's own */
    struct backups_figures figures;
    pthread_t thread;
};

static void tell_failure(struct backups *b, const struct error *why)
{
    auto_json json_t *data = json_pack("{s:s}", "reason", why->detail);
    struct error err;

    log_failure(LOG_LEVEL_ERROR, why, "no copy of the database could be made");
    {
        LOCK_SCOPE(&b->lock);
        b->figures.failures++;
    }
    if (!b->failing && event_write(b->core, PROJECT_DEFAULT, "database.backup-failed", "host", HOST_LOCAL, data,
                                   &err))
        log_failure(LOG_LEVEL_WARNING, &err, "cannot store that");
    b->failing = true;
}

static bool make(struct backups *b)
{
    char path[BACKUP_PATH_MAX];
    int64_t begin = clock_monotonic_ms();
    struct error err;

    if (backup_make(b->path, b->dir, (int)b->core->settings->backup_keep, path, &err)) {
        tell_failure(b, &err);
        return false;
    }
    b->failing = false;
    log_info("the database was copied and checked file=%s ms=%lld", path,
             (long long)(clock_monotonic_ms() - begin));
    LOCK_SCOPE(&b->lock);
    b->figures.newest_at = clock_wall_ms();
    return true;
}

static bool is_due(struct backups *b)
{
    int64_t minutes = b->core->settings->backup_minutes, now = clock_wall_ms();
    int64_t age = now - b->figures.newest_at;

    /* One from the future is of a clock that was wrong. */
    return minutes && (age >= minutes * MINUTE_MS || age < 0);
}

static void *backups_thread(void *arg)
{
    struct backups *b = arg;
    int64_t first = clock_monotonic_ms() + (b->figures.newest_at ? 0 : FIRST_MS);

    for (;;) {
        bool failed = clock_monotonic_ms() >= first && is_due(b) && !make(b);
        int64_t until = clock_monotonic_ms() + (failed ? AGAIN_MS : LOOK_MS);

        LOCK_SCOPE(&b->lock);
        while (!b->stopping && clock_monotonic_ms() < until)
            cond_wait_until(&b->wake, &b->lock, until);
        if (b->stopping)
            return NULL;
    }
}

int backups_start(struct core *core, struct backups **ret, struct error *err)
{
    struct backups *b = xcalloc(1, sizeof(*b));

    b->core = core;
    b->path = xasprintf("%s/drover.db", core->state_dir);
    b->dir = xasprintf("%s/backups", core->state_dir);
    b->figures.newest_at = backup_newest_time(b->dir);
    mutex_init(&b->lock);
    cond_init(&b->wake);
    *ret = b;
    if (thread_start(&b->thread, "backups", backups_thread, b, err))
        return -1;
    b->started = true;
    return 0;
}

void backups_stop(struct backups *b)
{
    if (!b)
        return;
    {
        LOCK_SCOPE(&b->lock);
        b->stopping = true;
        pthread_cond_signal(&b->wake);
    }
    if (b->started)
        pthread_join(b->thread, NULL);
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->lock);
    free(b->path);
    free(b->dir);
    free(b);
}

void backups_read(struct backups *b, struct backups_figures *ret)
{
    *ret = (struct backups_figures){0};
    if (!b)
        return;
    LOCK_SCOPE(&b->lock);
    *ret = b->figures;
}
