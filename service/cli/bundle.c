/* Folders as tar archives, by libarchive. */
#include "service/cli/bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/str.h"

#define BLOCK     65536
#define DEPTH_MAX 128

static void dir_close(DIR *dir)
{
    if (dir)
        closedir(dir);
}
DEFINE_CLEANUP(dir, DIR *, dir_close);
#define auto_dir auto_scope(cleanup_dir)
DEFINE_CLEANUP(reader, struct archive *, archive_read_free);
#define auto_reader auto_scope(cleanup_reader)
DEFINE_CLEANUP(writer, struct archive *, archive_write_free);
#define auto_writer auto_scope(cleanup_writer)
DEFINE_CLEANUP(entry, struct archive_entry *, archive_entry_free);
#define auto_entry auto_scope(cleanup_entry)

/* ---- walking ---- */

static int walk(const char *folder, const char *prefix, int depth, const struct bundle_visit *visit,
                struct failure *fail);

static int visit_one(const char *whole, const char *path, int depth, const struct bundle_visit *visit,
                     struct failure *fail)
{
    char target[4096];
    struct stat st;
    ssize_t n;

    if (lstat(whole, &st))
        return errno == ENOENT ? 0 /* gone meanwhile */
                               : failure_errno(fail, CLI_FAILED, errno, "cannot look at %s", whole);
    if (S_ISDIR(st.st_mode))
        return visit->folder(visit->opaque, path, st.st_mode & 0777, fail) ||
                       walk(whole, path, depth + 1, visit, fail)
                   ? -1
                   : 0;
    if (S_ISREG(st.st_mode))
        return visit->file(visit->opaque, path, whole, st.st_mode & 0777, fail);
    if (!S_ISLNK(st.st_mode))
        return 0;
    n = readlink(whole, target, sizeof(target) - 1);
    if (n < 0)
        return failure_errno(fail, CLI_FAILED, errno, "cannot read the link %s", whole);
    target[n] = '\0';
    return visit->link(visit->opaque, path, target, fail);
}

static int walk(const char *folder, const char *prefix, int depth, const struct bundle_visit *visit,
                struct failure *fail)
{
    auto_dir DIR *dir = opendir(folder);
    struct dirent *found;

    if (!dir)
        return failure_errno(fail, CLI_USAGE, errno, "cannot open the folder %s", folder);
    if (depth > DEPTH_MAX)
        return failure_set(fail, CLI_FAILED, "%s is too deep", folder);
    while ((found = readdir(dir))) {
        auto_free char *whole = xasprintf("%s/%s", folder, found->d_name);
        auto_free char *path =
            *prefix ? xasprintf("%s/%s", prefix, found->d_name) : xstrdup(found->d_name);

        if (str_eq(found->d_name, ".") || str_eq(found->d_name, ".."))
            continue;
        if (visit_one(whole, path, depth, visit, fail))
            return -1;
    }
    return 0;
}

int bundle_walk(const char *folder, const struct bundle_visit *visit, struct failure *fail)
{
    return walk(folder, "", 0, visit, fail);
}

/* ---- packing ---- */

static int lib_failed(struct archive *a, const char *what, struct failure *fail)
{
    const char *why = archive_error_string(a);

    return failure_set(fail, CLI_FAILED, "%s: %s", what, why ? why : "libarchive failed");
}

static struct archive_entry *entry_new(const char *path, unsigned type, unsigned mode)
{
    struct archive_entry *e = archive_entry_new();

    if (!e)
        abort();
    archive_entry_copy_pathname(e, path);
    archive_entry_set_filetype(e, type);
    archive_entry_set_perm(e, (mode_t)mode);
    return e;
}

static int write_header(struct archive *a, struct archive_entry *e, struct failure *fail)
{
    if (archive_write_header(a, e) < ARCHIVE_WARN)
        return lib_failed(a, archive_entry_pathname(e), fail);
    return 0;
}

static int pack_folder(void *opaque, const char *path, unsigned mode, struct failure *fail)
{
    auto_entry struct archive_entry *e = entry_new(path, AE_IFDIR, mode | 0700);

    return write_header(opaque, e, fail);
}

static int pack_link(void *opaque, const char *path, const char *target, struct failure *fail)
{
    auto_entry struct archive_entry *e = entry_new(path, AE_IFLNK, 0777);

    archive_entry_copy_symlink(e, target);
    return write_header(opaque, e, fail);
}

static int pack_file(void *opaque, const char *path, const char *whole, unsigned mode,
                     struct failure *fail)
{
    auto_entry struct archive_entry *e = entry_new(path, AE_IFREG, mode);
    auto_close int fd = open(whole, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    auto_free char *block = xcalloc(1, BLOCK);
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st))
        return failure_errno(fail, CLI_USAGE, errno, "cannot read %s", whole);
    archive_entry_set_size(e, st.st_size);
    archive_entry_set_mtime(e, st.st_mtim.tv_sec, 0);
    if (write_header(opaque, e, fail))
        return -1;
    /* One that grows meanwhile is cut, one that shrinks is filled up: libarchive sees to it. */
    while ((n = read(fd, block, BLOCK)) > 0) {
        if (archive_write_data(opaque, block, (size_t)n) < 0)
            return lib_failed(opaque, whole, fail);
    }
    return n < 0 ? failure_errno(fail, CLI_FAILED, errno, "cannot read %s", whole) : 0;
}

