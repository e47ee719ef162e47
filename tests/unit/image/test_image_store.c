/* Images on a real database and a real directory: uploads, equal bytes, crashes, full disks. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "tests/support/test.h"
#include "tests/unit/image/fake_core.h"
#include "tests/unit/image/images.h"

static struct bytes b;
static struct core *core; /* of the running test; what a failed check leaves behind is in /tmp */

static struct image *create(const char *name, enum image_kind kind, enum image_format format)
{
    struct image_request r = {.name = name,
                              .description = "d",
                              .cmdline = kind == IMAGE_KERNEL ? "console=ttyS0" : NULL,
                              .kind = kind,
                              .format = format};
    struct image *i = NULL;
    struct error err = ERROR_INIT;
    bool replayed;

    CHECK_OK(image_create(core, &test_actor, &r, NULL, &i, &replayed, &err));
    CHECK(!replayed);
    return i;
}

static void create_only(const char *name, enum image_kind kind, enum image_format format)
{
    image_unref(create(name, kind, format));
}

/* Sends b in pieces of `piece`. */
static int upload(const char *name, enum image_part part, int64_t size, const char *sha256,
                  size_t piece, struct image **ret, struct error *err)
{
    struct image_upload *u = NULL;

    if (image_upload_begin(core, &test_actor, name, part, size, sha256, &u, err))
        return -1;
    for (size_t at = 0; at < b.len; at += piece) {
        if (image_upload_write(u, b.data + at, b.len - at < piece ? b.len - at : piece, err)) {
            image_upload_abort(u);
            return -1;
        }
    }
    return image_upload_finish(u, ret, err);
}

static int upload_only(const char *name, enum image_part part, struct error *err)
{
    struct image *i = NULL;
    int rc = upload(name, part, -1, NULL, 65536, &i, err);

    image_unref(i);
    return rc;
}

static enum image_state state_of(const char *name)
{
    struct error err = ERROR_INIT;
    auto_image struct image *i = image_find(core, PROJECT_DEFAULT, name, &err);

    return i ? i->state : IMAGE_STATE_COUNT;
}

static void make_raw(unsigned seed)
{
    memset(&b, 0, sizeof(b));
    b.len = 300000;
    for (size_t i = 0; i < 100000; i++)
        b.data[i] = (uint8_t)((i * 7 + seed) >> (i % 5));
    b.data[0] = 'r';
}

TEST(creating_is_committed_and_told)
{
    auto_image struct image *i = NULL, *again = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    i = create("demo", IMAGE_KERNEL, IMAGE_FORMAT_NONE);
    CHECK_STR(i->name, "demo");
    CHECK_INT(i->state, IMAGE_EMPTY);
    CHECK(i->seq > 0);
    CHECK_INT(core_events(core, "image.created"), 1);
    core_again(core);
    again = image_find(core, PROJECT_DEFAULT, i->id, &err);
    CHECK(again);
    CHECK_STR(again->name, "demo");
    CHECK_STR(again->cmdline, "console=ttyS0");
    CHECK_STR(again->description, "d");
    CHECK_INT(again->created_at, i->created_at);
    core_end(core);
}

TEST(bad_requests_name_the_member)
{
    static const struct {
        struct image_request r;
        const char *pointer;
    } bad[] = {
        {{.name = "Demo", .kind = IMAGE_ISO}, "/name"},
        {{.name = "", .kind = IMAGE_ISO}, "/name"},
        {{.name = NULL, .kind = IMAGE_ISO}, "/name"},
        {{.name = "a", .kind = IMAGE_DISK}, "/format"},
        {{.name = "a", .kind = IMAGE_ISO, .format = IMAGE_FORMAT_RAW}, "/format"},
        {{.name = "a", .kind = IMAGE_KERNEL, .format = IMAGE_FORMAT_QCOW2}, "/format"},
        {{.name = "a", .kind = IMAGE_ISO, .cmdline = "quiet"}, "/cmdline"},
    };

    core = core_begin(NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct image *made = NULL;
        struct error err = ERROR_INIT;
        bool replayed;

        CHECK_INT(image_create(core, &test_actor, &bad[i].r, NULL, &made, &replayed, &err), -1);
        CHECK_INT(err.code, ERROR_VALIDATION_FAILED);
        CHECK_STR(err.pointer, bad[i].pointer);
    }
    CHECK_INT(core_events(core, "image.created"), 0);
    core_end(core);
}

