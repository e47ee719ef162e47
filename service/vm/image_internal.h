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
#include "service/base/hash.h"
#include "service/net/fetch.h"
#include "service/vm/core.h"
#include "service/vm/image.h"

#define IMAGE_PROFILE "drover-image" /* deploy/apparmor */

/* ---- implemented by the core ---- */

struct image_registry *core_images(struct core *core);
/* VMs that refer to the image. Any thread, does not block. */
unsigned registry_image_users(struct core *core, const char *image_id);
/* The same, as references; the caller unrefs each and frees the array. */
size_t registry_image_vms(struct core *core, const char *image_id, struct vm ***ret);

/* ---- image_registry.c ---- */

struct image_entry {
    struct image *stored; /* as committed */
    struct image *shown;  /* what readers get: the same, or with the state "importing" */
    unsigned uploading;   /* bits of enum image_part */
};

/* One version of a label. */
struct image_label_entry {
    char project_id[UUID_TEXT], name[VM_NAME_MAX + 1], image_id[UUID_TEXT];
    int64_t version, keep, created_at;
};

struct image_registry {
    pthread_mutex_t change;
    pthread_mutex_t lock;        /* of what follows */
    struct image_entry *entries; /* in order of seq */
    size_t count, cap;
    struct image_label_entry *labels; /* by project, name, version */
    size_t label_count, label_cap;
    char *dir, *tmp_dir; /* STATE_DIR/images and …/tmp; never change */
};

/*
 * Makes the directories, loads every image, removes what a crash left behind: unfinished uploads
 * and content that never got its row. An image whose content is gone is shown as failed.
 */
int image_registry_open(struct core *core, struct image_registry **ret, struct error *err);
void image_registry_close(struct image_registry *r); /* NULL is fine */

/* ---- image_label.c ---- */

int image_labels_load(struct core *core, struct image_registry *r, struct error *err);
/* Under `lock`. */
bool image_label_target(struct image_registry *r, const char *project_id, const char *name,
                        char ret[UUID_TEXT]);
/* Takes `lock`: the label that points at the image now, or "". */
void image_label_of(struct image_registry *r, const char *image_id, char ret[VM_NAME_MAX + 1]);
void image_labels_forget(struct image_registry *r, const char *image_id);

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
bool image_registry_is_damaged(struct image_registry *r, const char *sha256); /* that content */
/* Every image with a part of that content: references; the caller unrefs each and frees the array. */
size_t image_registry_sharers(struct image_registry *r, const char *sha256, struct image ***ret);
/*
 * doubt: before content is linked, or the row that refers to it goes. settle: afterwards; unlinks
 * it if no image refers to it. Both under `change`.
 */
void image_content_doubt(struct image_registry *r, const char *sha256);
void image_content_settle(struct image_registry *r, const char *sha256);
char *image_content_path(struct image_registry *r, const char *sha256); /* caller frees */

/* ---- image_card.c ---- */

json_t *image_card_empty(void);
/* From what a client or a stored row says to one with every member. VALIDATION_FAILED. */
int image_card_decode(const json_t *value, json_t **ret, struct error *err);
/* Takes card. */
void image_card_set(struct image *i, json_t *card);

/* ---- image_verify.c ---- */

/*
 * Under `change`: what was found out about content, for every image that has it. Images become failed,
 * or ready again; VMs that stand on them are told. Blocks on the disk.
 */
int image_content_found(struct core *core, const struct actor *actor, const char *sha256, bool whole,
                        struct error *err);

/* ---- image.c ---- */

struct image *image_new(void);
struct image *image_copy(const struct image *i); /* one reference, mutable until published */
/* Fills a row that borrows from i. */
void image_to_row(const struct image *i, struct image_row *ret);
int image_event(struct db_tx *tx, const struct actor *actor, const struct image *i,
                const char *type, struct error *err);
int image_event_with(struct db_tx *tx, const struct actor *actor, const struct image *i,
                     const char *type, const char *data, struct error *err);
/* What it is once its files are there. */
void image_next_state(struct image *next);
/* The row and this file of it, in a transaction of the caller's. */
int image_write(struct db_tx *tx, const struct image *i, int part, struct error *err);

/* The form of a request; VALIDATION_FAILED. */
int image_check_request(const struct image_request *r, struct error *err);
/*
 * Stores next, which is image's next state, with an event (or NULL). Under `change`. Blocks on the
 * disk.
 */
int image_store(struct core *core, const struct actor *actor, struct image *next,
                const char *event, struct error *err);
