/*
 * Which point ends the process, and which mistake is made. Compiled into test builds only; what the
 * points and mistakes are stands in crash_points.def and seeded_bugs.def.
 */
#include "service/base/fault.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const point_names[CRASH_POINT_COUNT] = {
#define X(symbol, name, number, text) [CRASH_##symbol] = name,
#include "service/base/crash_points.def"
#undef X
};

static const char *const bug_names[SEEDED_BUG_COUNT] = {
#define X(symbol, name, text) [BUG_##symbol] = name,
#include "service/base/seeded_bugs.def"
#undef X
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
/* In a file that the test maps, too, when it names one: it chooses while we run. */
static struct control {
    atomic_int left[CRASH_POINT_COUNT];  /* until the fatal time; 0: not chosen */
    atomic_uint count[CRASH_POINT_COUNT]; /* how often it was reached, over all lives */
} own, *control = &own;
static bool bugs[SEEDED_BUG_COUNT];
static void (*on_death)(void);

/* A test that asks for what there is not must not pass for one in which nothing happened. */
static void __attribute__((noreturn)) unknown(const char *what)
{
    fprintf(stderr, "<2>there is no crash point or seeded bug '%s'\n", what);
    _exit(2);
}

static void choose_point(char *item)
{
    char *colon = strchr(item, ':');
    int n = colon ? (int)strtol(colon + 1, NULL, 10) : 1;

    if (colon)
        *colon = '\0';
    for (int i = 0; i < CRASH_POINT_COUNT; i++) {
        if (strcmp(point_names[i], item) == 0) {
            atomic_store(&control->left[i], n > 0 ? n : 1);
            return;
        }
    }
    unknown(item);
}

static void choose_bug(const char *item)
{
    for (int i = 0; i < SEEDED_BUG_COUNT; i++) {
        if (strcmp(bug_names[i], item) == 0) {
            bugs[i] = true;
            return;
        }
    }
    unknown(item);
}

static void map_control(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *p = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof(own)) == 0)
        p = mmap(NULL, sizeof(own), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        unknown(path);
    close(fd);
    control = p;
}

static void choose(void)
{
    char text[512], *rest = text, *item;
    const char *points = getenv("DROVER_CRASH"), *bug = getenv("DROVER_BUG"),
               *path = getenv("DROVER_CRASH_CONTROL");

    if (path && *path)
        map_control(path);
    if (bug && *bug)
        choose_bug(bug);
    snprintf(text, sizeof(text), "%s", points ? points : "");
    while ((item = strsep(&rest, ","))) {
        if (*item)
            choose_point(item);
    }
}

static void tell(enum crash_point point)
{
    char line[96];
    int len = snprintf(line, sizeof(line), "<2>killed at %s\n", point_names[point]);
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)len);

    (void)ignored;
}

void fault_crash_point(enum crash_point point)
{
    pthread_once(&once, choose);
    atomic_fetch_add_explicit(&control->count[point], 1, memory_order_relaxed);
    if (atomic_load_explicit(&control->left[point], memory_order_relaxed) <= 0 ||
        atomic_fetch_sub(&control->left[point], 1) != 1)
        return;
    tell(point);
    if (on_death)
        on_death();
    for (;;)
        kill(getpid(), SIGKILL);
}

bool fault_is_next(enum crash_point point)
{
    pthread_once(&once, choose);
    return atomic_load(&control->left[point]) == 1;
}

bool fault_bug(enum seeded_bug bug)
{
    pthread_once(&once, choose);
    return bugs[bug];
}

void fault_on_death(void (*fn)(void))
{
    on_death = fn;
}