TEST(a_name_is_taken_once)
{
    struct image_request r = {.name = "demo", .kind = IMAGE_ISO};
    struct image *i = NULL;
    struct error err = ERROR_INIT;
    bool replayed;

    core = core_begin(NULL);
    create_only("demo", IMAGE_DISK, IMAGE_FORMAT_RAW);
    CHECK_INT(image_create(core, &test_actor, &r, NULL, &i, &replayed, &err), -1);
    CHECK_INT(err.code, ERROR_NAME_IN_USE);
    CHECK_INT(core_events(core, "image.created"), 1);
    core_end(core);
}

TEST(a_key_makes_one_image)
{
    char sha[2][SECRET_SHA256_TEXT];
    struct image_request r = {.name = "demo", .kind = IMAGE_ISO};
    struct idem idem = {.key = "k", .request_sha256 = sha[0]};
    auto_image struct image *first = NULL, *second = NULL;
    struct image *third = NULL;
    struct error err = ERROR_INIT;
    bool replayed;

    secret_sha256_text("a", 1, sha[0]);
    secret_sha256_text("b", 1, sha[1]);
    core = core_begin(NULL);
    CHECK_OK(image_create(core, &test_actor, &r, &idem, &first, &replayed, &err));
    CHECK(!replayed);
    CHECK_OK(image_create(core, &test_actor, &r, &idem, &second, &replayed, &err));
    CHECK(replayed);
    CHECK_STR(second->id, first->id);
    idem.request_sha256 = sha[1];
    CHECK_INT(image_create(core, &test_actor, &r, &idem, &third, &replayed, &err), -1);
    CHECK_INT(err.code, ERROR_KEY_REUSED);
    CHECK_INT(core_events(core, "image.created"), 1);
    core_end(core);
}

TEST(uploaded_bytes_are_there_and_stay)
{
    auto_image struct image *i = NULL, *again = NULL;
    auto_free char *path = NULL, *data = NULL;
    char sha[SECRET_SHA256_TEXT];
    struct error err = ERROR_INIT;
    struct stat st;
    size_t len;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_raw(1);
    secret_sha256_text(b.data, b.len, sha);
    CHECK_OK(upload("disk", IMAGE_CONTENT, (int64_t)b.len, sha, 10007, &i, &err));
    CHECK_INT(i->state, IMAGE_READY);
    CHECK(i->files[IMAGE_CONTENT].present);
    CHECK_STR(i->files[IMAGE_CONTENT].sha256, sha);
    CHECK_INT(i->files[IMAGE_CONTENT].size_bytes, b.len);
    CHECK_INT(i->files[IMAGE_CONTENT].virtual_size_bytes, 300032);
    CHECK_INT(core_events(core, "image.ready"), 1);
    CHECK_INT(core_leftovers(core), 0);
    path = image_path(core, i, IMAGE_CONTENT);
    CHECK_INT(file_read(path, BYTES_MAX, &data, &len, &err), 1);
    CHECK_INT(len, b.len);
    CHECK(memcmp(data, b.data, len) == 0);
    CHECK_INT(stat(path, &st), 0);
    CHECK_INT(st.st_mode & 0777, 0444);
    core_again(core);
    again = image_find(core, PROJECT_DEFAULT, "disk", &err);
    CHECK(again && again->state == IMAGE_READY);
    CHECK_STR(again->files[IMAGE_CONTENT].sha256, sha);
    CHECK_INT(again->files[IMAGE_CONTENT].virtual_size_bytes, 300032);
    core_end(core);
}

