/*
 * What libvirt alone costs, for the benchmarks to compare with.
 *
 *     libvirt_floor idle URI           opens URI with an event loop, prints "ready", waits
 *     libvirt_floor define URI FILE    for each line on stdin: defines FILE's domain under a new name
 *                                      and uuid, prints the nanoseconds that took
 */
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "libvirt_floor: %s: %s\n", what, virGetLastErrorMessage());
    exit(1);
}

static void *loop(void *arg)
{
    (void)arg;
    while (virEventRunDefaultImpl() == 0)
        ;
    return NULL;
}

static virConnectPtr open_uri(const char *uri)
{
    pthread_t thread;
    virConnectPtr c;

    if (virEventRegisterDefaultImpl() < 0 || pthread_create(&thread, NULL, loop, NULL))
        die("event loop");
    c = virConnectOpen(uri);
    if (!c)
        die(uri);
    return c;
}

/* xml with the text of <tag> replaced; the caller frees it. */
static char *replace(const char *xml, const char *tag, const char *text)
{
    char open[32];
    const char *start, *end;
    char *result;

    snprintf(open, sizeof(open), "<%s>", tag);
    start = strstr(xml, open);
    end = start ? strstr(start, "</") : NULL;
    if (!end || asprintf(&result, "%.*s%s%s%s", (int)(start - xml), xml, open, text, end) < 0)
        exit(1);
    return result;
}

static void define_many(virConnectPtr c, const char *path)
{
    static char xml[65536];
    char line[8];
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(xml, 1, sizeof(xml) - 1, f) : 0;

    xml[n] = '\0';
    if (!n)
        exit(1);
    fclose(f);
    for (unsigned i = 0; fgets(line, sizeof(line), stdin); i++) {
        char name[32], uuid[40], *named, *whole;
        virDomainPtr d;
        int64_t start;

        snprintf(name, sizeof(name), "floor-%u", i);
        snprintf(uuid, sizeof(uuid), "f100f100-f100-4100-8100-%012x", i);
        named = replace(xml, "name", name);
        whole = replace(named, "uuid", uuid);
        start = now_ns();
        d = virDomainDefineXML(c, whole);
        if (!d)
            die("define");
        virDomainFree(d);
        printf("%lld\n", (long long)(now_ns() - start));
        fflush(stdout);
        free(named);
        free(whole);
    }
}

int main(int argc, char **argv)
{
    virConnectPtr c;
    char line[8];

    if (argc < 3 || (strcmp(argv[1], "define") == 0 && argc < 4))
        return 2;
    c = open_uri(argv[2]);
    if (strcmp(argv[1], "define") == 0) {
        define_many(c, argv[3]);
    } else {
        puts("ready");
        fflush(stdout);
        if (!fgets(line, sizeof(line), stdin)) /* until the benchmark closes it */
            line[0] = '\0';
    }
    virConnectClose(c);
    return 0;
}
