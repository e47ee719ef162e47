/*
 * Everything that can be known of an import before its long part: a request for the first bytes of
 * each file, and what they, the disk and the names say.
 */
#include "service/vm/image_internal.h"

#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/conf/settings.h"
#include "service/vm/core_internal.h"

#define MIB                ((int64_t)1 << 20)
#define FIRST_BYTES        ((int64_t)64 << 10)
#define CONNECT_TIMEOUT_MS 5000
#define TIMEOUT_MS         8000

static void add(struct image_checks *c, const char *name, const struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* err NULL: it is well, and the text says what was found. */
static void add(struct image_checks *c, const char *name, const struct error *err, const char *fmt, ...)
{
    struct image_check *check = &c->checks[c->count];
    va_list args;

    if (c->count == IMAGE_CHECKS_MAX)
        return;
    c->count++;
    check->name = name;
    check->ok = !err;
    if (err) {
        check->error = *err;
        str_copy_utf8(check->detail, sizeof(check->detail), err->detail);
        c->ok = false;
        return;
    }
    va_start(args, fmt);
    vsnprintf(check->detail, sizeof(check->detail), fmt, args);
    va_end(args);
}

struct probe {
    int fd;
    int64_t len;
    struct fetch_head head;
};

static int on_head(void *opaque, const struct fetch_head *head, struct error *err)
{
    (void)err;
    ((struct probe *)opaque)->head = *head;
    return 0;
}

static int on_data(void *opaque, const void *data, size_t len, struct error *err)
{
    struct probe *p = opaque;

    p->len += (int64_t)len;
    return fd_write_all(p->fd, data, len, err);
}

static void check_header(const struct image_request *r, enum image_part part, const struct probe *p,
                         struct image_checks *ret)
{
    const struct image like = {.kind = r->kind, .format = r->format,
                               .source = (struct image_source *)(uintptr_t)r->source};
    int64_t size = p->head.size < 0 ? IMAGE_SIZE_UNKNOWN : p->head.size;
    struct image_facts facts = {0};
    struct error err = ERROR_INIT;
    int rc;

    if (r->source->xz)
        return add(ret, "header", NULL, "not known before it is unpacked");
    if (r->kind == IMAGE_DISK)
        rc = image_inspect_origin(p->fd, size, image_origin(&like), &facts, &err);
    else
        rc = image_inspect_begin(p->fd, size, r->kind, part, r->format, &facts, &err);
    if (rc)
        return add(ret, "header", &err, " ");
    add(ret, "header", NULL, "the %s is what it is declared to be", image_part_name(part));
    if (p->head.size >= 0 || r->format != IMAGE_FORMAT_RAW)
        ret->virtual_size_bytes = facts.virtual_size_bytes;
}

static void check_link(struct core *core, const struct image_request *r, enum image_part part,
                       struct image_checks *ret)
{
    const struct settings *s = core_settings(core);
    auto_close int fd = memfd_create("drover-probe", MFD_CLOEXEC);
    struct probe p = {.fd = fd, .head = {.size = -1}};
    struct error err = ERROR_INIT;
    const struct fetch_options o = {.url = r->source->links[part].url,
                                    .allow_private = s->fetch_private,
                                    .validator = "",
                                    .first_bytes = FIRST_BYTES,
                                    .max_bytes = s->image_max_mib * MIB,
                                    .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                    .stall_seconds = TIMEOUT_MS / 1000,
                                    .timeout_ms = TIMEOUT_MS,
                                    .on_head = on_head,
                                    .on_data = on_data,
                                    .opaque = &p};

    if (fd < 0 || fetch_run(&o, &err) != FETCH_DONE) {
        if (fd < 0)
            error_set(&err, ERROR_SYSTEM, "no memory for the first bytes");
        return add(ret, err.code == ERROR_BODY_TOO_LARGE ? "size" : "reachable", &err, " ");
    }
    add(ret, "reachable", NULL, "the source of the %s answers", image_part_name(part));
    ret->resumable &= *p.head.validator != '\0';
    if (p.head.size < 0) {
        add(ret, "size", NULL, "the source does not say how large the %s is", image_part_name(part));
    } else {
        add(ret, "size", NULL, "%lld bytes", (long long)p.head.size);
        ret->size_bytes += p.head.size;
    }
    check_header(r, part, &p, ret);
}

static void check_name(struct core *core, const struct actor *actor, const struct image_request *r,
                       struct image_checks *ret)
{
    auto_image struct image *other = image_registry_find(core_images(core), actor->project_id, r->name);
    auto_image_label struct image_label label = {0};
    struct error err = ERROR_INIT, ignored;

    if (image_label_get(core, actor->project_id, r->name, &label, &ignored) == 0)
        error_set_at(&err, ERROR_NAME_IN_USE, "/name", "there is a label called %s", r->name);
    else if (other && str_eq(other->name, r->name) && !(other->source && other->state == IMAGE_FAILED))
        error_set_at(&err, ERROR_NAME_IN_USE, "/name", "there is already an image called %s", r->name);
    else
        return add(ret, "name", NULL, "%s is free", r->name);
    add(ret, "name", &err, " ");
}

/* What will be written, as far as it is known: a conversion needs room for what arrives and for what becomes of it. */
static int64_t room_wanted(struct core *core, const struct image_request *r, const struct image_checks *found)
{
    const struct image like = {.kind = r->kind, .format = r->format,
                               .source = (struct image_source *)(uintptr_t)r->source};
    bool twice = r->source && r->kind == IMAGE_DISK &&
                 (r->source->xz || image_origin(&like) != (r->format == IMAGE_FORMAT_RAW
                                                               ? IMAGE_ORIGIN_RAW
                                                               : IMAGE_ORIGIN_QCOW2));
    auto_free char *disk = r->source && *r->source->vm ? vm_root_disk(core, r->source->vm) : NULL;
    struct stat st;

    if (disk) /* and what it shows of its image, of which nobody knows how much is zero */
        return stat(disk, &st) ? 0 : (int64_t)st.st_blocks * 512;
    return twice ? 2 * found->size_bytes : found->size_bytes;
}

static void check_room(struct core *core, const struct image_request *r, struct image_checks *ret)
{
    struct error err = ERROR_INIT;

    if (image_check_space(core, room_wanted(core, r, ret), &err))
        return add(ret, "free_space", &err, " ");
    add(ret, "free_space", NULL, "%lld MiB can be used", (long long)(image_space_left(core) >> 20));
}

int image_preflight(struct core *core, const struct actor *actor, const struct image_request *r,
                    struct image_checks *ret, struct error *err)
{
    *ret = (struct image_checks){.ok = true, .resumable = true};
    if (image_check_request(r, err))
        return -1;
    check_name(core, actor, r, ret);
    for (int p = 0; r->source && p < IMAGE_PART_COUNT; p++) {
        const struct image_link *l = &r->source->links[p];

        if (!l->url)
            continue;
        add(ret, "hash", NULL, "SHA-%u of the %s", l->bits, image_part_name(p));
        check_link(core, r, (enum image_part)p, ret);
    }
    /* Nothing is fetched: it is sent, or copied from a VM. */
    if (!r->source || *r->source->vm || image_source_is_upload(r->source))
        ret->resumable = false;
    check_room(core, r, ret);
    return 0;
}