TEST(runs_of_zeros_become_holes)
{
    auto_image struct image *i = NULL;
    auto_free char *path = NULL;
    struct error err = ERROR_INIT;
    struct stat st;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    memset(&b, 0, sizeof(b));
    b.len = BYTES_MAX;
    b.data[500000] = 1;
    CHECK_OK(upload("disk", IMAGE_CONTENT, -1, NULL, 32768, &i, &err));
    path = image_path(core, i, IMAGE_CONTENT);
    CHECK_INT(stat(path, &st), 0);
    CHECK_INT(st.st_size, BYTES_MAX);
    CHECK(st.st_blocks * 512 <= 2 * 32768);
    core_end(core);
}

TEST(while_bytes_come_the_image_says_so)
{
    struct image_upload *u = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    CHECK_OK(image_upload_begin(core, &test_actor, "disk", IMAGE_CONTENT, 10, NULL, &u, &err));
    CHECK_INT(state_of("disk"), IMAGE_IMPORTING);
    CHECK_INT(core_leftovers(core), 1);
    image_upload_abort(u);
    CHECK_INT(state_of("disk"), IMAGE_EMPTY);
    CHECK_INT(core_leftovers(core), 0);
    CHECK_INT(core_contents(core), 0);
    core_end(core);
}

TEST(one_upload_of_a_part_at_a_time)
{
    struct image_upload *u = NULL, *second = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    CHECK_OK(image_upload_begin(core, &test_actor, "disk", IMAGE_CONTENT, -1, NULL, &u, &err));
    CHECK_INT(image_upload_begin(core, &test_actor, "disk", IMAGE_CONTENT, -1, NULL, &second, &err),
              -1);
    CHECK_INT(err.code, ERROR_IMAGE_STATE_CONFLICT);
    CHECK_INT(core_leftovers(core), 1);
    image_upload_abort(u);
    make_raw(1);
    CHECK_OK(upload_only("disk", IMAGE_CONTENT, &err));
    core_end(core);
}

TEST(a_short_upload_changes_nothing)
{
    struct image *i = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_raw(1);
    CHECK_INT(upload("disk", IMAGE_CONTENT, (int64_t)b.len + 1, NULL, 65536, &i, &err), -1);
    CHECK_INT(err.code, ERROR_INCOMPLETE_BODY);
    CHECK_INT(state_of("disk"), IMAGE_EMPTY);
    CHECK_INT(core_contents(core) + core_leftovers(core), 0);
    CHECK_INT(core_events(core, "image.failed"), 0);
    core_end(core);
}

TEST(a_longer_upload_than_declared_is_refused)
{
    struct image *i = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_raw(1);
    CHECK_INT(upload("disk", IMAGE_CONTENT, (int64_t)b.len - 1, NULL, 65536, &i, &err), -1);
    CHECK_INT(err.code, ERROR_BODY_TOO_LARGE);
    CHECK_INT(core_contents(core) + core_leftovers(core), 0);
    core_end(core);
}

TEST(a_wrong_digest_fails_the_image_until_it_is_right)
{
    char sha[SECRET_SHA256_TEXT];
    auto_image struct image *i = NULL, *failed = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_raw(1);
    secret_sha256_text("something else", 14, sha);
    CHECK_INT(upload("disk", IMAGE_CONTENT, -1, sha, 65536, &i, &err), -1);
    CHECK_INT(err.code, ERROR_DIGEST_MISMATCH);
    CHECK_INT(core_contents(core) + core_leftovers(core), 0);
    CHECK_INT(core_events(core, "image.failed"), 1);
    core_again(core);
    failed = image_find(core, PROJECT_DEFAULT, "disk", &err);
    CHECK_INT(failed->state, IMAGE_FAILED);
    CHECK(strstr(failed->state_reason, "SHA-256"));
    CHECK_OK(upload("disk", IMAGE_CONTENT, -1, NULL, 65536, &i, &err));
    CHECK_INT(i->state, IMAGE_READY);
    CHECK_STR(i->state_reason, "");
    core_end(core);
}

