/*
 * What a person does with the database file: look whether it is whole, copy it, bring a copy back,
 * make it anew from what libvirt knows.
 * Results go to stdout in words, what is wrong to stderr.
 */
#include "service/database_tool.h"

#include <stdio.h>
#include <unistd.h>

#include "db/backup.h"
#include "service/base/str.h"
#include "service/vm/rebuild.h"

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
        fprintf(stderr, "`drover db restore` brings back the newest good copy, `drover db rebuild` makes a new "
                        "database from what libvirt knows; stop droverd first. Guests keep running.\n");
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

static int rebuild(const char *path, const struct options *o)
{
    const struct rebuild_options options = {
        .settings = o->settings, .install_id = o->install_id, .force = o->force, .out = stdout};
    struct error err = ERROR_INIT;

    if (rebuild_database(&options, &err))
        return fail(path, &err);
    printf("%s is new; what was there is beside it, as %s.before-TIME. Start droverd: it takes over what runs.\n", path,
           path);
    return 0;
}

int database_tool(const struct options *o)
{
    auto_free char *path = xasprintf("%s/drover.db", o->settings->state_dir);
    auto_free char *dir = xasprintf("%s/backups", o->settings->state_dir);

    if (str_eq(o->database, "check"))
        return check(o->copy ? o->copy : path);
    if (str_eq(o->database, "backup"))
        return backup(path, dir, (int)o->settings->backup_keep);
    if (str_eq(o->database, "restore"))
        return restore(path, dir, o->copy);
    if (str_eq(o->database, "rebuild"))
        return rebuild(path, o);
    fprintf(stderr, "droverd: --database is check, backup, restore or rebuild\n");
    return 2;
}
