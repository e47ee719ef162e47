/* The inspector: what it lets in, and a table of what it must not. */
#include <fcntl.h>
#include <unistd.h>

#include "service/base/cleanup.h"
#include "service/vm/image.h"
#include "tests/support/test.h"
#include "tests/unit/image/images.h"

static struct bytes b;

static int inspect(enum image_kind kind, enum image_part part, enum image_format format,
                   struct image_facts *facts, struct error *err)
{
    auto_close int fd = bytes_fd(&b);

    return image_inspect(fd, kind, part, format, facts, err);
}

static int inspect_disk(enum image_format format, struct image_facts *facts, struct error *err)
{
    return inspect(IMAGE_DISK, IMAGE_CONTENT, format, facts, err);
}

TEST(good_qcow2_is_accepted_with_its_size)
{
    struct image_facts facts = {0};
    struct error err = ERROR_INIT;

    make_qcow2(&b, 2);
    CHECK_OK(inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err));
    CHECK_INT(facts.virtual_size_bytes, 1 << 30);
    make_qcow2(&b, 3);
    CHECK_OK(inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err));
    CHECK_INT(facts.virtual_size_bytes, 1 << 30);
}

TEST(known_features_are_accepted)
{
    struct image_facts facts;
    struct error err = ERROR_INIT;

    make_qcow2(&b, 3); /* zstd */
    put64(&b, 72, 1 << 3);
    put32(&b, 100, 112);
    b.data[104] = 1;
    CHECK_OK(inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err));
    make_qcow2(&b, 3); /* subclusters: the first-level table covers half as much */
    put64(&b, 72, 1 << 4);
    put32(&b, 36, 4);
    CHECK_OK(inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err));
    make_qcow2(&b, 3); /* lazy refcounts, bitmaps: compatible and autoclear bits say nothing */
    put64(&b, 80, UINT64_MAX);
    put64(&b, 88, UINT64_MAX);
    CHECK_OK(inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err));
    make_qcow2(&b, 3); /* backing format, feature table, an unknown extension */
    put32(&b, 104, 0xe2792aca);
    put32(&b, 108, 5);
    memcpy(b.data + 112, "qcow2", 5);
    put32(&b, 120, 0x6803f857);
    put32(&b, 124, 48);
    put32(&b, 176, 0x12345678);
    put32(&b, 180, 0);
    CHECK_OK(inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err));
    make_qcow2(&b, 3);
    put32(&b, 60, 3); /* snapshots */
    put64(&b, 64, 3 << 16);
    CHECK_OK(inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err));
}

struct put {
    uint16_t at;
    uint8_t size; /* 0: the file's length becomes value */
    uint64_t value;
};

