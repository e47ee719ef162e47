/*
 * Every image in memory, and the directory that holds their bytes under the names of their
 * digests. Deliberately a plain array: a host has tens of images, not thousands.
 */
#include "service/vm/image_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/blob.h"
#include "service/base/fault.h"
#include "service/base/fd.h"
#include "service/base/log.h"
#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/json/doc.h"

char *image_content_path(struct image_registry *r, const char *sha256)
{
    return xasprintf("%s/%s", r->dir, sha256);
}

/* ---- the list; callers hold lock ---- */

static struct image_entry *entry_of(struct image_registry *r, const char *id)
{
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->entries[i].stored->id, id) == 0)
            return &r->entries[i];
    }
    return NULL;
}

/* Uploading a part that is not there yet shows as "importing"; sending one again does not. */
static void entry_show(struct image_entry *e)
{
    enum image_part part = IMAGE_PART_COUNT;

    for (int p = 0; p < IMAGE_PART_COUNT; p++) {
        if (e->uploading & 1U << p && !e->stored->files[p].present)
            part = (enum image_part)p;
    }
    image_unref(e->shown);
    if (part == IMAGE_PART_COUNT) {
        e->shown = image_ref(e->stored);
        return;
    }
    e->shown = image_copy(e->stored);
    e->shown->state = IMAGE_IMPORTING;
    snprintf(e->shown->state_reason, sizeof(e->shown->state_reason), "receiving the %s",
             image_part_name(part));
}

static void entry_done(struct image_entry *e)
{
    image_unref(e->stored);
    image_unref(e->shown);
}

/* ---- the list, from outside ---- */

struct image *image_registry_find(struct image_registry *r, const char *project_id, const char *ref)
{
    char target[UUID_TEXT];
    LOCK_SCOPE(&r->lock);

    for (size_t i = 0; i < r->count; i++) {
        struct image *image = r->entries[i].shown;

        if (strcmp(image->project_id, project_id) == 0 &&
            (strcmp(image->id, ref) == 0 ||
             (image->state != IMAGE_RETIRED && strcmp(image->name, ref) == 0)))
            return image_ref(image);
    }
    if (image_label_target(r, project_id, ref, target)) {
        const struct image_entry *e = entry_of(r, target);

        return e ? image_ref(e->shown) : NULL;
    }
    return NULL;
}

struct image *image_registry_stored(struct image_registry *r, const char *id)
{
    LOCK_SCOPE(&r->lock);
    struct image_entry *e = entry_of(r, id);

    return e ? image_ref(e->stored) : NULL;
}

void image_registry_put(struct image_registry *r, struct image *i)
{
    LOCK_SCOPE(&r->lock);
    struct image_entry *e = entry_of(r, i->id);

    if (!e) {
        if (r->count == r->cap) {
            r->cap = r->cap ? 2 * r->cap : 16;
            r->entries = xrealloc_array(r->entries, r->cap, sizeof(*r->entries));
        }
        e = &r->entries[r->count++];
        *e = (struct image_entry){0};
    }
    image_unref(e->stored);
    e->stored = image_ref(i);
    entry_show(e);
}

void image_registry_remove(struct image_registry *r, const char *id)
{
    LOCK_SCOPE(&r->lock);
    struct image_entry *e = entry_of(r, id);

    if (!e)
        return;
    entry_done(e);
    r->count--;
    memmove(e, e + 1, (size_t)(r->entries + r->count - e) * sizeof(*e));
}

bool image_registry_upload_enter(struct image_registry *r, const char *id, enum image_part part)
{
    LOCK_SCOPE(&r->lock);
    struct image_entry *e = entry_of(r, id);

    if (!e || e->uploading & 1U << part)
        return false;
    e->uploading |= 1U << part;
    entry_show(e);
    return true;
}

void image_registry_upload_leave(struct image_registry *r, const char *id, enum image_part part)
{
    LOCK_SCOPE(&r->lock);
    struct image_entry *e = entry_of(r, id);

    if (e) {
        e->uploading &= ~(1U << part);
        entry_show(e);
    }
}

bool image_registry_has_content(struct image_registry *r, const char *sha256)
{
    LOCK_SCOPE(&r->lock);

    for (size_t i = 0; i < r->count; i++) {
        for (int p = 0; p < IMAGE_PART_COUNT; p++) {
            const struct image_file *f = &r->entries[i].stored->files[p];

            if (f->present && strcmp(f->sha256, sha256) == 0)
                return true;
        }
    }
    return false;
}

bool image_registry_is_damaged(struct image_registry *r, const char *sha256)
{
    LOCK_SCOPE(&r->lock);

    for (size_t i = 0; i < r->count; i++) {
        for (int p = 0; p < IMAGE_PART_COUNT; p++) {
            const struct image_file *f = &r->entries[i].stored->files[p];

            if (f->present && f->damaged_at && strcmp(f->sha256, sha256) == 0)
                return true;
        }
    }
    return false;
}

