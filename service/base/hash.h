/*
 * Digests of what streams by (libcrypto, for the CPU's own instructions: several times what portable
 * code does). One thread at a time for each hash.
 */
#ifndef DROVER_BASE_HASH_H
#define DROVER_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "service/base/secret.h"

enum hash_kind { HASH_SHA256, HASH_SHA512 };
#define HASH_SIZE_MAX 64

/* Of what is there already, at once and without memory: a token's, with each request. Any thread. */
void hash_sha256(const void *data, size_t len, uint8_t ret[SECRET_SHA256_SIZE]);

struct hash;
struct hash *hash_new(enum hash_kind kind);
void hash_free(struct hash *h); /* NULL is fine */
void hash_add(struct hash *h, const void *data, size_t len);
/*
 * The same on a thread of the hash's own, begun with the first call: for who writes the bytes to a
 * disk meanwhile. They must stay as they are until hash_wait.
 */
void hash_begin(struct hash *h, const void *data, size_t len);
void hash_wait(struct hash *h); /* fine when nothing was begun */
/* After the last byte, once. Lower-case hex; SECRET_SHA256_TEXT or SECRET_SHA512_TEXT bytes. */
void hash_finish(struct hash *h, char *ret);
size_t hash_finish_bytes(struct hash *h, uint8_t ret[HASH_SIZE_MAX]); /* how many */

#endif
