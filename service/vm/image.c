/* Images: the values, and the use cases that create, find, list and delete them. */
#include "service/vm/image_internal.h"

#include <stddef.h>
#include <string.h>

#include "service/base/blob.h"
#include "service/base/clock.h"
#include "service/base/fault.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/idem.h"
#include "service/vm/op.h"
#include "service/vm/vm.h"

#define DESCRIPTION_MAX 4096
#define CMDLINE_MAX     2047 /* what the kernel reads on x86, less its NUL */

static const char *const kind_names[] = {"disk", "kernel", "iso"};
static const char *const format_names[] = {"", "qcow2", "raw"};
static const char *const state_names[] = {"empty", "importing", "ready", "failed",
                                         "retired"};
static const char *const part_names[] = {"content", "kernel", "initrd"};

const char *image_kind_name(int kind)
{
    return kind_names[kind];
}

const char *image_format_name(int format)
{
    return format_names[format];
}

const char *image_state_name(int state)
{
    return state_names[state];
}

const char *image_part_name(int part)
{
    return part_names[part];
}

struct image *image_new(void)
{
    struct image *i = xcalloc(1, sizeof(*i));

    i->refs = 1;
    i->revision = 1;
    return i;
}

struct image *image_copy(const struct image *i)
{
    struct image *copy = xcopy_behind(i, offsetof(struct image, seq), sizeof(*copy));

    copy->refs = 1;
    copy->description = xstrdup(i->description);
    copy->cmdline = xstrdup(i->cmdline);
    copy->card = json_deep_copy(i->card);
    copy->card_text = xstrdup_null(i->card_text);
    copy->screenshot = i->screenshot ? blob_ref(i->screenshot) : NULL;
    copy->source = image_source_copy(i->source);
    copy->source_text = xstrdup_null(i->source_text);
    return copy;
}

struct image *image_ref(struct image *i)
{
    atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
    return i;
}

