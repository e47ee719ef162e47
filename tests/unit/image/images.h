/* Bytes for the inspector: a good qcow2 header to be spoilt, and a file in memory to put it in. */
#ifndef DROVER_TESTS_IMAGES_H
#define DROVER_TESTS_IMAGES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BYTES_MAX ((size_t)1 << 20)

struct bytes {
    uint8_t data[BYTES_MAX];
    size_t len;
};

static inline void put16le(struct bytes *b, size_t at, uint16_t v)
{
    v = htole16(v);
    memcpy(b->data + at, &v, sizeof(v));
}

static inline void put32le(struct bytes *b, size_t at, uint32_t v)
{
    v = htole32(v);
    memcpy(b->data + at, &v, sizeof(v));
}

static inline void put32(struct bytes *b, size_t at, uint32_t v)
{
    v = htobe32(v);
    memcpy(b->data + at, &v, sizeof(v));
}

static inline void put64(struct bytes *b, size_t at, uint64_t v)
{
    v = htobe64(v);
    memcpy(b->data + at, &v, sizeof(v));
}

/* An empty disk of 1 GiB, clusters of 64 KiB: header, refcount table, refcount block, L1. */
static inline void make_qcow2(struct bytes *b, uint32_t version)
{
    memset(b, 0, sizeof(*b));
    b->len = 4 << 16;
    memcpy(b->data, "QFI\xfb", 4);
    put32(b, 4, version);
    put32(b, 20, 16);
    put64(b, 24, (uint64_t)1 << 30);
    put32(b, 36, 2);
    put64(b, 40, 3 << 16);
    put64(b, 48, 1 << 16);
    put32(b, 56, 1);
    if (version == 3) {
        put32(b, 96, 4);
        put32(b, 100, 104);
    }
    put64(b, 1 << 16, 2 << 16);
    for (size_t i = 0; i < 4; i++)
        b->data[(2 << 16) + 2 * i + 1] = 1;
}

/* The least that the x86 boot protocol asks for: one setup sector and 64 KiB of kernel. */
static inline void make_bzimage(struct bytes *b)
{
    memset(b, 0, sizeof(*b));
    b->len = 1024 + 65536;
    b->data[0x1f1] = 1;
    put32le(b, 0x1f4, 65536 / 16);
    put16le(b, 0x1fe, 0xaa55);
    memcpy(b->data + 0x202, "HdrS", 4);
    put16le(b, 0x206, 0x20f);
}

static inline void make_elf(struct bytes *b)
{
    memset(b, 0, sizeof(*b));
    b->len = 4096;
    memcpy(b->data,
           "\x7f"
           "ELF\2\1\1",
           7);
    put16le(b, 16, 2);
    put16le(b, 18, 62);
    put32le(b, 32, 64);
    put16le(b, 54, 56);
    put16le(b, 56, 1);
}

static inline void make_iso(struct bytes *b)
{
    memset(b, 0, sizeof(*b));
    b->len = 65536;
    b->data[32768] = 1;
    memcpy(b->data + 32769, "CD001", 5);
}

static inline int bytes_fd(const struct bytes *b)
{
    int fd = memfd_create("image", MFD_CLOEXEC);

    if (fd < 0 || write(fd, b->data, b->len) != (ssize_t)b->len)
        _exit(99);
    return fd;
}

#endif
