/*
 * Short names for the embedded driver's root: libvirt's Unix sockets lie far below it.
 */
#include "service/virt/virt_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/clock.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/secret.h"

#define SHORT_DIR "/run/drover"

static int make_short_dir(struct error *err)
{
    struct stat st;

    if (mkdir(SHORT_DIR, 0755) && errno != EEXIST)
        return error_errno(err, errno, "cannot create %s", SHORT_DIR);
    if (lstat(SHORT_DIR, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return error_set(err, ERROR_SYSTEM, "%s is not a directory of ours", SHORT_DIR);
    return 0;
}

/*
 * Names whose state directory was removed lead nowhere. They are collected here and not when their
 * daemon ends: libvirt's workers may write through the name until the process is gone, and would
 * make a directory of it.
 */
static void sweep_short_names(void)
{
    auto_closedir DIR *dir = opendir(SHORT_DIR);
    const struct dirent *entry;
    struct stat st;

    while (dir && (entry = readdir(dir))) {
        if (entry->d_type == DT_LNK && fstatat(dirfd(dir), entry->d_name, &st, 0) && errno == ENOENT)
            (void)unlinkat(dirfd(dir), entry->d_name, 0); /* costs a name */
    }
}

/* What stands in the place of a name of ours and is no link: nobody reads it, and it is kept. */
static int move_aside(const char *link, struct error *err)
{
    auto_free char *aside = xasprintf("%s.%lld", link, (long long)clock_wall_ms());

    if (rename(link, aside))
        return error_errno(err, errno, "cannot rename %s, which is not a link", link);
    log_warning("%s was not a link; it is %s now", link, aside);
    return 0;
}

/* The same root gets the same name at every start: guests' sockets are found through it. */
int virt_root_shorten(struct virt *v, const char *root, struct error *err)
{
    char hash[SECRET_SHA256_TEXT], old[4096];
    auto_free char *link = NULL;
    struct stat st;
    ssize_t n;

    if (make_short_dir(err)) {
        error_remedy(err, "choose a state directory whose path has at most %d bytes",
                     VIRT_ROOT_MAX - (int)strlen("/libvirt"));
        return -1;
    }
    sweep_short_names();
    secret_sha256_text(root, strlen(root), hash);
    link = xasprintf("%s/%.10s", SHORT_DIR, hash);
    if (lstat(link, &st) == 0 && !S_ISLNK(st.st_mode) && move_aside(link, err))
        return -1;
    n = readlink(link, old, sizeof(old) - 1);
    if (n >= 0) {
        old[n] = '\0';
        if (!str_eq(old, root) && unlink(link))
            return error_errno(err, errno, "cannot replace %s", link);
    }
    if (symlink(root, link) && errno != EEXIST)
        return error_errno(err, errno, "cannot create %s", link);
    v->root_link = TAKE_PTR(link);
    return 0;
}
