/* Images on a real database and a real directory: uploads, equal bytes, crashes, full disks. */
#include "tests/unit/image/store_rig.h"

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
        struct op *op = NULL;

        CHECK_INT(image_create(core, &test_actor, &bad[i].r, NULL, &made, &op, &replayed, &err), -1);
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
    struct op *op = NULL;

    core = core_begin(NULL);
    create_only("demo", IMAGE_DISK, IMAGE_FORMAT_RAW);
    CHECK_INT(image_create(core, &test_actor, &r, NULL, &i, &op, &replayed, &err), -1);
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
    struct op *op = NULL;

    secret_sha256_text("a", 1, sha[0]);
    secret_sha256_text("b", 1, sha[1]);
    core = core_begin(NULL);
    CHECK_OK(image_create(core, &test_actor, &r, &idem, &first, &op, &replayed, &err));
    CHECK(!replayed);
    CHECK_OK(image_create(core, &test_actor, &r, &idem, &second, &op, &replayed, &err));
    CHECK(replayed);
    CHECK_STR(second->id, first->id);
    idem.request_sha256 = sha[1];
    CHECK_INT(image_create(core, &test_actor, &r, &idem, &third, &op, &replayed, &err), -1);
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
    CHECK(st.st_blocks * 512 <= 2 * 32768); /* what was reserved behind its end, too, is given back */
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

TEST_MAIN();