int bundle_pack(const char *folder, bool gzip, FILE *out, struct failure *fail)
{
    auto_writer struct archive *a = archive_write_new();
    const struct bundle_visit visit = {pack_file, pack_folder, pack_link, a};

    if (!a)
        abort();
    /* GNU's, because pax headers are files to some small tars. */
    if (archive_write_set_format_gnutar(a) || (gzip && archive_write_add_filter_gzip(a)) ||
        (gzip && archive_write_set_options(a, "gzip:compression-level=1")) ||
        archive_write_open_FILE(a, out))
        return lib_failed(a, "cannot pack", fail);
    if (bundle_walk(folder, &visit, fail))
        return -1;
    if (archive_write_close(a))
        return lib_failed(a, "cannot pack", fail);
    if (fflush(out))
        return failure_errno(fail, CLI_FAILED, errno, "cannot write a temporary file");
    rewind(out);
    return 0;
}

/* ---- unpacking ---- */

bool bundle_name_is_safe(const char *path)
{
    if (*path == '/' || !*path)
        return false;
    while (*path) {
        size_t len = strcspn(path, "/");

        if (len == 2 && memcmp(path, "..", 2) == 0)
            return false;
        path += len + (path[len] == '/');
    }
    return true;
}

/* False: it is passed over. */
static bool acceptable(struct archive_entry *e)
{
    const char *path = archive_entry_pathname(e), *hard = archive_entry_hardlink(e);
    mode_t type = archive_entry_filetype(e);

    if (!path || !bundle_name_is_safe(path))
        return false;
    if (hard)
        return bundle_name_is_safe(hard);
    return type == AE_IFREG || type == AE_IFDIR || type == AE_IFLNK;
}

static int copy_data(struct archive *in, struct archive *out, uint64_t max, uint64_t *total,
                     struct failure *fail)
{
    const void *block;
    la_int64_t offset;
    size_t len;
    int rc;

    while ((rc = archive_read_data_block(in, &block, &len, &offset)) == ARCHIVE_OK) {
        *total += len;
        if (*total > max)
            return failure_set(fail, CLI_FAILED, "what comes out of the guest is more than %llu MiB",
                               (unsigned long long)(max >> 20));
        if (archive_write_data_block(out, block, len, offset) < ARCHIVE_OK)
            return lib_failed(out, "cannot unpack", fail);
    }
    return rc == ARCHIVE_EOF ? 0 : lib_failed(in, "the guest's archive is broken", fail);
}

static int unpack_all(struct archive *in, struct archive *out, uint64_t max, struct failure *fail)
{
    struct archive_entry *e;
    uint64_t total = 0;
    int rc;

    while ((rc = archive_read_next_header(in, &e)) == ARCHIVE_OK || rc == ARCHIVE_WARN) {
        if (!acceptable(e))
            continue;
        archive_entry_set_perm(e, archive_entry_perm(e) & 0777);
        if (archive_entry_hardlink(e))
            archive_entry_unset_size(e); /* one with content would write into what it links to */
        if (archive_write_header(out, e) < ARCHIVE_OK)
            return lib_failed(out, archive_entry_pathname(e), fail);
        if (!archive_entry_hardlink(e) && copy_data(in, out, max, &total, fail))
            return -1;
        if (archive_write_finish_entry(out) < ARCHIVE_WARN)
            return lib_failed(out, archive_entry_pathname(e), fail);
    }
    return rc == ARCHIVE_EOF ? 0 : lib_failed(in, "the guest's archive is broken", fail);
}

/* libarchive checks the names it unpacks for links against the folder that this program is in. */
int bundle_unpack(FILE *in, const char *folder, uint64_t max_bytes, struct failure *fail)
{
    auto_reader struct archive *reader = archive_read_new();
    auto_writer struct archive *disk = archive_write_disk_new();
    auto_close int back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int rc;

    if (!reader || !disk)
        abort();
    archive_read_support_format_tar(reader);
    archive_read_support_filter_gzip(reader);
    archive_write_disk_set_options(disk, ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM |
                                             ARCHIVE_EXTRACT_SECURE_SYMLINKS |
                                             ARCHIVE_EXTRACT_SECURE_NODOTDOT |
                                             ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS);
    if (archive_read_open_FILE(reader, in))
        return lib_failed(reader, "the guest's archive is broken", fail);
    if (back < 0 || chdir(folder))
        return failure_errno(fail, CLI_USAGE, errno, "cannot enter %s", folder);
    rc = unpack_all(reader, disk, max_bytes, fail);
    if (archive_write_close(disk) && rc == 0)
        rc = lib_failed(disk, "cannot unpack", fail);
    if (fchdir(back) && rc == 0)
        rc = failure_errno(fail, CLI_FAILED, errno, "cannot leave %s", folder);
    return rc;
}