/* Each spoils a good version 3 header in one way. */
static const struct hostile {
    const char *name, *says;
    struct put puts[5];
} hostiles[] = {
    {"backing file", "backing file", {{8, 8, 0x200}, {16, 4, 11}}},
    {"backing file at 1", "backing file", {{8, 8, 1}, {16, 4, 1}}},
    {"backing file far away", "backing file", {{8, 8, UINT64_MAX}, {16, 4, 5}}},
    {"backing offset without a name", "backing file", {{8, 8, 0x200}}},
    {"backing name without an offset", "backing file", {{16, 4, 1023}}},
    {"backing name of 4 GiB", "backing file", {{16, 4, UINT32_MAX}}},
    {"external data file", "another file", {{72, 8, 4}}},
    {"external data file and dirty", "another file", {{72, 8, 5}}},
    {"external data file by extension", "external data file", {{104, 4, 0x44415441}, {108, 4, 8}}},
    {"external data file in the second extension",
     "external data file",
     {{104, 4, 0x6803f857}, {108, 4, 1}, {120, 4, 0x44415441}, {124, 4, 8}}},
    {"external data file with raw bit", "another file", {{72, 8, 4}, {88, 8, 2}}},
    {"dirty", "not closed cleanly", {{72, 8, 1}}},
    {"corrupt", "corrupt", {{72, 8, 2}}},
    {"unknown feature 5", "not known", {{72, 8, 1 << 5}}},
    {"unknown feature 63", "not known", {{72, 8, 1ULL << 63}}},
    {"every feature", "another file", {{72, 8, UINT64_MAX}}},
    {"AES", "encrypted", {{32, 4, 1}}},
    {"LUKS", "encrypted", {{32, 4, 2}}},
    {"unknown encryption", "encrypted", {{32, 4, 0xffffffff}}},
    {"crypto extension without the method", "encrypted", {{104, 4, 0x0537be77}, {108, 4, 16}}},
    {"version 0", "versions 2 and 3", {{4, 4, 0}}},
    {"version 1", "versions 2 and 3", {{4, 4, 1}}},
    {"version 4", "versions 2 and 3", {{4, 4, 4}}},
    {"version 2^31", "versions 2 and 3", {{4, 4, 1U << 31}}},
    {"clusters of 1 byte", "cluster size", {{20, 4, 0}}},
    {"clusters of 256 bytes", "cluster size", {{20, 4, 8}}},
    {"clusters of 4 MiB", "cluster size", {{20, 4, 22}}},
    {"clusters of 2^63", "cluster size", {{20, 4, 63}}},
    {"clusters of 2^64", "cluster size", {{20, 4, 64}}},
    {"clusters of 2^(2^32-1)", "cluster size", {{20, 4, UINT32_MAX}}},
    {"no size", "absurd disk size", {{24, 8, 0}}},
    {"64 TiB and a byte", "absurd disk size", {{24, 8, (1ULL << 46) + 1}}},
    {"a negative size", "absurd disk size", {{24, 8, UINT64_MAX}}},
    {"2^63", "absurd disk size", {{24, 8, 1ULL << 63}}},
    {"no first-level table", "first-level", {{36, 4, 0}}},
    {"first-level table too short", "first-level", {{36, 4, 1}}},
    {"first-level table too short for subclusters", "first-level", {{72, 8, 1 << 4}, {36, 4, 3}}},
    {"first-level table of 32 GiB", "first-level", {{36, 4, UINT32_MAX}}},
    {"first-level table above QEMU's limit", "first-level", {{36, 4, (32 << 20) / 8 + 1}}},
    {"first-level table past the end", "first-level", {{40, 8, 4 << 16}}},
    {"first-level table far away", "first-level", {{40, 8, 1ULL << 62}}},
    {"first-level table that wraps", "first-level", {{40, 8, 0xffffffffffff0000}}},
    {"first-level table in the header", "first-level", {{40, 8, 0}}},
    {"first-level table off its cluster", "first-level", {{40, 8, (3 << 16) + 8}}},
    {"first-level table half outside", "first-level", {{0, 0, (3 << 16) + 8}}},
    {"no reference counts", "reference count table", {{56, 4, 0}}},
    {"reference counts of 256 TiB", "reference count table", {{56, 4, UINT32_MAX}}},
    {"reference counts above QEMU's limit",
     "reference count table",
     {{56, 4, (8 << 20 >> 16) + 1}}},
    {"reference counts past the end", "reference count table", {{48, 8, 4 << 16}}},
    {"reference counts in the header", "reference count table", {{48, 8, 0}}},
    {"reference counts that wrap", "reference count table", {{48, 8, 0xffffffffffff0000}}},
    {"reference counts off their cluster", "reference count table", {{48, 8, 1}}},
    {"reference count width 2^7", "reference count width", {{96, 4, 7}}},
    {"reference count width 2^(2^32-1)", "reference count width", {{96, 4, UINT32_MAX}}},
    {"header of 0 bytes", "impossible length", {{100, 4, 0}}},
    {"header of 72 bytes", "impossible length", {{100, 4, 72}}},
    {"header of 105 bytes", "impossible length", {{100, 4, 105}}},
    {"header longer than a cluster", "impossible length", {{100, 4, (1 << 16) + 8}}},
    {"header of 4 GiB", "impossible length", {{100, 4, 0xfffffff8}}},
    {"zstd without its feature bit", "compression", {{100, 4, 112}, {104, 1, 1}}},
    {"feature bit without zstd", "compression", {{72, 8, 8}, {100, 4, 112}}},
    {"unknown compression", "compression", {{72, 8, 8}, {100, 4, 112}, {104, 1, 2}}},
    {"feature bit without the field", "compression", {{72, 8, 8}}},
    {"subclusters in small clusters",
     "subclusters",
     {{72, 8, 16}, {20, 4, 9}, {24, 8, 1 << 20}, {40, 8, 3 << 16}, {36, 4, 64}}},
    {"extension of 4 GiB", "does not fit", {{104, 4, 0x12345678}, {108, 4, UINT32_MAX}}},
    {"extension longer than the cluster", "does not fit", {{104, 4, 0x12345678}, {108, 4, 65536}}},
    {"65537 snapshots", "snapshot table", {{60, 4, 65537}, {64, 8, 3 << 16}}},
    {"2^32-1 snapshots", "snapshot table", {{60, 4, UINT32_MAX}, {64, 8, 3 << 16}}},
    {"snapshots past the end", "snapshot table", {{60, 4, 1}, {64, 8, 4 << 16}}},
    {"snapshots in the header", "snapshot table", {{60, 4, 1}, {64, 8, 0}}},
    {"snapshots that wrap", "snapshot table", {{60, 4, 65536}, {64, 8, 0xffffffffffff0000}}},
    {"nothing after the header", "first-level", {{0, 0, 104}}},
    {"cut off in the header", "not a qcow2", {{0, 0, 71}}},
    {"only the magic", "not a qcow2", {{0, 0, 4}}},
    {"another magic", "not a qcow2", {{3, 1, 0xfa}}},
    {"VMDK", "not a qcow2", {{0, 4, 0x4b444d56}}},
};

