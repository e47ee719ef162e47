/* Renewing a lease beside whatever else goes on. */
#include "service/cli/keeper.h"

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/base/thread.h"

#define RETRY_MS 1000

struct keeper {
    struct client *client; /* the thread's alone */
    char *path;
    int64_t ttl_s;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* lock: */
    bool stopping, lost;
    struct failure why;
};

static bool renew(struct keeper *k, struct failure *fail)
{
    auto_value json_t *body = json_pack("{s:I}", "ttl_seconds", (json_int_t)k->ttl_s);
    struct client_request r = {.method = "PATCH", .path = k->path, .body = body, .timeout_s = 10};
    auto_answer struct answer a = {0};

    return client_do(k->client, &r, &a, fail) == 0;
}

static void *keep(void *arg)
{
    struct keeper *k = arg;
    int64_t pause = k->ttl_s * 1000 / 3;

    for (;;) {
        struct failure fail = {0};

        {
            LOCK_SCOPE(&k->lock);
            int64_t until = clock_monotonic_ms() + pause;

            while (!k->stopping && clock_monotonic_ms() < until)
                cond_wait_until(&k->wake, &k->lock, until);
            if (k->stopping)
                return NULL;
        }
        pause = k->ttl_s * 1000 / 3;
        if (renew(k, &fail))
            continue;
        if (fail.exit == CLI_NOT_FOUND || fail.exit == CLI_CONFLICT) {
            LOCK_SCOPE(&k->lock);
            k->lost = true;
            k->why = fail;
            return NULL;
        }
        /* Nobody there: it may be back before the lease's time is up. */
        pause = pause < RETRY_MS ? pause : RETRY_MS;
    }
}

static void keeper_free(struct keeper *k)
{
    client_free(k->client);
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    free(k->path);
    free(k);
}

int keeper_start(const struct client *like, const char *lease, int64_t ttl_s, struct keeper **ret,
                 struct failure *fail)
{
    struct client_target target = {.trust = *client_trust(like),
                                   .url = client_socket(like) ? NULL : client_url(like),
                                   .socket = client_socket(like),
                                   .token = client_token(like),
                                   .project = client_project(like)};
    struct keeper *k = xcalloc(1, sizeof(*k));
    struct error err;

    k->ttl_s = ttl_s;
    k->path = xasprintf("/v1/leases/%s", lease);
    mutex_init(&k->lock);
    cond_init(&k->wake);
    if (client_new(&target, &k->client, fail)) {
        keeper_free(k);
        return -1;
    }
    if (thread_start(&k->thread, "lease", keep, k, &err)) {
        keeper_free(k);
        return failure_from_error(fail, &err);
    }
    *ret = k;
    return 0;
}

bool keeper_lost(struct keeper *k, struct failure *fail)
{
    LOCK_SCOPE(&k->lock);
    if (k->lost)
        *fail = k->why;
    return k->lost;
}

void keeper_stop(struct keeper *k)
{
    if (!k)
        return;
    {
        LOCK_SCOPE(&k->lock);
        k->stopping = true;
        pthread_cond_signal(&k->wake);
    }
    pthread_join(k->thread, NULL);
    keeper_free(k);
}
