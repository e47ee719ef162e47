/*
 * Creating and uploading images in tests.
 */
#ifndef DROVER_TESTS_IMAGE_STORE_RIG_H
#define DROVER_TESTS_IMAGE_STORE_RIG_H

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

static inline struct image *create(const char *name, enum image_kind kind, enum image_format format)
{
    struct image_request r = {.name = name,
                              .description = "d",
                              .cmdline = kind == IMAGE_KERNEL ? "console=ttyS0" : NULL,
                              .kind = kind,
                              .format = format};
    struct image *i = NULL;
    struct error err = ERROR_INIT;
    bool replayed;
    struct op *op = NULL;

    CHECK_OK(image_create(core, &test_actor, &r, NULL, &i, &op, &replayed, &err));
    CHECK(!replayed);
    return i;
}

static inline void create_only(const char *name, enum image_kind kind, enum image_format format)
{
    image_unref(create(name, kind, format));
}

/* Sends b in pieces of `piece`. */
static inline int upload(const char *name, enum image_part part, int64_t size, const char *sha256,
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
    return image_upload_finish(u, ret, NULL, err);
}

static inline int upload_only(const char *name, enum image_part part, struct error *err)
{
    struct image *i = NULL;
    int rc = upload(name, part, -1, NULL, 65536, &i, err);

    image_unref(i);
    return rc;
}

static inline enum image_state state_of(const char *name)
{
    struct error err = ERROR_INIT;
    auto_image struct image *i = image_find(core, PROJECT_DEFAULT, name, &err);

    return i ? i->state : IMAGE_STATE_COUNT;
}

static inline void make_raw(unsigned seed)
{
    memset(&b, 0, sizeof(b));
    b.len = 300000;
    for (size_t i = 0; i < 100000; i++)
        b.data[i] = (uint8_t)((i * 7 + seed) >> (i % 5));
    b.data[0] = 'r';
}

#endif
