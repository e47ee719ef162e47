/*
 * Preloaded into the daemon, it makes some VMs of libvirt's test driver, which all obey at once, behave as
 * real ones do on a bad day, by the beginning of their names: "deaf" ones do not hear that they are to shut
 * down, "full" ones cannot be saved, and of "stuck" ones the saving ends when they are destroyed.
 */
#include <dlfcn.h>
#include <libvirt/libvirt.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t destroyed = PTHREAD_COND_INITIALIZER;
static unsigned long destroys;

typedef int domain_flags_fn(virDomainPtr domain, unsigned flags);

static bool is_called(virDomainPtr domain, const char *name)
{
    const char *called = virDomainGetName(domain);

    return called && strncmp(called, name, strlen(name)) == 0;
}

int virDomainShutdownFlags(virDomainPtr domain, unsigned flags)
{
    domain_flags_fn *real = (domain_flags_fn *)dlsym(RTLD_NEXT, "virDomainShutdownFlags");

    return is_called(domain, "deaf") ? 0 : real(domain, flags);
}

static int never_saved(virDomainPtr domain)
{
    unsigned long seen;

    pthread_mutex_lock(&lock);
    seen = destroys;
    while (virDomainIsActive(domain) == 1) {
        while (seen == destroys)
            pthread_cond_wait(&destroyed, &lock);
        seen = destroys;
    }
    pthread_mutex_unlock(&lock);
    return -1;
}

int virDomainManagedSave(virDomainPtr domain, unsigned flags)
{
    domain_flags_fn *real = (domain_flags_fn *)dlsym(RTLD_NEXT, "virDomainManagedSave");

    if (is_called(domain, "full"))
        return -1;
    return is_called(domain, "stuck") ? never_saved(domain) : real(domain, flags);
}

int virDomainDestroyFlags(virDomainPtr domain, unsigned flags)
{
    domain_flags_fn *real = (domain_flags_fn *)dlsym(RTLD_NEXT, "virDomainDestroyFlags");
    int rc = real(domain, flags);

    pthread_mutex_lock(&lock);
    destroys++;
    pthread_cond_broadcast(&destroyed);
    pthread_mutex_unlock(&lock);
    return rc;
}
