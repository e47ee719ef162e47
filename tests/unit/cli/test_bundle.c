/* Folders as archives and back; what a hostile guest may send instead of its artefacts. */
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/bundle.h"
#include "tests/support/test.h"

#define BLOCK 512
#define MIB   (1u << 20)

/* ---- a folder of one's own ---- */

static char root[64];

static void make_root(void)
{
    snprintf(root, sizeof(root), "/tmp/drover-bundle-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

static void remove_root(void)
{
    CHECK_INT(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static char *below(const char *name)
{
    return xasprintf("%s/%s", root, name);
}

static void put(const char *name, const char *text)
{
    auto_free char *path = below(name);
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static void folder(const char *name)
{
    auto_free char *path = below(name);

    CHECK_INT(mkdir(path, 0755), 0);
}

static bool holds(const char *name, const char *text)
{
    auto_free char *path = below(name), *found = NULL;
    struct error err;

    return file_read(path, 4096, &found, NULL, &err) == 1 && str_eq(found, text);
}

static bool exists(const char *name)
{
    auto_free char *path = below(name);
    struct stat st;

    return lstat(path, &st) == 0;
}

/* ---- archives made by hand, since no honest program makes them ---- */

static void entry(FILE *out, const char *name, char type, const char *link, const char *text, unsigned mode)
{
    unsigned char block[BLOCK] = {0};
    size_t len = text ? strlen(text) : 0;
    unsigned sum = 0;

    snprintf((char *)block, 100, "%s", name);
    snprintf((char *)block + 100, 8, "%07o", mode);
    snprintf((char *)block + 108, 8, "%07o", 0);
    snprintf((char *)block + 116, 8, "%07o", 0);
    snprintf((char *)block + 124, 12, "%011o", (unsigned)len);
    snprintf((char *)block + 136, 12, "%011o", 0);
    memset(block + 148, ' ', 8);
    block[156] = (unsigned char)type;
    snprintf((char *)block + 157, 100, "%s", link ? link : "");
    memcpy(block + 257, "ustar\0" "00", 8);
    for (size_t i = 0; i < BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
    fwrite(block, 1, BLOCK, out);
    if (len) {
        memset(block, 0, sizeof(block));
        memcpy(block, text, len);
        fwrite(block, 1, BLOCK, out);
    }
}

static void finish(FILE *out)
{
    static const char zeros[2 * BLOCK];

    fwrite(zeros, 1, sizeof(zeros), out);
    fflush(out);
    rewind(out);
}

static int unpack(FILE *in, uint64_t max)
{
    auto_free char *to = below("out");
    struct failure fail = {0};

    if (!exists("out"))
        folder("out");
    return bundle_unpack(in, to, max, &fail);
}

/* ---- */

static void round_trip(bool gzip)
{
    auto_free char *from = NULL, *path = NULL;
    auto_fclose FILE *file = tmpfile();
    struct failure fail = {0};
    char target[16] = "";
    struct stat st;

    make_root();
    from = below("in");
    folder("in");
    folder("in/sub dir");
    put("in/sub dir/file", "text");
    put("in/.hidden", "");
    auto_free char *link = below("in/link");
    CHECK_INT(symlink("sub dir/file", link), 0);
    auto_free char *pipe = below("in/pipe");
    CHECK_INT(mkfifo(pipe, 0644), 0);
    CHECK_INT(bundle_pack(from, gzip, file, &fail), 0);
    CHECK_INT(unpack(file, MIB), 0);
    CHECK(holds("out/sub dir/file", "text") && holds("out/link", "text") && exists("out/.hidden"));
    CHECK(!exists("out/pipe"));
    path = below("out/link");
    CHECK_INT(readlink(path, target, sizeof(target)), 12);
    auto_free char *copied = below("out/sub dir/file");
    CHECK_INT(stat(copied, &st), 0);
    CHECK_INT(st.st_mode & 07777, 0755);
    remove_root();
}

TEST(a_folder_comes_back_as_it_went)
{
    round_trip(false);
    round_trip(true);
}

TEST(a_folder_that_is_not_there_is_said_so)
{
    auto_fclose FILE *file = tmpfile();
    struct failure fail = {0};

    CHECK_INT(bundle_pack("/nonexistent/folder", false, file, &fail), -1);
    CHECK(strstr(fail.detail, "/nonexistent/folder") != NULL);
}

TEST(names_that_lead_out_are_passed_over)
{
    static const char *const bad[] = {"../evil", "a/../../evil", "/tmp/drover-bundle-evil", "..", "a/.."};
    auto_fclose FILE *file = tmpfile();

    make_root();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        entry(file, bad[i], '0', NULL, "evil", 0644);
    entry(file, "good", '0', NULL, "good", 0644);
    finish(file);
    CHECK_INT(unpack(file, MIB), 0);
    CHECK(holds("out/good", "good") && !exists("evil") && access("/tmp/drover-bundle-evil", F_OK) != 0);
    remove_root();
}

TEST(nothing_is_written_through_a_link)
{
    auto_fclose FILE *file = tmpfile(), *again = tmpfile();

    make_root();
    folder("outside");
    put("outside/precious", "mine");
    entry(file, "way", '2', "../outside", NULL, 0777);
    entry(file, "way/new", '0', NULL, "evil", 0644);
    entry(file, "way/precious", '0', NULL, "evil", 0644);
    finish(file);
    (void)unpack(file, MIB); /* a failure is fine, an intruder is not */
    CHECK(holds("outside/precious", "mine") && !exists("outside/new"));

    /* a hard link to what a link leads to, with content that would go there */
    entry(again, "way2", '2', "../outside", NULL, 0777);
    entry(again, "hard", '1', "way2/precious", "evil", 0644);
    entry(again, "hard", '0', NULL, "evil", 0644);
    entry(again, "harder", '1', "../outside/precious", "evil", 0644);
    finish(again);
    (void)unpack(again, MIB);
    CHECK(holds("outside/precious", "mine"));
    remove_root();
}

TEST(devices_and_set_id_bits_do_not_come_into_being)
{
    auto_fclose FILE *file = tmpfile();
    struct stat st;

    make_root();
    entry(file, "null", '3', NULL, NULL, 0666);
    entry(file, "block", '4', NULL, NULL, 0666);
    entry(file, "pipe", '6', NULL, NULL, 0666);
    entry(file, "program", '0', NULL, "x", 06755);
    finish(file);
    CHECK_INT(unpack(file, MIB), 0);
    CHECK(!exists("out/null") && !exists("out/block") && !exists("out/pipe"));
    auto_free char *path = below("out/program");
    CHECK_INT(stat(path, &st), 0);
    CHECK_INT(st.st_mode & 07000, 0);
    remove_root();
}

TEST(more_than_the_limit_ends_it)
{
    auto_fclose FILE *file = tmpfile();

    make_root();
    for (int i = 0; i < 4; i++)
        entry(file, "same", '0', NULL, "0123456789", 0644);
    finish(file);
    CHECK_INT(unpack(file, 35), -1);
    rewind(file);
    CHECK_INT(unpack(file, 40), 0);
    remove_root();
}

TEST(what_is_no_archive_is_a_failure)
{
    auto_fclose FILE *file = tmpfile();

    make_root();
    fputs("this is not an archive, and it is longer than a block would have to be to look like one", file);
    rewind(file);
    CHECK_INT(unpack(file, MIB), -1);
    remove_root();
}

TEST(names_are_judged)
{
    CHECK(bundle_name_is_safe("a/b") && bundle_name_is_safe("..a") && bundle_name_is_safe("a..b/c..") &&
          bundle_name_is_safe("./a"));
    CHECK(!bundle_name_is_safe("") && !bundle_name_is_safe("/a") && !bundle_name_is_safe("..") &&
          !bundle_name_is_safe("a/..") && !bundle_name_is_safe("a/../b"));
}

TEST_MAIN();