void image_unref(struct image *i)
{
    if (!i || atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(i->description);
    free(i->cmdline);
    json_decref(i->card);
    free(i->card_text);
    blob_unref(i->screenshot);
    image_source_free(i->source);
    free(i->source_text);
    free(i);
}

void image_to_row(const struct image *i, struct image_row *ret)
{
    *ret = (struct image_row){.seq = i->seq,
                              .id = i->id,
                              .project_id = i->project_id,
                              .host_id = i->host_id,
                              .name = i->name,
                              .kind = image_kind_name(i->kind),
                              .format = image_format_name(i->format),
                              .cmdline = i->cmdline,
                              .description = i->description,
                              .state = i->state == IMAGE_RETIRED ? "deleting"
                                                                 : image_state_name(i->state),
                              .state_reason = i->state_reason,
                              .source = i->source_text ? i->source_text : "",
                              .card = i->card_text ? i->card_text : "",
                              .screenshot = i->screenshot ? i->screenshot->data : "",
                              .revision = i->revision,
                              .created_at = i->created_at,
                              .updated_at = i->updated_at};
}

int image_event_with(struct db_tx *tx, const struct actor *actor, const struct image *i,
                     const char *type, const char *data, struct error *err)
{
    struct event_row row = {.at = clock_wall_ms(),
                            .project_id = i->project_id,
                            .host_id = i->host_id,
                            .type = type,
                            .subject_kind = "image",
                            .subject_id = i->id,
                            .subject_name = i->name,
                            .actor = actor->id,
                            .request_id = actor->request_id ? actor->request_id : "",
                            .data = data};
    int64_t seq;

    return store_event_append(tx, &row, &seq, err);
}

int image_event(struct db_tx *tx, const struct actor *actor, const struct image *i,
                const char *type, struct error *err)
{
    return image_event_with(tx, actor, i, type, "{}", err);
}

char *image_path(struct core *core, const struct image *image, enum image_part part)
{
    return image_content_path(core_images(core), image->files[part].sha256);
}

unsigned image_users(struct core *core, const char *image_id)
{
    return registry_image_users(core, image_id);
}

struct image *image_find(struct core *core, const char *project_id, const char *ref,
                         struct error *err)
{
    struct image *found = image_registry_find(core_images(core), project_id, ref);

    if (!found) {
        error_set(err, ERROR_IMAGE_NOT_FOUND, "there is no image %s", ref);
        error_remedy(err, "GET /v1/images lists the images, GET /v1/image-labels the labels.");
    }
    return found;
}

void image_list(struct core *core, const char *project_id, int64_t after_seq, size_t limit,
                struct image ***ret, size_t *ret_count, bool *ret_more)
{
    struct image_registry *r = core_images(core);
    struct image **list = NULL;
    size_t count = 0;
    bool more = false;
    LOCK_SCOPE(&r->lock);

    for (size_t i = 0; i < r->count && !more; i++) {
        struct image *image = r->entries[i].shown;

        if (image->seq <= after_seq || strcmp(image->project_id, project_id) != 0)
            continue;
        more = count == limit;
        if (!more) {
            if ((count & (count - 1)) == 0)
                list = xrealloc_array(list, count ? 2 * count : 1, sizeof(*list));
            list[count++] = image_ref(image);
        }
    }
    *ret = list;
    *ret_count = count;
    *ret_more = more;
}

/* ---- change ---- */

struct store {
    struct image_registry *registry;
    const struct actor *actor;
    struct image *next;
    const char *event;
};

int image_write(struct db_tx *tx, const struct image *i, int part, struct error *err)
{
    struct image_row row;

    image_to_row(i, &row);
    if (store_image_update(tx, &row, err))
        return -1;
    if (part < 0)
        return 0;
    const struct image_file *f = &i->files[part];
    const struct image_file_row file = {.image_id = i->id,
                                        .role = image_part_name(part),
                                        .sha256 = f->sha256,
                                        .size_bytes = f->size_bytes,
                                        .virtual_size_bytes = f->virtual_size_bytes,
                                        .verified_at = f->verified_at,
                                        .damaged_at = f->damaged_at};

    return store_image_file_put(tx, &file, err);
}

static int store_write(struct db_tx *tx, void *arg, struct error *err)
{
    const struct store *s = arg;

    if (image_write(tx, s->next, -1, err))
        return -1;
    return s->event ? image_event(tx, s->actor, s->next, s->event, err) : 0;
}

static void store_committed(void *arg)
{
    struct store *s = arg;

    image_registry_put(s->registry, s->next);
}

int image_store(struct core *core, const struct actor *actor, struct image *next,
                const char *event, struct error *err)
{
    struct store s = {.registry = core_images(core), .actor = actor, .next = next, .event = event};

    next->updated_at = clock_wall_ms();
    next->revision++;
    return db_write(core_db(core), store_write, store_committed, &s, err);
}

void image_next_state(struct image *next)
{
    next->state_reason[0] = '\0';
    if (next->kind == IMAGE_KERNEL && !next->files[IMAGE_KERNEL_PART].present) {
        next->state = IMAGE_IMPORTING;
        snprintf(next->state_reason, sizeof(next->state_reason), "the kernel is still missing");
    } else {
        next->state = IMAGE_READY;
    }
}

void image_mark_failed(struct core *core, const struct actor *actor, const char *image_id,
                       const char *reason)
{
    struct image_registry *r = core_images(core);
    auto_image struct image *next = NULL, *stored = NULL;
    struct error err = ERROR_INIT;
    LOCK_SCOPE(&r->change);

    stored = image_registry_stored(r, image_id);
    if (!stored || stored->state == IMAGE_READY)
        return;
    next = image_copy(stored);
    next->state = IMAGE_FAILED;
    str_copy_utf8(next->state_reason, sizeof(next->state_reason), reason);
    /* Whoever asked gets the first error; this one adds nothing for them. */
    if (image_store(core, actor, next, "image.failed", &err))
        log_debug("cannot record that an image failed: %s", err.cause);
}

/* ---- create ---- */

int image_check_request(const struct image_request *r, struct error *err)
{
    if (!r->name || !vm_spec_name_ok(r->name))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/name",
                            "is not 1 to 63 lower-case letters, digits and inner hyphens");
    if (r->kind == IMAGE_DISK && r->format == IMAGE_FORMAT_NONE)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/format",
                            "a disk image is qcow2 or raw");
    if (r->kind != IMAGE_DISK && r->format != IMAGE_FORMAT_NONE)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/format", "goes with a disk image only");
    if (r->kind != IMAGE_KERNEL && r->cmdline && *r->cmdline)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/cmdline",
                            "goes with a kernel image only");
    if (r->cmdline && strlen(r->cmdline) > CMDLINE_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/cmdline", "is longer than %d bytes",
                            CMDLINE_MAX);
    if (r->description && strlen(r->description) > DESCRIPTION_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/description", "is longer than %d bytes",
                            DESCRIPTION_MAX);
    return 0;
}

