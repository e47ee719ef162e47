/*
 * The order of things: nobody may have the database open, look at libvirt, make the new database
 * beside the old one, put it in its place. Until that last step nothing that was there has changed.
 */
#include "service/vm/rebuild.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "db/backup.h"
#include "db/store.h"
#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/vm/rebuild_internal.h"

#define CONNECT_MS 60000
#define LOOK_MS    20

struct rebuild {
    const struct rebuild_options *o;
    const char *state_dir;
    char *path, *fresh; /* the database, and the one in the making */
    struct virt_found *found;
    size_t found_count;
    char install_id[128]; /* "": none was found, a new one is drawn */
    struct rebuilt *vms;
    size_t count;
};

static void rebuild_done(struct rebuild *b)
{
    for (size_t i = 0; i < b->count; i++)
        rebuilt_done(&b->vms[i]);
    free(b->vms);
    if (b->found)
        virt_found_free(b->found, b->found_count);
    free(b->path);
    free(b->fresh);
}

/* ---- may it be done? ---- */

static int refuse(struct error *err, const char *detail, const char *remedy)
{
    error_set(err, ERROR_DATABASE_FAILED, "%s", detail);
    error_remedy(err, "%s", remedy);
    return -1;
}

/* A daemon whose database was removed under it holds no lock on what is at the path now. */
static bool daemon_answers(const char *state_dir)
{
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    auto_free char *path = xasprintf("%s/drover.sock", state_dir);

    if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
        return false;
    memcpy(address.sun_path, path, strlen(path));
    return connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

static int may_begin(struct rebuild *b, struct error *err)
{
    auto_free char *copies = xasprintf("%s/backups", b->state_dir);
    char copy[BACKUP_PATH_MAX];
    struct backup_facts facts;
    struct error why = ERROR_INIT;

    if (backup_refuse_in_use(b->path, err))
        return -1;
    if (daemon_answers(b->state_dir))
        return refuse(err, "droverd runs", "Stop droverd first: systemctl stop droverd. Guests keep running.");
    if (b->o->force)
        return 0;
    if (backup_check(b->path, &facts, &why) == 0)
        return refuse(err, "the database is whole, so there is nothing to rebuild",
                      "With --force it is rebuilt all the same, and kept beside the new one.");
    if (backup_newest(copies, copy, &why) == 0) {
        error_set(err, ERROR_DATABASE_FAILED, "there is a good copy, %s", copy);
        error_remedy(err, "`drover db restore` brings it back, with tokens, leases, pools, sets and events, which "
                          "libvirt knows nothing of. With --force the database is rebuilt from libvirt instead.");
        return -1;
    }
    return 0;
}

/* ---- what libvirt knows ---- */

static void ignore_event(void *opaque, const struct virt_event *event)
{
    (void)opaque;
    (void)event;
}

static void ignore_link(void *opaque, enum virt_link link, const char *reason)
{
    (void)opaque;
    (void)link;
    (void)reason;
}

static int wait_for_link(struct virt *v, struct error *err)
{
    int64_t until = clock_monotonic_ms() + CONNECT_MS;
    char reason[256] = "";

    while (!virt_is_up(v, reason, sizeof(reason))) {
        if (clock_monotonic_ms() >= until) {
            error_set(err, ERROR_HYPERVISOR_UNAVAILABLE, "there is no connection to libvirt: %s", reason);
            error_remedy(err, "Nothing was changed. See that libvirt runs, and that libvirt_uri is the daemon's.");
            return -1;
        }
        poll(NULL, 0, LOOK_MS);
    }
    return 0;
}

static int look(struct rebuild *b, struct error *err)
{
    auto_free char *dir = xasprintf("%s/libvirt", b->state_dir);
    const struct virt_options options = {.uri = b->o->settings->libvirt_uri,
                                         .state_dir = b->state_dir,
                                         .install_id = "rebuild", /* of no domain: none is changed */
                                         .on_event = ignore_event,
                                         .on_link = ignore_link};
    struct virt *v = NULL;
    int rc;

    if (dir_ensure(dir, 0711, err) || virt_open(&options, &v, err))
        return -1;
    rc = wait_for_link(v, err) || virt_survey(v, &b->found, &b->found_count, err) ? -1 : 0;
    virt_close(v);
    return rc;
}

/* ---- whose domains ---- */

static bool has_files(const struct rebuild *b, const struct virt_found *from)
{
    auto_free char *dir = xasprintf("%s/vms/%s", b->state_dir, from->uuid);

    return access(dir, F_OK) == 0;
}

static size_t domains_of(const struct rebuild *b, const char *install_id)
{
    size_t n = 0;

    for (size_t i = 0; i < b->found_count; i++)
        n += str_eq(b->found[i].install, install_id);
    return n;
}

static int several(const struct rebuild *b, struct error *err)
{
    for (size_t i = 0; i < b->found_count; i++) {
        const char *id = b->found[i].install;
        bool named = !has_files(b, &b->found[i]);

        for (size_t j = 0; j < i && !named; j++)
            named = str_eq(b->found[j].install, id) && has_files(b, &b->found[j]);
        if (!named)
            fprintf(b->o->out, "%s: %zu domains of libvirt's\n", id, domains_of(b, id));
    }
    return refuse(err, "VMs of more than one installation have files in this directory",
                  "Say which is to be rebuilt: --install-id ID. Nothing was changed.");
}

/*
 * What the operator says; what the database still tells, if libvirt knows of it; whose VMs' files
 * are in this directory.
 */
static int find_install(struct rebuild *b, struct error *err)
{
    char told[UUID_TEXT];

    if (b->o->install_id) {
        if (!uuid_is_valid(b->o->install_id))
            return refuse(err, "an installation id is a UUID in lower case", "Nothing was changed.");
        str_copy_utf8(b->install_id, sizeof(b->install_id), b->o->install_id);
        return 0;
    }
    for (size_t i = 0; i < b->found_count; i++) {
        if (!has_files(b, &b->found[i]) || str_eq(b->install_id, b->found[i].install))
            continue;
        if (*b->install_id)
            return several(b, err);
        str_copy_utf8(b->install_id, sizeof(b->install_id), b->found[i].install);
    }
    if (!*b->install_id && backup_read_install_id(b->path, told))
        str_copy_utf8(b->install_id, sizeof(b->install_id), told);
    return 0;
}

/* ---- the new database ---- */

static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};

