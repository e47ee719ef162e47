/*
 * Preloaded under valgrind, which keeps descriptors for itself and refuses a change of their hard limit: that stays
 * as it is, and the rest of the change is made. Programs could not be started otherwise.
 */
#include <stddef.h>
#include <sys/resource.h>

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    struct rlimit now, wanted = *limit;

    if (resource == RLIMIT_NOFILE && getrlimit(resource, &now) == 0)
        wanted.rlim_max = now.rlim_max;
    return prlimit(0, resource, &wanted, NULL);
}