static void spoil(const struct hostile *h)
{
    for (int i = 0; i < 5; i++) {
        const struct put *p = &h->puts[i];

        if (p->size == 8)
            put64(&b, p->at, p->value);
        else if (p->size == 4)
            put32(&b, p->at, (uint32_t)p->value);
        else if (p->size == 1)
            b.data[p->at] = (uint8_t)p->value;
        else if (p->value)
            b.len = (size_t)p->value;
    }
}

TEST(hostile_qcow2_headers_are_refused_with_the_reason)
{
    CHECK(sizeof(hostiles) / sizeof(hostiles[0]) >= 60);
    for (size_t i = 0; i < sizeof(hostiles) / sizeof(hostiles[0]); i++) {
        struct image_facts facts = {.virtual_size_bytes = -7};
        struct error err = ERROR_INIT;
        int rc;

        make_qcow2(&b, 3);
        spoil(&hostiles[i]);
        rc = inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err);
        if (rc != -1 || err.code != ERROR_IMAGE_REFUSED || !strstr(err.detail, hostiles[i].says)) {
            printf("# %s: %d %s\n", hostiles[i].name, rc, err.detail);
            CHECK(!"refused with the reason");
        }
        CHECK_INT(facts.virtual_size_bytes, -7);
    }
}

TEST(hostile_version_2_headers_are_refused)
{
    struct image_facts facts;
    struct error err = ERROR_INIT;

    make_qcow2(&b, 2);
    put64(&b, 8, 0x200);
    put32(&b, 16, 5);
    CHECK_INT(inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err), -1);
    make_qcow2(&b, 2); /* in version 2 extensions follow at 72 */
    put32(&b, 72, 0x44415441);
    put32(&b, 76, 8);
    CHECK_INT(inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err), -1);
    CHECK(strstr(err.detail, "external data file"));
    make_qcow2(&b, 2);
    put32(&b, 32, 1);
    CHECK_INT(inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err), -1);
}

TEST(endless_extensions_end)
{
    struct image_facts facts;
    struct error err = ERROR_INIT;

    make_qcow2(&b, 3);
    for (size_t at = 104; at + 8 <= 65536; at += 8)
        put32(&b, at, 0x12345678);
    CHECK_INT(inspect_disk(IMAGE_FORMAT_QCOW2, &facts, &err), -1);
    CHECK(strstr(err.detail, "too many"));
}

TEST(a_raw_disk_is_anything_without_a_magic)
{
    struct image_facts facts = {0};
    struct error err = ERROR_INIT;

    memset(&b, 0, sizeof(b));
    b.len = 512;
    CHECK_OK(inspect_disk(IMAGE_FORMAT_RAW, &facts, &err));
    CHECK_INT(facts.virtual_size_bytes, 512);
    b.len = 513;
    CHECK_OK(inspect_disk(IMAGE_FORMAT_RAW, &facts, &err));
    CHECK_INT(facts.virtual_size_bytes, 1024);
    b.len = 1;
    CHECK_OK(inspect_disk(IMAGE_FORMAT_RAW, &facts, &err));
    b.data[510] = 0x55, b.data[511] = 0xaa;
    memcpy(b.data + 8, "QFI\xfb", 4); /* not at the beginning */
    b.len = 4096;
    CHECK_OK(inspect_disk(IMAGE_FORMAT_RAW, &facts, &err));
}