static int remove_fresh(struct rebuild *b, struct error *err)
{
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        auto_free char *path = xasprintf("%s%s", b->fresh, suffixes[i]);

        if (file_remove(path, err))
            return -1;
    }
    return 0;
}

static void read_all(struct rebuild *b)
{
    b->vms = xcalloc(b->found_count + 1, sizeof(*b->vms));
    for (size_t i = 0; i < b->found_count; i++) {
        struct rebuilt *r = &b->vms[b->count];
        struct error err = ERROR_INIT;

        r->from = &b->found[i];
        if (!str_eq(r->from->install, b->install_id)) {
            fprintf(b->o->out, "left alone: domain %s (%s), of the installation %s\n", r->from->name, r->from->uuid,
                    r->from->install);
            continue;
        }
        if (rebuilt_read(b->state_dir, r, &err) == 0) {
            b->count++;
            continue;
        }
        fprintf(b->o->out, "NOT rebuilt: domain %s (%s): %s%s%s; it and its disks are left as they are\n",
                r->from->name, r->from->uuid, err.detail, *err.pointer ? " at " : "", err.pointer);
        rebuilt_done(r);
        memset(r, 0, sizeof(*r));
    }
}

static int make(struct rebuild *b, struct error *err)
{
    struct db *db = NULL;
    int rc;

    if (remove_fresh(b, err) || db_open(b->fresh, &db, err))
        return -1;
    rc = rebuilt_store(db, *b->install_id ? b->install_id : NULL, b->vms, b->count, err);
    db_close(db);
    return rc;
}

/* The daemon removes recordings that its database does not know. */
static int keep_recordings(struct rebuild *b, struct error *err)
{
    auto_free char *from = xasprintf("%s/recordings", b->state_dir);
    auto_free char *to = xasprintf("%s.before-%lld", from, (long long)(clock_wall_ms() / 1000));

    if (rename(from, to) == 0) {
        fprintf(b->o->out, "kept: the recordings, as %s\n", to);
        return dir_sync(from, err);
    }
    return errno == ENOENT ? 0 : error_errno(err, errno, "cannot move %s aside", from);
}

/* ---- in words ---- */

static void tell(const struct rebuild *b)
{
    size_t whole = 0;

    for (size_t i = 0; i < b->count; i++) {
        const struct rebuilt *r = &b->vms[i];
        bool runs = r->from->state == VIRT_STATE_RUNNING || r->from->state == VIRT_STATE_PAUSED;

        whole += !r->lost.len;
        fprintf(b->o->out, "rebuilt: VM %s (%s)%s", r->name, r->from->uuid, runs ? ", which runs on" : "");
        fprintf(b->o->out, r->lost.len ? "; lost: %s\n" : ", whole\n", r->lost.data);
    }
    fprintf(b->o->out,
            "%zu VMs were rebuilt, %zu of them whole. Lost with the database: tokens, sessions and share links (the "
            "next start writes a first token to %s/admin.token), leases, pools, sets, webhooks, quotas, image labels, "
            "images without a VM (their files stay), operations and events.\n",
            b->count, whole, b->state_dir);
}

int rebuild_database(const struct rebuild_options *options, struct error *err)
{
    auto_scope(rebuild_done) struct rebuild b = {.o = options, .state_dir = options->settings->state_dir};

    b.path = xasprintf("%s/drover.db", b.state_dir);
    b.fresh = xasprintf("%s.rebuilding", b.path);
    if (may_begin(&b, err) || look(&b, err) || find_install(&b, err))
        return -1;
    read_all(&b);
    if (make(&b, err) || keep_recordings(&b, err) || backup_restore(b.fresh, b.path, err) ||
        remove_fresh(&b, err))
        return -1;
    tell(&b);
    return 0;
}