size_t image_registry_sharers(struct image_registry *r, const char *sha256, struct image ***ret)
{
    struct image **list = NULL;
    size_t count = 0;
    LOCK_SCOPE(&r->lock);

    list = xcalloc(r->count + 1, sizeof(struct image *));
    for (size_t i = 0; i < r->count; i++) {
        struct image *image = r->entries[i].stored;
        bool has = false;

        for (int p = 0; p < IMAGE_PART_COUNT; p++)
            has |= image->files[p].present && strcmp(image->files[p].sha256, sha256) == 0;
        if (has)
            list[count++] = image_ref(image);
    }
    *ret = list;
    return count;
}

void image_counts_read(struct core *core, struct image_counts *ret)
{
    struct image_registry *r = core_images(core);
    LOCK_SCOPE(&r->lock);

    *ret = (struct image_counts){0};
    for (size_t i = 0; i < r->count; i++) {
        const struct image *image = r->entries[i].shown;
        bool damaged = false;

        for (int p = 0; p < IMAGE_PART_COUNT; p++)
            damaged |= image->files[p].present && image->files[p].damaged_at;
        ret->states[image->state]++;
        ret->damaged += damaged;
    }
}

/* ---- the directory ---- */

/*
 * A mark in tmp says that the content of that name may be without a row: it is set before content
 * is linked or its row goes, and a start after a crash looks only at marked content. What is merely
 * unknown (the database was lost, but overlays of VMs still need the file) is never removed.
 */
void image_content_doubt(struct image_registry *r, const char *sha256)
{
    auto_free char *mark = xasprintf("%s/%s", SEEDED_BUG(NO_DOUBT) ? "/nowhere" : r->tmp_dir, sha256);
    auto_close int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0) /* at worst a crash right now leaves a file that nobody uses */
        log_debug("cannot mark image content file=%s", sha256);
}

void image_content_settle(struct image_registry *r, const char *sha256)
{
    auto_free char *path = image_content_path(r, sha256);
    auto_free char *mark = xasprintf("%s/%s", r->tmp_dir, sha256);
    struct error err = ERROR_INIT;

    if (!image_registry_has_content(r, sha256) && file_remove(path, &err)) {
        log_debug("image content not removed: %s", err.cause);
        return; /* the mark stays for the next start */
    }
    CRASH_POINT(IMAGE_UNLINKED);
    (void)unlink(mark); /* as above */
}

/* ---- loading ---- */

static int index_of(const char *name, const char *(*name_of)(int), int count)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(name, name_of(i)) == 0)
            return i;
    }
    return count;
}

static int take_source(struct image *i, json_t *value, char **ret_vm, struct error *err)
{
    auto_json json_t *sent = json_copy(value);

    json_object_del(sent, "capture");
    if (image_source_decode(sent, i->kind, &i->source, ret_vm, err))
        return -1;
    image_source_restore(value, i->source);
    return 0;
}

/* What cannot be read is shown as nothing: only an unfinished import would miss it, and says so. */
static void load_source(struct image *i, const char *text)
{
    static const struct doc_limits limits = {.bytes = 65536, .depth = 8, .tokens = 256};
    auto_json json_t *value = NULL;
    auto_free char *vm = NULL;
    struct error err = ERROR_INIT;

    if (!*text)
        return;
    i->source_text = xstrdup(text);
    if (doc_parse(text, strlen(text), &limits, &value, &err) ||
        take_source(i, value, &vm, &err)) {
        log_failure(LOG_LEVEL_WARNING, &err, "the source of image %s cannot be read", i->id);
        return;
    }
    if (vm)
        snprintf(i->source->vm, sizeof(i->source->vm), "%s", vm);
}

/* What an older version wrote, or nobody yet, is an empty one. */
static void load_card(struct image *i, const char *text)
{
    static const struct doc_limits limits = {.bytes = 65536, .depth = 8, .tokens = 1024};
    auto_json json_t *value = NULL;
    json_t *card = NULL;
    struct error err = ERROR_INIT;

    if (*text && (doc_parse(text, strlen(text), &limits, &value, &err) ||
                  image_card_decode(value, &card, &err)))
        log_failure(LOG_LEVEL_WARNING, &err, "what is said of image %s cannot be read", i->id);
    image_card_set(i, card ? card : image_card_empty());
}

static int load_image(void *arg, const struct image_row *row)
{
    struct image_registry *r = arg;
    auto_image struct image *i = image_new();
    int kind = index_of(row->kind, image_kind_name, IMAGE_KIND_COUNT);
    int format = index_of(row->format, image_format_name, IMAGE_FORMAT_COUNT);
    int state = index_of(row->state, image_state_name, IMAGE_STATE_COUNT);

    if (state == IMAGE_STATE_COUNT && strcmp(row->state, "deleting") == 0)
        state = IMAGE_RETIRED;
    if (kind == IMAGE_KIND_COUNT || format == IMAGE_FORMAT_COUNT || state == IMAGE_STATE_COUNT)
        return 0; /* the schema's checks leave none of these */
    i->seq = row->seq;
    snprintf(i->id, sizeof(i->id), "%s", row->id);
    snprintf(i->project_id, sizeof(i->project_id), "%s", row->project_id);
    snprintf(i->host_id, sizeof(i->host_id), "%s", row->host_id);
    snprintf(i->name, sizeof(i->name), "%s", row->name);
    snprintf(i->state_reason, sizeof(i->state_reason), "%s", row->state_reason);
    i->description = xstrdup(row->description);
    i->cmdline = xstrdup(row->cmdline);
    i->kind = (enum image_kind)kind;
    i->format = (enum image_format)format;
    i->state = (enum image_state)state;
    load_source(i, row->source);
    load_card(i, row->card);
    i->screenshot = *row->screenshot ? blob_new_text(row->screenshot) : NULL;
    i->revision = row->revision;
    i->created_at = row->created_at;
    i->updated_at = row->updated_at;
    image_registry_put(r, i);
    return 0;
}

