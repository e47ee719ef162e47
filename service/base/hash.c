/* Digests of what streams by. The only file that includes OpenSSL. */
#include "service/base/hash.h"

/* Of SHA-256 without a context that is allocated, and looked up by name, each time. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "service/base/clock.h"
#include "service/base/cleanup.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define ALONE_MS 60000 /* a wait is never for ever */

struct hash {
    EVP_MD_CTX *context;
    struct {
        pthread_t thread;
        bool started, stop;
        pthread_mutex_t lock; /* leaf: guards what follows */
        pthread_cond_t change;
        const void *data; /* NULL: nothing to do */
        size_t len;
    } lane;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Without the host's openssl.cnf: what it could name (engines, other providers) is not for this. */
static void init(void)
{
    if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
        out_of_memory();
}

void hash_sha256(const void *data, size_t len, uint8_t ret[SECRET_SHA256_SIZE])
{
    SHA256_CTX context;

    if (SHA256_Init(&context) != 1 || SHA256_Update(&context, data, len) != 1 || SHA256_Final(ret, &context) != 1)
        abort(); /* it has no way to fail */
    OPENSSL_cleanse(&context, sizeof(context));
}

struct hash *hash_new(enum hash_kind kind)
{
    struct hash *h = xcalloc(1, sizeof(*h));

    pthread_once(&once, init);
    h->context = EVP_MD_CTX_new();
    if (!h->context || EVP_DigestInit_ex(h->context, kind == HASH_SHA512 ? EVP_sha512() : EVP_sha256(), NULL) != 1)
        out_of_memory(); /* these two are built in */
    return h;
}

void hash_add(struct hash *h, const void *data, size_t len)
{
    if (EVP_DigestUpdate(h->context, data, len) != 1)
        abort();
}

/* ---- on a thread of its own ---- */

static void *lane(void *arg)
{
    struct hash *h = arg;
    LOCK_SCOPE(&h->lane.lock);

    for (;;) {
        while (!h->lane.data && !h->lane.stop)
            cond_wait_until(&h->lane.change, &h->lane.lock, clock_monotonic_ms() + ALONE_MS);
        if (!h->lane.data)
            return NULL;
        pthread_mutex_unlock(&h->lane.lock);
        hash_add(h, h->lane.data, h->lane.len);
        pthread_mutex_lock(&h->lane.lock);
        h->lane.data = NULL;
        pthread_cond_signal(&h->lane.change);
    }
}

static bool lane_open(struct hash *h)
{
    struct error ignored;

    if (h->lane.started)
        return true;
    mutex_init(&h->lane.lock);
    cond_init(&h->lane.change);
    h->lane.started = thread_start(&h->lane.thread, "hash", lane, h, &ignored) == 0;
    if (h->lane.started)
        return true;
    pthread_mutex_destroy(&h->lane.lock);
    pthread_cond_destroy(&h->lane.change);
    return false;
}

static void lane_close(struct hash *h)
{
    if (!h->lane.started)
        return;
    {
        LOCK_SCOPE(&h->lane.lock);
        h->lane.stop = true;
        pthread_cond_signal(&h->lane.change);
    }
    pthread_join(h->lane.thread, NULL);
    pthread_mutex_destroy(&h->lane.lock);
    pthread_cond_destroy(&h->lane.change);
    h->lane.started = false;
}

void hash_begin(struct hash *h, const void *data, size_t len)
{
    hash_wait(h);
    if (!len)
        return;
    if (!lane_open(h)) { /* then here, and a little later */
        hash_add(h, data, len);
        return;
    }
    LOCK_SCOPE(&h->lane.lock);
    h->lane.data = data;
    h->lane.len = len;
    pthread_cond_signal(&h->lane.change);
}

void hash_wait(struct hash *h)
{
    if (!h->lane.started)
        return;
    LOCK_SCOPE(&h->lane.lock);
    while (h->lane.data)
        cond_wait_until(&h->lane.change, &h->lane.lock, clock_monotonic_ms() + ALONE_MS);
}

/* ---- the end ---- */

size_t hash_finish_bytes(struct hash *h, uint8_t ret[HASH_SIZE_MAX])
{
    unsigned len = 0;

    hash_wait(h);
    if (EVP_DigestFinal_ex(h->context, ret, &len) != 1)
        abort();
    return len;
}

void hash_finish(struct hash *h, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[HASH_SIZE_MAX];
    size_t len = hash_finish_bytes(h, bytes);

    for (size_t i = 0; i < len; i++) {
        *ret++ = digits[bytes[i] >> 4];
        *ret++ = digits[bytes[i] & 15];
    }
    *ret = '\0';
}

void hash_free(struct hash *h)
{
    if (!h)
        return;
    lane_close(h);
    EVP_MD_CTX_free(h->context);
    free(h);
}
