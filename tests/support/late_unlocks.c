/*
 * Preloaded, it makes threads late: after one unlock in sixty a thread sleeps for up to 8 ms, as it
 * would if the scheduler had taken its processor away just there. What happens in an order that
 * nobody thought of then happens in seconds and not once in fifty runs. LATE_UNLOCKS is a seed. The
 * first thread is on time, or nothing would ever start.
 */
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ONE_IN      60
#define LATE_MAX_US 8000

static unsigned first_seed(void)
{
    static unsigned threads;
    const char *seed = getenv("LATE_UNLOCKS");

    return (seed ? (unsigned)strtoul(seed, NULL, 10) : 1) + __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED) * 7919;
}

static void be_late(void)
{
    static __thread unsigned seed;
    struct timespec t = {0};

    if (!seed && gettid() == getpid())
        return;
    if (!seed)
        seed = first_seed();
    if (rand_r(&seed) % ONE_IN)
        return;
    t.tv_nsec = rand_r(&seed) % LATE_MAX_US * 1000L;
    ppoll(NULL, 0, &t, NULL);
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    static int (*real)(pthread_mutex_t *);
    int rc;

    if (!real)
        real = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_unlock");
    rc = real(mutex);
    be_late();
    return rc;
}
