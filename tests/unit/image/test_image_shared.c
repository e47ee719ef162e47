/* Images that share bytes, crashes, full disks, threads. */
#include "tests/unit/image/store_rig.h"

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
    CHECK_OK(image_delete(core, &test_actor, "one", false, &err));
    CHECK_INT(core_contents(core), 2);
    core_again(core);
    CHECK_INT(core_contents(core), 2);
    CHECK_OK(image_delete(core, &test_actor, "two", false, &err));
    CHECK_INT(core_contents(core), 1);
    CHECK_INT(core_leftovers(core), 0);
    CHECK_INT(core_events(core, "image.deleted"), 2);
    CHECK_INT(image_delete(core, &test_actor, "two", false, &err), -1);
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
    CHECK_INT(image_delete(core, &test_actor, "disk", false, &err), -1);
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
    CHECK_INT(image_delete(core, &test_actor, "disk", false, &err), -1);
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
    CHECK_OK(image_delete(core, &test_actor, "disk", false, &err));
    CHECK_INT(image_upload_finish(u, &i, NULL, &err), -1);
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
        struct op *op = NULL;
        struct stat st;

        uuid_new(name);
        r.name = name;
        if (image_create(core, &test_actor, &r, NULL, &made, &op, &replayed, &err) ||
            image_upload_begin(core, &test_actor, name, IMAGE_CONTENT, -1, NULL, &u, &err) ||
            image_upload_write(u, n % 2 ? "equal" : name, 5, &err)) {
            ++*bad;
            continue;
        }
        if (image_upload_finish(u, &full, NULL, &err)) {
            ++*bad;
            continue;
        }
        path = image_path(core, full, IMAGE_CONTENT);
        if (stat(path, &st) || st.st_size != 5 || image_delete(core, &test_actor, name, false, &err))
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