void image_label_prune(struct core *core, const struct actor *actor, const char *name);
/* What nobody can use any more says why; an image that is ready stays so. */
void image_mark_failed(struct core *core, const struct actor *actor, const char *image_id,
                       const char *reason);

/* ---- image_write.c ---- */

/*
 * What is written from here on goes past the page cache where the file system can and the bytes are
 * aligned; reads must be, too.
 */
void image_write_past_cache(int fd);
bool image_write_through_cache(int fd); /* the other way again; false: it was so */
/* Writes all; a longer run of zeros becomes a hole. */
int image_write_at(int fd, const char *data, size_t len, int64_t at, struct error *err);
/* The same, of a file that is written from its beginning: the disk's blocks are reserved before. */
struct image_ahead {
    int64_t size; /* of it, -1: not known */
    int64_t end;  /* of what is reserved; 0 at first */
};
int image_write_ahead(int fd, const char *data, size_t len, int64_t at, struct image_ahead *ahead,
                      struct error *err);
/* Sets the size, and gives back what was reserved behind it. -1 with errno. */
int image_write_end(int fd, int64_t size, const struct image_ahead *ahead);
int image_no_space(struct error *err); /* errno says why; -1 */

/* ---- image_upload.c: what arriving bytes have in common ---- */

/* INSUFFICIENT_STORAGE when less than the floor would stay free. */
int image_check_space(struct core *core, int64_t more, struct error *err);
int64_t image_space_left(struct core *core); /* above the floor; may be negative */
/*
 * The file at path, below tmp and of that digest, becomes the part's bytes: inspected, synced,
 * moved into place, committed. It is gone afterwards in any case.
 */
int image_adopt(struct core *core, const struct actor *actor, const char *image_id,
                enum image_part part, const char *path, const char *sha256, struct image **ret,
                struct error *err);
char *image_tmp_path(struct core *core, const char *what, const char *image_id, enum image_part part);

/* ---- image_import.c and op.c: operations; the tests of the store have none ---- */

struct op *image_op_new(struct core *core, const struct actor *actor, const struct image *i);
int image_op_insert(struct db_tx *tx, const struct op *op, struct error *err);
void image_op_enqueue(struct core *core, struct op *op);
struct op *image_op_pending(struct core *core, const char *image_id); /* a reference or NULL */

/* ---- image_download.c ---- */

/*
 * Brings a part's bytes to *ret_path (below tmp; what is there already is kept and gone on from),
 * checks them against the link's hash and gives their SHA-256.
 */
enum fetch_result image_download(struct core *core, const struct op *op, const struct image *image,
                                 enum image_part part, const char *path,
                                 char ret_sha256[SECRET_SHA256_TEXT], struct error *err);
/* Removes what image_download left for another try. */
void image_download_forget(const char *path);

/* ---- image_convert.c ---- */

/* Unpacks xz; removes neither file. FETCH_* as a download ends. */
enum fetch_result image_unxz(struct core *core, const struct op *op, const char *from, const char *to,
                             struct error *err);
/* qemu-img convert, under limits; to is new or replaced. total: bytes the guest sees, 0: find out. */
enum fetch_result image_convert(struct core *core, const struct op *op, enum image_origin from_format,
                                const char *from, enum image_format to_format, const char *to,
                                int64_t total, struct error *err);
/* qemu-img rebase: the disk stands on base afterwards, and what differs was copied. */
enum fetch_result image_move_base(struct core *core, const struct op *op, const char *disk,
                                  const char *base, enum image_format base_format, struct error *err);
int image_hash_file(const struct op *op, const char *path, char ret[SECRET_SHA256_TEXT],
                    struct error *err);

/* ---- image_foreign.c: headers of formats that are only converted from; pure ---- */

#define IMAGE_SIZE_UNKNOWN ((int64_t)1 << 46) /* as large as they come */
/* IMAGE_REFUSED; fills the virtual size when the header has it. */
int image_inspect_origin(int fd, int64_t file_size, enum image_origin origin, struct image_facts *ret,
                         struct error *err);
/* image_inspect of the first bytes of a file that will have file_size bytes. */
int image_inspect_begin(int fd, int64_t file_size, enum image_kind kind, enum image_part part,
                        enum image_format format, struct image_facts *ret, struct error *err);
/* The format that arrives, once unpacked. */
enum image_origin image_origin(const struct image *i);

/* ---- image_check.c ---- */

/* Lets qemu-img, under limits, look at a qcow2 file's tables. IMAGE_REFUSED. No qemu-img: no check.
 */
int image_check_qcow2(const char *path, struct error *err);

#endif
