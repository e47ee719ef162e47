/* A private directory that stands for "/": tests write the kernel's files into it as text. */
#ifndef DROVER_TESTS_HOST_FIXTURE_H
#define DROVER_TESTS_HOST_FIXTURE_H

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/host/host.h"
#include "tests/support/test.h"

/* Everything here is used by some test programs and not by others. */
#pragma GCC diagnostic ignored "-Wunused-function"

static char fixture_root[64];

static int fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

/* A fresh, empty root. */
static struct host *fixture_open(void)
{
    struct error err = ERROR_INIT;
    struct host *h;

    strcpy(fixture_root, "/tmp/drover-host-XXXXXX");
    CHECK(mkdtemp(fixture_root));
    CHECK_INT(chmod(fixture_root, 0755), 0);
    CHECK_OK(host_open(fixture_root, &h, &err));
    return h;
}

static void fixture_close(struct host *h)
{
    host_close(h);
    nftw(fixture_root, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void fixture_path(char *ret, size_t size, const char *path)
{
    snprintf(ret, size, "%s/%s", fixture_root, path);
    for (char *p = ret + strlen(fixture_root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(ret, 0755);
        *p = '/';
    }
}

static void fixture_write(const char *path, const char *text)
{
    char full[512];
    FILE *f;

    fixture_path(full, sizeof(full), path);
    f = fopen(full, "we");
    CHECK(f);
    fputs(text, f);
    CHECK_INT(fclose(f), 0);
}

static void fixture_mkdir(const char *path)
{
    char full[512];

    fixture_path(full, sizeof(full), path);
    CHECK_INT(mkdir(full, 0755), 0);
}

static void fixture_link(const char *path, const char *target)
{
    char full[512];

    fixture_path(full, sizeof(full), path);
    CHECK_INT(symlink(target, full), 0);
}

static void fixture_delete(const char *path)
{
    char full[512];

    fixture_path(full, sizeof(full), path);
    CHECK_INT(unlink(full), 0);
}

static void fixture_mode(const char *path, mode_t mode)
{
    char full[512];

    fixture_path(full, sizeof(full), path);
    CHECK_INT(chmod(full, mode), 0);
}

static const char *fixture_text(const char *path)
{
    static char buf[4096];
    char full[512];
    FILE *f;
    size_t n;

    fixture_path(full, sizeof(full), path);
    f = fopen(full, "re");
    CHECK(f);
    n = fread(buf, 1, sizeof(buf) - 1, f);
    buf[n] = '\0';
    fclose(f);
    return buf;
}

#endif
