/*
 * Copies of the database that are known to be good, and bringing one back. Any thread but the
 * writer's; nothing here writes to the database that is in use.
 */
#ifndef DROVER_DB_BACKUP_H
#define DROVER_DB_BACKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "service/base/error.h"
#include "service/base/secret.h"

#define BACKUP_PATH_MAX 4096

/* What a database file holds; of one that was found good. */
struct backup_facts {
    int64_t version, known_version; /* its migrations, and those this program has */
    int64_t vms, leases, images, tokens;
};

/*
 * Reads every page: whether it is one of ours, not from the future, whole, and without broken
 * references. DATABASE_FAILED with the first thing that is wrong. The file may be in use.
 */
int backup_check(const char *path, struct backup_facts *ret, struct error *err);

/*
 * Copies the database at path, which may be in use, into dir, checks the copy and only then gives it
 * its name; keep: how many to leave there, the newest. ret_path: the copy.
 */
int backup_make(const char *path, const char *dir, int keep, char ret_path[BACKUP_PATH_MAX],
                struct error *err);

/* The newest copy in dir that is good; those before it that are not are named in the log. */
int backup_newest(const char *dir, char ret_path[BACKUP_PATH_MAX], struct error *err);

/* When the newest copy was made (wall clock, ms); 0: there is none. */
int64_t backup_newest_time(const char *dir);

/*
 * Puts the copy in the place of the database at path, which nobody may have open; what was there
 * stays beside it as PATH.before-TIME. A crash in between leaves the one or the other.
 */
int backup_restore(const char *copy, const char *path, struct error *err);

/* DATABASE_FAILED, with the remedy, when a daemon has the database at path open; it need not exist. */
int backup_refuse_in_use(const char *path, struct error *err);

/* The installation id that a file tells, however damaged it may be; false: it does not. */
bool backup_read_install_id(const char *path, char ret[UUID_TEXT]);

#endif
