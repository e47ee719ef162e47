/*
 * Scope destructors: the only place that spells the compiler attribute.
 *
 * A local that owns something is declared with its destructor and an initialiser on one line;
 * ownership leaves a scope only through TAKE_PTR or TAKE_FD.
 */
#ifndef DROVER_BASE_CLEANUP_H
#define DROVER_BASE_CLEANUP_H

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define auto_scope(fn) __attribute__((cleanup(fn)))

/* Defines cleanup_NAME() for a type from its free function; the free function must ignore NULL. */
#define DEFINE_CLEANUP(name, type, fn)                                                             \
    static inline void cleanup_##name(type *p)                                                     \
    {                                                                                              \
        fn(*p);                                                                                    \
    }                                                                                              \
    struct cleanup_##name##_needs_semicolon

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_fclose(FILE **f)
{
    if (*f)
        fclose(*f);
}

static inline void cleanup_closedir(DIR **d)
{
    if (*d)
        closedir(*d);
}

static inline void cleanup_unlock(pthread_mutex_t **m)
{
    if (*m && pthread_mutex_unlock(*m))
        abort();
}

static inline pthread_mutex_t *lock_scope_enter(pthread_mutex_t *m)
{
    if (pthread_mutex_lock(m))
        abort();
    return m;
}

#define auto_free     auto_scope(cleanup_free)
#define auto_close    auto_scope(cleanup_close)
#define auto_fclose   auto_scope(cleanup_fclose)
#define auto_closedir auto_scope(cleanup_closedir)

#define CLEANUP_CAT_(a, b) a##b
#define CLEANUP_CAT(a, b)  CLEANUP_CAT_(a, b)

/* Locks now, unlocks when the enclosing scope ends. A pthread failure aborts. */
#define LOCK_SCOPE(m)                                                                              \
    auto_scope(cleanup_unlock) pthread_mutex_t *CLEANUP_CAT(lock_scope_, __LINE__)                 \
        __attribute__((unused)) = lock_scope_enter(m)

/* Yields the value and leaves NULL (or -1) behind: ownership moves visibly. */
#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __auto_type take_ptr_ = (p);                                                               \
        (p) = NULL;                                                                                \
        take_ptr_;                                                                                 \
    })
#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int take_fd_ = (fd);                                                                       \
        (fd) = -1;                                                                                 \
        take_fd_;                                                                                  \
    })

#endif
