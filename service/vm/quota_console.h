/*
 * The consoles that are open: who opened each, until it is closed. Any thread; the lock is a leaf
 * but for the tokens' lock, which may be taken under it.
 */
#ifndef DROVER_VM_QUOTA_CONSOLE_H
#define DROVER_VM_QUOTA_CONSOLE_H

#include <pthread.h>
#include <stdint.h>

#include "service/base/source.h"

struct quota_consoles;

struct quota_consoles *quota_consoles_new(void);
void quota_consoles_free(struct quota_consoles *c); /* once all are closed */

/* To be held while one counts and adds. */
pthread_mutex_t *quota_consoles_lock(struct quota_consoles *c);
/* token_id NULL: of the whole project. */
int64_t quota_consoles_count(struct quota_consoles *c, const char *project_id, const char *token_id);
/* Owns inner; everything but its end passes through. */
struct source *quota_consoles_add(struct quota_consoles *c, const char *project_id,
                                  const char *token_id, struct source *inner);

#endif
