/*
 * Images: named, content-addressed files that VMs start from. Bytes arrive in a temporary file,
 * are hashed while they stream, inspected, and only then linked into place as
 * STATE_DIR/images/SHA256; a row refers to them.
 */
#ifndef DROVER_VM_IMAGE_H
#define DROVER_VM_IMAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "service/base/error.h"
#include "service/base/secret.h"
#include "service/vm/vm.h"

enum image_kind { IMAGE_DISK, IMAGE_KERNEL, IMAGE_ISO, IMAGE_KIND_COUNT };
enum image_format { IMAGE_FORMAT_NONE, IMAGE_FORMAT_QCOW2, IMAGE_FORMAT_RAW, IMAGE_FORMAT_COUNT };
/* Retired: nothing new is made of it, and it goes when the last VM that stands on it does. */
enum image_state {
    IMAGE_EMPTY,
    IMAGE_IMPORTING,
    IMAGE_READY,
    IMAGE_FAILED,
    IMAGE_RETIRED,
    IMAGE_STATE_COUNT
};
enum image_part { IMAGE_CONTENT, IMAGE_KERNEL_PART, IMAGE_INITRD_PART, IMAGE_PART_COUNT };

const char *image_kind_name(int kind);
const char *image_format_name(int format); /* "" for none */
const char *image_state_name(int state);
const char *image_part_name(int part); /* "content", "kernel", "initrd" */

/* What arrives, before it becomes what an image keeps. */
enum image_origin {
    IMAGE_ORIGIN_SAME, /* as the image */
    IMAGE_ORIGIN_QCOW2,
    IMAGE_ORIGIN_RAW,
    IMAGE_ORIGIN_VMDK,
    IMAGE_ORIGIN_VDI,
    IMAGE_ORIGIN_VHDX,
    IMAGE_ORIGIN_COUNT
};
const char *image_origin_name(int origin); /* "" for the same */

/* Where one part's bytes are fetched from. */
struct image_link {
    char *url; /* NULL: not fetched */
    unsigned bits; /* of the hash: 256 or 512 */
    char hash[SECRET_SHA512_TEXT];
};

/* Where an image's bytes come from, when nobody uploads them; immutable. */
struct image_source {
    struct image_link links[IMAGE_PART_COUNT];
    enum image_origin format;
    bool xz;             /* what the links lead to is compressed; the hash is of what arrives */
    char vm[UUID_TEXT];  /* the root disk of this VM, or "" */
};
void image_source_free(struct image_source *s); /* NULL is fine */
DEFINE_CLEANUP(image_source, struct image_source *, image_source_free);
#define auto_image_source auto_scope(cleanup_image_source)
/* Says what is to be done with bytes that are sent, and not where others are. */
bool image_source_is_upload(const struct image_source *s);
struct image_source *image_source_copy(const struct image_source *s); /* NULL stays NULL */
/*
 * From the member `source` of a request, or from what was stored. VM names are left in *ret_vm (or
 * NULL), the caller's. VALIDATION_FAILED, SOURCE_REFUSED.
 */
int image_source_decode(const json_t *value, enum image_kind kind, struct image_source **ret,
                        char **ret_vm, struct error *err);
/* Binds a source to a VM that is stopped and has a root disk. */
int image_source_bind(struct core *core, const struct actor *actor, const char *vm_ref,
                      struct image_source *s, struct error *err);
json_t *image_source_encode(const struct image_source *s); /* null for NULL */

struct image_file {
    bool present;
    char sha256[SECRET_SHA256_TEXT];
    int64_t size_bytes, virtual_size_bytes;
    int64_t verified_at; /* bytes and digest last agreed; 0: only when they came */
    int64_t damaged_at;  /* they did not; 0: whole, as far as known */
};

struct blob;

struct op;
struct image { /* immutable snapshot */
    _Atomic unsigned refs;
    int64_t seq;
    char id[UUID_TEXT], project_id[UUID_TEXT], host_id[UUID_TEXT];
    char name[VM_NAME_MAX + 1];
    char *description, *cmdline;
    json_t *card;            /* title, notes, architecture, expected_console, vm: all of them; never changed */
    char *card_text;         /* the same, as it is stored */
    struct blob *screenshot; /* base64 of a PNG, or NULL */
    int64_t revision;        /* its ETag */
    struct image_source *source; /* or NULL */
    char *source_text;           /* the same as JSON, as it is stored; or NULL */
    enum image_kind kind;
    enum image_format format;
    enum image_state state;
    char state_reason[256];
    struct image_file files[IMAGE_PART_COUNT];
    int64_t created_at, updated_at;
};

struct image *image_ref(struct image *i);
void image_unref(struct image *i);
DEFINE_CLEANUP(image, struct image *, image_unref);
#define auto_image auto_scope(cleanup_image)

/* By id, name or label, in that order. */
struct image *image_find(struct core *core, const char *project_id, const char *ref,
                         struct error *err);
void image_list(struct core *core, const char *project_id, int64_t after_seq, size_t limit,
                struct image ***ret, size_t *ret_count, bool *ret_more);
unsigned image_users(struct core *core, const char *image_id); /* VMs that refer to it */

struct image_request {
    const char *name, *description, *cmdline;
    enum image_kind kind;
    enum image_format format;
    const struct image_source *source; /* NULL: the bytes follow with image_upload_* */
    const json_t *card;                /* as image_card_decode gives it; NULL: empty */
    const char *screenshot;            /* base64, or NULL */
};
/*
 * Without a source the state is empty. With one it is importing, and *ret_op is the operation that
 * does it (NULL otherwise). A failed import of that name which nobody uses gives its name up.
 */
int image_create(struct core *core, const struct actor *actor, const struct image_request *r,
                 const struct idem *idem, struct image **ret, struct op **ret_op,
                 bool *ret_replayed, struct error *err);

