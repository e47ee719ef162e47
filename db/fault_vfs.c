/*
 * Between SQLite and the disk, in test builds only: dying in the middle of a write, and a power cut.
 *
 * A process that is killed leaves to the kernel what it wrote; a host that loses its power does not.
 * With DROVER_POWER_CUT=1 the writes to the database and its journal that no sync followed are
 * undone before the process ends, all of one file's or none: what a disk is allowed to do, at its worst.
 */
#include "db/db_internal.h"

#include <stdlib.h>
#include <string.h>

#include "service/base/fault.h"
#include "service/base/str.h"
#include "service/base/thread.h"

struct undo {
    struct undo *before;
    sqlite3_int64 at, size; /* of the file, before */
    int len;                /* of the bytes that were there */
    char bytes[];
};

struct file {
    sqlite3_file base;
    struct file *next;
    bool wal;
    struct undo *undo;
    sqlite3_file *real; /* right behind us */
};

static sqlite3_vfs vfs;
static sqlite3_vfs *below;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* leaf; kept for ever by a power cut */
static struct file *files;
static bool power_cut;

static sqlite3_file *real(sqlite3_file *f)
{
    return ((struct file *)f)->real;
}

static void forget(struct file *f)
{
    while (f->undo) {
        struct undo *u = f->undo;

        f->undo = u->before;
        free(u);
    }
}

static void remember(struct file *f, int len, sqlite3_int64 at)
{
    struct undo *u = xcalloc(1, sizeof(*u) + (size_t)len);

    u->at = at;
    if (f->real->pMethods->xFileSize(f->real, &u->size) != SQLITE_OK)
        abort();
    if (at < u->size)
        u->len = u->size - at < len ? (int)(u->size - at) : len;
    if (u->len && f->real->pMethods->xRead(f->real, u->bytes, u->len, at) != SQLITE_OK)
        abort();
    u->before = f->undo;
    f->undo = u;
}

/* Nothing is written any more: the lock stays. */
static void cut_power(void)
{
    pthread_mutex_lock(&lock);
    for (struct file *f = files; f; f = f->next) {
        for (struct undo *u = f->undo; u; u = u->before) {
            if (u->len)
                (void)f->real->pMethods->xWrite(f->real, u->bytes, u->len, u->at);
            (void)f->real->pMethods->xTruncate(f->real, u->size);
        }
    }
}

static int on_close(sqlite3_file *f)
{
    struct file *own = (struct file *)f;

    LOCK_SCOPE(&lock);
    for (struct file **at = &files; *at; at = &(*at)->next) {
        if (*at == own) {
            *at = own->next;
            break;
        }
    }
    forget(own);
    return own->real->pMethods->xClose(own->real);
}

static int on_read(sqlite3_file *f, void *data, int len, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), data, len, at);
}

/* What is written to the database itself is what a checkpoint moves. */
static int on_write(sqlite3_file *f, const void *data, int len, sqlite3_int64 at)
{
    struct file *own = (struct file *)f;

    if (own->wal && len > 512 && fault_is_next(CRASH_DB_JOURNAL_TORN))
        (void)own->real->pMethods->xWrite(own->real, data, len / 2, at);
    if (own->wal && len > 512)
        CRASH_POINT(DB_JOURNAL_TORN);
    else if (!own->wal)
        CRASH_POINT(DB_MID_CHECKPOINT);
    if (!power_cut)
        return own->real->pMethods->xWrite(own->real, data, len, at);
    LOCK_SCOPE(&lock);
    remember(own, len, at);
    return own->real->pMethods->xWrite(own->real, data, len, at);
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return real(f)->pMethods->xTruncate(real(f), size);
}

static int on_sync(sqlite3_file *f, int flags)
{
    struct file *own = (struct file *)f;
    int rc;

    if (own->wal)
        CRASH_POINT(DB_JOURNAL_WRITTEN);
    if (SEEDED_BUG(SKIP_SYNC) && own->wal)
        return SQLITE_OK;
    rc = own->real->pMethods->xSync(own->real, flags);
    if (power_cut) {
        LOCK_SCOPE(&lock);
        forget(own);
    }
    if (!own->wal)
        CRASH_POINT(DB_AFTER_CHECKPOINT);
    return rc;
}

static int on_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    return real(f)->pMethods->xFileSize(real(f), ret);
}

static int on_lock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xLock(real(f), level);
}

static int on_unlock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xUnlock(real(f), level);
}

static int on_check_lock(sqlite3_file *f, int *ret)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), ret);
}

static int on_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}

static int on_sector_size(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}

static int on_characteristics(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}

static int on_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
    return real(f)->pMethods->xShmMap(real(f), page, size, extend, ret);
}

static int on_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}

static void on_shm_barrier(sqlite3_file *f)
{
    real(f)->pMethods->xShmBarrier(real(f));
}

static int on_shm_unmap(sqlite3_file *f, int remove)
{
    return real(f)->pMethods->xShmUnmap(real(f), remove);
}

/* Version 2: no memory-mapped reads, which we would not see. */
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check_lock,
    .xFileControl = on_control,
    .xSectorSize = on_sector_size,
    .xDeviceCharacteristics = on_characteristics,
    .xShmMap = on_shm_map,
    .xShmLock = on_shm_lock,
    .xShmBarrier = on_shm_barrier,
    .xShmUnmap = on_shm_unmap,
};

static int on_open(sqlite3_vfs *v, const char *path, sqlite3_file *f, int flags, int *ret_flags)
{
    struct file *own = (struct file *)f;
    /* history.db may be lost, and says so. */
    bool ours = path && strstr(path, "/drover.db") &&
                flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL) && flags & SQLITE_OPEN_READWRITE;
    int rc;

    (void)v;
    if (!ours)
        return below->xOpen(below, path, f, flags, ret_flags);
    *own = (struct file){.wal = (flags & SQLITE_OPEN_WAL) != 0, .real = (sqlite3_file *)(own + 1)};
    rc = below->xOpen(below, path, own->real, flags, ret_flags);
    if (rc != SQLITE_OK)
        return rc;
    own->base.pMethods = &methods;
    LOCK_SCOPE(&lock);
    own->next = files;
    files = own;
    return SQLITE_OK;
}

void db_fault_vfs(void)
{
    const char *cut = getenv("DROVER_POWER_CUT");

    below = sqlite3_vfs_find(NULL);
    vfs = *below;
    vfs.zName = "drover-fault";
    vfs.szOsFile = below->szOsFile + (int)sizeof(struct file);
    vfs.xOpen = on_open;
    if (sqlite3_vfs_register(&vfs, 1) != SQLITE_OK)
        abort();
    power_cut = cut && *cut;
    if (power_cut)
        fault_on_death(cut_power);
}
