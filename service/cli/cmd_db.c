/* `db`: the database of a daemon on this host. The work is droverd's; this finds it and becomes it. */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "service/base/exec.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/command.h"

/* Beside this program first: they are of one version. */
static char *find_droverd(void)
{
    static const char *const places[] = {"/usr/sbin/droverd", "/usr/local/sbin/droverd"};
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    self[len > 0 ? len : 0] = '\0';
    slash = strrchr(self, '/');
    if (slash) {
        auto_free char *beside = xasprintf("%.*s/droverd", (int)(slash - self), self);

        if (file_exists(beside))
            return TAKE_PTR(beside);
    }
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (file_exists(places[i]))
            return xstrdup(places[i]);
    }
    return NULL;
}

static int run_db(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *droverd = find_droverd();
    static const struct {
        const char *option, *argument;
    } passed[] = {{"config", "--config"},
                  {"state-dir", "--state-dir"},
                  {"libvirt-uri", "--libvirt-uri"},
                  {"install-id", "--install-id"}};
    const char *argv[16] = {droverd, "--database", args->command->words + strlen("db ")};
    size_t n = 3;
    struct error err;

    (void)cli;
    if (!droverd)
        return failure_set(fail, CLI_FAILED,
                           "droverd is not installed here: a database is looked after on its own host");
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++) {
        const char *value = args_text(args, passed[i].option, NULL);

        if (value) {
            argv[n++] = passed[i].argument;
            argv[n++] = value;
        }
    }
    if (args_flag(args, "force"))
        argv[n++] = "--force";
    if (args->count) {
        argv[n++] = "--copy";
        argv[n++] = args->operand[0];
    }
    (void)exec_replace(argv, &err);
    return failure_set(fail, CLI_FAILED, "%s: %s", err.detail, err.cause);
}

static const struct option_row db_options[] = {
    {"state-dir", 'd', "DIR", "the daemon's directory (default: /var/lib/drover)"},
    {"config", 'c', "FILE", "the daemon's settings, which name it"},
    {0}};

static const struct option_row rebuild_options[] = {
    {"state-dir", 'd', "DIR", "the daemon's directory (default: /var/lib/drover)"},
    {"config", 'c', "FILE", "the daemon's settings, which name it, and libvirt's address"},
    {"libvirt-uri", 'l', "URI", "the daemon's libvirt (default: the embedded driver below DIR)"},
    {"install-id", 0, "ID", "whose VMs, when several installations have files in DIR"},
    {"force", 'f', NULL, "also when the database, or a copy of it, is good"},
    {0}};

const struct command db_commands[] = {
    {"db check", "[FILE]", 0, 1, "read the whole database, or a copy of it, and say whether it is good", db_options,
     run_db, "On the daemon's own host; it may run meanwhile."},
    {"db backup", "", 0, 0, "copy the database now, and check the copy", db_options, run_db,
     "On the daemon's own host; it may run meanwhile. The daemon does it by itself every hour (its settings "
     "backup_minutes and backup_keep); the copies are in DIR/backups."},
    {"db restore", "[FILE]", 0, 1, "bring back the newest good copy of the database, or the one that is named",
     db_options, run_db,
     "Stop droverd first; guests keep running, and are recognised when it starts again. What was there before "
     "stays beside the database. What happened since the copy is forgotten: VMs made since are left alone and "
     "named in the log."},
    {"db rebuild", "", 0, 0, "make a new database from what libvirt knows, when the old one and its copies are lost",
     rebuild_options, run_db,
     "Stop droverd first; guests keep running, domains are only read. Each VM comes back as it was last defined, "
     "with its disks, its image and its labels; one defined by a Drover that left no note in its domain comes back "
     "as far as the domain goes. What was rebuilt, what not and why is printed; what was there before stays beside "
     "the database."},
    {0}};