struct create {
    struct image_registry *registry;
    const struct actor *actor;
    const struct idem *idem;
    struct image *image;
    struct op *op; /* or NULL */
    char replayed_id[UUID_TEXT];
    bool replayed;
};

static int create_write(struct db_tx *tx, void *arg, struct error *err)
{
    struct create *c = arg;
    struct image *i = c->image;
    struct idem_found found;
    struct image_row row;
    int rc;

    rc = idem_check(tx, c->actor, c->idem, &found, err);
    if (rc < 0)
        return -1;
    if (rc > 0 && strcmp(found.kind, "image") != 0)
        return error_set(err, ERROR_KEY_REUSED, "this key was sent before with another request");
    if (rc > 0) {
        c->replayed = true;
        str_copy_utf8(c->replayed_id, sizeof(c->replayed_id), found.id);
        return 0;
    }
    if (idem_put(tx, c->actor, c->idem, 201, "image", i->id, err))
        return -1;
    image_to_row(i, &row);
    if (store_image_insert(tx, &row, &i->seq, err) ||
        image_event(tx, c->actor, i, "image.created", err))
        return -1;
    return c->op ? image_op_insert(tx, c->op, err) : 0;
}

static void create_committed(void *arg)
{
    struct create *c = arg;

    if (!c->replayed)
        image_registry_put(c->registry, c->image);
}

static void fill(struct image *i, const struct actor *actor, const struct image_request *r)
{
    auto_json json_t *source = image_source_encode(r->source);

    uuid_new(i->id);
    snprintf(i->project_id, sizeof(i->project_id), "%s", actor->project_id);
    snprintf(i->host_id, sizeof(i->host_id), "%s", HOST_LOCAL);
    snprintf(i->name, sizeof(i->name), "%s", r->name);
    i->description = xstrdup(r->description ? r->description : "");
    i->cmdline = xstrdup(r->cmdline ? r->cmdline : "");
    i->source = image_source_copy(r->source);
    i->source_text = r->source ? doc_text(source) : NULL;
    image_card_set(i, r->card ? json_deep_copy(r->card) : image_card_empty());
    i->screenshot = r->screenshot ? blob_new_text(r->screenshot) : NULL;
    i->kind = r->kind;
    i->format = r->format;
    i->state = IMAGE_EMPTY;
    if (r->source && !image_source_is_upload(r->source)) {
        i->state = IMAGE_IMPORTING;
        snprintf(i->state_reason, sizeof(i->state_reason), "see its operation");
    }
    i->created_at = i->updated_at = clock_wall_ms();
}

/* An import that failed keeps its reason until the next attempt under the same name. */
static bool give_up_name(struct core *core, const struct actor *actor, const char *name)
{
    auto_image struct image *old = image_registry_find(core_images(core), actor->project_id, name);
    struct error ignored;

    if (!old || !old->source || old->state != IMAGE_FAILED || strcmp(old->name, name) != 0)
        return false;
    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        if (old->files[p].present)
            return false;
    }
    return image_delete(core, actor, old->id, false, &ignored) == 0;
}