TEST(refused_bytes_fail_the_image)
{
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_qcow2(&b, 3);
    CHECK_INT(upload_only("disk", IMAGE_CONTENT, &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_REFUSED);
    CHECK_INT(state_of("disk"), IMAGE_FAILED);
    b.len = 0;
    CHECK_INT(upload_only("disk", IMAGE_CONTENT, &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_REFUSED);
    CHECK_INT(core_contents(core) + core_leftovers(core), 0);
    core_end(core);
}

TEST(qcow2_is_checked_beyond_its_header)
{
    auto_image struct image *i = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("good", IMAGE_DISK, IMAGE_FORMAT_QCOW2);
    create_only("bad", IMAGE_DISK, IMAGE_FORMAT_QCOW2);
    make_qcow2(&b, 3);
    CHECK_OK(upload("good", IMAGE_CONTENT, -1, NULL, 65536, &i, &err));
    CHECK_INT(i->files[IMAGE_CONTENT].virtual_size_bytes, 1 << 30);
    if (file_exists("/usr/bin/qemu-img")) {
        put64(&b, 3 << 16,
              (1ULL << 63) | (uint64_t)7 << 16); /* a second-level table past the end */
        CHECK_INT(upload_only("bad", IMAGE_CONTENT, &err), -1);
        CHECK_INT(err.code, ERROR_IMAGE_REFUSED);
        CHECK_INT(state_of("bad"), IMAGE_FAILED);
    }
    core_end(core);
}

TEST(the_same_bytes_may_be_sent_again_and_others_not)
{
    auto_image struct image *i = NULL, *j = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_raw(1);
    CHECK_OK(upload("disk", IMAGE_CONTENT, -1, NULL, 65536, &i, &err));
    CHECK_OK(upload("disk", IMAGE_CONTENT, -1, NULL, 65536, &j, &err));
    CHECK_STR(j->files[IMAGE_CONTENT].sha256, i->files[IMAGE_CONTENT].sha256);
    CHECK_INT(core_events(core, "image.ready"), 1);
    make_raw(2);
    CHECK_INT(upload_only("disk", IMAGE_CONTENT, &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_STATE_CONFLICT);
    memset(&b, 0, 512);
    memcpy(b.data, "KDMV", 4); /* refused bytes do not fail an image that is ready */
    CHECK_INT(upload_only("disk", IMAGE_CONTENT, &err), -1);
    CHECK_INT(state_of("disk"), IMAGE_READY);
    CHECK_INT(core_contents(core), 1);
    CHECK_INT(core_leftovers(core), 0);
    core_end(core);
}

TEST(a_kernel_image_is_ready_with_its_kernel)
{
    auto_image struct image *first = NULL, *second = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("demo", IMAGE_KERNEL, IMAGE_FORMAT_NONE);
    memset(&b, 0, sizeof(b));
    memcpy(b.data, "070701", 6);
    b.len = 1000;
    CHECK_OK(upload("demo", IMAGE_INITRD_PART, -1, NULL, 65536, &first, &err));
    CHECK_INT(first->state, IMAGE_IMPORTING);
    CHECK_STR(first->state_reason, "the kernel is still missing");
    make_bzimage(&b);
    CHECK_OK(upload("demo", IMAGE_KERNEL_PART, -1, NULL, 65536, &second, &err));
    CHECK_INT(second->state, IMAGE_READY);
    CHECK(second->files[IMAGE_INITRD_PART].present && second->files[IMAGE_KERNEL_PART].present);
    CHECK_INT(core_events(core, "image.ready"), 1);
    CHECK_INT(core_contents(core), 2);
    core_end(core);
}

TEST(an_initrd_does_not_come_to_a_kernel_in_use)
{
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("demo", IMAGE_KERNEL, IMAGE_FORMAT_NONE);
    make_bzimage(&b);
    CHECK_OK(upload_only("demo", IMAGE_KERNEL_PART, &err));
    CHECK_INT(state_of("demo"), IMAGE_READY);
    memset(&b, 0, sizeof(b));
    memcpy(b.data, "070701", 6);
    b.len = 1000;
    core->users = 1;
    CHECK_INT(upload_only("demo", IMAGE_INITRD_PART, &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_IN_USE);
    core->users = 0;
    CHECK_OK(upload_only("demo", IMAGE_INITRD_PART, &err));
    core_end(core);
}

TEST(parts_belong_to_kinds)
{
    struct image_upload *u = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    create_only("demo", IMAGE_KERNEL, IMAGE_FORMAT_NONE);
    CHECK_INT(image_upload_begin(core, &test_actor, "disk", IMAGE_KERNEL_PART, -1, NULL, &u, &err),
              -1);
    CHECK_INT(err.code, ERROR_IMAGE_STATE_CONFLICT);
    CHECK_INT(image_upload_begin(core, &test_actor, "demo", IMAGE_CONTENT, -1, NULL, &u, &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_STATE_CONFLICT);
    CHECK_INT(image_upload_begin(core, &test_actor, "none", IMAGE_CONTENT, -1, NULL, &u, &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_NOT_FOUND);
    CHECK_INT(image_upload_begin(core, &test_actor, "demo", IMAGE_KERNEL_PART, (int64_t)1 << 40,
                                 NULL, &u, &err),
              -1);
    CHECK_INT(err.code, ERROR_BODY_TOO_LARGE);
    CHECK_INT(core_leftovers(core), 0);
    core_end(core);
}

TEST(equal_bytes_are_stored_once_and_go_with_the_last)
{
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("one", IMAGE_DISK, IMAGE_FORMAT_RAW);
    create_only("two", IMAGE_DISK, IMAGE_FORMAT_RAW);
    create_only("other", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_raw(1);
    CHECK_OK(upload_only("one", IMAGE_CONTENT, &err));
    CHECK_OK(upload_only("two", IMAGE_CONTENT, &err));
    CHECK_INT(core_contents(core), 1);
    make_raw(2);
    CHECK_OK(upload_only("other", IMAGE_CONTENT, &err));
    CHECK_INT(core_contents(core), 2);
    CHECK_OK(image_delete(core, &test_actor, "one", &err));
    CHECK_INT(core_contents(core), 2);
    core_again(core);
    CHECK_INT(core_contents(core), 2);
    CHECK_OK(image_delete(core, &test_actor, "two", &err));
    CHECK_INT(core_contents(core), 1);
    CHECK_INT(core_leftovers(core), 0);
    CHECK_INT(core_events(core, "image.deleted"), 2);
    CHECK_INT(image_delete(core, &test_actor, "two", &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_NOT_FOUND);
    CHECK_INT(state_of("other"), IMAGE_READY);
    core_end(core);
}

TEST(an_image_in_use_is_not_deleted)
{
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_raw(1);
    CHECK_OK(upload_only("disk", IMAGE_CONTENT, &err));
    core->users = 3;
    CHECK_INT(image_delete(core, &test_actor, "disk", &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_IN_USE);
    CHECK_STR(err.detail, "3 VMs are made of the image disk");
    CHECK_INT(core_contents(core), 1);
    core_end(core);
}

static int insert_vm(struct db_tx *tx, void *arg, struct error *err)
{
    struct vm_row row = {.id = "11111111-1111-4111-8111-111111111111",
                         .project_id = PROJECT_DEFAULT,
                         .host_id = HOST_LOCAL,
                         .name = "v",
                         .spec = "{}",
                         .state = "stopped",
                         .state_reason = "",
                         .acceleration = "",
                         .acceleration_reason = "",
                         .image_id = arg,
                         .generation = 1,
                         .created_at = 1,
                         .updated_at = 1};
    int64_t seq;

    return store_vm_insert(tx, &row, &seq, err);
}

/* A VM's row is committed and the registry does not know it yet: the database has the last word. */
TEST(an_image_of_a_vm_just_being_created_is_not_deleted)
{
    auto_image struct image *i = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    i = create("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_raw(1);
    CHECK_OK(upload_only("disk", IMAGE_CONTENT, &err));
    CHECK_OK(db_write(core->db, insert_vm, NULL, i->id, &err));
    CHECK_INT(image_delete(core, &test_actor, "disk", &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_IN_USE);
    CHECK_INT(state_of("disk"), IMAGE_READY);
    CHECK_INT(core_contents(core), 1);
    CHECK_INT(core_leftovers(core), 0);
    core_end(core);
}

TEST(deleting_during_an_upload_ends_the_upload)
{
    struct image_upload *u = NULL;
    struct image *i = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    CHECK_OK(image_upload_begin(core, &test_actor, "disk", IMAGE_CONTENT, -1, NULL, &u, &err));
    CHECK_OK(image_upload_write(u, "x", 1, &err));
    CHECK_OK(image_delete(core, &test_actor, "disk", &err));
    CHECK_INT(image_upload_finish(u, &i, &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_NOT_FOUND);
    CHECK_INT(core_contents(core) + core_leftovers(core), 0);
    core_end(core);
}

/* The three moments at which a crash can leave something in the directories. */
TEST(leftovers_of_a_crash_are_removed_and_nothing_else)
{
    char known[SECRET_SHA256_TEXT], orphan[SECRET_SHA256_TEXT], unknown[SECRET_SHA256_TEXT];
    auto_free char *half = NULL, *orphan_path = NULL, *unknown_path = NULL, *note = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_raw(1);
    secret_sha256_text(b.data, b.len, known);
    CHECK_OK(upload_only("disk", IMAGE_CONTENT, &err));

    /* while bytes came */
    half = xasprintf("%s/22222222-2222-4222-8222-222222222222", core->images->tmp_dir);
    CHECK_OK(file_write_atomic(half, "x", 1, 0600, &err));
    /* between the link and the commit, or between the commit of a deletion and the unlink */
    secret_sha256_text("orphan", 6, orphan);
    orphan_path = image_content_path(core->images, orphan);
    CHECK_OK(file_write_atomic(orphan_path, "orphan", 6, 0444, &err));
    image_content_doubt(core->images, orphan);
    /* between the commit and the end */
    image_content_doubt(core->images, known);
    /* not ours to remove: content that a lost database knew, and a person's note */
    secret_sha256_text("unknown", 7, unknown);
    unknown_path = image_content_path(core->images, unknown);
    CHECK_OK(file_write_atomic(unknown_path, "unknown", 7, 0444, &err));
    note = xasprintf("%s/README", core->images->dir);
    CHECK_OK(file_write_atomic(note, "note", 4, 0600, &err));

    core_again(core);
    CHECK_INT(core_leftovers(core), 0);
    CHECK(!file_exists(orphan_path));
    CHECK(file_exists(unknown_path));
    CHECK(file_exists(note));
    CHECK_INT(state_of("disk"), IMAGE_READY);
    CHECK_INT(core_contents(core), 3);
    core_end(core);
}

TEST(an_image_whose_content_is_gone_says_so_and_can_be_mended)
{
    auto_image struct image *i = NULL, *gone = NULL;
    auto_free char *path = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_raw(1);
    CHECK_OK(upload("disk", IMAGE_CONTENT, -1, NULL, 65536, &i, &err));
    path = image_path(core, i, IMAGE_CONTENT);
    CHECK_INT(unlink(path), 0);
    core_again(core);
    gone = image_find(core, PROJECT_DEFAULT, "disk", &err);
    CHECK_INT(gone->state, IMAGE_FAILED);
    CHECK(strstr(gone->state_reason, "missing"));
    CHECK_OK(upload_only("disk", IMAGE_CONTENT, &err));
    CHECK_INT(state_of("disk"), IMAGE_READY);
    CHECK(file_exists(path));
    core_end(core);
}

TEST(the_floor_of_free_space_is_kept)
{
    struct image_upload *u = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    CHECK_INT(image_upload_begin(core, &test_actor, "disk", IMAGE_CONTENT, (int64_t)1 << 50, NULL,
                                 &u, &err),
              -1);
    CHECK_INT(err.code, ERROR_INSUFFICIENT_STORAGE);
    CHECK_OK(settings_set(core->settings, "free_space_floor_mib", "1048576", &err));
    core->settings->free_space_floor_mib = (int64_t)1 << 30;
    CHECK_INT(image_upload_begin(core, &test_actor, "disk", IMAGE_CONTENT, 1, NULL, &u, &err), -1);
    CHECK_INT(err.code, ERROR_INSUFFICIENT_STORAGE);
    CHECK(*err.remedy);
    CHECK_INT(core_leftovers(core), 0);
    CHECK_INT(state_of("disk"), IMAGE_EMPTY);
    core_end(core);
}

TEST(a_full_disk_is_said_and_leaves_nothing)
{
    struct rlimit old, small;
    struct error err = ERROR_INIT;
    int rc;

    core = core_begin(NULL);
    create_only("disk", IMAGE_DISK, IMAGE_FORMAT_RAW);
    create_only("holes", IMAGE_DISK, IMAGE_FORMAT_RAW);
    make_raw(1);
    signal(SIGXFSZ, SIG_IGN);
    CHECK_INT(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 65536, .rlim_max = old.rlim_max};
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &small), 0);
    rc = upload_only("disk", IMAGE_CONTENT, &err);
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &old), 0);
    CHECK_INT(rc, -1);
    CHECK_INT(err.code, ERROR_INSUFFICIENT_STORAGE);
    memset(&b, 0, sizeof(b)); /* nothing is written until the end, which then does not fit */
    b.len = BYTES_MAX;
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &small), 0);
    rc = upload_only("holes", IMAGE_CONTENT, &err);
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &old), 0);
    CHECK_INT(rc, -1);
    CHECK_INT(err.code, ERROR_INSUFFICIENT_STORAGE);
    signal(SIGXFSZ, SIG_DFL);
    CHECK_INT(core_contents(core) + core_leftovers(core), 0);
    CHECK_INT(state_of("disk"), IMAGE_EMPTY);
    make_raw(1);
    CHECK_OK(upload_only("disk", IMAGE_CONTENT, &err));
    core_end(core);
}

TEST(pages_are_in_order_of_creation)
{
    struct image **page;
    size_t count;
    bool more;
    int64_t after;

    core = core_begin(NULL);
    create_only("a", IMAGE_ISO, IMAGE_FORMAT_NONE);
    create_only("b", IMAGE_ISO, IMAGE_FORMAT_NONE);
    create_only("c", IMAGE_ISO, IMAGE_FORMAT_NONE);
    image_list(core, PROJECT_DEFAULT, 0, 2, &page, &count, &more);
    CHECK_INT(count, 2);
    CHECK(more);
    CHECK_STR(page[0]->name, "a");
    after = page[1]->seq;
    image_unref(page[0]);
    image_unref(page[1]);
    free(page);
    image_list(core, PROJECT_DEFAULT, after, 2, &page, &count, &more);
    CHECK_INT(count, 1);
    CHECK(!more);
    CHECK_STR(page[0]->name, "c");
    image_unref(page[0]);
    free(page);
    image_list(core, "another project", 0, 2, &page, &count, &more);
    CHECK_INT(count, 0);
    free(page);
    core_end(core);
}

/* Eight threads create, fill, read and delete; equal bytes are shared all the time. */
static void *race(void *arg)
{
    struct image_request r = {.kind = IMAGE_DISK, .format = IMAGE_FORMAT_RAW};
    _Atomic int *bad = arg;

    for (int n = 0; n < 20; n++) {
        auto_image struct image *made = NULL, *full = NULL;
        auto_free char *path = NULL;
        struct image_upload *u = NULL;
        struct error err = ERROR_INIT;
        char name[UUID_TEXT];
        bool replayed;
        struct stat st;

        uuid_new(name);
        r.name = name;
        if (image_create(core, &test_actor, &r, NULL, &made, &replayed, &err) ||
            image_upload_begin(core, &test_actor, name, IMAGE_CONTENT, -1, NULL, &u, &err) ||
            image_upload_write(u, n % 2 ? "equal" : name, 5, &err)) {
            ++*bad;
            continue;
        }
        if (image_upload_finish(u, &full, &err)) {
            ++*bad;
            continue;
        }
        path = image_path(core, full, IMAGE_CONTENT);
        if (stat(path, &st) || st.st_size != 5 || image_delete(core, &test_actor, name, &err))
            ++*bad;
    }
    return NULL;
}

TEST(threads_do_not_take_each_others_content)
{
    pthread_t threads[8];
    _Atomic int bad = 0;

    core = core_begin(NULL);
    for (int i = 0; i < 8; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, race, &bad), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(bad, 0);
    CHECK_INT(core_contents(core) + core_leftovers(core), 0);
    core_end(core);
}

TEST_MAIN();