/* ---- what is said of an image: as an entry of a catalogue has it ---- */

#define IMAGE_SCREENSHOT_MAX ((size_t)190 << 10)
/* Merge-patch of description, title, notes, architecture, expected_console and vm. if_revision 0: any. */
int image_patch(struct core *core, const struct actor *actor, const char *ref, const json_t *patch,
                int64_t if_revision, struct image **ret, struct error *err);
/* A PNG of at most IMAGE_SCREENSHOT_MAX bytes; NULL takes it away. */
int image_screenshot_set(struct core *core, const struct actor *actor, const char *ref, const void *png,
                         size_t len, int64_t if_revision, struct image **ret, struct error *err);
/* A VM of the image, with the definition its card has; overrides: members of a definition, or NULL. */
int image_run(struct core *core, const struct actor *actor, const char *ref, const char *vm_name,
              const json_t *overrides, const struct idem *idem, struct vm **ret, struct op **ret_op,
              bool *ret_replayed, struct error *err);

/* Images of all projects by state, and those with bytes that were found to have rotted. */
struct image_counts {
    unsigned states[IMAGE_STATE_COUNT], damaged;
};
void image_counts_read(struct core *core, struct image_counts *ret);

/* Was this key used before? Then the request is answered as it was, whatever has become of its source. */
bool image_was_created(struct core *core, const struct actor *actor, const struct idem *idem);

/* ---- what can be said of an import before its long part ---- */

#define IMAGE_CHECKS_MAX 12
struct image_check {
    const char *name; /* "name", "reachable", "size", "free_space", "header", "hash" */
    bool ok;
    char detail[256];
    struct error error; /* when not ok */
};
struct image_checks {
    bool ok;
    size_t count;
    struct image_check checks[IMAGE_CHECKS_MAX];
    int64_t size_bytes, virtual_size_bytes; /* 0: not known yet */
    bool resumable;
};
/* Asks the source for its first bytes; takes seconds at most. -1: the request itself is wrong. */
int image_preflight(struct core *core, const struct actor *actor, const struct image_request *r,
                    struct image_checks *ret, struct error *err);
/*
 * IMAGE_IN_USE while a VM refers to it or a label points at it; with retire, the former makes it
 * retired. Removes the bytes nobody else refers to.
 */
int image_delete(struct core *core, const struct actor *actor, const char *ref, bool retire,
                 struct error *err);
/* Removes retired images that no VM stands on any more, and label versions beyond what is kept. */
void image_collect(struct core *core);

/* ---- labels: names that move ---- */

struct image_label_version {
    int64_t version, created_at;
    char image_id[UUID_TEXT];
};
struct image_label {
    char name[VM_NAME_MAX + 1];
    int64_t keep; /* 0: all */
    size_t count;
    struct image_label_version *versions; /* oldest first, at least one; the last is where it points */
};
void image_label_done(struct image_label *l);
#define auto_image_label auto_scope(image_label_done)
/* Sorted by name; the caller clears each and frees the array. */
void image_label_list(struct core *core, const char *project_id, struct image_label **ret,
                      size_t *ret_count);
/* LABEL_NOT_FOUND. */
int image_label_get(struct core *core, const char *project_id, const char *name,
                    struct image_label *ret, struct error *err);
/* keep -1: as it is (or all). Moves the label when it points elsewhere. */
int image_label_set(struct core *core, const struct actor *actor, const char *name,
                    const char *image_ref, int64_t keep, struct image_label *ret, struct error *err);
int image_label_delete(struct core *core, const struct actor *actor, const char *name,
                       struct error *err);

/* An operation that reads all bytes again and compares them with their digests; see image_verify.c. */
int image_verify(struct core *core, const struct actor *actor, const char *ref, struct op **ret_op,
                 struct error *err);
/* Begins that for an image whose turn it is. */
void image_verify_due(struct core *core);

/* One upload: begin, any number of writes, then finish or abort. One thread at a time. */
struct image_upload;
/* expected_sha256 NULL: not checked. size -1: unknown. Refuses when space would run out. */
int image_upload_begin(struct core *core, const struct actor *actor, const char *ref,
                       enum image_part part, int64_t size, const char *expected_sha256,
                       struct image_upload **ret, struct error *err);
int image_upload_write(struct image_upload *u, const void *data, size_t len, struct error *err);
/* Verifies, inspects, links, commits; frees u in any case. */
int image_upload_finish(struct image_upload *u, struct image **ret, struct op **ret_op,
                        struct error *err);
void image_upload_abort(struct image_upload *u);

/* Absolute path of a part's bytes; caller frees. */
char *image_path(struct core *core, const struct image *image, enum image_part part);

/* ---- the inspector: hostile bytes in, facts out; pure ---- */

struct image_facts {
    int64_t virtual_size_bytes;
};
/*
 * Checks the header of an open file against what it is declared to be. Refuses (IMAGE_REFUSED)
 * qcow2 with a backing file, an external data file, encryption or unknown incompatible features;
 * a raw file that begins with a format's magic; absurd sizes.
 */
int image_inspect(int fd, enum image_kind kind, enum image_part part, enum image_format format,
                  struct image_facts *ret, struct error *err);

/* ---- a VM's own disks ---- */

/* Copy-on-write over the image's content; virtual size at least the image's. Idempotent. */
int image_overlay_create(struct core *core, const struct image *image, const char *path,
                         int64_t size_bytes, struct error *err);
/* The same upon another VM's disk, of its size; that one must not be written to from now on. */
int image_overlay_on_disk(const char *backing, const char *path, struct error *err);
int image_blank_create(struct core *core, const char *path, int64_t size_bytes, struct error *err);

#endif