/* Nobody else has the snapshots yet, so they may still be filled in. */
static int load_file(void *arg, const struct image_file_row *row)
{
    struct image_registry *r = arg;
    struct image_entry *e = entry_of(r, row->image_id);
    int part = index_of(row->role, image_part_name, IMAGE_PART_COUNT);
    struct image_file *f;

    if (!e || part == IMAGE_PART_COUNT)
        return 0;
    f = &e->stored->files[part];
    f->present = true;
    snprintf(f->sha256, sizeof(f->sha256), "%s", row->sha256);
    f->size_bytes = row->size_bytes;
    f->virtual_size_bytes = row->virtual_size_bytes;
    f->verified_at = row->verified_at;
    f->damaged_at = row->damaged_at;
    return 0;
}

static void check_content(struct image_registry *r)
{
    for (size_t n = 0; n < r->count; n++) {
        struct image *i = r->entries[n].stored;

        for (int p = 0; p < IMAGE_PART_COUNT; p++) {
            auto_free char *path = NULL;
            struct stat st;

            if (!i->files[p].present)
                continue;
            path = image_content_path(r, i->files[p].sha256);
            if (stat(path, &st) == 0 && st.st_size == i->files[p].size_bytes)
                continue;
            i->state = IMAGE_FAILED;
            snprintf(i->state_reason, sizeof(i->state_reason),
                     "its %s is missing below the state directory", image_part_name(p));
            i->files[p] = (struct image_file){0};
            log_warning("image %s: %s image=%s", i->name, i->state_reason, i->id);
        }
    }
}

/* Bytes of an import that the next operation goes on with: fetch-ID-PART, with or without a suffix. */
static bool is_unfinished_import(struct image_registry *r, const char *name)
{
    char id[UUID_TEXT] = "";
    const struct image_entry *e;

    if (strncmp(name, "fetch-", 6) != 0 || strlen(name) < 6 + UUID_TEXT)
        return false;
    memcpy(id, name + 6, UUID_TEXT - 1);
    e = entry_of(r, id);
    return e && e->stored->source && e->stored->state == IMAGE_IMPORTING;
}

static bool is_digest(const char *name)
{
    return strlen(name) == SECRET_SHA256_TEXT - 1 &&
           strspn(name, "0123456789abcdef") == SECRET_SHA256_TEXT - 1;
}

/* Unfinished uploads, and marked content that turned out to be nobody's. */
static int sweep(struct image_registry *r, struct error *err)
{
    auto_closedir DIR *dir = opendir(r->tmp_dir);
    struct dirent *entry;

    if (!dir)
        return error_errno(err, errno, "cannot read %s", r->tmp_dir);
    while ((entry = readdir(dir))) {
        const char *name = entry->d_name;

        if (is_digest(name)) {
            image_content_settle(r, name);
        } else if ((name[0] != '.' || (SEEDED_BUG(SWEEP_FOREIGN) && name[1] == 'h')) &&
                   !is_unfinished_import(r, name)) {
            (void)unlinkat(dirfd(dir), name, 0); /* tried again at the next start */
            log_info("removed an unfinished upload file=%s", name);
            CRASH_POINT(RECOVERY_SWEPT);
        }
    }
    return 0;
}

int image_registry_open(struct core *core, struct image_registry **ret, struct error *err)
{
    struct image_registry *r = xcalloc(1, sizeof(*r));

    mutex_init(&r->change);
    mutex_init(&r->lock);
    r->dir = xasprintf("%s/images", core_state_dir(core));
    r->tmp_dir = xasprintf("%s/tmp", r->dir);
    if (dir_ensure(r->dir, 0711, err) || dir_ensure(r->tmp_dir, 0700, err) ||
        store_image_each(core_db(core), load_image, r, err) ||
        store_image_file_each(core_db(core), load_file, r, err) ||
        image_labels_load(core, r, err) || sweep(r, err)) {
        image_registry_close(r);
        return -1;
    }
    check_content(r);
    *ret = r;
    return 0;
}

void image_registry_close(struct image_registry *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->count; i++)
        entry_done(&r->entries[i]);
    free(r->entries);
    free(r->labels);
    free(r->dir);
    free(r->tmp_dir);
    pthread_mutex_destroy(&r->change);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
