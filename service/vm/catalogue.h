/*
 * The catalogue: entries that somebody signed, each an image to fetch and how to run it. A source
 * is an index on a web server and the public key that must have signed it; what was read of it is
 * kept below STATE_DIR/catalogues, one file a source, so that listing needs no network.
 */
#ifndef DROVER_VM_CATALOGUE_H
#define DROVER_VM_CATALOGUE_H

#include "service/base/error.h"
#include "service/vm/vm.h"

struct core;
struct catalogue;

enum catalogue_kind { CATALOGUE_DROVER, CATALOGUE_VIRT_BUILDER };

int catalogue_open(struct core *core, struct catalogue **ret, struct error *err);
void catalogue_close(struct catalogue *c); /* NULL is fine */

/* New references: {"name", "url", "kind", "key", "refreshed_at" (ms), "entries": […]} each. */
json_t *catalogue_sources(struct core *core);
/* Fetches and checks the index before it is kept; replaces a source of that name. Takes seconds. */
int catalogue_source_put(struct core *core, const char *name, enum catalogue_kind kind, const char *url,
                         const char *key, json_t **ret, struct error *err);
int catalogue_source_refresh(struct core *core, const char *name, json_t **ret, struct error *err);
int catalogue_source_delete(struct core *core, const char *name, struct error *err);

/* By NAME or SOURCE:NAME; a new reference with the member "catalogue". CATALOGUE_NOT_FOUND. */
json_t *catalogue_find(struct core *core, const char *ref, struct error *err);
json_t *catalogue_entries(struct core *core); /* an array of the same */
/*
 * The image of an entry, imported if it is not there yet, and a VM of it, which starts when the
 * image is ready. overrides: members of a definition, or NULL.
 */
int catalogue_run(struct core *core, const struct actor *actor, const char *ref, const char *vm_name,
                  const json_t *overrides, const struct idem *idem, struct vm **ret,
                  struct op **ret_op, bool *ret_replayed, struct error *err);

/* ---- catalogue_index.c: hostile text in, entries out; pure ---- */

/* A member that what describes an image may not set for its VMs, or NULL. */
const char *catalogue_vm_foreign(const json_t *vm);

#define CATALOGUE_INDEX_MAX ((size_t)4 << 20)
/* base: the index's own address, below which all files are. CATALOGUE_REFUSED. */
int catalogue_parse_drover(const char *text, size_t len, const char *base, json_t **ret,
                           struct error *err);
int catalogue_parse_virt_builder(const char *text, size_t len, const char *base, json_t **ret,
                                 struct error *err);
/* An armoured OpenPGP key as gpgv wants it; caller frees. */
int catalogue_dearmour(const char *text, unsigned char **ret, size_t *ret_len, struct error *err);

#endif
