/*
 * A unit-test program in one header: TEST() bodies run in order, results are TAP on stdout.
 *
 *     TEST(name_says_what_is_true) { CHECK(x == 1); CHECK_STR(a, "b"); }
 *     TEST_MAIN()
 *
 * A failed check ends its test. No test sleeps: EVENTUALLY(cond, ms) polls a condition with a
 * deadline, which is half a minute where less is given: how long something usually takes is not
 * how long it takes on a busy machine. What is promised within a time is checked by a clock.
 */
#ifndef DROVER_TESTS_TEST_H
#define DROVER_TESTS_TEST_H

#include <poll.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/clock.h"
#include "service/base/error.h"
#include "service/base/secret.h"

struct test {
    const char *name;
    void (*fn)(void);
};

static struct test test_list[512];
static int test_count;
static jmp_buf test_escape;

__attribute__((unused)) static void test_fail(const char *file, int line, const char *text)
{
    printf("# %s:%d: %s\n", file, line, text);
    longjmp(test_escape, 1);
}

#define TEST(n)                                                                                    \
    static void test_##n(void);                                                                    \
    __attribute__((constructor)) static void test_add_##n(void)                                    \
    {                                                                                              \
        test_list[test_count++] = (struct test){#n, test_##n};                                     \
    }                                                                                              \
    static void test_##n(void)

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            test_fail(__FILE__, __LINE__, #cond);                                                  \
    } while (0)
#define CHECK_INT(a, b)                                                                            \
    do {                                                                                           \
        long long a_ = (long long)(a), b_ = (long long)(b);                                        \
        if (a_ != b_) {                                                                            \
            printf("# %s is %lld, not %lld\n", #a, a_, b_);                                        \
            test_fail(__FILE__, __LINE__, #a " == " #b);                                           \
        }                                                                                          \
    } while (0)
#define CHECK_STR(a, b)                                                                            \
    do {                                                                                           \
        const char *a_ = (a), *b_ = (b);                                                           \
        if (!a_ || !b_ || strcmp(a_, b_) != 0) {                                                   \
            printf("# %s is \"%s\", not \"%s\"\n", #a, a_ ? a_ : "(null)", b_ ? b_ : "(null)");    \
            test_fail(__FILE__, __LINE__, #a " == " #b);                                           \
        }                                                                                          \
    } while (0)
/* rc of a function that fills `struct error err`; prints the error when it is not 0. */
#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        if ((call) != 0) {                                                                         \
            printf("# %s / %s / %s\n", error_slug(err.code), err.detail, err.cause);               \
            test_fail(__FILE__, __LINE__, #call);                                                  \
        }                                                                                          \
    } while (0)
#define EVENTUALLY_MS 30000

static inline long long test_patience_ms(long long ms)
{
    return ms > EVENTUALLY_MS ? ms : EVENTUALLY_MS;
}

#define EVENTUALLY(cond, ms)                                                                       \
    do {                                                                                           \
        long long until_ = clock_monotonic_ms() + test_patience_ms(ms);                            \
        while (!(cond)) {                                                                          \
            if (clock_monotonic_ms() > until_)                                                     \
                test_fail(__FILE__, __LINE__, "not within the deadline: " #cond);                  \
            poll(NULL, 0, 1);                                                                      \
        }                                                                                          \
    } while (0)

#define TEST_MAIN()                                                                                \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        static int failed;                                                                         \
                                                                                                   \
        secret_init();                                                                             \
        setvbuf(stdout, NULL, _IOLBF, 0);                                                          \
        printf("1..%d\n", test_count);                                                             \
        for (volatile int i = 0; i < test_count; i++) {                                            \
            if (argc > 1 && !strstr(test_list[i].name, argv[1])) {                                 \
                printf("ok %d - %s # SKIP not selected\n", i + 1, test_list[i].name);              \
            } else if (setjmp(test_escape) == 0) {                                                 \
                test_list[i].fn();                                                                 \
                printf("ok %d - %s\n", i + 1, test_list[i].name);                                  \
            } else {                                                                               \
                printf("not ok %d - %s\n", i + 1, test_list[i].name);                              \
                failed++;                                                                          \
            }                                                                                      \
        }                                                                                          \
        return failed ? 1 : 0;                                                                     \
    }                                                                                              \
    struct test_main_needs_semicolon

#endif