int image_create(struct core *core, const struct actor *actor, const struct image_request *r,
                 const struct idem *idem, struct image **ret, struct op **ret_op,
                 bool *ret_replayed, struct error *err)
{
    auto_image struct image *i = image_new();
    struct create c = {.registry = core_images(core), .actor = actor, .idem = idem, .image = i};
    int rc;

    *ret_op = NULL;
    if (image_check_request(r, err))
        return -1;
    fill(i, actor, r);
    if (i->state == IMAGE_IMPORTING)
        c.op = image_op_new(core, actor, i);
    rc = db_write(core_db(core), create_write, create_committed, &c, err);
    if (rc && err->code == ERROR_NAME_IN_USE && c.op && give_up_name(core, actor, r->name))
        rc = db_write(core_db(core), create_write, create_committed, &c, err);
    if (rc == 0)
        CRASH_POINT(IMAGE_INTENT);
    if (rc == 0 && c.op && !c.replayed) {
        image_op_enqueue(core, c.op);
        *ret_op = TAKE_PTR(c.op);
    }
    op_unref(c.op);
    if (rc)
        return -1;
    if (c.replayed) {
        struct image *made = image_find(core, actor->project_id, c.replayed_id, err);

        if (!made)
            return -1; /* made by the first request and deleted since */
        *ret = made;
        *ret_op = image_op_pending(core, made->id);
    } else {
        *ret = TAKE_PTR(i);
    }
    *ret_replayed = c.replayed;
    return 0;
}

/* ---- delete ---- */

struct delete
{
    struct image_registry *registry;
    const struct actor *actor;
    const struct image *image;
};

static int delete_write(struct db_tx *tx, void *arg, struct error *err)
{
    struct delete *d = arg;

    return store_image_delete(tx, d->image->id, err) ||
                   image_event(tx, d->actor, d->image, "image.deleted", err)
               ? -1
               : 0;
}

static void delete_committed(void *arg)
{
    struct delete *d = arg;

    image_registry_remove(d->registry, d->image->id);
    image_labels_forget(d->registry, d->image->id);
}

static int retire(struct core *core, const struct actor *actor, const struct image *stored,
                  unsigned users, struct error *err)
{
    auto_image struct image *next = NULL;

    if (stored->state == IMAGE_RETIRED)
        return 0;
    next = image_copy(stored);
    next->state = IMAGE_RETIRED;
    snprintf(next->state_reason, sizeof(next->state_reason), "goes with the last of %u VM%s", users,
             users == 1 ? "" : "s");
    return image_store(core, actor, next, "image.retired", err);
}

static int check_deletable(struct core *core, const struct image *i, unsigned users, struct error *err)
{
    char label[VM_NAME_MAX + 1];

    image_label_of(core_images(core), i->id, label);
    if (*label) {
        error_set(err, ERROR_IMAGE_IN_USE, "the label %s points at the image %s", label, i->name);
        error_remedy(err, "Move or delete the label first.");
        return -1;
    }
    if (users == 0)
        return 0;
    error_set(err, ERROR_IMAGE_IN_USE, "%u VM%s of the image %s", users,
              users == 1 ? " is made" : "s are made", i->name);
    error_remedy(err, "Delete the VMs first, or retire the image: retire=true.");
    return -1;
}

static int remove_image(struct core *core, const struct actor *actor, const struct image *stored,
                        struct error *err)
{
    struct image_registry *r = core_images(core);
    struct delete d = {.registry = r, .actor = actor, .image = stored};
    auto_op struct op *op = image_op_pending(core, stored->id);
    int rc;

    if (op) /* nobody wants its bytes any more */
        atomic_store(&op->progress->cancel, true);
    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        if (stored->files[p].present)
            image_content_doubt(r, stored->files[p].sha256);
    }
    rc = db_write(core_db(core), delete_write, delete_committed, &d, err);
    CRASH_POINT(IMAGE_ROW_GONE);
    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        if (stored->files[p].present)
            image_content_settle(r, stored->files[p].sha256);
    }
    return rc;
}

int image_delete(struct core *core, const struct actor *actor, const char *ref, bool retires,
                 struct error *err)
{
    struct image_registry *r = core_images(core);
    auto_image struct image *found = NULL, *stored = NULL;
    unsigned users;
    LOCK_SCOPE(&r->change);

    found = image_find(core, actor->project_id, ref, err);
    if (!found)
        return -1;
    users = registry_image_users(core, found->id);
    if (check_deletable(core, found, retires ? 0 : users, err))
        return -1;
    /* A VM that is being created right now is caught by the database: its row refers to ours. */
    stored = image_registry_stored(r, found->id);
    return users ? retire(core, actor, stored, users, err) : remove_image(core, actor, stored, err);
}
