/*
 * What the image*.c files share with each other, and what they want of the core.
 *
 * Locks: `change` serialises everything that changes an image or the content directory and is held
 * across the commit; `lock` guards the list and is a leaf. Snapshots are swapped by the database's
 * committed callback, so memory never shows what is not on disk.
 */
#ifndef DROVER_VM_IMAGE_INTERNAL_H
#define DROVER_VM_IMAGE_INTERNAL_H

#include <pthread.h>

#include "db/store.h"
#include "service/vm/core.h"
#include "service/vm/image.h"

/* ---- implemented by the core ---- */

struct image_registry *core_images(struct core *core);
/* VMs that refer to the image. Any thread, does not block. */
unsigned registry_image_users(struct core *core, const char *image_id);

/* ---- image_registry.c ---- */

struct image_entry {
    struct image *stored; /* as committed */
    struct image *shown;  /* what readers get: the same, or with the state "importing" */
    unsigned uploading;   /* bits of enum image_part */
};

struct image_registry {
    pthread_mutex_t change;
    pthread_mutex_t lock;        /* of what follows */
    struct image_entry *entries; /* in order of seq */
    size_t count, cap;
    char *dir, *tmp_dir; /* STATE_DIR/images and …/tmp; never change */
};

/*
 * Makes the directories, loads every image, removes what a crash left behind: unfinished uploads
 * and content that never got its row. An image whose content is gone is shown as failed.
 */
int image_registry_open(struct core *core, struct image_registry **ret, struct error *err);
void image_registry_close(struct image_registry *r); /* NULL is fine */

/* All take `lock` themselves. find and stored: a reference or NULL. */
struct image *image_registry_find(struct image_registry *r, const char *project_id,
                                  const char *ref);
struct image *image_registry_stored(struct image_registry *r, const char *id);
void image_registry_put(struct image_registry *r,
                        struct image *i); /* inserts or replaces; takes a reference of its own */
void image_registry_remove(struct image_registry *r, const char *id);
/* False when the image is gone or that part is already being uploaded. */
bool image_registry_upload_enter(struct image_registry *r, const char *id, enum image_part part);
void image_registry_upload_leave(struct image_registry *r, const char *id, enum image_part part);
bool image_registry_has_content(struct image_registry *r, const char *sha256);
/*
 * doubt: before content is linked, or the row that refers to it goes. settle: afterwards; unlinks
 * it if no image refers to it. Both under `change`.
 */
void image_content_doubt(struct image_registry *r, const char *sha256);
void image_content_settle(struct image_registry *r, const char *sha256);
char *image_content_path(struct image_registry *r, const char *sha256); /* caller frees */

/* ---- image.c ---- */

struct image *image_new(void);
struct image *image_copy(const struct image *i); /* one reference, mutable until published */
/* Fills a row that borrows from i. */
void image_to_row(const struct image *i, struct image_row *ret);
int image_event(struct db_tx *tx, const struct actor *actor, const struct image *i,
                const char *type, struct error *err);

/* ---- image_check.c ---- */

/* Lets qemu-img, under limits, look at a qcow2 file's tables. IMAGE_REFUSED. No qemu-img: no check.
 */
int image_check_qcow2(const char *path, struct error *err);

#endif
