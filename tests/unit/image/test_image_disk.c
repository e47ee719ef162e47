/* The disks that we write ourselves, as QEMU's own tools see them. */
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/exec.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "tests/support/test.h"
#include "tests/unit/image/fake_core.h"
#include "tests/unit/image/images.h"

#define MIB ((int64_t)1 << 20)
#define GIB ((int64_t)1 << 30)
#define TIB ((int64_t)1 << 40)

static struct bytes b;
static struct core *core;

static int qemu_img(const char *const *words, struct exec_result *r, struct error *err)
{
    const char *argv[16] = {"/usr/bin/qemu-img"};
    struct exec_options o = {.argv = argv, .timeout_ms = 30000, .output_max = 65536};

    for (int i = 0; words[i]; i++)
        argv[i + 1] = words[i];
    return exec_run(&o, r, err);
}
#define QEMU_IMG(r, ...) qemu_img((const char *const[]){__VA_ARGS__, NULL}, &(r), &err)

static json_t *info(const char *path)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;
    json_t *parsed;

    CHECK_OK(QEMU_IMG(r, "info", "--output=json", "-f", "qcow2", path));
    parsed = json_loads(r.out, 0, NULL);
    CHECK(parsed);
    return parsed;
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void check_clean(const char *path)
{
    auto_exec_result struct exec_result r = {0};
    struct error err = ERROR_INIT;

    CHECK_OK(QEMU_IMG(r, "check", "-f", "qcow2", path));
    CHECK(strstr(r.out, "No errors were found"));
}

static struct image *image_of(const char *name, enum image_format format)
{
    struct image_request r = {.name = name, .kind = IMAGE_DISK, .format = format};
    struct image *made = NULL, *full = NULL;
    struct image_upload *u = NULL;
    struct error err = ERROR_INIT;
    bool replayed;
    struct op *op = NULL;

    CHECK_OK(image_create(core, &test_actor, &r, NULL, &made, &op, &replayed, &err));
    image_unref(made);
    CHECK_OK(image_upload_begin(core, &test_actor, name, IMAGE_CONTENT, -1, NULL, &u, &err));
    CHECK_OK(image_upload_write(u, b.data, b.len, &err));
    CHECK_OK(image_upload_finish(u, &full, NULL, &err));
    return full;
}

static char *path_of(const char *name)
{
    return xasprintf("%s/%s", core->dir, name);
}

static void make_raw(void)
{
    memset(&b, 0, sizeof(b));
    b.len = BYTES_MAX;
    for (size_t i = 0; i < b.len; i++)
        b.data[i] = (uint8_t)(i * 31 >> 3);
}

TEST(a_blank_disk_of_any_size_is_what_qemu_expects)
{
    static const int64_t sizes[] = {1,        512, MIB,     512 * MIB - 1, 512 * MIB, 512 * MIB + 1,
                                    10 * GIB, TIB, 64 * TIB};

    core = core_begin(NULL);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        auto_free char *path = path_of("disk");
        auto_json json_t *is = NULL;
        struct error err = ERROR_INIT;
        struct stat st;

        CHECK_OK(image_blank_create(core, path, sizes[i], &err));
        is = info(path);
        CHECK_INT(json_integer_value(json_object_get(is, "virtual-size")),
                  (sizes[i] + MIB - 1) / MIB * MIB);
        CHECK(!json_object_get(is, "backing-filename"));
        check_clean(path);
        CHECK_INT(stat(path, &st), 0);
        CHECK(st.st_size <= 2 * MIB);
        CHECK(st.st_blocks * 512 <= 64 * 1024);
        CHECK_INT(st.st_mode & 0777, 0600);
        CHECK_INT(unlink(path), 0);
    }
    core_end(core);
}

