/*
 * What a person does with the database file: look whether it is whole, copy it, bring a copy back.
 * Results go to stdout in words, what is wrong to stderr.
 */
#include "service/database_tool.h"

#include <stdio.h>
#include <unistd.h>

#include "db/backup.h"
#include "service/base/str.h"

static int fail(const char *what, const struct error *err)
{
    fprintf(stderr, "%s: %s%s%s\n", what, err->detail, *err->cause ? ": " : "", err->cause);
    if (*err->remedy)
        fprintf(stderr, "%s\n", err->remedy);
    return 1;
}

static int check(const char *path)
{
    struct backup_facts f;
    struct error err;

    if (backup_check(path, &f, &err)) {
        (void)fail(path, &err);
        fprintf(stderr, "`drover db restore` brings back the newest good copy; stop droverd first. "
                        "Guests keep running.\n");
        return 1;
    }
    printf("%s is whole: version %lld of %lld", path, (long long)f.version, (long long)f.known_version);
    if (f.version == f.known_version)
        printf(", %lld VMs, %lld leases, %lld images, %lld tokens", (long long)f.vms, (long long)f.leases,
               (long long)f.images, (long long)f.tokens);
    putchar('\n');
    return 0;
}

static int backup(const char *path, const char *dir, int keep)
{
    char made[BACKUP_PATH_MAX];
    struct error err;

    if (backup_make(path, dir, keep, made, &err))
        return fail(path, &err);
    printf("%s is a good copy of %s\n", made, path);
    return 0;
}

static int restore(const char *path, const char *dir, const char *source)
{
    char newest[BACKUP_PATH_MAX];
    struct error err;

    if (!source && backup_newest(dir, newest, &err))
        return fail(dir, &err);
    if (backup_restore(source ? source : newest, path, &err))
        return fail(path, &err);
    printf("%s is now as in %s; what was there is beside it, as %s.before-TIME\n", path, source ? source : newest,
           path);
    return 0;
}

int database_tool(const char *action, const char *source, const struct settings *settings)
{
    auto_free char *path = xasprintf("%s/drover.db", settings->state_dir);
    auto_free char *dir = xasprintf("%s/backups", settings->state_dir);

    if (str_eq(action, "check"))
        return check(source ? source : path);
    if (str_eq(action, "backup"))
        return backup(path, dir, (int)settings->backup_keep);
    if (str_eq(action, "restore"))
        return restore(path, dir, source);
    fprintf(stderr, "droverd: --database is check, backup or restore\n");
    return 2;
}