TEST(a_raw_disk_with_a_formats_magic_is_refused)
{
    static const struct {
        size_t at, len;
        const char *magic, *says;
    } raws[] = {
        {0, 4, "QFI\xfb", "qcow2"},
        {0, 4, "QED\0", "QED"},
        {0, 4, "KDMV", "VMDK"},
        {0, 4, "COWD", "VMDK"},
        {0, 21, "# Disk DescriptorFile", "VMDK"},
        {0, 8, "vhdxfile", "VHDX"},
        {0, 8, "conectix", "VHD"},
        {64, 4, "\x7f\x10\xda\xbe", "VDI"},
        {0, 16, "WithoutFreeSpace", "Parallels"},
        {0, 16, "WithouFreSpacExt", "Parallels"},
        {0, 22, "Bochs Virtual HD Image", "Bochs"},
        {0, 6, "LUKS\xba\xbe", "LUKS"},
        {0, 34, "#!/bin/sh\n#V2.0 Format\nmodprobe cl", "cloop"},
        {0, 6,
         "\xfd"
         "7zXZ\0",
         "xz"},
        {0, 3, "\x1f\x8b\x08", "gzip"},
        {0, 4, "\x28\xb5\x2f\xfd", "zstd"},
        {0, 10, "BZh91AY&SY", "bzip2"},
        {0, 4, "PK\3\4", "zip"},
        {0, 6, "7z\xbc\xaf\x27\x1c", "7-Zip"},
    };

    for (size_t i = 0; i < sizeof(raws) / sizeof(raws[0]); i++) {
        struct image_facts facts;
        struct error err = ERROR_INIT;

        memset(&b, 0, sizeof(b));
        b.len = 65536;
        memcpy(b.data + raws[i].at, raws[i].magic, raws[i].len);
        CHECK_INT(inspect_disk(IMAGE_FORMAT_RAW, &facts, &err), -1);
        CHECK_INT(err.code, ERROR_IMAGE_REFUSED);
        CHECK(strstr(err.detail, raws[i].says));
        CHECK(*err.remedy);
    }
}

TEST(empty_and_special_files_are_refused)
{
    struct image_facts facts;
    struct error err = ERROR_INIT;
    auto_close int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    auto_close int dir = open("/", O_RDONLY | O_CLOEXEC);

    b.len = 0;
    CHECK_INT(inspect_disk(IMAGE_FORMAT_RAW, &facts, &err), -1);
    CHECK_INT(image_inspect(null, IMAGE_DISK, IMAGE_CONTENT, IMAGE_FORMAT_RAW, &facts, &err), -1);
    CHECK_INT(image_inspect(dir, IMAGE_DISK, IMAGE_CONTENT, IMAGE_FORMAT_RAW, &facts, &err), -1);
    CHECK_INT(err.code, ERROR_IMAGE_REFUSED);
}

TEST(kernels_are_bzimages_or_elf)
{
    struct image_facts facts;
    struct error err = ERROR_INIT;

    make_bzimage(&b);
    CHECK_OK(inspect(IMAGE_KERNEL, IMAGE_KERNEL_PART, IMAGE_FORMAT_NONE, &facts, &err));
    make_elf(&b);
    CHECK_OK(inspect(IMAGE_KERNEL, IMAGE_KERNEL_PART, IMAGE_FORMAT_NONE, &facts, &err));
}