TEST(our_own_inspector_agrees)
{
    auto_free char *path = NULL;
    struct image_facts facts;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    path = path_of("disk");
    CHECK_OK(image_blank_create(core, path, 5 * GIB, &err));
    {
        auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);

        CHECK_OK(image_inspect(fd, IMAGE_DISK, IMAGE_CONTENT, IMAGE_FORMAT_QCOW2, &facts, &err));
    }
    CHECK_INT(facts.virtual_size_bytes, 5 * GIB);
    core_end(core);
}

TEST(an_overlay_names_its_backing_file_and_format)
{
    static const enum image_format formats[] = {IMAGE_FORMAT_RAW, IMAGE_FORMAT_QCOW2};

    core = core_begin(NULL);
    for (int i = 0; i < 2; i++) {
        auto_free char *path = path_of(i ? "over-qcow2" : "over-raw"), *backing = NULL;
        auto_image struct image *image = NULL;
        auto_json json_t *is = NULL;
        struct error err = ERROR_INIT;

        if (i)
            make_qcow2(&b, 3);
        else
            make_raw();
        image = image_of(i ? "q" : "r", formats[i]);
        backing = image_path(core, image, IMAGE_CONTENT);
        CHECK_OK(image_overlay_create(core, image, path, 3 * GIB, &err));
        is = info(path);
        CHECK_STR(text_of(is, "backing-filename"), backing);
        CHECK_STR(text_of(is, "backing-filename-format"), image_format_name(formats[i]));
        CHECK_INT(json_integer_value(json_object_get(is, "virtual-size")), 3 * GIB);
        check_clean(path);
    }
    core_end(core);
}

TEST(an_overlay_reads_as_its_image_and_takes_writes)
{
    auto_exec_result struct exec_result r = {0};
    auto_free char *path = NULL, *flat = NULL, *data = NULL, *backing = NULL, *after = NULL;
    auto_image struct image *image = NULL;
    const char *argv[] = {
        "/usr/bin/qemu-io", "-f", "qcow2", "-c", "write -P 7 0 64k", "-c", "read -P 7 0 64k", "-c",
        "read -P 0 2M 1M",  NULL, NULL};
    struct exec_options o = {.argv = argv, .timeout_ms = 30000, .output_max = 4096};
    struct error err = ERROR_INIT;
    size_t len;

    core = core_begin(NULL);
    make_raw();
    image = image_of("r", IMAGE_FORMAT_RAW);
    path = path_of("over");
    flat = path_of("flat");
    CHECK_OK(image_overlay_create(core, image, path, 4 * MIB, &err));
    CHECK_OK(QEMU_IMG(r, "convert", "-f", "qcow2", "-O", "raw", path, flat));
    CHECK_INT(file_read(flat, 8 * BYTES_MAX, &data, &len, &err), 1);
    CHECK_INT(len, 4 * MIB);
    CHECK(memcmp(data, b.data, b.len) == 0);
    argv[9] = path;
    CHECK_OK(exec_run(&o, &r, &err));
    CHECK(!strstr(r.out, "verification failed"));
    check_clean(path);
    backing = image_path(core, image, IMAGE_CONTENT);
    CHECK_INT(file_read(backing, BYTES_MAX, &after, &len, &err), 1);
    CHECK(memcmp(after, b.data, b.len) == 0);
    core_end(core);
}

TEST(an_overlay_is_never_smaller_than_its_image)
{
    auto_free char *path = NULL;
    auto_image struct image *image = NULL;
    auto_json json_t *is = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    make_qcow2(&b, 3);
    image = image_of("q", IMAGE_FORMAT_QCOW2);
    path = path_of("over");
    CHECK_OK(image_overlay_create(core, image, path, 0, &err));
    is = info(path);
    CHECK_INT(json_integer_value(json_object_get(is, "virtual-size")), GIB);
    core_end(core);
}

TEST(a_boot_sector_becomes_a_disk_that_firmware_boots_from)
{
    auto_free char *path = NULL;
    auto_image struct image *image = NULL;
    auto_json json_t *is = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    memset(&b, 0, sizeof(b));
    b.len = 512;
    b.data[510] = 0x55, b.data[511] = 0xaa;
    image = image_of("r", IMAGE_FORMAT_RAW);
    path = path_of("over");
    CHECK_OK(image_overlay_create(core, image, path, 0, &err));
    is = info(path);
    CHECK_INT(json_integer_value(json_object_get(is, "virtual-size")), MIB);
    core_end(core);
}

TEST(what_the_guest_wrote_is_never_replaced)
{
    auto_free char *path = NULL, *part = NULL, *data = NULL;
    auto_image struct image *image = NULL;
    struct error err = ERROR_INIT;
    size_t len;

    core = core_begin(NULL);
    make_raw();
    image = image_of("r", IMAGE_FORMAT_RAW);
    path = path_of("disk");
    part = path_of("disk.part");
    CHECK_OK(file_write_atomic(path, "precious", 8, 0600, &err));
    CHECK_OK(file_write_atomic(part, "half", 4, 0600, &err));
    CHECK_OK(image_overlay_create(core, image, path, GIB, &err));
    CHECK_OK(image_blank_create(core, path, GIB, &err));
    CHECK_INT(file_read(path, 100, &data, &len, &err), 1);
    CHECK_STR(data, "precious");
    CHECK(!file_exists(part));
    core_end(core);
}

TEST(half_a_disk_of_a_crash_is_made_anew)
{
    auto_free char *path = NULL, *part = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    path = path_of("disk");
    part = path_of("disk.part");
    CHECK_OK(file_write_atomic(part, "half", 4, 0600, &err));
    CHECK_OK(image_blank_create(core, path, GIB, &err));
    CHECK(!file_exists(part));
    check_clean(path);
    core_end(core);
}

TEST(impossible_disks_are_refused)
{
    auto_free char *path = NULL, *away = NULL;
    auto_image struct image *image = NULL;
    struct error err = ERROR_INIT;

    core = core_begin(NULL);
    path = path_of("disk");
    away = path_of("no/such/directory");
    CHECK_INT(image_blank_create(core, path, 0, &err), -1);
    CHECK_INT(image_blank_create(core, path, -1, &err), -1);
    CHECK_INT(image_blank_create(core, path, 64 * TIB + 1, &err), -1);
    CHECK_INT(image_blank_create(core, path, INT64_MAX, &err), -1);
    CHECK_INT(err.code, ERROR_VALIDATION_FAILED);
    CHECK_INT(image_blank_create(core, away, GIB, &err), -1);
    CHECK_INT(err.code, ERROR_SYSTEM);
    make_raw();
    image = image_of("r", IMAGE_FORMAT_RAW);
    {
        auto_free char *content = image_path(core, image, IMAGE_CONTENT);

        CHECK_INT(unlink(content), 0);
    }
    CHECK_INT(image_overlay_create(core, image, path, GIB, &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_STATE_CONFLICT);
    CHECK(!file_exists(path));
    core_end(core);
}

TEST(a_disk_is_made_in_no_time)
{
    int64_t best = INT64_MAX;

    core = core_begin(NULL);
    for (int i = 0; i < 10; i++) {
        auto_free char *path = xasprintf("%s/disk%d", core->dir, i);
        struct error err = ERROR_INIT;
        int64_t start = clock_monotonic_ns();

        CHECK_OK(image_blank_create(core, path, 10 * GIB, &err));
        if (clock_monotonic_ns() - start < best)
            best = clock_monotonic_ns() - start;
    }
    printf("# best of 10: %.2f ms\n", (double)best / 1e6);
    CHECK(best < 20 * 1000000LL);
    core_end(core);
}

static int run_tests(int argc, char **argv);
#define main run_tests
static TEST_MAIN();
#undef main

int main(int argc, char **argv)
{
    if (!file_exists("/usr/bin/qemu-img") || !file_exists("/usr/bin/qemu-io")) {
        printf("1..0 # SKIP qemu-img is missing (package qemu-utils)\n");
        return 77;
    }
    return run_tests(argc, argv);
}