TEST(what_is_no_kernel_is_refused)
{
    static const struct {
        bool elf;
        uint16_t at;
        uint8_t size;
        uint32_t value;
    } bad[] = {
        {false, 0x1fe, 2, 0},      {false, 0x202, 4, 0},      {false, 0x206, 2, 0x1ff},
        {false, 0x1f4, 4, 0},      {false, 0x1f4, 4, 4097},   {false, 0x1f4, 4, UINT32_MAX},
        {false, 0x1f1, 1, 255},    {false, 0, 4, 0x00088b1f}, {true, 4, 1, 3},
        {true, 5, 1, 2},           {true, 16, 2, 1},          {true, 16, 2, 4},
        {true, 18, 2, 183},        {true, 32, 4, 4096},       {true, 32, 4, UINT32_MAX},
        {true, 36, 4, UINT32_MAX}, {true, 54, 2, 0},          {true, 56, 2, 0},
        {true, 56, 2, UINT16_MAX}, {true, 0, 4, 0},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct image_facts facts;
        struct error err = ERROR_INIT;

        if (bad[i].elf)
            make_elf(&b);
        else
            make_bzimage(&b);
        if (bad[i].size == 1)
            b.data[bad[i].at] = (uint8_t)bad[i].value;
        else if (bad[i].size == 2)
            put16le(&b, bad[i].at, (uint16_t)bad[i].value);
        else
            put32le(&b, bad[i].at, bad[i].value);
        if (inspect(IMAGE_KERNEL, IMAGE_KERNEL_PART, IMAGE_FORMAT_NONE, &facts, &err) != -1) {
            printf("# case %zu\n", i);
            CHECK(!"refused");
        }
        CHECK_INT(err.code, ERROR_IMAGE_REFUSED);
    }
}

TEST(kernels_that_are_cut_off_are_refused)
{
    struct image_facts facts;
    struct error err = ERROR_INIT;

    make_bzimage(&b);
    b.len--;
    CHECK_INT(inspect(IMAGE_KERNEL, IMAGE_KERNEL_PART, IMAGE_FORMAT_NONE, &facts, &err), -1);
    CHECK(strstr(err.detail, "cut off"));
    b.len = 1023;
    CHECK_INT(inspect(IMAGE_KERNEL, IMAGE_KERNEL_PART, IMAGE_FORMAT_NONE, &facts, &err), -1);
    CHECK(strstr(err.detail, "too short"));
}

TEST(initrds_are_what_linux_unpacks)
{
    static const char *const good[] = {"070701", "070702", "\x1f\x8b", "\x28\xb5\x2f\xfd", "BZh9"};
    struct image_facts facts;
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < 5; i++) {
        memset(&b, 0, sizeof(b));
        b.len = 100;
        memcpy(b.data, good[i], strlen(good[i]));
        CHECK_OK(inspect(IMAGE_KERNEL, IMAGE_INITRD_PART, IMAGE_FORMAT_NONE, &facts, &err));
    }
    make_qcow2(&b, 3);
    CHECK_INT(inspect(IMAGE_KERNEL, IMAGE_INITRD_PART, IMAGE_FORMAT_NONE, &facts, &err), -1);
    b.len = 1;
    CHECK_INT(inspect(IMAGE_KERNEL, IMAGE_INITRD_PART, IMAGE_FORMAT_NONE, &facts, &err), -1);
}

TEST(isos_have_their_descriptor)
{
    struct image_facts facts;
    struct error err = ERROR_INIT;

    make_iso(&b);
    CHECK_OK(inspect(IMAGE_ISO, IMAGE_CONTENT, IMAGE_FORMAT_NONE, &facts, &err));
    b.len = 32768 + 6; /* the descriptor itself is missing */
    CHECK_INT(inspect(IMAGE_ISO, IMAGE_CONTENT, IMAGE_FORMAT_NONE, &facts, &err), -1);
    make_iso(&b);
    b.data[32770] = 'd';
    CHECK_INT(inspect(IMAGE_ISO, IMAGE_CONTENT, IMAGE_FORMAT_NONE, &facts, &err), -1);
    make_qcow2(&b, 3);
    CHECK_INT(inspect(IMAGE_ISO, IMAGE_CONTENT, IMAGE_FORMAT_NONE, &facts, &err), -1);
}

TEST(parts_that_a_kind_does_not_have_are_refused)
{
    struct image_facts facts;
    struct error err = ERROR_INIT;

    make_bzimage(&b);
    CHECK_INT(inspect(IMAGE_DISK, IMAGE_KERNEL_PART, IMAGE_FORMAT_RAW, &facts, &err), -1);
    CHECK_INT(inspect(IMAGE_KERNEL, IMAGE_CONTENT, IMAGE_FORMAT_NONE, &facts, &err), -1);
    CHECK_INT(inspect(IMAGE_DISK, IMAGE_CONTENT, IMAGE_FORMAT_NONE, &facts, &err), -1);
}

TEST_MAIN();
